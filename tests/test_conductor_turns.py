"""Turns on this server's clock, with its machines' names."""

from __future__ import annotations

import pytest

from provisioner.conductor.turns import HEAVY_BYTES, Turns
from provisioner.model.addresses import Lease, LeaseState
from tests.parts import MAC, OTHER_MAC, START


@pytest.fixture
def turns(parts):
    made = Turns(parts.ledger, 1, lambda address: OTHER_MAC if address == "10.0.0.60" else "", parts.clock.seconds)
    made.follow()
    return made


async def leased(parts, address="10.0.0.50", mac=MAC):
    tx = parts.ledger.transaction()
    tx.put(Lease(address=address, mac=mac, state=LeaseState.ACKED, expires_at=START))
    await tx.commit()


async def test_only_the_first_question_of_one_that_waits_is_new(turns):
    assert turns.ask(MAC, "", ("k",)).place == 0
    assert [(turn.place, turn.is_new) for turn in (turns.ask(OTHER_MAC, "", ("k",)) for _ in range(2))] == [
        (1, True),
        (1, False),
    ]


async def test_who_asks_for_the_script_of_another_comes_after_those_who_ask_for_their_own(parts, turns):
    await leased(parts)
    turns.ask("52:54:00:00:00:77", "", ("k",))
    stranger = turns.ask("52:54:00:00:00:78", "10.0.0.66", ("k",))
    neighbour = turns.ask(OTHER_MAC, "10.0.0.60", ("k",))
    own = turns.ask(MAC, "10.0.0.50", ("k",))
    assert (stranger.place, neighbour.place, own.place) == (1, 1, 2)
    assert [each.mac for each in turns.now().waiting] == [OTHER_MAC, MAC, "52:54:00:00:00:78"]


async def test_a_machine_may_ask_by_one_card_for_the_script_of_its_other(parts, turns):
    await parts.register(MAC, OTHER_MAC)
    await leased(parts)
    turns.ask("52:54:00:00:00:77", "", ("k",))
    turns.ask("52:54:00:00:00:78", "10.0.0.66", ("k",))
    assert turns.ask(OTHER_MAC, "10.0.0.50", ("k",)).place == 1


async def test_names_that_are_made_up_by_the_thousand_leave_one_event(turns):
    turns.ask(MAC, "", ("k",))
    asked = [turns.ask(f"52:54:00:00:{n // 256:02x}:{n % 256:02x}", "10.0.0.66", ("k",)) for n in range(2000)]
    assert sum(turn.is_new for turn in asked) == 1 and turns.waiting == 1


@pytest.mark.parametrize("event", ["hello", "register"])
async def test_a_machine_whose_system_is_up_has_its_turn_behind_it(parts, turns, event):
    machine = (await parts.register(MAC)).machine.id
    turns.ask(MAC, "", ("k",))
    assert turns.now().taken == 1
    parts.clock.pass_seconds(1)
    await (parts.hello(machine) if event == "hello" else parts.register(MAC))
    assert turns.now().taken == 0


async def test_another_change_of_a_machine_does_not_end_its_turn(parts, turns):
    machine = await parts.ready()
    turns.ask(MAC, "", ("k",))
    await parts.change(machine, params={"count": 4})
    assert turns.now().taken == 1


async def test_a_large_file_takes_a_turn_and_a_small_one_never_waits(turns):
    turns.ask(MAC, "10.0.0.50", ("k",))
    stranger = turns.begin("10.0.0.51", "/files/big", HEAVY_BYTES, 0)
    known = turns.begin("10.0.0.50", "/files/big", HEAVY_BYTES, 0)
    assert turns.may_go_on(stranger, HEAVY_BYTES - 1)
    assert not turns.may_go_on(stranger, HEAVY_BYTES)
    assert turns.may_go_on(known, HEAVY_BYTES)


async def test_transfers_are_followed_that_are_large_or_of_one_that_has_a_turn(turns):
    assert not turns.is_followed("10.0.0.50", "/files/x", 5) and turns.is_followed("10.0.0.50", "/files/x", HEAVY_BYTES)
    turns.ask(MAC, "10.0.0.50", ("k",))
    assert turns.is_followed("10.0.0.50", "/files/x", 5)


async def test_who_fetches_is_known_by_its_script_its_lease_or_its_neighbourhood(parts, turns):
    await leased(parts)
    await parts.ready(name="n1")
    for address in ("10.0.0.50", "10.0.0.60", "10.0.0.70"):
        turns.begin(address, "/files/big", HEAVY_BYTES, 0)
    assert [(each.name, each.mac, each.address) for each in turns.now().running] == [
        ("n1", MAC, "10.0.0.50"),
        ("", OTHER_MAC, ""),
        ("", "", "10.0.0.70"),
    ]


async def test_what_is_shown_is_how_far_each_is_and_who_waits(parts, turns):
    number = turns.begin("10.0.0.70", "/files/big", 1000, 100)
    turns.ask(MAC, "", ("k",))
    turns.ask(OTHER_MAC, "", ("k",))
    parts.clock.pass_seconds(2)
    turns.progress(number, 300)
    now = turns.now()
    assert (now.limit, now.taken) == (1, 1)
    assert [(each.path, each.size, each.sent, each.bytes_per_second) for each in now.running] == [
        ("/files/big", 1000, 400, 150.0),
        ("", 0, 0, 0.0),
    ]
    assert [(each.mac, each.place, each.seconds) for each in now.waiting] == [(OTHER_MAC, 1, 2.0)]
