"""Conflicts: who waits for an address to be asked for, what is asked for in advance, and what an answer does."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from provisioner.conductor.conflicts import CLEAR_FOR, LARGEST_STOCK, MOST_WAITING, SMALLEST_STOCK, Question
from provisioner.model.addresses import Lease, LeaseState, Probe, Reservation
from provisioner.wire.dhcp import MessageType
from tests.conversations.dhcp import HERE
from tests.dhcp_messages import discover, mac, reboot, select
from tests.test_conductor_addresses import HALL, SUBNET, machine, running

SQUATTER = "52:54:00:99:99:99"


@pytest.fixture
async def server(tmp_path):
    async with running(tmp_path / "db") as server:
        await server.save(SUBNET, HALL)
        server.woken = 0

        def wake():
            server.woken += 1

        server.addresses.conflicts.begin(wake)
        yield server


def asked(server):
    return [each.address for each in server.addresses.conflicts.wanted()]


async def stocked(server):
    """With the first client served and the stock filled."""
    [] = await server.hear(discover(1))
    messages = server.addresses.conflicts.free(asked(server))
    return await server.hear(*(message for message, _ in messages))


def told(server, kind):
    return [each for each in server.bus.events if each.kind == kind]


async def test_the_first_client_waits_until_its_address_was_asked_for(server):
    assert await server.hear(discover(1)) == []
    assert server.woken == 1
    questions = server.addresses.conflicts.wanted()
    assert questions[0] == Question("10.77.0.10", "eth0")
    [(message, arrival)] = server.addresses.conflicts.free(["10.77.0.10"])
    [offer] = await server.hear(message, arrival=arrival)
    assert (offer.message_type, offer.yiaddr) == (MessageType.OFFER, "10.77.0.10")


async def test_waiting_leaves_nothing_in_the_timeline(server):
    await server.hear(discover(1))
    assert server.bus.events == []


async def test_the_next_addresses_are_asked_for_in_advance_and_nobody_waits_for_these(server):
    await stocked(server)
    offers = await server.hear(*(discover(client) for client in range(2, 2 + SMALLEST_STOCK)))
    assert [offer.yiaddr for offer in offers] == [f"10.77.0.{11 + place}" for place in range(SMALLEST_STOCK)]


async def test_a_stock_that_ran_out_grows_to_a_limit(server):
    await stocked(server)
    for client in range(2, 80):
        await server.hear(discover(client))
    first = len(asked(server))
    assert first > SMALLEST_STOCK
    wide = replace(SUBNET, name="wide", cidr="10.78.0.0/16", pool_start="10.78.1.0", pool_end="10.78.9.0")
    await server.save(wide)
    for client in range(100, 130):
        await server.hear(discover(client), arrival=replace(HERE, address="10.78.0.1"))
        asked(server)
    assert len(asked(server)) == 0
    stock = server.addresses.conflicts._stocks["wide"]
    assert stock.size == LARGEST_STOCK


async def test_an_answer_quarantines_the_address_says_who_it_was_and_the_next_is_tried(server):
    await server.hear(discover(1))
    asked(server)
    [(message, arrival)] = server.addresses.conflicts.in_use("10.77.0.10", SQUATTER)
    assert await server.hear(message, arrival=arrival) == []
    [(message, arrival)] = server.addresses.conflicts.free(["10.77.0.11"])
    [offer] = await server.hear(message, arrival=arrival)
    assert offer.yiaddr == "10.77.0.11"
    lease = server.ledger.get(Lease, "10.77.0.10")
    assert (lease.state, lease.mac) == (LeaseState.QUARANTINED, SQUATTER)
    assert (lease.expires_at - server.clock.now).total_seconds() == 600
    [event] = told(server, "dhcp.conflict")
    assert (event.mac, event.key, event.data) == (
        SQUATTER, "10.77.0.10", {"subnet": "rack", "asked": "arp", "client": mac(1)},
    )  # fmt: skip


async def test_an_address_in_quarantine_is_given_to_nobody_until_it_is_over(server):
    await stocked(server)
    server.addresses.conflicts.in_use("10.77.0.11", SQUATTER)
    [offer] = await server.hear(discover(2))
    assert offer.yiaddr == "10.77.0.12"
    [refusal] = await server.hear(reboot(3, "10.77.0.11"))
    assert refusal.message_type is MessageType.NAK


async def test_the_client_itself_may_answer_for_its_address(server):
    await server.hear(discover(1))
    asked(server)
    [(message, _)] = server.addresses.conflicts.in_use("10.77.0.10", mac(1))
    [offer] = await server.hear(message)
    assert offer.yiaddr == "10.77.0.10"
    assert told(server, "dhcp.conflict") == []


async def test_another_card_of_the_client_may_answer_for_it(server):
    await server.save(machine("m1", mac(1), SQUATTER))
    await server.hear(discover(1))
    asked(server)
    [(message, _)] = server.addresses.conflicts.in_use("10.77.0.10", SQUATTER)
    [offer] = await server.hear(message)
    assert offer.yiaddr == "10.77.0.10"


async def test_behind_a_relay_it_is_asked_by_echo(server):
    await server.hear(discover(1, giaddr="10.9.0.1"))
    assert server.addresses.conflicts.wanted()[0] == Question("10.9.0.10", "")
    server.addresses.conflicts.in_use("10.9.0.10", "")
    await server.save()
    [event] = told(server, "dhcp.conflict")
    assert (event.mac, event.data["asked"]) == ("", "icmp")


async def test_a_client_that_asks_again_while_it_waits_is_answered_once(server):
    await server.hear(discover(1, xid=1))
    await server.hear(discover(1, xid=2))
    assert asked(server).count("10.77.0.10") == 1
    [(message, _)] = server.addresses.conflicts.free(["10.77.0.10"])
    assert message.xid == 2


async def test_clients_that_wait_together_get_different_addresses(server):
    await server.hear(*(discover(client) for client in range(1, 21)))
    waited = server.addresses.conflicts.free(asked(server))
    offers = await server.hear(*(message for message, _ in waited))
    assert len({offer.yiaddr for offer in offers}) == 20


async def test_who_has_its_address_does_not_wait(server):
    [offer] = await stocked(server)
    [again] = await server.hear(discover(1))
    assert again.yiaddr == offer.yiaddr
    await server.hear(select(1, offer.yiaddr))
    server.clock.wait(120)
    [again] = await server.hear(discover(1))
    assert again.yiaddr == offer.yiaddr


async def test_who_comes_back_after_its_lease_waits_for_its_last_address(server):
    [offer] = await stocked(server)
    await server.hear(select(1, offer.yiaddr))
    server.clock.wait(2 * SUBNET.lease_seconds)
    assert await server.hear(discover(1)) == []
    assert asked(server)[0] == offer.yiaddr


async def test_a_request_never_waits(server):
    [ack] = await server.hear(reboot(1, "10.77.0.20"))
    assert ack.message_type is MessageType.ACK


async def test_a_reserved_address_is_not_asked_for(server):
    await server.save(Reservation(address="10.77.0.99", mac=mac(1)))
    [offer] = await server.hear(discover(1))
    assert offer.yiaddr == "10.77.0.99"


async def test_with_probes_off_nobody_waits_and_nothing_is_asked(server):
    await server.save(replace(SUBNET, probe=Probe.OFF))
    [offer] = await server.hear(discover(1))
    assert offer.yiaddr == "10.77.0.10"
    assert asked(server) == []


async def test_without_anybody_who_can_ask_nobody_waits(tmp_path):
    async with running(tmp_path / "other") as server:
        await server.save(SUBNET)
        assert len(await server.hear(discover(1))) == 1


async def test_what_was_found_free_is_asked_for_again_before_a_minute_is_over(server):
    await stocked(server)
    assert asked(server) == []
    server.clock.wait(CLEAR_FOR.total_seconds() - 20)
    assert len(asked(server)) == SMALLEST_STOCK


async def test_what_was_found_free_long_ago_is_not_believed(server):
    await stocked(server)
    server.clock.wait(CLEAR_FOR.total_seconds() + 1)
    assert await server.hear(discover(2)) == []


async def test_a_pool_on_which_nobody_asks_rests(server):
    await stocked(server)
    server.clock.wait(601)
    assert asked(server) == []


async def test_stocks_shrink_when_they_are_not_needed(server):
    await stocked(server)
    for client in range(2, 80):
        await server.hear(discover(client))
    asked(server)
    large = server.addresses.conflicts._stocks["rack"].size
    for _ in range(9):
        server.addresses.conflicts.rest()
    assert (large > SMALLEST_STOCK, server.addresses.conflicts._stocks["rack"].size) == (True, SMALLEST_STOCK)


async def test_a_storm_is_not_made_to_wait(server):
    wide = replace(SUBNET, name="wide", cidr="10.78.0.0/16", pool_start="10.78.1.0", pool_end="10.78.99.0")
    await server.save(wide)
    arrival = replace(HERE, address="10.78.0.1")
    offers = await server.hear(*(discover(client) for client in range(1, MOST_WAITING + 11)), arrival=arrival)
    assert (len(offers), server.addresses.conflicts.unasked) == (10, 10)


async def test_a_late_answer_for_an_address_that_was_given_away_changes_nothing(server):
    [offer] = await stocked(server)
    assert server.addresses.conflicts.in_use(offer.yiaddr, mac(1)) == []
    await server.hear(select(1, offer.yiaddr))
    assert server.addresses.conflicts.in_use(offer.yiaddr, SQUATTER) == []
    assert server.ledger.get(Lease, offer.yiaddr).state is LeaseState.ACKED


async def test_a_conflict_that_cannot_be_saved_is_none(server):
    await server.hear(discover(1))
    asked(server)
    server.database.broken = True
    [(message, _)] = server.addresses.conflicts.in_use("10.77.0.10", SQUATTER)
    assert server.ledger.get(Lease, "10.77.0.10") is None
    assert message.mac == mac(1)
