"""Beside another DHCP server: what is told on port 67 and on 4011, and that nothing is given or taken."""

from __future__ import annotations

from contextlib import asynccontextmanager
from random import Random

import pytest
from msgspec.structs import replace

from provisioner.bus import Bus
from provisioner.conductor.addresses import Addresses
from provisioner.conductor.boot_choices import BootChoices, Web
from provisioner.conductor.ledger import Ledger
from provisioner.links import Arrival, network
from provisioner.model.addresses import Lease, Reservation, Subnet
from provisioner.model.content import BootArch, Bootenv, Param
from provisioner.model.machines import Machine
from provisioner.params import Params
from provisioner.store.database import Database
from provisioner.store.event_search import EventQuery
from provisioner.wire.dhcp import BOOTREPLY, MessageType, Way, decode, encode
from provisioner.wire.error import WireError
from tests.dhcp_messages import BIOS, HTTP, IPXE_HTTP, OVMF, SERVER, discover, inform, mac, release, renew, select
from tests.parts import START

HERE = Arrival(SERVER, "eth0")
UNICAST = Arrival(SERVER, "eth0", broadcast=False)
FOREIGN = "10.77.0.254"
ADDRESS = "10.77.0.120"
SUBNET = Subnet(name="office", cidr="10.77.0.0/24", pool_start="10.77.0.10", pool_end="10.77.0.99", proxy=True)
ROOM = Subnet(name="room", cidr="10.78.0.0/24", pool_start="10.78.0.10", pool_end="10.78.0.99")
DISCOVERY = Bootenv(name="discovery", arch={"amd64": BootArch(kernel="vmlinuz")})
QUIRKS = Param(name="boot/quirks", default=[{"match": {"oui": ["94:18:82"]}, "answer_request": True}])


def machine(**fields):
    return Machine(id="m", name="m", macs=(mac(1),), created_at=START, updated_at=START, **fields)


