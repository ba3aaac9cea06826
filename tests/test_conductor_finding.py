"""Finding what a decision is about."""

import pytest

from provisioner.access import SERVER, Principal, Who
from provisioner.conductor.finding import decided, refuse_locked
from provisioner.errors import NotFound, Refused
from provisioner.model.machines import Job, Machine
from tests.parts import OPERATOR, opened


async def test_what_is_decided_is_found(tmp_path):
    async with opened(tmp_path) as parts:
        machine = (await parts.register()).machine
        assert decided(parts.ledger, Machine, machine.id) == machine


async def test_what_does_not_exist_is_named_with_its_kind(tmp_path):
    async with opened(tmp_path) as parts:
        with pytest.raises(NotFound, match="there is no job 'ghost'") as caught:
            decided(parts.ledger, Job, "ghost")
        assert caught.value.object == "ghost"


async def test_a_locked_machine_is_for_its_agent_and_the_server_only(tmp_path):
    async with opened(tmp_path) as parts:
        machine = parts.machine(await parts.ready(locked=True))
        for by in (SERVER, Principal(Who.MACHINE, machine.id)):
            refuse_locked(machine, by)
        with pytest.raises(Refused, match="unlock it first") as caught:
            refuse_locked(machine, OPERATOR)
        assert caught.value.code == "locked"
