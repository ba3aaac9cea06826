"""DHCPv6 from message to reply, on a real ledger: what is answered, what is saved first, what the timeline says."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from provisioner.bus import Bus
from provisioner.conductor.addresses6 import Addresses6
from provisioner.conductor.ledger import Ledger
from provisioner.errors import StoreError
from provisioner.firmware import ClientKind
from provisioner.model.addresses import Lease, LeaseState, Reservation, Subnet
from provisioner.model.machines import Machine
from provisioner.netboot import Boot
from provisioner.store.database import Database
from provisioner.wire.dhcp6 import MessageType6, decode
from provisioner.wire.dhcp6_options import (
    BOOT_FILE_URL,
    DNS_SERVERS,
    IA_NA,
    IA_PD,
    INTERFACE_ID,
    PREFERENCE,
    RAPID_COMMIT,
    VENDOR_CLASS,
    Status,
    decode_ia,
)
from tests.conversations.dhcp import Clock
from tests.conversations.dhcp6 import FOLDER, Player6
from tests.dhcp6_messages import (
    IPXE,
    PRIVATE,
    SERVER,
    SERVER_ADDRESS,
    arrival,
    firmware,
    ia,
    llt_duid,
    mac,
    message,
    relayed,
    request,
    solicit,
    to_server,
)

RACK = Subnet(
    name="rack", cidr="fd00:77::/64", pool_start="fd00:77::100", pool_end="fd00:77::ffff:ffff:ffff",
    dns_servers=("fd00:77::53",), domain="lab.example",
)  # fmt: skip
HALL = Subnet(name="hall", cidr="fd00:9::/64", pool_start="fd00:9::10", pool_end="fd00:9::11")
THEN = datetime(2026, 1, 1, tzinfo=UTC)


class BreakableDatabase(Database):
    """Has a disk that can be full."""

    broken = False

    def submit(self, batch, **more):
        if self.broken:
            batch.settled(StoreError("disk full"))
        else:
            super().submit(batch, **more)


class ListeningBus(Bus):
    """Writes down what is published."""

    def __init__(self):
        super().__init__()
        self.events = []

    def publish_all(self, events):
        events = list(events)
        self.events += events
        super().publish_all(events)


class Choices:
    """Says what `choose_boot` would, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def choose(self, client, machine, server, override=""):
        self.asked.append((client.kind, client.arch, server, override))
        if client.kind is ClientKind.OTHER:
            return Boot()
        if client.kind is ClientKind.HTTP:
            return Boot(override or f"http://[{server}]:8091/files/ipxe/snponly.efi", "unknown machine")
        if client.kind is ClientKind.IPXE:
            return Boot(f"http://[{server}]:8091/boot/{client.mac.replace(':', '-')}.ipxe")
        return Boot(override or "ipxe/snponly.efi")


class Server:
    """A ledger in a file, and who decides upon it."""

    def __init__(self, path, clock):
        self.clock = clock
        self.bus = ListeningBus()
        self.database = BreakableDatabase(path)
        self.ledger = Ledger(self.database, self.bus, clock)
        self.choices = Choices()
        self.addresses = Addresses6(self.ledger, self.choices, SERVER)

    async def save(self, *values):
        tx = self.ledger.transaction()
        for value in values:
            tx.put(value)
        await tx.commit()

    async def hear(self, *messages, at=None):
        """The replies to messages of one drain, decoded, when they may be sent."""
        pairs = [(each, at or arrival(each.message.xid)) for each in messages]
        answers = self.addresses.answer(pairs)
        await answers.saved
        return [decode(reply.data) for reply in (*answers.at_once, *answers.later)]

    async def lease(self, client, *options, **more):
        """The address that the client gets."""
        [offer] = await self.hear(solicit(client, *options, **more))
        [reply] = await self.hear(request(client, addresses(offer)[0], *options, **more))
        assert reply.message.kind is MessageType6.REPLY
        return addresses(reply)[0]


def associations(reply):
    return [decode_ia(value) for value in reply.message.every(IA_NA)]