class World:
    """The addresses of a server beside another, and what it heard."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.events = []
        self.heard = {}
        params = Params({"params": {"boot/quirks": QUIRKS}})
        choices = BootChoices(ledger, lambda: params, lambda machine: DISCOVERY, web=Web(port=8091))
        self.addresses = Addresses(ledger, choices, heard=self.heard.__setitem__)
        self.addresses.follow()

    async def save(self, *values):
        tx = self.ledger.transaction()
        for value in values:
            tx.put(value)
        await tx.commit()

    def say(self, message, arrival=HERE):
        """The reply on port 67 and where it goes, None for silence."""
        answers = self.addresses.answer([(message, arrival)])
        replies = [*answers.at_once, *answers.replies]
        return (decode(replies[0].data), replies[0].destination) if replies else None

    def ask(self, message, arrival=UNICAST):
        """What is said on port 4011."""
        told = self.addresses.proxy.answer(message, arrival)
        return decode(told.data) if told.data else told.reason

    async def told(self):
        await self.ledger.settled()
        return [(event.key, event.data) for event in await self.ledger.database.events(EventQuery())]


@asynccontextmanager
async def opened_world(folder):
    database = Database(folder / "db")
    database.open()
    database.start()
    ledger = Ledger(database, Bus(), lambda: START)
    ledger.load()
    try:
        world = World(ledger)
        await world.save(SUBNET, ROOM)
        yield world
    finally:
        await database.close()


@pytest.fixture
async def world(tmp_path):
    async with opened_world(tmp_path) as world:
        yield world


def at_boot_server(options, **fields):
    """What firmware asks on port 4011: a REQUEST from the address that it has."""
    return renew(1, ADDRESS, options=options, **fields)


# --- port 67 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [BIOS, OVMF, HTTP, IPXE_HTTP])
async def test_firmware_is_offered_no_address(world, options):
    offer, _ = world.say(discover(1, options=options))
    assert (offer.op, offer.message_type) == (BOOTREPLY, MessageType.OFFER)
    assert (offer.yiaddr, offer.ciaddr) == ("", "")
    assert not {1, 3, 6, 51, 58, 59} & set(offer.options)


async def test_the_offer_names_us_and_the_file(world):
    offer, destination = world.say(discover(1, options=BIOS))
    assert (offer.siaddr, offer.sname, offer.file) == (SERVER, SERVER, "ipxe/undionly.kpxe")
    assert offer.options[54] == b"\x0a\x4d\0\1"
    assert (offer.options[67], offer.options[66]) == (b"ipxe/undionly.kpxe\0", b"10.77.0.1\0")
    assert destination.way is Way.BROADCAST


async def test_the_class_and_the_uuid_are_echoed(world):
    offer, _ = world.say(discover(1, options=BIOS))
    assert (offer.options[60], offer.options[97]) == (b"PXEClient", BIOS[97])


async def test_bios_is_told_by_option_43_to_take_the_file_from_the_offer(world):
    offer, _ = world.say(discover(1, options=BIOS))
    assert offer.options[43] == b"\6\1\x08\xff"


async def test_peers_1_uefi_is_sent_no_option_43(world):
    offer, _ = world.say(discover(1, options=OVMF))
    assert 43 not in offer.options and offer.options[60] == b"PXEClient"


async def test_peers_1_firmware_that_a_quirk_names_is_answered_on_67_and_on_4011(world):
    hpe = "94:18:82:00:00:01"
    ack, _ = world.say(select(1, ADDRESS, FOREIGN, options=OVMF, mac=hpe))
    assert (ack.message_type, ack.yiaddr, ack.file) == (MessageType.ACK, "", "ipxe/snponly.efi")
    assert world.ask(at_boot_server(OVMF, mac=hpe)).message_type is MessageType.ACK


async def test_other_firmware_is_not_answered_when_it_asks_the_other_server(world):
    assert world.say(select(1, ADDRESS, FOREIGN, options=OVMF)) is None


async def test_http_firmware_is_offered_the_url_under_its_own_class(world):
    offer, _ = world.say(discover(1, options=HTTP))
    assert offer.options[60] == b"HTTPClient"
    assert offer.options[67] == b"http://10.77.0.1:8091/files/ipxe/snponly.efi\0"
    assert (offer.sname, 66 in offer.options) == ("", False)


async def test_peers_2_ipxe_is_offered_its_script_and_not_itself(world):
    offer, _ = world.say(discover(1, options=IPXE_HTTP))
    assert offer.file == "http://10.77.0.1:8091/boot/52-54-00-00-00-01.ipxe"
    # iPXE takes a proxy's offer with class, server and file for complete and does not come to port 4011.
    assert (offer.options[60], offer.siaddr) == (b"PXEClient", SERVER)


async def test_peers_26_uefi_is_not_given_grub_which_hears_no_proxy(world):
    # GRUB under UEFI knows only what the other server said, and ends at its prompt (digitalrebar kb-00043).
    files = []
    for xid in range(1, 6):
        world.say(discover(1, options=OVMF, xid=xid))
        files.append(world.ask(at_boot_server(OVMF, xid=xid)).file)
    assert files == ["ipxe/snponly.efi"] * 2 + ["ipxe/ipxe.efi"] * 2 + ["ipxe/snponly.efi"]


async def test_peers_26_with_secure_boot_uefi_is_told_nothing_and_the_timeline_why(world):
    await world.save(machine(inventory={"boot": {"secure_boot": True}}))
    assert world.say(discover(1, options=OVMF)) is None
    [(_, data)] = await world.told()
    assert "hears only the server that gives the addresses" in data["boot"]


async def test_a_machine_can_be_given_grub_all_the_same(world):
    await world.save(machine(params={"boot/loader": "shim"}))
    ack = world.ask(at_boot_server(OVMF))
    assert (ack.file, ack.siaddr) == ("shim/shimx64.efi", SERVER)


@pytest.mark.parametrize(
    "message",
    [
        discover(1),
        discover(1, options={60: b"MSFT 5.0"}),
        renew(1, ADDRESS),
        release(1, ADDRESS),
        inform(1, ADDRESS),
        select(1, ADDRESS, SERVER),
    ],
)
async def test_operating_systems_are_left_to_the_other_server(world, message):
    assert world.say(message) is None
    assert await world.told() == []


async def test_nobody_is_refused_and_no_lease_is_touched(world):
    for options in (BIOS, OVMF, HTTP, IPXE_HTTP):
        world.say(discover(1, options=options))
        world.say(select(1, "10.99.0.1", FOREIGN, options=options))
        world.ask(at_boot_server(options))
    await world.ledger.settled()
    assert list(world.ledger.all(Lease)) == []


async def test_a_relay_is_answered_as_one(world):
    _, destination = world.say(discover(1, options=BIOS, giaddr="10.77.0.254"))
    assert (destination.way, destination.address) == (Way.RELAY, "10.77.0.254")


async def test_a_client_that_has_an_address_is_answered_there(world):
    _, destination = world.say(discover(1, options=BIOS, ciaddr=ADDRESS))
    assert (destination.way, destination.address) == (Way.UNICAST, ADDRESS)


async def test_a_reservation_names_the_file_or_forbids_it(world):
    await world.save(Reservation(address="10.77.0.50", mac=mac(1), boot_file="-"))
    assert world.say(discover(1, options=BIOS)) is None
    assert world.ask(at_boot_server(BIOS)) == "there is nothing to tell it to load"
    await world.save(Reservation(address="10.77.0.50", mac=mac(1), boot_file="my/own"))
    assert world.say(discover(1, options=BIOS))[0].file == "my/own"


async def test_what_is_reserved_by_ipv6_says_nothing_here(world):
    await world.save(Reservation(address="fd00::50", mac=mac(1), boot_file="six.efi"))
    assert world.say(discover(1, options=BIOS))[0].file == "ipxe/undionly.kpxe"


async def test_the_subnet_names_file_and_server(world):
    await world.save(replace(SUBNET, next_server="10.77.0.9", options={"boot-file-name": "pxelinux.0"}))
    offer, _ = world.say(discover(1, options=BIOS))
    assert (offer.file, offer.siaddr) == ("pxelinux.0", "10.77.0.9")


async def test_the_subnets_file_may_be_a_template(world):
    await world.save(replace(SUBNET, options={"boot-file-name": "boot-of-{{ client.mac }}"}))
    assert world.say(discover(1, options=BIOS))[0].file == f"boot-of-{mac(1)}"


async def test_a_subnet_without_proxy_gives_addresses_as_ever(world):
    offer, _ = world.say(discover(1, options=OVMF), Arrival("10.78.0.1", "eth1"))
    assert offer.yiaddr == "10.78.0.10"


# --- port 4011 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "file"),
    [
        (BIOS, "ipxe/undionly.kpxe"),
        (OVMF, "ipxe/snponly.efi"),
        (IPXE_HTTP, "http://10.77.0.1:8091/boot/52-54-00-00-00-01.ipxe"),
    ],
)
async def test_the_boot_server_acknowledges_with_the_file(world, options, file):
    ack = world.ask(at_boot_server(options))
    assert (ack.message_type, ack.file, ack.yiaddr, ack.ciaddr) == (MessageType.ACK, file, "", ADDRESS)
    assert ack.options[60] == b"PXEClient"


async def test_peers_3_a_card_that_says_only_its_class_is_acknowledged(world):
    ack = world.ask(at_boot_server({60: b"PXEClient:Arch:00000:UNDI:002001"}))
    assert ack.file == "ipxe/undionly.kpxe" and 97 not in ack.options


@pytest.mark.parametrize(
    ("options", "asked", "told"),
    [
        (OVMF, b"\x47\x04\0\0\0\0\xff", b"\x47\x04\0\0\0\0\xff"),
        (BIOS, b"\x01\x01\x07\x47\x04\0\0\0\0\xff", b"\6\1\x08\x47\x04\0\0\0\0\xff"),
        (OVMF, b"\x47\x09\0", None),
        (OVMF, b"\xff\x47\x04\0\0\0\0", None),
        (OVMF, b"\x47", None),
    ],
)
async def test_the_boot_item_that_is_asked_for_is_named_in_the_answer(world, options, asked, told):
    assert world.ask(at_boot_server(options | {43: asked})).options.get(43) == told


async def test_the_boot_server_serves_clients_of_our_own_addresses_too(world):
    ack = world.ask(renew(1, "10.78.0.10", options=OVMF), Arrival("10.78.0.1", "eth1", broadcast=False))
    assert ack.file == "ipxe/snponly.efi"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (release(1, ADDRESS), "not a question for a boot file"),
        (renew(1, ADDRESS), "not a client that boots from the network"),
        (renew(1, "10.99.0.5", options=OVMF), "no enabled subnet covers the client"),
        (renew(1, ADDRESS, options=OVMF, op=BOOTREPLY), "not a question for a boot file"),
    ],
)
async def test_the_boot_server_is_silent_to_others(world, message, reason):
    assert world.ask(message) == reason


# --- what is learnt and told ----------------------------------------------------------------------------------


async def test_the_address_is_learnt_from_what_the_client_asks_the_other_server(world):
    world.say(select(1, ADDRESS, FOREIGN))
    assert world.heard == {ADDRESS: mac(1)}


async def test_the_address_is_learnt_at_port_4011(world):
    world.ask(at_boot_server(OVMF))
    assert world.heard == {ADDRESS: mac(1)}


async def test_the_timeline_tells_what_was_told(world):
    await world.save(machine())
    world.say(discover(1, options=OVMF))
    [(key, data)] = await world.told()
    assert key == "ipxe/snponly.efi"
    assert data == {
        "request": "DISCOVER",
        "reply": "OFFER",
        "interface": "eth0",
        "firmware": "UEFI x64",
        "server": SERVER,
        "subnet": "office",
        "boot_file": "ipxe/snponly.efi",
        "boot": "boot environment discovery",
    }


async def test_a_bios_that_never_comes_to_4011_is_counted_by_what_it_asks_the_other_server(world):
    files = []
    for xid in range(1, 4):
        files.append(world.say(discover(1, options=BIOS, xid=xid))[0].file)
        world.say(select(1, ADDRESS, FOREIGN, options=BIOS, xid=xid))
    assert files == ["ipxe/undionly.kpxe"] * 2 + ["ipxe/ipxe.pxe"]


# --- whatever comes -------------------------------------------------------------------------------------------


def mutated(random, data):
    """A datagram with some bytes changed, cut off or added."""
    changed = bytearray(data)
    for _ in range(random.randrange(1, 12)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    if random.random() < 0.2:
        del changed[random.randrange(len(changed)) :]
    return bytes(changed) + random.randbytes(random.choice((0, 0, 0, 40)))


async def test_no_datagram_however_odd_is_our_own_fault(world):
    random = Random(4011)
    messages = [at_boot_server(options) for options in (BIOS, OVMF, HTTP, IPXE_HTTP)]
    messages += [discover(1, options=options) for options in (BIOS, OVMF, HTTP, IPXE_HTTP)]
    datagrams = [encode(message, limit=1472) for message in messages]
    read = 0
    for _ in range(4000):
        try:
            message = decode(mutated(random, random.choice(datagrams)))
            world.addresses.proxy.answer(message, UNICAST)
            world.addresses.proxy.beside(world.ledger.transaction(), message, HERE, network(SUBNET))
            read += 1
        except WireError:
            continue
    assert read > 1000
    await world.ledger.settled()
    assert list(world.ledger.all(Lease)) == []
