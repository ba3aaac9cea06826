"""DHCP on the wire: one UDP socket, drained in batches, answered once the decisions are on disk.

A commit for each datagram would cost ten times as much as one for a batch. While it is under way the next batch is
already decided.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Protocol

import structlog

from provisioner.conductor.addresses import FAILED, Answers, Reply
from provisioner.links import Arrival
from provisioner.recording import NO_RECORDER, Recorder
from provisioner.services.arrivals4 import (
    ANCILLARY_BYTES,
    ARRIVALS_SECONDS,
    IP_PKTINFO,
    MOST_ARRIVALS,
    Arrivals,
    sent_from,
)
from provisioner.services.datagrams import Datagram, DatagramService
from provisioner.services.datagrams import prepare as make_ready
from provisioner.services.frames import Frames
from provisioner.services.interfaces4 import interface_addresses
from provisioner.wire.dhcp import BROADCAST_ADDRESS, CLIENT_PORT, SERVER_PORT, DhcpMessage, Way
from provisioner.wire.dhcp_shapes import Decoder
from provisioner.wire.error import WireError

log = structlog.get_logger(__name__)

# A DHCP datagram may be as large as the client says it takes; none is larger than this.
LARGEST_DATAGRAM: Final = 4096

# An enum's member costs a call each time it is named or reckoned with.
_TRUNCATED: Final = int(socket.MSG_TRUNC)
_RELAY: Final = Way.RELAY
_BROADCAST: Final = Way.BROADCAST
_HARDWARE: Final = Way.HARDWARE

# Replies go out by the few ways that requests came in.
_sent_from: Final = lru_cache(maxsize=MOST_ARRIVALS)(sent_from)


class Answering(Protocol):
    """Who decides."""

    def answer(self, messages: Sequence[tuple[DhcpMessage, Arrival]]) -> Answers:
        """Decide on all messages in order and begin to save what was decided."""


def open_socket(address: str = "", port: int = SERVER_PORT) -> socket.socket:
    """A socket bound for DHCP; OSError when the port is taken or we may not have it."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


class DhcpService(DatagramService):
    """Serves DHCP on a bound socket.

    `interfaces` limits it to interfaces by name (empty: all); `addresses_of` tells our addresses on one, on all for ''.
    Without `frames`, replies to clients that have no address yet are broadcast. The ports differ from the standard only
    in tests.
    """

    def __init__(
        self,
        sock: socket.socket,
        answering: Answering,
        *,
        interfaces: Sequence[str] = (),
        client_port: int = CLIENT_PORT,
        relay_port: int = SERVER_PORT,
        frames: Frames | None = None,
        recorder: Recorder = NO_RECORDER,
        addresses_of: Callable[[str], Sequence[str]] = interface_addresses,
        arrivals_seconds: float = ARRIVALS_SECONDS,
    ) -> None:
        super().__init__("dhcp", sock, LARGEST_DATAGRAM, ANCILLARY_BYTES, recorder)
        self._answering = answering
        self._relay_port = relay_port
        self._client_port = client_port
        self._frames = frames
        self._decode = Decoder().decode
        self._arrivals = Arrivals(interfaces, addresses_of, arrivals_seconds)

    def _begin(self) -> None:
        prepare(self._sock)

    def _take(self, datagrams: list[Datagram]) -> None:
        now = time.time()
        self._arrivals.look_again(now)
        messages: list[tuple[DhcpMessage, Arrival]] = []
        keep = self._recorder.keep if self._recorder is not NO_RECORDER else None
        decode, arrival_of = self._decode, self._arrivals.of
        for data, ancillary, flags, source in datagrams:
            try:
                if flags & _TRUNCATED:
                    raise WireError("datagram too long")
                message, arrival = decode(data), arrival_of(ancillary)
            except WireError as error:
                self._drop(error.reason, source=source[0], error=error.message)
                continue
            messages.append((message, arrival))
            if keep is not None:
                to = BROADCAST_ADDRESS if arrival.broadcast else arrival.address
                keep("dhcp", now, message.mac, False, data, source, (to, SERVER_PORT), arrival.interface)
        if messages:
            self._answer(messages)

    def resume(self, messages: list[tuple[DhcpMessage, Arrival]]) -> None:
        """Answer messages that came earlier and had to wait."""
        self._answer(messages)

    def _answer(self, messages: list[tuple[DhcpMessage, Arrival]]) -> None:
        try:
            answers = self._answering.answer(messages)
        except Exception:
            # One drain must not stop the service; clients ask again within seconds.
            log.exception("dhcp.failed", messages=len(messages))
            self.dropped[FAILED] += len(messages)
            return
        self._send_all(answers.at_once)
        if not answers.replies:
            # Otherwise those are recorded with what they answer, in one go.
            self._recorder.flush()
        for reason in answers.ignored:
            self.dropped[reason] += 1
        self._when_saved(answers.saved, self._send_all, answers.replies)

    def _send_all(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            self._send(reply)
        if replies and self._recorder is not NO_RECORDER:
            now = time.time()
            for reply in replies:
                arrival, to = reply.arrival, reply.destination
                ours = (arrival.address, SERVER_PORT)
                theirs = (to.address, to.port)
                self._recorder.keep("dhcp", now, reply.mac, True, reply.data, ours, theirs, arrival.interface)

    def _send(self, reply: Reply) -> None:
        way = reply.destination.way
        if way is _HARDWARE and self._frames is not None and reply.destination.mac:
            self._send_frame(self._frames, reply)
            return
        # Nobody answers ARP for an address that is only now being given, so without raw frames it is broadcast.
        to_all = way is _BROADCAST or way is _HARDWARE
        address = BROADCAST_ADDRESS if to_all else reply.destination.address
        index = self._arrivals.index(reply.arrival.interface) if to_all else 0
        port = self._relay_port if way is _RELAY else self._client_port
        try:
            self._sock.sendmsg((reply.data,), _sent_from(reply.arrival.address, index), 0, (address, port))
        except OSError as error:
            self._drop(f"send: {error.strerror}", to=address, interface=reply.arrival.interface)
        else:
            # The compiler cannot add in place to what a base has that it does not compile.
            self.sent = self.sent + 1

    def _send_frame(self, frames: Frames, reply: Reply) -> None:
        arrival, to = reply.arrival, reply.destination
        try:
            frames.send(arrival.interface, to.mac, arrival.address, to.address, SERVER_PORT, to.port, reply.data)
        except OSError as error:
            self._drop(f"send: {error.strerror}", to=to.mac, interface=arrival.interface)
        else:
            self.sent = self.sent + 1


def prepare(sock: socket.socket) -> None:
    """Set what a DHCP socket needs, also on one that was handed over by systemd."""
    make_ready(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