def addresses(reply):
    return [each.address for one in associations(reply) for each in one.addresses if each.valid]


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
        await server.save(RACK, HALL)
        yield server


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
async def test_conversation(server, path):
    player = Player6(server.addresses, server.clock)
    server.bus.events = player.events
    text = path.read_text()
    played = await player.play(text)
    if os.environ.get("REFRESH_CONVERSATIONS"):
        path.write_text(played)
    assert played == text


async def test_a_lease_is_offered_then_given(server):
    [offer] = await server.hear(solicit(1))
    assert offer.message.kind is MessageType6.ADVERTISE
    assert addresses(offer) == ["fd00:77::100"]
    assert server.ledger.get(Lease, "fd00:77::100") is None
    [reply] = await server.hear(request(1, "fd00:77::100"))
    assert (reply.message.kind, addresses(reply)) == (MessageType6.REPLY, ["fd00:77::100"])
    lease = server.ledger.get(Lease, "fd00:77::100")
    assert (lease.mac, lease.state, lease.subnet) == (mac(1), LeaseState.ACKED, "rack")


async def test_times_follow_from_the_lease_time(server):
    await server.save(replace(RACK, lease_seconds=1000))
    [offer] = await server.hear(solicit(1))
    [one] = associations(offer)
    assert (one.renew, one.rebind, one.addresses[0].preferred, one.addresses[0].valid) == (500, 800, 1000, 1000)


async def test_an_offer_is_sent_before_anything_is_saved_and_a_reply_after(server):
    answers = server.addresses.answer([(solicit(1), arrival(1)), (request(2, "fd00:77::500"), arrival(2))])
    assert (len(answers.at_once), len(answers.later), answers.saved.done()) == (1, 1, False)
    await answers.saved


async def test_nothing_is_given_when_the_disk_fails_and_the_address_goes_to_the_next(server):
    [offer] = await server.hear(solicit(1))
    server.database.broken = True
    answers = server.addresses.answer([(request(1, addresses(offer)[0]), arrival(1))])
    with pytest.raises(StoreError):
        await answers.saved
    server.database.broken = False
    assert await server.lease(2) == "fd00:77::100"


async def test_rapid_commit_gives_at_once(server):
    [reply] = await server.hear(solicit(1, (RAPID_COMMIT, b"")))
    assert (reply.message.kind, addresses(reply)) == (MessageType6.REPLY, ["fd00:77::100"])
    assert reply.message.option(RAPID_COMMIT) == b""
    assert server.ledger.get(Lease, "fd00:77::100").state is LeaseState.ACKED


async def test_firmware_ipxe_and_system_of_a_machine_get_one_address(server):
    first = await server.lease(1, *firmware())
    second = await server.lease(1, ia(77), *IPXE)
    third = await server.lease(1, ia(99), duid=llt_duid(1))
    assert first == second == third


async def test_a_system_behind_a_private_address_is_known_by_its_duid(server):
    first = await server.lease(1, *firmware())
    [offer] = await server.hear(solicit(1, duid=llt_duid(1)), at=PRIVATE)
    assert addresses(offer) == [first]


async def test_firmware_behind_a_private_address_is_known_as_the_machine_with_that_uuid(server):
    uuid = "4c4c4544-0042-3510-8054-b4c04f564433"
    node = Machine(id="n1", name="n1", macs=(mac(5),), created_at=THEN, updated_at=THEN)
    await server.save(replace(node, identity=replace(node.identity, dmi_uuid=uuid)))
    duid = b"\0\4" + bytes.fromhex("44454c4c420010358054b4c04f564433")
    [offer] = await server.hear(solicit(9, duid=duid), at=PRIVATE)
    await server.hear(request(9, addresses(offer)[0], duid=duid), at=PRIVATE)
    assert server.ledger.get(Lease, addresses(offer)[0]).mac == mac(5)
    assert server.ledger.get(Machine, "n1").address == addresses(offer)[0]


async def test_a_client_without_any_mac_is_its_duid(server):
    duid = b"\0\2\0\0\1\x57unknown"
    [offer] = await server.hear(solicit(1, duid=duid), at=PRIVATE)
    [again] = await server.hear(solicit(1, duid=duid), at=PRIVATE)
    [other] = await server.hear(solicit(1, duid=duid + b"2"), at=PRIVATE)
    assert addresses(offer) == addresses(again) != addresses(other)


