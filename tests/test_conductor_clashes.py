"""Clashes: newcomers that look like known machines are held, told, forgotten and resolved."""

import pytest

from provisioner.conductor.machine_changes import NewMachine
from provisioner.errors import Conflict, NotFound
from provisioner.model.machines import Clash
from tests.parts import MAC, OPERATOR, OTHER_MAC, opened

THIRD_MAC = "52:54:00:00:00:03"


async def clash(parts, *macs):
    """A newcomer with these MACs and the serial numbers of a machine that has just registered."""
    known = (await parts.register(MAC)).machine
    with pytest.raises(Conflict):
        await parts.register(*(macs or (OTHER_MAC,)))
    return known


async def test_a_clash_is_found_by_any_of_its_macs_however_written(parts):
    await clash(parts, OTHER_MAC, THIRD_MAC)
    assert parts.clashes.find(THIRD_MAC.upper().replace(":", "-")).mac == OTHER_MAC


async def test_an_unknown_clash_is_answered_with_those_there_are(parts):
    await clash(parts)
    with pytest.raises(NotFound, match=f"unknown clash '{THIRD_MAC}'; there is: {OTHER_MAC}"):
        parts.clashes.find(THIRD_MAC)


async def test_only_macs_of_no_known_machine_are_held(parts):
    await clash(parts)
    assert parts.clashes.held(OTHER_MAC) is not None and parts.clashes.held(MAC) is None
    await parts.machines.create(NewMachine("n2", macs=(THIRD_MAC,)), OPERATOR)
    assert parts.clashes.held(THIRD_MAC) is None


async def test_the_same_newcomer_on_another_card_is_the_same_clash(parts):
    await clash(parts, OTHER_MAC, THIRD_MAC)
    with pytest.raises(Conflict, match=f"clash {OTHER_MAC}"):
        await parts.register(THIRD_MAC, OTHER_MAC)
    assert [each.mac for each in parts.ledger.read_all(Clash)] == [OTHER_MAC]


async def test_a_forgotten_clash_may_try_again_and_is_held_again(parts):
    await clash(parts)
    await parts.clashes.forget(OTHER_MAC, OPERATOR)
    assert list(parts.ledger.read_all(Clash)) == [] and parts.clashes.held(OTHER_MAC) is None
    with pytest.raises(Conflict):
        await parts.register(OTHER_MAC)


async def test_when_the_machine_it_looks_like_is_deleted_the_newcomer_may_come_in(parts):
    known = await clash(parts)
    await parts.machines.delete(known.id, OPERATOR)
    assert parts.clashes.held(OTHER_MAC) is None
    assert (await parts.register(OTHER_MAC)).created


async def test_a_machine_made_by_hand_with_its_mac_ends_the_clash(parts):
    await clash(parts)
    made = await parts.machines.create(NewMachine("twin", macs=(OTHER_MAC,)), OPERATOR)
    assert list(parts.ledger.read_all(Clash)) == []
    assert made.macs == (OTHER_MAC,)


async def test_a_registration_that_succeeds_after_all_ends_the_clash(parts):
    known = await clash(parts)
    await parts.change(known.id, macs=(MAC, OTHER_MAC))
    assert (await parts.register(OTHER_MAC)).machine.id == known.id
    assert list(parts.ledger.read_all(Clash)) == []


async def test_clashes_survive_a_restart(tmp_path):
    async with opened(tmp_path) as before:
        await clash(before)
    async with opened(tmp_path) as parts:
        assert parts.clashes.held(OTHER_MAC) is not None


async def test_an_agent_that_only_asks_for_work_keeps_its_twin_out_until_its_machine_is_deleted(parts):
    known = (await parts.register(MAC)).machine
    parts.clock.pass_seconds(86400)
    parts.clashes.hear(known.id)
    with pytest.raises(Conflict, match="heard of less than a minute ago"):
        await parts.register(OTHER_MAC)
    await parts.machines.delete(known.id, OPERATOR)
    assert (await parts.register(OTHER_MAC)).created
