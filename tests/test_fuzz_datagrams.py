"""Hundreds of thousands of mutated datagrams, and the server still serves; a million on each port when asked for.

A fifth of them goes through real sockets of the real services, with the real decisions and a real database behind:
67 (DHCP), 4011 (boot server), 547 (DHCPv6), 69 (TFTP, on both kinds of ports). Afterwards a client gets its address or
its file; nothing was logged as failed; memory is bounded. The rest, which never gets further than that, goes to the
codecs alone, which takes a twentieth of the time. FUZZ_DATAGRAMS says how many each port gets, 20,000 otherwise: with
a million each, all of this takes ten minutes.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from contextlib import AsyncExitStack, contextmanager
from itertools import islice
from pathlib import Path

import pytest
import structlog

from provisioner.bus import Bus
from provisioner.conductor.addresses import Addresses
from provisioner.conductor.addresses6 import Addresses6
from provisioner.conductor.boot_choices import BootChoices
from provisioner.conductor.ledger import Ledger
from provisioner.model.addresses import Subnet
from provisioner.model.content import BootArch, Bootenv
from provisioner.params import Params
from provisioner.services import dhcp, dhcp6
from provisioner.services.proxy_dhcp import ProxyDhcpService
from provisioner.services.tftp import TftpService
from provisioner.services.tftp import open_socket as open_tftp
from provisioner.store.database import Database
from provisioner.wire.dhcp import MessageType, decode, encode
from provisioner.wire.dhcp6 import MessageType6
from provisioner.wire.dhcp6 import decode as decode6
from provisioner.wire.dhcp6 import encode as encode6
from provisioner.wire.dhcp6_options import IA_NA, decode_ia
from provisioner.wire.error import WireError
from provisioner.wire.tftp import Ack, Data, Error, OptionAck, Request
from provisioner.wire.tftp import decode as decode_tftp
from provisioner.wire.tftp import encode as encode_tftp
from tests.conversations.dhcp import Clock
from tests.dhcp6_messages import IPXE as IPXE6
from tests.dhcp6_messages import SERVER as SERVER6
from tests.dhcp6_messages import firmware, ia, relayed, request, solicit, to_server
from tests.dhcp_messages import BIOS, IPXE, OVMF, decline, discover, inform, reboot, release, renew, select
from tests.fakes.file_tree import MemoryTree
from tests.mutations import Mutator
from tests.tftp_client import TftpClient

pytestmark = pytest.mark.timeout(1200)

DATAGRAMS = int(os.environ.get("FUZZ_DATAGRAMS", "20000"))
DECODED = 4 * DATAGRAMS
MOST_GROWTH_BYTES = 150 << 20
HERE = "127.0.0.1"
DISCOVERY = Bootenv(name="discovery", arch={"amd64": BootArch(kernel="vmlinuz")})
LO = Subnet(name="lo", cidr="127.0.0.0/8", pool_start="127.1.0.0", pool_end="127.1.255.255", domain="lab.example")
FAR = Subnet(name="far", cidr="10.9.0.0/16", pool_start="10.9.1.0", pool_end="10.9.9.255")
LO6 = Subnet(name="lo6", cidr="::/64", pool_start="::1:0", pool_end="::ffff:ffff")

FIRMWARES = (OVMF, BIOS, IPXE, {})
BEHIND = {82: b"\1\4eth1\5\4\x0a\x09\0\0"}
DHCP = [
    *(discover(client, options=FIRMWARES[client % 4], giaddr=HERE) for client in range(1, 9)),
    *(discover(client, options=FIRMWARES[client % 4] | BEHIND, giaddr="10.9.0.1") for client in range(9, 13)),
    *(select(client, f"127.1.0.{client}", HERE, options=FIRMWARES[client % 4], giaddr=HERE) for client in range(1, 9)),
    *(reboot(client, f"127.1.0.{client}", giaddr=HERE) for client in range(1, 9)),
    *(renew(client, f"127.1.0.{client}") for client in range(1, 9)),
    decline(3, "127.1.0.3", HERE),
    release(4, "127.1.0.4", HERE),
    inform(5, "127.1.0.5"),
]
# Unicast reaches us from relays only.
DHCP6 = [
    *(relayed(solicit(client, *firmware()), "::5", client) for client in range(1, 6)),
    *(relayed(solicit(client, *IPXE6), "::5", client) for client in range(6, 9)),
    *(relayed(request(client, f"::1:{client}", *firmware()), "::5", client) for client in range(1, 6)),
    *(relayed(to_server(MessageType6.RENEW, client, ia(1, f"::1:{client}")), "::5", client) for client in range(1, 6)),
    relayed(to_server(MessageType6.RELEASE, 2, ia(1, "::1:2")), "::5", 2),
    relayed(to_server(MessageType6.DECLINE, 3, ia(1, "::1:3")), "::5", 3),
    relayed(relayed(solicit(9), "::5", 9), "fd00::1", 9, hops=1),
    solicit(10),
]
TFTP = [
    Request("f", "octet"),
    Request("/ipxe/f", "octet", {"tsize": "0", "blksize": "1468"}),
    Request("f", "netascii"),
    Request("f", "octet", {"blksize": "512", "windowsize": "4", "timeout": "1"}),
    Request("../f", "octet"),
    *(Ack(block) for block in (0, 1, 2, 3, 65535)),
    Data(1, b"x" * 512),
    Error(0, "stop"),
    OptionAck({"tsize": "9"}),
]
CONTENT = os.urandom(3000)


@contextmanager
def listening_to_logs():
    """Counts what is logged as it is in production: without debugging."""
    told: Counter[str] = Counter()

    def count(_logger, _method, event):
        told[event["event"]] += 1
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[count], wrapper_class=structlog.make_filtering_bound_logger(20))
    try:
        yield told
    finally:
        structlog.configure(**before)


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def bombard(service_socket, datagrams, clients, clock):
    """Send all, 64 at a time, each batch when the last was taken in; time goes on as well."""
    place = service_socket.getsockname()
    datagrams = iter(datagrams)
    while batch := list(islice(datagrams, 64)):
        for number, data in enumerate(batch):
            clients[number % len(clients)].sendto(data, place)
        # The service drains 64 at once; a second turn is for what it began.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        clock.wait(0.05)


class Fuzz:
    """A ledger in a file, clients on loopback, and what was logged; checks in the end what holds for every port."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.database = Database(folder / "db")
        self.ledger = Ledger(self.database, Bus(), self.clock)
        self.clients: list[socket.socket] = []

    async def __aenter__(self):
        self.database.open()
        self.database.start()
        self.ledger.load()
        self._logs = listening_to_logs()
        self.told = self._logs.__enter__()
        self._before = resident_bytes()
        return self

    async def __aexit__(self, kind, *more):
        self._logs.__exit__(kind, *more)
        for sock in self.clients:
            sock.close()
        await self.database.close()
        if kind is None:
            assert not [each for each in self.told if "failed" in each], self.told
            assert resident_bytes() - self._before < MOST_GROWTH_BYTES

    async def save(self, *values):
        tx = self.ledger.transaction()
        for value in values:
            tx.put(value)
        await tx.commit()

    def client(self, family=socket.AF_INET, host=HERE):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        self.clients.append(sock)
        sock.bind((host, 0))
        sock.setblocking(False)
        return sock


