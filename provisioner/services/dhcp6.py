"""DHCPv6 on the wire: one UDP socket, drained in batches as in `dhcp`; a REPLY goes out once it is on disk.

Clients speak from their link-local address to a multicast group, so a reply goes back to that address through the very
interface. The socket joins the groups on every interface that it may serve, also on those that come later.
"""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address
from struct import Struct as Layout
from typing import Protocol

import structlog

from provisioner.clients6 import Arrival6
from provisioner.conductor.addresses6 import FAILED, Answers6, Reply6
from provisioner.recording import NO_RECORDER, Recorder
from provisioner.services.datagrams import Ancillary, Datagram, DatagramService, prepare
from provisioner.services.interfaces6 import Interface6, Interfaces6
from provisioner.wire.dhcp6 import ALL_SERVERS, ALL_SERVERS_AND_RELAYS, SERVER_PORT, Relayed, decode
from provisioner.wire.error import WireError

log = structlog.get_logger(__name__)

LARGEST_DATAGRAM = 65535

# struct in6_pktinfo: the address that the datagram was sent to (or is sent from), the interface.
_PKTINFO = Layout("@16sI")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_PKTINFO.size)
_ANY = bytes(16)

Source = tuple[str, int, int, int]


class Answering(Protocol):
    """Who decides."""

    def answer(self, messages: Sequence[tuple[Relayed, Arrival6]]) -> Answers6:
        """Decide on all messages in order and begin to save what was decided."""


def open_socket(address: str = "::", port: int = SERVER_PORT) -> socket.socket:
    """A socket bound for DHCPv6; OSError when the port is taken, or the host has no IPv6."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


class Dhcp6Service(DatagramService):
    """Serves DHCPv6 on a bound socket.

    `interfaces` limits it to interfaces by name (empty: all). `reply_port` differs from the standard only in tests.
    """

    def __init__(
        self,
        sock: socket.socket,
        answering: Answering,
        *,
        interfaces: Sequence[str] = (),
        recorder: Recorder = NO_RECORDER,
        reply_port: int = 0,
    ) -> None:
        super().__init__("dhcp6", sock, LARGEST_DATAGRAM, _ANCILLARY_BYTES, recorder)
        self._answering = answering
        self._allowed = frozenset(interfaces)
        self._reply_port = reply_port
        self._interfaces: Mapping[int, Interface6] = {}
        self._joined: set[int] = set()
        self._news = Interfaces6(self._interfaces_changed)

    def _begin(self) -> None:
        prepare(self._sock)
        self._sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        # What we send to a group stays on the link anyhow; what we say ourselves we need not hear.
        self._sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        self._news.start()

    def _end(self) -> None:
        self._news.stop()

    # --- interfaces -------------------------------------------------------------------------------------------

    def _interfaces_changed(self, interfaces: Mapping[int, Interface6]) -> None:
        self._interfaces = interfaces
        self._joined &= interfaces.keys()
        for each in interfaces.values():
            if each.index not in self._joined and self._serves(each.name):
                self._join(each)

    def _serves(self, name: str) -> bool:
        return name in self._allowed if self._allowed else name != "lo"

    def _join(self, interface: Interface6) -> None:
        for group in (ALL_SERVERS_AND_RELAYS, ALL_SERVERS):
            membership = socket.inet_pton(socket.AF_INET6, group) + interface.index.to_bytes(4, sys.byteorder)
            try:
                self._sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    log.warning("dhcp6.not-joined", interface=interface.name, group=group, error=error.strerror)
                    return
        self._joined.add(interface.index)

    # --- receiving --------------------------------------------------------------------------------------------

    def _take(self, datagrams: list[Datagram]) -> None:
        messages: list[tuple[Relayed, Arrival6]] = []
        heard: list[bytes] = []
        for data, ancillary, flags, source in datagrams:
            try:
                messages.append((self._read(data, flags), self._arrival(ancillary, source)))
                heard.append(data)
            except WireError as error:
                self._drop(error.reason, source=source[0], error=error.message)
        if messages:
            self._answer(messages, heard)

    def _read(self, data: bytes, flags: int) -> Relayed:
        if flags & socket.MSG_TRUNC:
            raise WireError("datagram too long")
        return decode(data)

    def _arrival(self, ancillary: Ancillary, source: Source) -> Arrival6:
        for level, kind, value in ancillary:
            if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
                packed, index = _PKTINFO.unpack(value[: _PKTINFO.size])
                interface = self._interfaces.get(index) or Interface6(f"#{index}", index)
                if self._allowed and interface.name not in self._allowed:
                    raise WireError("interface not served", interface.name)
                to = IPv6Address(packed)
                address = "" if to.is_multicast else str(to)
                came_from = source[0].partition("%")[0]
                return Arrival6(came_from, interface.addresses, interface.name, index, address, source[1])
        raise WireError("no packet information")

    def _answer(self, messages: list[tuple[Relayed, Arrival6]], heard: list[bytes]) -> None:
        try:
            answers = self._answering.answer(messages)
        except Exception:
            # One drain must not stop the service; clients ask again within seconds.
            log.exception("dhcp6.failed", messages=len(messages))
            self.dropped[FAILED] += len(messages)
            return
        now = time.time()
        for data, (_, arrival), mac in zip(heard, messages, answers.macs, strict=False):
            source, to = (arrival.source, arrival.port), (arrival.address or ALL_SERVERS_AND_RELAYS, SERVER_PORT)
            self._recorder.keep("dhcp6", now, mac, False, data, source, to, arrival.interface)
        self._recorder.flush()
        self.dropped.update(answers.ignored)
        for reply in answers.at_once:
            self._send(reply)
        self._when_saved(answers.saved, self._send_all, answers.later)

    # --- sending ----------------------------------------------------------------------------------------------

    def _send_all(self, replies: Sequence[Reply6]) -> None:
        for reply in replies:
            self._send(reply)

    def _send(self, reply: Reply6) -> None:
        arrival = reply.arrival
        scope = arrival.index if IPv6Address(arrival.source).is_link_local else 0
        to = (arrival.source, self._reply_port or reply.port or arrival.port, 0, scope)
        # To a multicast request the kernel answers from the interface's own link-local or global address.
        ours = IPv6Address(arrival.address).packed if arrival.address else _ANY
        information = _PKTINFO.pack(ours, arrival.index)
        try:
            self._sock.sendmsg([reply.data], [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, information)], 0, to)
        except OSError as error:
            self._drop(f"send: {error.strerror}", to=arrival.source, interface=arrival.interface)
            return
        self.sent += 1
        interface = self._interfaces.get(arrival.index)
        ours_text = arrival.address or (interface.link_local if interface is not None else "") or "::"
        origin = (ours_text, SERVER_PORT)
        self._recorder.keep("dhcp6", time.time(), reply.mac, True, reply.data, origin, to, arrival.interface)