async def test_two_cards_of_a_host_with_one_duid_are_two_clients(server):
    first = await server.lease(1, duid=llt_duid(7))
    second = await server.lease(2, duid=llt_duid(7))
    assert first != second
    assert await server.lease(1, duid=llt_duid(7)) == first


async def test_two_cards_known_by_their_duid_alone_are_told_apart_by_iaid(server):
    [one] = await server.hear(solicit(1, ia(1), duid=llt_duid(7)), at=PRIVATE)
    [two] = await server.hear(solicit(1, ia(2), duid=llt_duid(7)), at=PRIVATE)
    [again] = await server.hear(solicit(1, ia(1), duid=llt_duid(7)), at=PRIVATE)
    assert addresses(one) == addresses(again) != addresses(two)


async def test_several_associations_get_an_address_each(server):
    [offer] = await server.hear(solicit(1, ia(1), ia(2), ia(3)))
    assert addresses(offer) == ["fd00:77::100", "fd00:77::101", "fd00:77::102"]
    assert [one.iaid for one in associations(offer)] == ["00000001", "00000002", "00000003"]


async def test_prefixes_are_refused_by_status(server):
    [offer] = await server.hear(solicit(1, ia(1), (IA_PD, b"\0\0\0\7" + bytes(8))))
    refused = offer.message.option(IA_PD)
    assert refused[:4] == b"\0\0\0\7"
    assert int.from_bytes(refused[16:18]) == Status.NO_PREFIX


async def test_a_wish_is_granted(server):
    [offer] = await server.hear(solicit(1, ia(1, "fd00:77::abc")))
    assert addresses(offer) == ["fd00:77::abc"]


async def test_an_address_that_is_taken_is_no_wish(server):
    taken = await server.lease(1)
    [offer] = await server.hear(solicit(2, ia(1, taken)))
    assert addresses(offer) == ["fd00:77::101"]


async def test_a_reservation_goes_before_all_else(server):
    await server.lease(1)
    await server.save(Reservation(address="fd00:77::5", mac=mac(1), hostname="db"))
    assert await server.lease(1) == "fd00:77::5"
    assert await server.lease(2) == "fd00:77::101"


async def test_a_renewal_moves_a_client_to_its_reservation(server):
    old = await server.lease(1)
    await server.save(Reservation(address="fd00:77::5", mac=mac(1)))
    [reply] = await server.hear(to_server(MessageType6.RENEW, 1, ia(1, old)))
    [one] = associations(reply)
    assert [(each.address, each.valid) for each in one.addresses] == [("fd00:77::5", 7200), (old, 0)]
    assert server.ledger.get(Lease, old).state is LeaseState.EXPIRED


async def test_renewing_and_rebinding_extend(server):
    address = await server.lease(1)
    for message_ in (
        to_server(MessageType6.RENEW, 1, ia(1, address)),
        message(MessageType6.REBIND, 1, ia(1, address)),
    ):
        server.clock.wait(1000)
        [reply] = await server.hear(message_)
        assert addresses(reply) == [address]
        assert server.ledger.get(Lease, address).expires_at == server.clock.now + timedelta(seconds=3600)


async def test_a_renewal_of_a_lease_that_was_lost_is_granted(server):
    [reply] = await server.hear(to_server(MessageType6.RENEW, 1, ia(1, "fd00:77::777")))
    assert addresses(reply) == ["fd00:77::777"]


async def test_a_renewal_of_what_another_has_ends_that_and_gives_another(server):
    taken = await server.lease(1)
    [reply] = await server.hear(to_server(MessageType6.RENEW, 2, ia(1, taken)))
    [one] = associations(reply)
    assert [(each.address, bool(each.valid)) for each in one.addresses] == [("fd00:77::101", True), (taken, False)]


async def test_a_rebind_of_an_address_that_is_none_of_ours_gets_silence(server):
    assert await server.hear(message(MessageType6.REBIND, 1, ia(1, "fd00:77::7"))) == []


async def test_confirm_tells_whether_the_link_is_right(server):
    [right] = await server.hear(message(MessageType6.CONFIRM, 1, ia(1, "fd00:77::100")))
    [wrong] = await server.hear(message(MessageType6.CONFIRM, 1, ia(1, "fd00:1234::100")))
    assert right.message.option(13)[:2] == b"\0\0"
    assert int.from_bytes(wrong.message.option(13)[:2]) == Status.NOT_ON_LINK


