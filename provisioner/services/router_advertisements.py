"""Router advertisements on the links of IPv6 subnets that want them: addresses come by DHCPv6, and the subnet is here.

Firmware, iPXE and operating systems ask DHCPv6 only when a router advertisement tells them to, and know their subnet's
other addresses to be near only by it: an address of DHCPv6 comes without a prefix length. Where a router does this
already, leave `router_advertisements` of the subnet off. We are nobody's default router, unless the subnet's gateway is
an address of ours.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv6Address, IPv6Network
from random import uniform
from struct import Struct as Layout

import structlog

from provisioner.model.addresses import Subnet
from provisioner.services.interfaces6 import Interface6, Interfaces6
from provisioner.wire.dhcp6_options import eui64_mac
from provisioner.wire.error import WireError
from provisioner.wire.router_advertisement import (
    ALL_NODES,
    ALL_ROUTERS,
    Advertisement,
    Prefix,
    check_solicitation,
    encode,
)

log = structlog.get_logger(__name__)

# RFC 4861 section 6.2.1: between two of our own accord. Who comes new asks, and is answered at once.
SHORTEST_PAUSE, LONGEST_PAUSE = 60.0, 180.0
# The subnet stays known as here for so long after we are gone.
PREFIX_SECONDS = 3600
# Three advertisements may be lost before hosts look for another router.
ROUTER_SECONDS = 600
_DRAIN_LIMIT = 64
_LARGEST = 2048
_HOP_LIMIT = Layout("@i")
_PKTINFO = Layout("@16sI")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_PKTINFO.size) + socket.CMSG_SPACE(_HOP_LIMIT.size)


def advertisement(interface: Interface6, subnets: Iterable[Subnet]) -> Advertisement | None:
    """What to tell the link of this interface; None when no subnet of it wants that."""
    here = [
        (subnet, network)
        for subnet in subnets
        if subnet.enabled and subnet.router_advertisements and ":" in subnet.cidr
        for network in [IPv6Network(subnet.cidr)]
        if any(IPv6Address(address) in network for address in interface.addresses)
    ]
    if not here:
        return None
    gateways = {str(IPv6Address(subnet.gateway)) for subnet, _ in here if subnet.gateway}
    ours = {*interface.addresses, interface.link_local}
    return Advertisement(
        prefixes=tuple(Prefix(network, PREFIX_SECONDS) for _, network in here),
        router_seconds=ROUTER_SECONDS if gateways & ours else 0,
        dns=tuple(dict.fromkeys(server for subnet, _ in here for server in subnet.dns_servers)),
        mac=eui64_mac(interface.link_local),
    )


class RouterAdvertisements:
    """Serves on a socket of `raw_sockets.icmp6`, which it closes in the end. `subnets` are those of the moment."""

    def __init__(
        self,
        sock: socket.socket,
        subnets: Callable[[], Iterable[Subnet]],
        *,
        interfaces: Sequence[str] = (),
        pause: Callable[[], float] = lambda: uniform(SHORTEST_PAUSE, LONGEST_PAUSE),
    ) -> None:
        self._sock = sock
        self._subnets = subnets
        self._allowed = frozenset(interfaces)
        self._pause = pause
        self._interfaces: Mapping[int, Interface6] = {}
        self._joined: set[int] = set()
        self._news = Interfaces6(self._interfaces_changed)
        self._changed = asyncio.Event()
        self.sent = 0
        self.dropped: Counter[str] = Counter()

    def look(self) -> None:
        """Tell every link at once: subnets have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        self._sock.setblocking(False)
        self._news.start()
        loop.add_reader(self._sock, self._readable)
        try:
            while True:
                self._changed.clear()
                self._tell_all()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self._changed.wait()
        finally:
            loop.remove_reader(self._sock)
            self._news.stop()
            self._sock.close()

    def _interfaces_changed(self, interfaces: Mapping[int, Interface6]) -> None:
        self._interfaces = interfaces
        self._joined &= interfaces.keys()
        for index in interfaces.keys() - self._joined:
            membership = socket.inet_pton(socket.AF_INET6, ALL_ROUTERS) + index.to_bytes(4, sys.byteorder)
            try:
                self._sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
            except OSError as error:
                log.debug("advertisements.not-joined", interface=interfaces[index].name, error=error.strerror)
            else:
                self._joined.add(index)
        self.look()

    def _tell_all(self) -> None:
        for index in self._interfaces:
            self._tell(index, ALL_NODES)

    def _tell(self, index: int, to: str) -> None:
        interface = self._interfaces.get(index)
        if interface is None or not interface.link_local or (self._allowed and interface.name not in self._allowed):
            return
        said = advertisement(interface, self._subnets())
        if said is None:
            return
        # Hosts take an advertisement from a link-local address only.
        source = _PKTINFO.pack(IPv6Address(interface.link_local).packed, index)
        try:
            self._sock.sendmsg(
                [encode(said)], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, source)], 0, (to, 0, 0, index)
            )
        except OSError as error:
            self._drop(f"send: {error.strerror}", interface=interface.name)
        else:
            self.sent += 1

    def _readable(self) -> None:
        asking = set()
        for _ in range(_DRAIN_LIMIT):
            try:
                data, ancillary, _, source = self._sock.recvmsg(_LARGEST, _ANCILLARY_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                self._drop(f"receive: {error.strerror}")
                continue
            try:
                index, hops = _arrival(ancillary)
                check_solicitation(data, hops)
                asking.add(index)
            except WireError as error:
                self._drop(error.reason, source=source[0], error=error.message)
        # One answer to all is for everybody who asked at once (RFC 4861 section 6.2.6).
        for index in asking:
            self._tell(index, ALL_NODES)

    def _drop(self, reason: str, **context: object) -> None:
        """Count it, and say it aloud the first time only."""
        self.dropped[reason] += 1
        level = log.warning if self.dropped[reason] == 1 else log.debug
        level("advertisements.dropped", reason=reason, **context)


def _arrival(ancillary: Sequence[tuple[int, int, bytes]]) -> tuple[int, int]:
    """Interface and hop limit of a datagram."""
    index = hops = 0
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            _, index = _PKTINFO.unpack_from(value)
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_HOPLIMIT:
            (hops,) = _HOP_LIMIT.unpack_from(value)
    if not index:
        raise WireError("no packet information")
    return index, hops
