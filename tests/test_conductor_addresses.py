"""DHCP from message to reply, on a real ledger: what is answered, what is saved first, and what the timeline says."""

from __future__ import annotations

import os
from asyncio import sleep
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from msgspec.structs import replace

from provisioner.bus import Bus
from provisioner.conductor.addresses import Addresses
from provisioner.conductor.boot_choices import BootChoices, Web
from provisioner.conductor.ledger import Ledger
from provisioner.errors import StoreError
from provisioner.links import Arrival
from provisioner.model.addresses import Lease, LeaseState, Reservation, Subnet
from provisioner.model.content import BootArch, Bootenv
from provisioner.model.machines import Machine
from provisioner.params import Params
from provisioner.store.database import Database
from provisioner.wire.dhcp import MessageType, decode
from tests.conversations.dhcp import FOLDER, HERE, Clock, Player
from tests.dhcp_messages import OVMF, SERVER, changed, decline, discover, mac, reboot, release, renew, select

UNICAST = Arrival(SERVER, "eth0", broadcast=False)
DISCOVERY = Bootenv(name="discovery", arch={"amd64": BootArch(kernel="vmlinuz")})
LOCAL = Bootenv(name="local")
SUBNET = Subnet(
    name="rack", cidr="10.77.0.0/24", pool_start="10.77.0.10", pool_end="10.77.0.59", gateway="10.77.0.254",
    dns_servers=("10.77.0.1", "10.77.0.2"), domain="lab.example", options={"ntp-servers": "10.77.0.3"},
)  # fmt: skip
HALL = Subnet(name="hall", cidr="10.9.0.0/24", pool_start="10.9.0.10", pool_end="10.9.0.19", gateway="10.9.0.1")
# Another DHCP server gives the addresses there.
OFFICE = Subnet(name="office", cidr="10.55.0.0/24", proxy=True)
PRINTER = Reservation(
    address="10.77.0.99", mac="52:54:00:77:00:10", hostname="printer", boot_file="-", options={"42": "10.77.0.4"}
)
KNOWN = "52:54:00:77:00:20"
THEN = datetime(2026, 1, 1, tzinfo=UTC)


def machine(id, *macs, **fields):
    return Machine(id=id, name=id, macs=macs, created_at=THEN, updated_at=THEN, **fields)


class WatchedDatabase(Database):
    """Remembers what it was given, and can be broken."""

    def __init__(self, path):
        super().__init__(path)
        self.batches = []
        self.broken = False

    def submit(self, batch, *, lazy=False):
        self.batches.append(batch)
        if self.broken:
            batch.settled(StoreError("disk full"))
        else:
            super().submit(batch, lazy=lazy)


class ListeningBus(Bus):
    """Writes down what is published."""

    def __init__(self):
        super().__init__()
        self.events = []

    def publish_all(self, events):
        self.events.extend(events)


class Server:
    """A ledger in a file, and who decides upon it."""

    def __init__(self, path, clock):
        self.clock = clock
        self.bus = ListeningBus()
        self.database = WatchedDatabase(path)
        self.ledger = Ledger(self.database, self.bus, clock)
        # Always the same, as in the server: what is worked out under it is kept.
        params = Params({})
        self.addresses = Addresses(
            self.ledger, BootChoices(self.ledger, lambda: params, self.bootenv_of, web=Web(port=8091))
        )

    def bootenv_of(self, machine):
        return LOCAL if machine is not None and machine.bootenv == "local" else DISCOVERY

    async def save(self, *values):
        tx = self.ledger.transaction()
        for value in values:
            tx.put(value)
        await tx.commit()

    async def hear(self, *messages, arrival=HERE):
        """The replies to messages of one drain, decoded, when they may be sent."""
        answers = self.addresses.answer([(message, arrival) for message in messages])
        await answers.saved
        return [decode(reply.data) for reply in (*answers.at_once, *answers.replies)]

    async def lease(self, client, **fields):
        [offer] = await self.hear(discover(client, **fields))
        [ack] = await self.hear(select(client, offer.yiaddr, **fields))
        assert ack.message_type is MessageType.ACK
        return ack.yiaddr


@asynccontextmanager
async def running(path, clock=None):
    server = Server(path, clock or Clock())
    server.database.open()
    server.database.start()
    server.ledger.load()
    server.addresses.follow()
    try:
        yield server
    finally:
        await server.database.close()