async def test_a_request_for_an_address_of_elsewhere_is_told_so(server):
    [reply] = await server.hear(request(1, "fd00:1234::100"))
    assert associations(reply)[0].status is Status.NOT_ON_LINK


async def test_release_ends_the_lease_and_the_client_gets_it_again(server):
    address = await server.lease(1)
    [reply] = await server.hear(to_server(MessageType6.RELEASE, 1, ia(1, address)))
    assert reply.message.option(13)[:2] == b"\0\0"
    assert server.ledger.get(Lease, address).state is LeaseState.EXPIRED
    assert await server.lease(1) == address


async def test_a_release_of_what_one_has_not_is_told_so(server):
    address = await server.lease(1)
    [reply] = await server.hear(to_server(MessageType6.RELEASE, 2, ia(1, address)))
    assert associations(reply)[0].status is Status.NO_BINDING
    assert server.ledger.get(Lease, address).state is LeaseState.ACKED


async def test_firmware_that_asks_twice_at_once_and_releases_one_keeps_its_address(server):
    address = await server.lease(1, *firmware())
    [offer] = await server.hear(solicit(1, ia(2)))
    assert addresses(offer) == [address]
    await server.hear(to_server(MessageType6.REQUEST, 1, ia(2, address)))
    [reply] = await server.hear(to_server(MessageType6.RELEASE, 1, ia(1, address)))
    assert reply.message.option(13)[:2] == b"\0\0"
    assert server.ledger.get(Lease, address).state is LeaseState.ACKED


async def test_a_declined_address_is_quarantined_for_ten_minutes(server):
    address = await server.lease(1)
    await server.hear(to_server(MessageType6.DECLINE, 1, ia(1, address)))
    assert server.ledger.get(Lease, address).state is LeaseState.QUARANTINED
    assert await server.lease(1) == "fd00:77::101"
    server.clock.wait(601)
    [offer] = await server.hear(solicit(2, ia(1, address)))
    assert addresses(offer) == [address]


async def test_an_offer_not_taken_up_is_free_again_after_a_minute(server):
    await server.hear(solicit(1))
    assert addresses((await server.hear(solicit(2)))[0]) == ["fd00:77::101"]
    server.clock.wait(61)
    assert addresses((await server.hear(solicit(3)))[0]) == ["fd00:77::100"]


async def test_choosing_another_server_takes_our_offer_back(server):
    await server.hear(solicit(1))
    other = message(MessageType6.REQUEST, 1, (2, b"\0\3\0\1another"), ia(1, "fd00:77::100"))
    assert await server.hear(other) == []
    assert addresses((await server.hear(solicit(2)))[0]) == ["fd00:77::100"]


async def test_a_full_pool_says_so_and_gives_the_longest_expired_when_there_is_one(server):
    at = replace(arrival(1), addresses=("fd00:9::1",))
    for number, expected in ((1, "fd00:9::10"), (2, "fd00:9::11")):
        mine = replace(at, source=arrival(number).source)
        [reply] = await server.hear(solicit(number, (RAPID_COMMIT, b"")), at=mine)
        assert addresses(reply) == [expected]
    third = replace(at, source=arrival(3).source)
    [offer] = await server.hear(solicit(3), at=third)
    assert associations(offer)[0].status is Status.NO_ADDRESSES
    server.clock.wait(3601)
    [offer] = await server.hear(solicit(3), at=third)
    assert addresses(offer) == ["fd00:9::10"]


async def test_nothing_covers_the_client_silence(server):
    at = replace(arrival(1), addresses=("fd00:5::1",))
    for each in (solicit(1), message(MessageType6.CONFIRM, 1, ia(1, "fd00:77::1"))):
        assert await server.hear(each, at=at) == []
    assert await server.hear(solicit(1), at=replace(arrival(1), addresses=())) == []
    assert server.bus.events == []


