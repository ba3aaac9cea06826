"""Looks for other DHCP servers: asks for an address as a client would, and hears who answers.

Two requests go out of each interface: a plain one, and one of a network boot ROM, which servers of boot files answer
that give no addresses. An address that is offered is not taken: its server forgets the offer.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Collection, Iterable
from functools import partial
from ipaddress import IPv4Network

import structlog

from provisioner.findings import ForeignServer
from provisioner.model.addresses import Subnet
from provisioner.raw_sockets import drain, hardware_address
from provisioner.wire.dhcp import MessageType, decode
from provisioner.wire.dhcp_options import SERVER_ID
from provisioner.wire.error import WireError
from provisioner.wire.ipv4 import read_udp
from provisioner.wire.search_request import search_requests

log = structlog.get_logger(__name__)

# A server that pings an address before it offers it waits a second or so for the answer.
SEARCH_SECONDS = 2.5
_CLIENT_PORT = 68
_ETH_P_IP = 0x0800
_EVERYBODY = b"\xff" * 6
_PACKET_BYTES = 4096
_READ_LIMIT = 64


class ServerSearch:
    """Searches when called. `sender` and `ears` are packet sockets of `provisioner.raw_sockets`.

    `interfaces` says where to ask, `ours` which addresses are this server's own.
    """

    def __init__(
        self,
        sender: socket.socket,
        ears: socket.socket,
        interfaces: Callable[[], Iterable[str]],
        ours: Callable[[], frozenset[str]],
        seconds: float = SEARCH_SECONDS,
    ) -> None:
        self._sender = sender
        self._ears = ears
        self._interfaces = interfaces
        self._ours = ours
        self._seconds = seconds
        self._turn = asyncio.Lock()

    async def __call__(self) -> list[ForeignServer]:
        """The servers that are not ours, one for each interface that they answered on; takes some seconds."""
        async with self._turn:
            return await self._search()

    async def _search(self) -> list[ForeignServer]:
        loop = asyncio.get_running_loop()
        ours = self._ours()
        found: dict[tuple[str, str], ForeignServer] = {}
        asked: dict[int, str] = {}
        drain(self._ears)
        loop.add_reader(self._ears, self._hear, asked, ours, found)
        try:
            for interface in self._interfaces():
                await self._ask(interface, asked)
            if asked:
                await asyncio.sleep(self._seconds)
        finally:
            loop.remove_reader(self._ears)
        return sorted(found.values(), key=lambda each: (each.interface, each.address))

    async def _ask(self, interface: str, asked: dict[int, str]) -> None:
        """Send the requests out of an interface, each with a number of its own by which its answers are known."""
        numbers = [int.from_bytes(os.urandom(4)) for _ in range(2)]
        try:
            mac = hardware_address(self._sender, interface)
            # scapy, which builds them, takes a while to load.
            requests = await asyncio.get_running_loop().run_in_executor(None, partial(search_requests, mac, numbers))
            asked.update(dict.fromkeys(numbers, interface))
            for request in requests:
                self._sender.sendto(request, (interface, _ETH_P_IP, 0, 0, _EVERYBODY))
        except OSError as error:
            log.warning("dhcp.search-not-sent", interface=interface, error=error.strerror)

    def _hear(self, asked: dict[int, str], ours: frozenset[str], found: dict[tuple[str, str], ForeignServer]) -> None:
        for _ in range(_READ_LIMIT):
            try:
                packet, (interface, *_) = self._ears.recvfrom(_PACKET_BYTES)
            except OSError:
                # Nothing more, or an interface went down.
                return
            source, port, payload = read_udp(packet)
            if port != _CLIENT_PORT:
                continue
            try:
                offer = decode(payload)
            except WireError:
                continue
            if asked.get(offer.xid) != interface or offer.message_type is not MessageType.OFFER:
                continue
            address = offer.address_option(SERVER_ID) or source
            if address not in ours:
                before = found.get((interface, address))
                offered = offer.yiaddr or (before.offered if before is not None else "")
                found[interface, address] = ForeignServer(address, interface, offered)


def served_interfaces(
    connected: Iterable[tuple[str, IPv4Network]], subnets: Iterable[Subnet], allowed: Collection[str]
) -> list[str]:
    """Where we give addresses: the interfaces on a network of ours, as far as they are allowed (all, when none is).

    Not those where another server gives them, as its subnet says (`proxy`).
    """
    ours = [IPv4Network(each.cidr) for each in subnets if each.enabled and not each.proxy and ":" not in each.cidr]
    found = {
        interface: None
        for interface, network in connected
        if (not allowed or interface in allowed) and any(network.overlaps(each) for each in ours)
    }
    return list(found)