@pytest.fixture
async def server(tmp_path):
    async with running(tmp_path / "db") as server:
        await server.save(SUBNET, HALL, OFFICE, PRINTER, machine("node1", KNOWN, bootenv="local"))
        yield server


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
async def test_conversation(server, path):
    player = Player(server.addresses, server.clock, server.ledger.settled, server.ledger)
    server.bus.events = player.events
    expected = path.read_text()
    played = await player.play(expected)
    if os.environ.get("REFRESH_CONVERSATIONS"):
        path.write_text(played)
    else:
        assert played == expected


# --- each client's own ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subnet", "more"),
    [
        (SUBNET, {}),
        (replace(SUBNET, options={"root-path": "/{{ client.mac }}"}), {}),
        (SUBNET, {61: bytes(150)}),
    ],
    ids=["usual", "options of its own", "long"],
)
async def test_each_client_gets_its_own_uuid_back_reserved_or_not(server, subnet, more):
    await server.save(subnet, *(Reservation(address=f"10.77.0.9{client}", mac=mac(client)) for client in (2, 4)))
    for client in (1, 2, 3, 4):
        uuid = b"\0" + bytes([client]) * 16
        for kind in (discover(client), select(client, f"10.77.0.9{client}")):
            message = changed(kind, options=kind.options | OVMF | {97: uuid} | more)
            [reply] = await server.hear(message)
            assert reply.options.get(97, uuid) == uuid
        assert reply.message_type is (MessageType.ACK if client in (2, 4) else MessageType.NAK)


@pytest.mark.parametrize("size", [0, 1, 17, 255, 256, 600])
async def test_a_uuid_of_any_length_fails_nothing(server, size):
    await server.hear(discover(1, options=OVMF))
    answers = server.addresses.answer([(discover(2, options=OVMF | {97: bytes(size)}), HERE)])
    await answers.saved
    assert set(answers.ignored) <= {"options do not fit"}


async def test_a_reply_that_does_not_fit_is_told_in_the_timeline(server):
    await server.save(replace(SUBNET, domain="d" * 250))
    server.bus.events.clear()
    assert await server.hear(changed(discover(1, options=OVMF | {61: bytes(200)}), mac=KNOWN)) == []
    [event] = server.bus.events
    assert (event.kind, event.machine, event.mac, event.data["ignored"]) == (
        "dhcp.discover", "node1", KNOWN, "options do not fit"
    )  # fmt: skip
    assert event.data["detail"].endswith("bytes of options into 548 bytes of message")


async def test_acks_that_cannot_be_sent_leave_no_lease_behind(server):
    await server.save(replace(SUBNET, domain="d" * 250))
    asks = reboot(1, "10.77.0.11")
    asks = changed(asks, options=asks.options | OVMF | {61: bytes(200)})
    answers = server.addresses.answer([(asks, HERE), (asks, HERE)])
    await answers.saved
    assert answers.ignored == ["options do not fit"] * 2
    assert list(server.ledger.all(Lease)) == []


# --- one drain ------------------------------------------------------------------------------------------------


async def test_messages_of_one_drain_see_each_other(server):
    offers = await server.hear(*(discover(client) for client in range(1, 41)))
    assert len({offer.yiaddr for offer in offers}) == 40


async def test_all_messages_of_a_drain_share_one_commit(server):
    offers = await server.hear(*(discover(client) for client in range(1, 11)))
    server.database.batches.clear()
    await server.hear(*(select(offer.xid, offer.yiaddr) for offer in offers))
    [batch] = server.database.batches
    assert len(batch.writes) == 10


async def test_the_next_drain_builds_on_one_that_is_not_saved_yet(server):
    first = server.addresses.answer([(discover(1), HERE)])
    second = server.addresses.answer([(discover(2), HERE)])
    await first.saved
    await second.saved
    assert {decode(answers.at_once[0].data).yiaddr for answers in (first, second)} == {"10.77.0.10", "10.77.0.11"}


async def test_a_lease_is_on_disk_before_it_may_be_acknowledged(server):
    await server.hear(discover(1))
    answers = server.addresses.answer([(select(1, "10.77.0.10"), HERE)])
    assert server.ledger.read(Lease, "10.77.0.10") is None
    await answers.saved
    assert server.ledger.read(Lease, "10.77.0.10").state is LeaseState.ACKED


async def test_an_offer_is_remembered_and_not_saved(server):
    await server.hear(discover(1))
    assert list(server.ledger.all(Lease)) == []


