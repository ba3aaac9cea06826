"""Hundreds of DHCPv6 clients on pools that are too small, on the real ledger, over crashes and clocks that are set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from provisioner.bus import Bus
from provisioner.conductor.addresses6 import Addresses6
from provisioner.conductor.ledger import Ledger
from provisioner.model.addresses import Reservation, Subnet
from provisioner.netboot import NO_BOOT
from provisioner.wire.dhcp6 import MessageType6, decode
from provisioner.wire.dhcp6_options import IA_NA, RAPID_COMMIT, decode_ia
from tests.dhcp6_messages import SERVER, arrival, ia, llt_duid, mac, message, solicit, to_server, uuid_duid
from tests.dhcp_histories import Store

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
LEASE = 600
SUBNETS = (
    Subnet(
        name="near", cidr="fd00:77::/64", pool_start="fd00:77::100", pool_end="fd00:77::17f", lease_seconds=LEASE,
        reserved_lease_seconds=LEASE, shared_network="floor",
    ),
    Subnet(
        name="far", cidr="fd00:78::/64", pool_start="fd00:78::100", pool_end="fd00:78::13f", lease_seconds=LEASE,
        reserved_lease_seconds=LEASE, shared_network="floor",
    ),
)  # fmt: skip


class Quiet:
    """Nobody netboots."""

    def choose(self, client, machine, server, override=""):
        return NO_BOOT


class Client:
    """What a client was offered and what it uses, until when by its own watch."""

    def __init__(self, number):
        self.number = number
        self.offered = ""
        self.holds = ""
        self.until = 0.0


class World:
    def __init__(self, seed, clients):
        self.random = Random(seed)
        self.now = 0.0
        self.skew = 0.0
        self.store = Store()
        self.clients = [Client(number) for number in range(1, clients + 1)]
        self.holders = {}
        self.given = 0
        self.start()
        tx = self.ledger.transaction()
        for each in SUBNETS:
            tx.put(each)
        for number in range(1, 6):
            tx.put(Reservation(address=f"fd00:77::{number + 0x10F:x}", mac=mac(number)))
        tx.commit()
        self.store.write()

    def start(self):
        """The server comes up with what is on disk."""
        self.ledger = Ledger(self.store, Bus(), lambda: EPOCH + timedelta(seconds=self.now + self.skew))
        self.ledger.load()
        self.addresses = Addresses6(self.ledger, Quiet(), SERVER)
        self.addresses.follow()

    def say(self, client):
        """One thing that a client may say now."""
        duid = self.random.choice([uuid_duid, llt_duid])(client.number)
        iaid = self.random.randint(1, 3)
        if client.holds and self.now < client.until:
            kind = self.random.choice([MessageType6.RENEW] * 6 + [MessageType6.REBIND] * 2 + [MessageType6.CONFIRM])
            if self.random.random() < 0.1:
                kind = self.random.choice([MessageType6.RELEASE, MessageType6.DECLINE])
                self.drop(client)
                # It says good-bye as it is known: under the IAID of its last exchange, or of another one.
                return to_server(kind, client.number, ia(iaid, client.offered), duid=duid)
            build = to_server if kind is MessageType6.RENEW else message
            return build(kind, client.number, ia(iaid, client.holds), duid=duid)
        self.drop(client)
        if client.offered and self.random.random() < 0.8:
            return to_server(MessageType6.REQUEST, client.number, ia(iaid, client.offered), duid=duid)
        rapid = ((RAPID_COMMIT, b""),) if self.random.random() < 0.1 else ()
        hint = (f"fd00:77::{self.random.randrange(0x100, 0x180):x}",) if self.random.random() < 0.2 else ()
        return solicit(client.number, ia(iaid, *hint), *rapid, duid=duid)

    def drop(self, client):
        if client.holds and self.holders.get(client.holds) is client:
            del self.holders[client.holds]
        client.offered, client.holds = client.holds or client.offered, ""

    def hear(self, client, packet):
        reply = decode(packet)
        for value in reply.message.every(IA_NA):
            for each in decode_ia(value).addresses:
                if reply.message.kind is MessageType6.ADVERTISE:
                    client.offered = each.address
                elif each.valid:
                    self.use(client, each.address, each.valid)
                elif each.address == client.holds:
                    self.drop(client)

    def use(self, client, address, seconds):
        other = self.holders.get(address)
        assert other in (None, client) or other.until <= self.now, (
            f"{address} is of {other.number}, not {client.number}"
        )
        self.drop(client)
        self.holders[address] = client
        client.holds = client.offered = address
        client.until = self.now + seconds
        self.given += 1

    def drain(self):
        """Some clients speak at once; the answers reach most of them, unless the server dies first."""
        asking = self.random.sample(self.clients, self.random.randint(1, 24))
        packets = [(self.say(each), arrival(each.number)) for each in asking]
        answers = self.addresses.answer(packets)
        by_mac = {mac(each.number): each for each in asking}
        replies = list(answers.at_once)
        if self.random.random() < 0.03:
            self.store.crash()
            self.start()
        else:
            self.store.write()
            assert answers.saved.done()
            replies += answers.later
        for each in replies:
            if self.random.random() > 0.05:
                self.hear(by_mac[each.mac], each.data)


@pytest.mark.parametrize("seed", range(3))
async def test_no_address_is_given_to_two(seed):
    world = World(seed, 400)
    for _ in range(1500):
        world.drain()
        world.now += world.random.expovariate(1 / 10)
        if world.random.random() < 0.005:
            # Set back: leases become longer than their clients know, which hurts nobody. What a clock that is set
            # forward would do is put right by `ClockSteps`.
            world.skew -= world.random.uniform(0, 300)
    assert world.given > 1000
    assert len(world.holders) > 50