async def test_what_no_subnet_covers_is_counted_with_an_example_where_ipv6_is_served(server):
    at = replace(arrival(1), addresses=())
    await server.hear(solicit(1), at=at)
    await server.hear(relayed(solicit(1), "fd00:55::1", 1), solicit(1), at=at)
    told = [(each.reason, each.count, each.detail, each.via) for each in server.addresses.unheard()]
    why = "no enabled subnet covers the client"
    assert told == [
        (why, 2, "a link without an IPv6 address of ours (eth0)", ""),
        (why, 1, "fd00:55::1", "fd00:55::1"),
    ]
    await server.save(replace(RACK, enabled=False), replace(HALL, enabled=False))
    await server.hear(solicit(1), at=replace(at, interface="eth9"))
    assert len(server.addresses.unheard()) == 2


async def test_messages_for_others_and_by_unicast_get_silence(server):
    assert await server.hear(message(MessageType6.REPLY, 1)) == []
    assert await server.hear(message(MessageType6.REQUEST, 1, ia())) == []
    assert await server.hear(to_server(MessageType6.SOLICIT, 1, ia())) == []
    assert await server.hear(solicit(1), at=arrival(1, SERVER_ADDRESS)) == []


async def test_a_renewal_by_unicast_is_told_to_use_multicast(server):
    [reply] = await server.hear(to_server(MessageType6.RENEW, 1, ia(1)), at=arrival(1, SERVER_ADDRESS))
    assert int.from_bytes(reply.message.option(13)[:2]) == Status.USE_MULTICAST


async def test_information_is_given_without_an_address(server):
    asked = message(MessageType6.INFORMATION_REQUEST, 1, (6, b"\0\x17\0\x18"))
    [reply] = await server.hear(asked)
    assert reply.message.option(DNS_SERVERS) == bytes.fromhex("fd000077000000000000000000000053")
    assert reply.message.every(IA_NA) == []


async def test_a_relay_tells_the_link_and_gets_its_own_back(server):
    inner = solicit(1)
    outer = relayed(relayed(inner, "fd00:9::fffe", 1, (INTERFACE_ID, b"port7")), "fd00:1::1", 1, hops=1)
    [reply] = await server.hear(outer, at=replace(arrival(1), source="fd00:1::1", addresses=("fd00:5::1",)))
    assert addresses(reply) == ["fd00:9::10"]
    assert [(each.kind, each.hops, each.link, each.options) for each in reply.relays] == [
        (MessageType6.RELAY_REPLY, 1, "fd00:1::1", ()),
        (MessageType6.RELAY_REPLY, 0, "fd00:9::fffe", ((INTERFACE_ID, b"port7"),)),
    ]


async def test_the_relay_tells_the_mac(server):
    told = relayed(solicit(1), "fd00:9::fffe", 1, (79, b"\0\1" + bytes.fromhex("525400aabbcc")), peer="fe80::1:2:3:4")
    await server.hear(told)
    assert (server.bus.events[-1].mac, server.bus.events[-1].data["via"]) == ("52:54:00:aa:bb:cc", "fd00:9::fffe")


async def test_a_switch_without_an_address_of_its_own_leaves_the_link_to_us(server):
    [reply] = await server.hear(relayed(solicit(1), "::", 1, (INTERFACE_ID, b"p1")))
    assert addresses(reply) == ["fd00:77::100"]


async def test_http_firmware_is_given_a_url_and_its_class(server):
    [offer] = await server.hear(solicit(1, *firmware()))
    assert offer.message.option(BOOT_FILE_URL) == b"http://[fd00:77::1]:8091/files/ipxe/snponly.efi"
    assert offer.message.option(VENDOR_CLASS) == b"\0\0\x01\x57\0\x0aHTTPClient"
    assert offer.message.option(PREFERENCE) == b"\xff"
    codes = [code for code, _ in offer.message.options]
    assert codes.index(BOOT_FILE_URL) < len(codes) - 1


async def test_pxe_firmware_is_given_a_tftp_url(server):
    [offer] = await server.hear(solicit(1, *firmware("PXEClient", 7)))
    assert offer.message.option(BOOT_FILE_URL) == b"tftp://[fd00:77::1]/ipxe/snponly.efi"
    assert offer.message.option(VENDOR_CLASS) is None


async def test_ipxe_is_given_its_script(server):
    [offer] = await server.hear(solicit(1, *IPXE))
    assert offer.message.option(BOOT_FILE_URL) == b"http://[fd00:77::1]:8091/boot/52-54-00-00-00-01.ipxe"