async def test_one_message_that_fails_does_not_cost_the_others_their_answer(server):
    broken = changed(discover(2), mac="no mac at all")
    answers = server.addresses.answer([(discover(1), HERE), (broken, HERE), (discover(3), HERE)])
    await answers.saved
    assert [decode(reply.data).yiaddr for reply in answers.at_once] == ["10.77.0.10", "10.77.0.12"]
    assert answers.ignored == ["our own fault"]
    [next_one] = server.addresses.answer([(discover(4), HERE)]).at_once
    assert decode(next_one.data).yiaddr == "10.77.0.11"


async def test_a_failed_message_changes_nothing(server):
    await server.hear(changed(discover(2), mac="no mac at all"))
    assert list(server.ledger.all(Lease)) == []


# --- the disk fails -------------------------------------------------------------------------------------------


async def test_peers_24_a_reservation_that_makes_no_sense_disables_only_itself(server):
    await server.save(Reservation(address="nonsense", mac=mac(1)), Reservation(address="10.77.0.70", mac=mac(2)))
    assert [await server.lease(client) for client in (1, 2, 3)] == ["10.77.0.10", "10.77.0.70", "10.77.0.11"]
    tx = server.ledger.transaction()
    tx.delete(Reservation, "nonsense")
    await tx.commit()
    assert await server.lease(4) == "10.77.0.12"


async def test_what_could_not_be_saved_is_free_again(server):
    server.database.broken = True
    answers = server.addresses.answer([(reboot(1, "10.77.0.10"), HERE)])
    with pytest.raises(StoreError):
        await answers.saved
    server.database.broken = False
    [offer] = await server.hear(discover(2))
    assert offer.yiaddr == "10.77.0.10"


async def test_an_offer_whose_ack_could_not_be_saved_is_held_for_its_client(server):
    [offer] = await server.hear(discover(1, "10.77.0.30"))
    server.database.broken = True
    answers = server.addresses.answer([(select(1, offer.yiaddr), HERE)])
    with pytest.raises(StoreError):
        await answers.saved
    server.database.broken = False
    # Those who wait for a failed commit are told in the next round of the loop.
    await sleep(0)
    [to_another] = await server.hear(discover(2, "10.77.0.30"))
    assert to_another.yiaddr != "10.77.0.30"
    server.clock.wait(59)
    [ack] = await server.hear(select(1, offer.yiaddr))
    assert (ack.message_type, ack.yiaddr) == (MessageType.ACK, "10.77.0.30")


async def test_an_offer_is_not_held_again_when_another_was_given_its_address_meanwhile(server):
    [offer] = await server.hear(discover(1, "10.77.0.30"))
    server.database.broken = True
    server.addresses.answer([(select(1, offer.yiaddr), HERE)])
    server.database.broken = False
    [ack] = await server.hear(reboot(2, "10.77.0.30"))
    assert ack.message_type is MessageType.ACK
    await sleep(0)
    [refusal] = await server.hear(select(1, "10.77.0.30"))
    assert refusal.message_type is MessageType.NAK


# --- the reply ------------------------------------------------------------------------------------------------


async def test_the_client_gets_what_it_asks_for_in_its_order(server):
    [offer] = await server.hear(discover(1, options={55: bytes([15, 42, 6, 3, 1])}))
    assert list(offer.options) == [53, 54, 51, 15, 42, 6, 3, 1]


async def test_without_a_list_the_client_gets_everything(server):
    [offer] = await server.hear(discover(1))
    assert set(offer.options) == {53, 54, 51, 1, 3, 6, 15, 28, 42, 58, 59}
    assert offer.options[1] == b"\xff\xff\xff\0"
    assert offer.options[28] == b"\x0a\x4d\0\xff"
    assert (offer.options[51], offer.options[58], offer.options[59]) == (
        (3600).to_bytes(4), (1800).to_bytes(4), (3150).to_bytes(4),
    )  # fmt: skip


async def test_relay_information_is_echoed_last(server):
    [offer] = await server.hear(discover(1, giaddr="10.9.0.1", options={82: b"\1\4eth1", 61: b"\1x"}))
    assert list(offer.options)[-1] == 82
    assert (offer.options[82], offer.options[61]) == (b"\1\4eth1", b"\1x")


