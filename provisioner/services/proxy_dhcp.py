"""The boot server's port 4011: where PXE clients ask for their boot file once they have an address (PXE 2.1, 2.2.3).

Few ask here, one datagram each, so each is answered as it comes; what goes to port 67 is in `dhcp`. Nobody waits for
the disk: nothing is promised here, and what the timeline is told may be lost in a crash.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from time import time
from typing import Protocol

import structlog

from provisioner.links import Arrival
from provisioner.recording import NO_RECORDER, Recorder
from provisioner.services.arrivals4 import ANCILLARY_BYTES, Arrivals, sent_from
from provisioner.services.datagrams import Ancillary, Datagram, DatagramService
from provisioner.services.dhcp import LARGEST_DATAGRAM, prepare
from provisioner.wire.dhcp import BROADCAST_ADDRESS, CLIENT_PORT, DhcpMessage, decode
from provisioner.wire.error import WireError

log = structlog.get_logger(__name__)

PORT = 4011

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
        super().__init__("proxy", sock, LARGEST_DATAGRAM, ANCILLARY_BYTES, recorder)
        self._answering = answering
        self._arrivals = Arrivals(interfaces)
        self._client_port = client_port

    def _begin(self) -> None:
        prepare(self._sock)

    def _take(self, datagrams: list[Datagram]) -> None:
        self._arrivals.look_again(time())
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
        arrival = self._arrivals.of(ancillary)
        here = arrival.address, self._sock.getsockname()[1]
        self._recorder.keep("proxy", time(), message.mac, False, data, source, here, arrival.interface)
        answer = self._answering.answer(message, arrival)
        if not answer.data:
            self._drop(answer.reason, source=source[0], mac=message.mac)
            return
        to = self._destination(message, source)
        self._recorder.keep("proxy", time(), message.mac, True, answer.data, here, to, arrival.interface)
        self._send(answer.data, to, arrival)

    def _destination(self, message: DhcpMessage, source: Address) -> Address:
        """Back to where it came from: ROMs ask from port 68 or 4011, and hear only there."""
        if source[0] != "0.0.0.0":
            return source
        return message.ciaddr or BROADCAST_ADDRESS, self._client_port

    def _send(self, data: bytes, to: Address, arrival: Arrival) -> None:
        index = self._arrivals.index(arrival.interface) if to[0] == BROADCAST_ADDRESS else 0
        try:
            self._sock.sendmsg((data,), sent_from(arrival.address, index), 0, to)
        except OSError as error:
            self._drop(f"send: {error.strerror}", to=to[0], interface=arrival.interface)
        else:
            self.sent += 1