@pytest.fixture
async def fuzz(tmp_path):
    async with Fuzz(tmp_path) as made:
        yield made


async def run(stack: AsyncExitStack, service):
    task = asyncio.create_task(service.run())

    async def stop():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(stop)
    await asyncio.sleep(0)


async def ask(sock, data, place, wanted):
    """The reply for which `wanted` is true, among what is left from before; asked again when it does not come."""
    loop = asyncio.get_running_loop()
    for _ in range(20):
        sock.sendto(data, place)
        try:
            async with asyncio.timeout(2):
                while True:
                    reply = await loop.sock_recv(sock, 4096)
                    if wanted(reply):
                        return reply
        except TimeoutError:
            continue
    raise AssertionError("no reply")


def addresses(fuzz):
    choices = BootChoices(fuzz.ledger, lambda: Params({}), lambda machine: DISCOVERY)
    made = Addresses(fuzz.ledger, choices)
    made.follow()
    return made


async def test_port_67_still_gives_addresses(fuzz):
    async with AsyncExitStack() as stack:
        await fuzz.save(LO, FAR)
        client, sock = fuzz.client(), dhcp.open_socket(HERE, 0)
        port = client.getsockname()[1]
        service = dhcp.DhcpService(sock, addresses(fuzz), client_port=port, relay_port=port)
        await run(stack, service)
        datagrams = Mutator(67, [encode(each) for each in DHCP]).datagrams(DATAGRAMS)
        await bombard(sock, datagrams, [client], fuzz.clock)
        assert service.received == DATAGRAMS
        assert service.dropped["our own fault"] == 0

        def of(kind):
            return lambda data: (decode(data).xid, decode(data).message_type) == (0xFEED, kind)

        fuzz.clock.wait(7200)
        asked = discover(200, options=OVMF, giaddr=HERE, xid=0xFEED)
        offer = decode(await ask(client, encode(asked), sock.getsockname(), of(MessageType.OFFER)))
        chosen = select(200, offer.yiaddr, HERE, options=OVMF, giaddr=HERE, xid=0xFEED)
        ack = decode(await ask(client, encode(chosen), sock.getsockname(), of(MessageType.ACK)))
        assert ack.yiaddr == offer.yiaddr


