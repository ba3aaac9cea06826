"""The boot server's port 4011: where PXE clients ask for their boot file once they have an address (PXE 2.1, 2.2.3).

Few ask here, one datagram each, so each is answered as it comes; what goes to port 67 is in `dhcp`. Nobody waits for
the disk: nothing is promised here, and what the timeline is told may be lost in a crash.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from struct import Struct as Layout
from time import time
from typing import Protocol

import structlog

from provisioner.links import Arrival
from provisioner.recording import NO_RECORDER, Recorder
from provisioner.services.datagrams import Ancillary, Datagram, DatagramService
from provisioner.services.dhcp import IP_PKTINFO, LARGEST_DATAGRAM, prepare
from provisioner.services.interfaces4 import interface_addresses
from provisioner.wire.dhcp import BROADCAST_ADDRESS, CLIENT_PORT, DhcpMessage, decode
from provisioner.wire.error import WireError

log = structlog.get_logger(__name__)

PORT = 4011
# struct in_pktinfo: interface index, our address there, the address in the datagram's header.
_PKTINFO = Layout("@I4s4s")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_PKTINFO.size)
_ANYWHERE = b"\0\0\0\0"

Address = tuple[str, int]


class Answer(Protocol):
    """A reply: empty `data` is silence, for `reason`."""

    @property
    def data(self) -> bytes:
        """The datagram."""

    @property
    def reason(self) -> str:
        """Why there is none."""


class Answering(Protocol):
    """Who decides."""

    def answer(self, message: DhcpMessage, arrival: Arrival) -> Answer:
        """What to reply on port 4011; raises WireError."""


class ProxyDhcpService(DatagramService):
    """Serves port 4011 on a bound socket. `interfaces` limits it (empty: all)."""

    def __init__(
        self,
        sock: socket.socket,
        answering: Answering,
        *,
        interfaces: Sequence[str] = (),
        client_port: int = CLIENT_PORT,
        recorder: Recorder = NO_RECORDER,
    ) -> None:
        super().__init__("proxy", sock, LARGEST_DATAGRAM, _ANCILLARY_BYTES, recorder)
        self._answering = answering
        self._interfaces = frozenset(interfaces)
        self._client_port = client_port

    def _begin(self) -> None:
        prepare(self._sock)

    def _take(self, datagrams: list[Datagram]) -> None:
        for data, ancillary, flags, source in datagrams:
            try:
                self._received(data, ancillary, flags, source)
            except WireError as error:
                self._drop(error.reason, source=source[0], error=error.message)
            except Exception:
                # One datagram must not stop the service; the client asks again.
                log.exception("proxy.failed", source=source[0])
                self.dropped["our own fault"] += 1
        self._recorder.flush()

    def _received(self, data: bytes, ancillary: Ancillary, flags: int, source: Address) -> None:
        if flags & socket.MSG_TRUNC:
            raise WireError("datagram too long")
        message = decode(data)
        arrival, index = _arrival(ancillary)
        if self._interfaces and arrival.interface not in self._interfaces:
            raise WireError("interface not served", arrival.interface)
        if arrival.broadcast and arrival.address not in interface_addresses(arrival.interface):
            # Where an interface has no address, the kernel names one of another: it is not our network.
            raise WireError("no address of ours on the interface", arrival.interface)
        here = arrival.address, self._sock.getsockname()[1]
        self._recorder.keep("proxy", time(), message.mac, False, data, source, here, arrival.interface)
        answer = self._answering.answer(message, arrival)
        if not answer.data:
            self._drop(answer.reason, source=source[0], mac=message.mac)
            return
        to = self._destination(message, source)
        self._recorder.keep("proxy", time(), message.mac, True, answer.data, here, to, arrival.interface)
        self._send(answer.data, to, arrival, index)

    def _destination(self, message: DhcpMessage, source: Address) -> Address:
        """Back to where it came from: ROMs ask from port 68 or 4011, and hear only there."""
        if source[0] != "0.0.0.0":
            return source
        return message.ciaddr or BROADCAST_ADDRESS, self._client_port

    def _send(self, data: bytes, to: Address, arrival: Arrival, index: int) -> None:
        interface = index if to[0] == BROADCAST_ADDRESS else 0
        information = _PKTINFO.pack(interface, socket.inet_aton(arrival.address), _ANYWHERE)
        try:
            self._sock.sendmsg([data], [(socket.IPPROTO_IP, IP_PKTINFO, information)], 0, to)
        except OSError as error:
            self._drop(f"send: {error.strerror}", to=to[0], interface=arrival.interface)
        else:
            self.sent += 1


def _arrival(ancillary: Ancillary) -> tuple[Arrival, int]:
    """How it reached us, and the number of the interface."""
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            index, local, header = _PKTINFO.unpack(value[: _PKTINFO.size])
            if not index:
                break
            try:
                name = socket.if_indextoname(index)
            except OSError:
                name = f"#{index}"
            return Arrival(socket.inet_ntoa(local), name, local != header), index
    raise WireError("no packet information")
