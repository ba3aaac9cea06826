"""Conflicts: who waits for an address to be asked for, what is asked for in advance, and what an answer does."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Network

import pytest
from msgspec.structs import replace

from provisioner.conductor.conflicts import (
    CLEAR_FOR,
    LARGEST_STOCK,
    MOST_STOCKED,
    MOST_WAITING,
    RENEWED_BEFORE,
    Question,
    interface_on,
)
from provisioner.model.addresses import Lease, LeaseState, Probe, Reservation
from provisioner.wire.dhcp import MessageType
from tests.conversations.dhcp import HERE
from tests.dhcp_messages import changed, discover, mac, reboot, select
from tests.test_conductor_addresses import HALL, SUBNET, machine, running

SQUATTER = "52:54:00:99:99:99"
POOL_SIZE = 50
WIDE = replace(SUBNET, name="wide", cidr="10.78.0.0/16", pool_start="10.78.1.0", pool_end="10.78.99.0")


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


def due(server, count=10_000):
    return [each.address for each in server.addresses.conflicts.due(count)]


async def stocked(server):
    """With the first client served and the stock filled."""
    [] = await server.hear(discover(1))
    messages = server.addresses.conflicts.free(asked(server) + due(server))
    return await server.hear(*(message for message, _ in messages))


async def wide_stock(server):
    """A large pool on a network of ours, its stock filled while nobody has asked."""
    await server.save(WIDE)
    server.addresses.conflicts.rest([("eth1", IPv4Network("10.78.0.0/16"))])
    found = due(server)
    server.addresses.conflicts.free(found)
    assert due(server) == []
    return found


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
    offers = await server.hear(*(discover(client) for client in range(2, 42)))
    assert [offer.yiaddr for offer in offers] == [f"10.77.0.{11 + place}" for place in range(40)]


async def test_a_pool_on_a_network_of_ours_has_a_stock_before_anybody_asks(server):
    assert len(await wide_stock(server)) == LARGEST_STOCK
    offers = await server.hear(
        *(discover(client) for client in range(1, LARGEST_STOCK + 1)), arrival=changed(HERE, address="10.78.0.1")
    )
    assert (len(offers), asked(server)) == (LARGEST_STOCK, [])


async def test_other_pools_have_none_before_anybody_asks(server):
    server.addresses.conflicts.rest([("eth9", IPv4Network("192.0.2.0/24"))])
    assert due(server) == []


@pytest.mark.parametrize(
    "change", [{"enabled": False}, {"probe": Probe.OFF}, {"only_reservations": True}, {"proxy": True}]
)
async def test_a_pool_that_is_for_nobody_has_no_stock(server, change):
    await server.save(replace(SUBNET, **change))
    server.addresses.conflicts.rest([("eth0", IPv4Network("10.77.0.0/24"))])
    assert due(server) == []


async def test_a_stock_is_filled_a_few_at_a_time(server):
    await server.save(WIDE)
    server.addresses.conflicts.rest([("eth1", IPv4Network("10.78.0.0/16"))])
    assert [len(due(server, 32)) for _ in range(33)] == [32] * 32 + [0]


async def test_a_stock_half_of_which_was_given_out_is_filled_again(server):
    await wide_stock(server)
    half, arrival = LARGEST_STOCK // 2, changed(HERE, address="10.78.0.1")
    await server.hear(*(discover(client) for client in range(half)), arrival=arrival)
    assert server.woken == 0
    await server.hear(discover(half), arrival=arrival)
    assert (server.woken, len(due(server))) == (1, half + 1)


async def test_many_pools_share_what_is_asked_for_in_advance(server):
    subnets = [
        replace(SUBNET, name=f"n{net}", cidr=f"10.{net}.0.0/16", pool_start=f"10.{net}.1.0", pool_end=f"10.{net}.99.0")
        for net in range(100, 116)
    ]
    await server.save(*subnets)
    server.addresses.conflicts.rest([("eth1", IPv4Network(each.cidr)) for each in subnets])
    assert len(due(server)) == MOST_STOCKED


async def test_what_was_given_out_meanwhile_is_not_asked_for(server):
    await server.save(WIDE)
    server.addresses.conflicts.rest([("eth1", IPv4Network("10.78.0.0/16"))])
    assert due(server, 1) == ["10.78.1.0"]
    await server.hear(reboot(1, "10.78.1.1"), arrival=changed(HERE, address="10.78.0.1"))
    assert due(server, 1) == ["10.78.1.2"]


async def test_who_still_uses_an_address_is_not_told_again(server):
    await stocked(server)
    for _ in range(2):
        server.addresses.conflicts.in_use("10.77.0.11", SQUATTER)
        await server.save()
        server.clock.wait(601)
    assert len(told(server, "dhcp.conflict")) == 1
    assert server.ledger.get(Lease, "10.77.0.11").expires_at == server.clock.now - timedelta(seconds=1)


def test_the_interface_of_an_address_is_that_of_its_network():
    networks = [("eth0", IPv4Network("10.77.0.0/24")), ("eth1", IPv4Network("10.78.0.0/16"))]
    assert [interface_on(networks, each) for each in ("10.78.3.4", "10.79.0.1")] == ["eth1", ""]


async def test_an_answer_quarantines_the_address_says_who_it_was_and_the_next_is_tried(server):
    await server.hear(discover(1))
    asked(server), due(server)
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


async def test_what_was_found_free_is_asked_for_again_before_it_counts_no_more(server):
    await stocked(server)
    for seconds, count in ((0, 0), ((CLEAR_FOR - RENEWED_BEFORE).total_seconds() + 1, POOL_SIZE - 1)):
        server.clock.wait(seconds)
        server.addresses.conflicts.rest([])
        assert len(due(server)) == count


async def test_what_was_found_free_long_ago_is_not_believed(server):
    await stocked(server)
    server.clock.wait(CLEAR_FOR.total_seconds() + 1)
    assert await server.hear(discover(2)) == []


async def test_a_pool_behind_a_relay_on_which_nobody_asks_rests(server):
    await stocked(server)
    server.clock.wait(3601)
    server.addresses.conflicts.rest([])
    assert due(server) == []


async def test_a_storm_is_not_made_to_wait(server):
    await server.save(WIDE)
    arrival = changed(HERE, address="10.78.0.1")
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