async def test_port_4011_still_names_boot_files(fuzz):
    async with AsyncExitStack() as stack:
        await fuzz.save(LO, FAR)
        client, sock = fuzz.client(), dhcp.open_socket(HERE, 0)
        service = ProxyDhcpService(sock, addresses(fuzz).proxy)
        await run(stack, service)
        asked = [renew(each, f"127.1.0.{each}", options=FIRMWARES[each % 3]) for each in range(1, 9)]
        asked += [discover(each, options=FIRMWARES[each % 3]) for each in range(1, 4)]
        datagrams = Mutator(4011, [encode(each) for each in asked]).datagrams(DATAGRAMS)
        await bombard(sock, datagrams, [client], fuzz.clock)
        assert service.received == DATAGRAMS
        assert service.dropped["our own fault"] == 0
        question = encode(renew(200, HERE, options=OVMF, xid=0xFEED))
        reply = decode(await ask(client, question, sock.getsockname(), lambda data: decode(data).xid == 0xFEED))
        assert reply.file


async def test_port_547_still_gives_addresses(fuzz):
    async with AsyncExitStack() as stack:
        await fuzz.save(LO6)
        client, sock = fuzz.client(socket.AF_INET6, "::1"), dhcp6.open_socket("::1", 0)
        choices = BootChoices(fuzz.ledger, lambda: Params({}), lambda machine: DISCOVERY)
        decides = Addresses6(fuzz.ledger, choices, SERVER6)
        decides.follow()
        service = dhcp6.Dhcp6Service(sock, decides, interfaces=["lo"], reply_port=client.getsockname()[1])
        await run(stack, service)
        datagrams = Mutator(547, [encode6(each) for each in DHCP6]).datagrams(DATAGRAMS)
        await bombard(sock, datagrams, [client], fuzz.clock)
        assert service.received == DATAGRAMS
        assert service.dropped["our own fault"] == 0

        def advertises(data):
            told = decode6(data).message
            return (told.xid, told.kind) == (0xFEED, MessageType6.ADVERTISE)

        fuzz.clock.wait(7200)
        reply = decode6(
            await ask(client, encode6(relayed(solicit(0xFEED), "::5", 200)), sock.getsockname(), advertises)
        )
        [association] = [decode_ia(value) for code, value in reply.message.options if code == IA_NA]
        assert association.addresses


@pytest.mark.parametrize("single_port", [False, True], ids=["ports", "single-port"])
async def test_port_69_still_sends_files(fuzz, single_port):
    async with AsyncExitStack() as stack:
        sock = open_tftp(HERE, 0)
        tree = MemoryTree({"f": CONTENT, "ipxe/f": CONTENT})
        tree.asked = Forgetful()
        service = TftpService(sock, tree, Silence(), single_port=single_port, most_transfers=100)
        await run(stack, service)
        datagrams = Mutator(69, [encode_tftp(each) for each in TFTP]).datagrams(DATAGRAMS)
        await bombard(sock, datagrams, [fuzz.client() for _ in range(32)], fuzz.clock)
        for client in fuzz.clients:
            client.sendto(encode_tftp(Error(0, "enough")), sock.getsockname())
        with TftpClient(sock.getsockname()) as client:
            assert await client.get("f", blksize="512") == CONTENT


class Forgetful(list[object]):
    """Remembers nothing of what it is told."""

    def append(self, item: object) -> None:
        pass


class Silence:
    """A timeline that nobody reads."""

    def served(self, *words, **details):
        pass


@pytest.mark.parametrize(
    ("read", "conversations"),
    [
        pytest.param(decode, [encode(each) for each in DHCP], id="67-and-4011"),
        pytest.param(decode6, [encode6(each) for each in DHCP6], id="547"),
        pytest.param(decode_tftp, [encode_tftp(each) for each in TFTP], id="69"),
    ],
)
def test_the_codec_reads_or_refuses(read, conversations):
    kinds = 2 if read is decode else 1
    refused = 0
    for data in Mutator(1, conversations).datagrams(kinds * DECODED):
        try:
            read(data)
        except WireError:
            refused += 1
    assert 0.1 < refused / (kinds * DECODED) < 0.9


def test_mutated_datagrams_are_the_same_for_the_same_seed():
    one, other = (Mutator(1, [encode(each) for each in DHCP]).datagrams(500) for _ in range(2))
    assert list(one) == list(other)
