"""Frames to clients without an address, on cables of their own: what arrives at the other end."""

from __future__ import annotations

import asyncio

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from provisioner.raw_sockets import raw
from provisioner.services.frames import Frames
from tests.lab import Lab, sniffer

pytestmark = pytest.mark.peer
CLIENT = "52:54:00:aa:00:01"


@pytest.fixture
def lab():
    with Lab() as made:
        made.namespace("server")
        made.namespace("client")
        made.cable("server", "srv0", "client", "cli0", CLIENT)
        yield made


async def heard(sock):
    """The next UDP datagram that passes."""
    loop = asyncio.get_running_loop()
    while True:
        frame = Ether(await asyncio.wait_for(loop.sock_recv(sock, 2000), 10))
        if UDP in frame:
            return frame


async def send_from(lab, card):
    sockets = lab.opened("server", raw)
    try:
        Frames(sockets.frames).send(card, CLIENT, "10.77.0.1", "10.77.0.9", 67, 68, b"offer")
    finally:
        sockets.close()


async def test_a_client_without_an_address_gets_a_unicast_frame(lab):
    with lab.opened("client", lambda: sniffer("cli0")) as client:
        await send_from(lab, "srv0")
        frame = await heard(client)
    assert (frame.dst, frame.src) == (CLIENT, lab.mac("server", "srv0"))
    assert (frame[IP].src, frame[IP].dst) == ("10.77.0.1", "10.77.0.9")
    assert (frame[UDP].sport, frame[UDP].dport, bytes(frame[UDP].payload)[:5]) == (67, 68, b"offer")


async def test_a_frame_leaves_through_a_bridge(lab):
    lab.do("server", "link add br0 type bridge", "link set srv0 master br0", "link set br0 up")
    with lab.opened("client", lambda: sniffer("cli0")) as client:
        await send_from(lab, "br0")
        assert (await heard(client)).dst == CLIENT


async def test_an_interface_that_is_gone_is_an_error_of_the_system(lab):
    with pytest.raises(OSError, match="No such device"):
        await send_from(lab, "eth9")