async def test_a_changed_subnet_counts_for_the_next_reply(server):
    await server.hear(discover(1))
    await server.save(replace(SUBNET, domain="new.example", options={}))
    [offer] = await server.hear(discover(1))
    assert offer.options[15] == b"new.example"
    assert 42 not in offer.options


async def test_a_wrong_configured_option_disables_only_itself(server):
    await server.save(replace(SUBNET, options={"ntp-servers": "nonsense", "time-servers": "10.77.0.5"}))
    [offer] = await server.hear(discover(1))
    assert 42 not in offer.options
    assert offer.options[4] == b"\x0a\x4d\0\5"


async def test_the_boot_server_can_be_another(server):
    await server.save(replace(SUBNET, next_server="10.77.0.200"))
    [offer] = await server.hear(discover(1, options=OVMF))
    assert (offer.siaddr, offer.sname) == ("10.77.0.200", "10.77.0.200")


async def test_a_client_that_does_not_netboot_gets_no_boot_server(server):
    [offer] = await server.hear(discover(1))
    assert (offer.siaddr, offer.sname, offer.file) == ("", "", "")


async def test_a_boot_file_in_the_subnets_options_goes_before_the_firmwares(server):
    await server.save(replace(SUBNET, options={"boot-file-name": "grub/bootx64.efi"}))
    [offer] = await server.hear(discover(1, options=OVMF))
    assert offer.file == "grub/bootx64.efi"
    assert offer.options[67] == b"grub/bootx64.efi\0"


async def test_a_boot_file_too_long_for_the_header_is_sent_as_an_option(server):
    await server.save(replace(SUBNET, options={"boot-file-name": "x" * 200}))
    [offer] = await server.hear(discover(1, options={60: b"PXEClient", 93: b"\0\7"}))
    assert (offer.file, offer.options[67]) == ("", b"x" * 200 + b"\0")


async def test_never_netboot_holds_while_the_reserved_address_cannot_be_had(server):
    await server.hear(reboot(1, "10.77.0.30"))
    await server.save(Reservation(address="10.77.0.30", mac=mac(7), boot_file="-"))
    [offer] = await server.hear(discover(7, options=OVMF))
    assert offer.yiaddr != "10.77.0.30"
    assert offer.file == ""


async def test_a_reply_longer_than_the_client_takes_overflows_into_free_header_fields(server):
    options = {f"option-{code}": "hex:" + "00" * 50 for code in range(224, 230)}
    await server.save(replace(SUBNET, options=options))
    [offer] = await server.hear(discover(1, options={55: bytes(range(224, 230))}))
    assert [len(offer.options[code]) for code in range(224, 230)] == [50] * 6


async def test_a_reply_that_fits_nowhere_is_not_sent_and_nothing_is_saved(server):
    echoed = {61: b"c" * 200, 82: b"\1\xc6" + b"p" * 198}
    answers = server.addresses.answer([(discover(1, options=echoed, giaddr="10.77.0.254"), HERE)])
    await answers.saved
    assert (answers.replies, answers.ignored) == ([], ["options do not fit"])
    assert list(server.ledger.all(Lease)) == []


async def test_a_reply_carries_as_many_options_as_fit(server):
    options = {f"option-{code}": "hex:" + "00" * 200 for code in range(224, 230)}
    await server.save(replace(SUBNET, options=options))
    [offer] = await server.hear(discover(1))
    assert offer.yiaddr and offer.options.keys() & set(range(224, 230)) == {224}


# --- the machine's address ------------------------------------------------------------------------------------


async def test_a_machines_address_follows_its_lease(server):
    await server.save(machine("m1", mac(1)))
    address = await server.lease(1)
    assert server.ledger.read(Machine, "m1").address == address


async def test_a_machine_that_loses_its_address_to_another_no_longer_claims_it(server):
    await server.save(machine("m1", mac(1)), machine("m2", mac(2), address="10.77.0.10"))
    await server.lease(1)
    assert server.ledger.read(Machine, "m1").address == "10.77.0.10"
    assert server.ledger.read(Machine, "m2").address == ""


async def test_a_renewal_leaves_the_machine_alone(server):
    await server.save(machine("m1", mac(1)))
    address = await server.lease(1)
    revision = server.ledger.read(Machine, "m1").revision
    await server.hear(renew(1, address), arrival=UNICAST)
    assert server.ledger.read(Machine, "m1").revision == revision


