"""Finding what a decision is about."""

import pytest

from provisioner.conductor.finding import decided
from provisioner.errors import NotFound
from provisioner.model import Job, Machine
from tests.parts import opened


async def test_what_is_decided_is_found(tmp_path):
    async with opened(tmp_path) as parts:
        machine = (await parts.register()).machine
        assert decided(parts.ledger, Machine, machine.id) == machine


async def test_what_does_not_exist_is_named_with_its_kind(tmp_path):
    async with opened(tmp_path) as parts:
        with pytest.raises(NotFound, match="there is no job 'ghost'") as caught:
            decided(parts.ledger, Job, "ghost")
        assert caught.value.object == "ghost"
