"""One DHCP server on several networks: each answer leaves where the question came from, and nowhere else."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from provisioner.model.addresses import Probe, Subnet
from provisioner.raw_sockets import raw
from provisioner.services.dhcp import DhcpService, open_socket
from provisioner.services.frames import Frames
from provisioner.services.proxy_dhcp import PORT, ProxyDhcpService
from provisioner.wire.dhcp import BROADCAST_FLAG, MessageType, decode, encode
from tests.dhcp_messages import OVMF, discover, mac, message, select
from tests.lab import Lab, sniffer
from tests.test_conductor_addresses import running
from tests.test_services_dhcp import until

pytestmark = pytest.mark.peer
EVERYBODY = "ff:ff:ff:ff:ff:ff"


def subnet(number):
    net = f"10.{70 + number}.0"
    return Subnet(
        name=f"net{number}", cidr=f"{net}.0/24", pool_start=f"{net}.10", pool_end=f"{net}.19", probe=Probe.OFF
    )


class Hall:
    """A server with three bridges and a client on each; the third bridge has no subnet."""

    def __init__(self, lab):
        self.lab = lab
        lab.namespace("server")
        for number in range(3):
            lab.namespace(f"client{number}")
            lab.cable("server", f"port{number}", f"client{number}", "eth0")
            lab.do(
                "server",
                f"link add br{number} type bridge",
                f"link set port{number} master br{number}",
                f"addr add 10.{70 + number}.0.1/24 dev br{number}",
                f"link set br{number} up",
            )
        self.ears = [lab.opened(f"client{number}", lambda: sniffer("eth0")) for number in range(3)]

    def say(self, number, message, port=67):
        with self.lab.inside(f"client{number}"):
            sockets = raw()
            Frames(sockets.frames).send("eth0", EVERYBODY, "0.0.0.0", "255.255.255.255", 68, port, encode(message))
            sockets.close()

    def heard(self, number):
        """What the server sent to this client's network until now."""
        frames = []
        while True:
            try:
                frame = Ether(self.ears[number].recv(2000))
            except BlockingIOError:
                return [frame for frame in frames if UDP in frame and frame[UDP].sport == 67]
            frames.append(frame)


@pytest.fixture
def hall():
    with Lab() as lab:
        made = Hall(lab)
        yield made
        for sock in made.ears:
            sock.close()


@asynccontextmanager
async def serving(hall, folder, *, frames=True, **options):
    async with running(folder / "db") as server:
        await server.save(subnet(0), subnet(1))
        with hall.lab.inside("server"):
            sockets = raw()
            with_frames = Frames(sockets.frames) if frames else None
            service = DhcpService(open_socket(), server.addresses, frames=with_frames, **options)
            task = asyncio.create_task(service.run())
            try:
                yield service
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                sockets.close()


@pytest.mark.parametrize("flags", [0, BROADCAST_FLAG], ids=["unicast", "broadcast"])
@pytest.mark.parametrize("frames", [True, False], ids=["raw", "plain"])
async def test_an_answer_leaves_on_its_interface_from_the_address_there(hall, tmp_path, flags, frames):
    async with serving(hall, tmp_path, frames=frames) as service:
        for number in (0, 1):
            hall.say(number, discover(number + 1, flags=flags))
        await until(lambda: service.sent == 2)
    for number in (0, 1):
        [frame] = hall.heard(number)
        offer = decode(bytes(frame[UDP].payload))
        assert (offer.message_type, offer.mac) == (MessageType.OFFER, mac(number + 1))
        assert offer.yiaddr == f"10.{70 + number}.0.10"
        assert frame[IP].src == offer.address_option(54) == f"10.{70 + number}.0.1"
        assert (frame.dst, frame[IP].dst) == (
            (mac(number + 1), offer.yiaddr) if frames and not flags else (EVERYBODY, "255.255.255.255")
        )
    assert hall.heard(2) == []


async def test_a_relay_is_answered_by_the_address_that_its_client_chose_whichever_it_asked(hall, tmp_path):
    hall.lab.do("client0", "addr add 10.70.0.50/24 dev eth0", "route add 10.71.0.0/24 via 10.70.0.1")
    with hall.lab.inside("client0"):
        relay = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        relay.bind(("", 67))
        relay.setblocking(False)
    with relay:
        async with serving(hall, tmp_path) as service:
            relay.sendto(encode(discover(1, giaddr="10.70.0.50")), ("10.70.0.1", 67))
            await until(lambda: service.sent == 1)
            offer = decode(relay.recv(2000))
            chosen = select(1, offer.yiaddr, "10.70.0.1", giaddr="10.70.0.50")
            for asked in ("10.71.0.1", "10.70.0.1"):
                relay.sendto(encode(chosen), (asked, 67))
            await until(lambda: service.sent == 3)
        for _ in range(2):
            data, source = relay.recvfrom(2000)
            ack = decode(data)
            assert (ack.message_type, ack.yiaddr) == (MessageType.ACK, offer.yiaddr)
            assert ack.address_option(54) == source[0] == "10.70.0.1"


async def test_where_no_subnet_covers_the_client_there_is_silence(hall, tmp_path):
    async with serving(hall, tmp_path) as service:
        hall.say(2, discover(3))
        await until(lambda: service.dropped["no enabled subnet covers the client"])
    assert [hall.heard(number) for number in range(3)] == [[], [], []]


async def test_interfaces_that_are_not_allowed_are_left_alone(hall, tmp_path):
    async with serving(hall, tmp_path, interfaces=["br1"]) as service:
        for number in (0, 1):
            hall.say(number, discover(number + 1))
        await until(lambda: service.sent == 1 and service.dropped["interface not served"] == 1)
    assert hall.heard(0) == []
    assert len(hall.heard(1)) == 1


async def test_an_interface_is_known_by_the_name_that_it_has_now(hall, tmp_path):
    async with serving(hall, tmp_path, interfaces=["lan"], arrivals_seconds=0) as service:
        hall.say(0, discover(1))
        await until(lambda: service.dropped["interface not served"] == 1)
        hall.lab.do("server", "link set br0 down", "link set br0 name lan", "link set lan up")
        hall.say(0, discover(1))
        await until(lambda: service.sent == 1)
    assert len(hall.heard(0)) == 1


async def test_a_card_without_an_address_is_somebody_elses_network(hall, tmp_path):
    # The kernel names an address of another card then.
    hall.lab.do("server", "addr flush dev br2")
    async with serving(hall, tmp_path) as service:
        hall.say(2, discover(3))
        await until(lambda: service.dropped["no address of ours on the interface"] == 1)
    assert [hall.heard(number) for number in range(3)] == [[], [], []]


async def test_nor_is_anybody_there_told_what_to_boot(hall, tmp_path):
    hall.lab.do("server", "addr flush dev br2")
    async with running(tmp_path / "db") as server:
        await server.save(subnet(0), subnet(1))
        proxy = ProxyDhcpService(hall.lab.opened("server", lambda: open_socket(port=PORT)), server.addresses.proxy)
        with hall.lab.inside("server"):
            task = asyncio.create_task(proxy.run())
            for number in (1, 2):
                hall.say(number, message(MessageType.REQUEST, number, OVMF), PORT)
            await until(lambda: proxy.sent == 1 and proxy.dropped["no address of ours on the interface"] == 1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