async def test_a_renewal_on_the_second_card_does_not_take_the_address_of_the_first(server):
    await server.save(machine("m1", mac(1), mac(2)))
    second = await server.lease(2)
    first = await server.lease(1)
    assert server.ledger.read(Machine, "m1").address == first
    await server.hear(renew(2, second), arrival=UNICAST)
    assert server.ledger.read(Machine, "m1").address == first


async def test_a_renewal_sets_the_address_of_a_machine_that_has_none(server):
    address = await server.lease(1)
    await server.save(machine("m1", mac(1)))
    await server.hear(renew(1, address), arrival=UNICAST)
    assert server.ledger.read(Machine, "m1").address == address


async def test_two_machines_in_one_drain_both_get_theirs(server):
    await server.save(machine("m1", mac(1)), machine("m2", mac(2)))
    offers = await server.hear(discover(1), discover(2))
    await server.hear(*(select(offer.xid, offer.yiaddr) for offer in offers))
    assert [server.ledger.read(Machine, id).address for id in ("m1", "m2")] == ["10.77.0.10", "10.77.0.11"]


# --- restarts and random histories ----------------------------------------------------------------------------


async def test_of_two_that_were_offered_an_address_around_a_crash_the_first_to_request_it_has_it(tmp_path):
    clock = Clock()
    async with running(tmp_path / "db", clock) as server:
        await server.save(SUBNET)
        [forgotten] = await server.hear(discover(1))
    async with running(tmp_path / "db", clock) as server:
        [offer] = await server.hear(discover(2))
        assert offer.yiaddr == forgotten.yiaddr
        [ack] = await server.hear(select(2, offer.yiaddr))
        [nak] = await server.hear(select(1, offer.yiaddr))
        assert (ack.message_type, nak.message_type) == (MessageType.ACK, MessageType.NAK)


async def test_an_offer_that_a_crash_forgot_is_acknowledged_if_nobody_else_was_offered_it(tmp_path):
    clock = Clock()
    async with running(tmp_path / "db", clock) as server:
        await server.save(SUBNET)
        [offer] = await server.hear(discover(1))
    async with running(tmp_path / "db", clock) as server:
        [ack] = await server.hear(select(1, offer.yiaddr))
        assert (ack.message_type, ack.yiaddr) == (MessageType.ACK, offer.yiaddr)


@pytest.mark.parametrize("seed", range(3))
async def test_no_address_is_given_to_two_clients_over_restarts(tmp_path, seed):
    random, clock, held, offered = Random(seed), Clock(), {}, {}
    for _ in range(4):
        async with running(tmp_path / "db", clock) as server:
            await server.save(replace(SUBNET, pool_end="10.77.0.29"))
            for _ in range(60):
                await random_step(server, random, held, offered)


async def random_step(server, random, held, offered):
    """One drain of random messages of 40 clients in a pool of 20; checks every ACK against what others hold."""
    clock = server.clock
    clock.wait(random.choice([0, 1, 5, 30, 900]))
    clients = random.sample(range(1, 41), random.randint(1, 8))
    messages = [random_message(random, client, held, offered) for client in clients]
    gone = {each.xid for each in messages if each.message_type in (MessageType.DECLINE, MessageType.RELEASE)}
    for client in gone:
        held.pop(client, None)
    for reply in await server.hear(*messages):
        client, address = reply.xid, reply.yiaddr
        match reply.message_type:
            case MessageType.OFFER:
                offered[client] = address
                check(held, client, address, clock.now)
            case MessageType.ACK:
                check(held, client, address, clock.now)
                held[client] = (address, clock.now + timedelta(seconds=int.from_bytes(reply.options[51])))
            case MessageType.NAK:
                held.pop(client, None)


def random_message(random, client, held, offered):
    address = f"10.77.0.{random.randint(8, 32)}"
    mine = held.get(client, (address, None))[0]
    return random.choice(
        [
            lambda: discover(client), lambda: discover(client, address), lambda: discover(client, mine),
            lambda: select(client, offered.get(client, address)), lambda: select(client, offered.get(client, address)),
            lambda: select(client, address, server="10.77.0.2"), lambda: reboot(client, mine),
            lambda: renew(client, mine), lambda: decline(client, mine), lambda: release(client, mine),
        ]
    )()  # fmt: skip


def check(held, client, address, now):
    for other, (taken, until) in held.items():
        assert other == client or taken != address or until <= now, f"{address} of {other} given to {client}"