async def test_the_boot_file_comes_from_the_next_server_when_there_is_one(server):
    await server.save(replace(RACK, next_server="fd00:77::2"))
    [offer] = await server.hear(solicit(1, *firmware("PXEClient", 7)))
    assert offer.message.option(BOOT_FILE_URL) == b"tftp://[fd00:77::2]/ipxe/snponly.efi"


async def test_the_reserved_boot_file_overrides(server):
    await server.save(Reservation(address="fd00:77::5", mac=mac(1), boot_file="http://boot.example/x.efi"))
    await server.hear(solicit(1, *firmware()))
    assert server.choices.asked[-1][3] == "http://boot.example/x.efi"


async def test_a_system_is_told_of_no_boot_file(server):
    [offer] = await server.hear(solicit(1))
    assert offer.message.option(BOOT_FILE_URL) is None
    assert server.choices.asked == []


async def test_the_exchange_is_one_event_that_says_what_was_asked(server):
    await server.lease(1, *firmware())
    kinds = [event.kind for event in server.bus.events]
    assert kinds == ["dhcp6.advertise", "dhcp6.reply"]
    event = server.bus.events[-1]
    assert (event.mac, event.key) == (mac(1), "fd00:77::100")
    assert event.data == {
        "request": "REQUEST",
        "interface": "eth0",
        "firmware": "UEFI x64 HTTP",
        "requested": "fd00:77::100",
        "subnet": "rack",
        "server": "fd00:77::1",
        "lease_seconds": 3600,
        "boot_file": "http://[fd00:77::1]:8091/files/ipxe/snponly.efi",
        "boot": "unknown machine",
    }


async def test_the_machine_follows_its_lease_unless_it_has_another(server):
    await server.save(Machine(id="n1", name="n1", macs=(mac(1),), created_at=THEN, updated_at=THEN))
    address = await server.lease(1)
    assert server.ledger.get(Machine, "n1").address == address
    until = server.clock.now.replace(year=2027)
    await server.save(
        Lease(address="10.0.0.9", mac=mac(1), state=LeaseState.ACKED, expires_at=until),
        replace(server.ledger.get(Machine, "n1"), address="10.0.0.9"),
    )
    await server.hear(to_server(MessageType6.RENEW, 1, ia(1, address)))
    assert server.ledger.get(Machine, "n1").address == "10.0.0.9"


async def test_leases_outlive_a_restart_and_offers_do_not(tmp_path):
    clock = Clock()
    async with running(tmp_path / "db", clock) as server:
        await server.save(RACK)
        assert await server.lease(1) == "fd00:77::100"
        assert addresses((await server.hear(solicit(2)))[0]) == ["fd00:77::101"]
    async with running(tmp_path / "db", clock) as server:
        assert await server.lease(3) == "fd00:77::101"
        assert await server.lease(1) == "fd00:77::100"


async def test_the_clock_is_looked_at_before_anything_is_decided(server):
    looked = []
    server.addresses = Addresses6(server.ledger, server.choices, SERVER, lambda: looked.append(1))
    server.addresses.follow()
    await server.hear(solicit(1), solicit(2))
    assert looked == [1]


async def test_one_message_that_breaks_costs_the_others_nothing(server):
    bad = message(MessageType6.SOLICIT, 3, (IA_NA, b"\0\0"))
    answers = server.addresses.answer([(bad, arrival(3)), (solicit(1), arrival(1))])
    await answers.saved
    assert (len(answers.at_once), answers.ignored) == (1, ["IA_NA too short"])


async def test_subnets_that_share_a_link_serve_it_together(server):
    small = Subnet(
        name="small", cidr="fd00:8::/64", pool_start="fd00:8::1", pool_end="fd00:8::1", shared_network="floor"
    )
    await server.save(small, replace(RACK, shared_network="floor"))
    at = replace(arrival(1), addresses=("fd00:8::fe",))
    [first] = await server.hear(solicit(1), at=at)
    [second] = await server.hear(solicit(2), at=replace(at, source=arrival(2).source))
    assert addresses(first) + addresses(second) == ["fd00:8::1", "fd00:77::100"]
