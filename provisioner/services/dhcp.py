"""DHCP on the wire: one UDP socket, drained in batches, answered once the decisions are on disk.

A DatagramProtocol costs nine times as much for each datagram, and a commit for each datagram ten times as much again:
hence the reader callback that takes what is there, up to `DRAIN_LIMIT`, and one commit for all of it. While that commit
is under way the next drain is already decided.
"""

from __future__ import annotations

import asyncio
import socket
import time
from asyncio import Future
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from struct import Struct as Layout
from typing import Protocol

import structlog

from provisioner.conductor.addresses import FAILED, Answers, Reply
from provisioner.links import Arrival
from provisioner.recording import NO_RECORDER, Recorder
from provisioner.services.frames import Frames
from provisioner.services.interfaces4 import interface_addresses
from provisioner.wire.dhcp import BROADCAST_ADDRESS, CLIENT_PORT, SERVER_PORT, DhcpMessage, Way
from provisioner.wire.dhcp_shapes import Decoder
from provisioner.wire.error import WireError

log = structlog.get_logger(__name__)

# More at once makes the first of them wait; fewer wastes commits.
DRAIN_LIMIT = 64
# A DHCP datagram may be as large as the client says it takes; none is larger than this.
LARGEST_DATAGRAM = 4096
# Ways in told apart: our addresses by interfaces, of which a large site has a few hundred.
MOST_ARRIVALS = 1024
# For so long the names and addresses of interfaces are remembered.
ARRIVALS_SECONDS = 10.0
# A power-on storm of a hall fits in: 2,000 packets of 600 bytes with the kernel's overhead.
RECEIVE_BUFFER_BYTES = 4 << 20

# Not in Python's socket module before 3.14; numbers of <linux/in.h> and <asm-generic/socket.h>.
IP_PKTINFO = 8
_SO_RCVBUFFORCE = 33

# struct in_pktinfo: interface index, our address there, the address in the datagram's header.
_PKTINFO = Layout("@I4s4s")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_PKTINFO.size)
_ANYWHERE = b"\0\0\0\0"

# An enum's member costs a call each time it is named or reckoned with.
_TRUNCATED = int(socket.MSG_TRUNC)
_RELAY, _BROADCAST, _HARDWARE = Way.RELAY, Way.BROADCAST, Way.HARDWARE


# What `recvmsg` returns: data, ancillary data, flags and the source.
_Datagram = tuple[bytes, list[tuple[int, int, bytes]], int, tuple[str, int]]


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


class DhcpService:
    """Serves DHCP on a bound socket, which it closes in the end.

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
        self._sock = sock
        self._answering = answering
        self._interfaces = frozenset(interfaces)
        self._relay_port = relay_port
        self._client_port = client_port
        self._frames = frames
        self._recorder = recorder
        self._decode = Decoder().decode
        self._arrivals: dict[bytes, Arrival] = {}
        self._arrivals_from = 0.0
        self._arrivals_seconds = arrivals_seconds
        self._addresses_of = addresses_of
        self._names: dict[int, str] = {}
        self._indexes: dict[str, int] = {}
        self._pending: set[Future[None]] = set()
        self.received = 0
        self.sent = 0
        self.dropped: Counter[str] = Counter()

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        prepare(self._sock)
        loop.add_reader(self._sock, self._readable)
        try:
            await asyncio.Event().wait()
        finally:
            loop.remove_reader(self._sock)
            if self._pending:
                # What is being saved now has been decided: its clients get their answers.
                await asyncio.wait(self._pending, timeout=1)
            self._sock.close()

    def _readable(self) -> None:
        receive, now = self._sock.recvmsg, time.time()
        if not 0 <= now - self._arrivals_from < self._arrivals_seconds:
            # Interfaces get other addresses while we run, and at the start of a host other names.
            self._arrivals.clear()
            self._names.clear()
            self._arrivals_from = now
        datagrams: list[_Datagram] = []
        for _ in range(DRAIN_LIMIT):
            try:
                datagrams.append(receive(LARGEST_DATAGRAM, _ANCILLARY_BYTES))
            except BlockingIOError:
                break
            except OSError as error:
                # An ICMP error for something we sent earlier arrives here; it concerns no packet we could name.
                self._drop(f"receive: {error.strerror}")
        self.received += len(datagrams)
        messages: list[tuple[DhcpMessage, Arrival]] = []
        keep = self._recorder.keep if self._recorder is not NO_RECORDER else None
        for data, ancillary, flags, source in datagrams:
            try:
                message, arrival = self._read(data, ancillary, flags)
            except WireError as error:
                self._drop(error.reason, source=source[0], error=error.message)
                continue
            messages.append((message, arrival))
            if keep is not None:
                to = BROADCAST_ADDRESS if arrival.broadcast else arrival.address
                keep("dhcp", now, message.mac, False, data, source, (to, SERVER_PORT), arrival.interface)
        if messages:
            self._answer(messages)

    def _read(
        self, data: bytes, ancillary: Sequence[tuple[int, int, bytes]], flags: int
    ) -> tuple[DhcpMessage, Arrival]:
        if flags & _TRUNCATED:
            raise WireError("datagram too long")
        # All that came the same way have the same few bytes of packet information.
        arrival = self._arrivals.get(ancillary[0][2]) if len(ancillary) == 1 else None
        return self._decode(data), arrival if arrival is not None else self._arrival(ancillary)

    def _arrival(self, ancillary: Sequence[tuple[int, int, bytes]]) -> Arrival:
        for level, kind, value in ancillary:
            if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
                index, local, header = _PKTINFO.unpack(value[: _PKTINFO.size])
                if not index:
                    # It came while whoever handed over the socket held it: the kernel kept no information then.
                    break
                name = self._interface(index)
                if self._interfaces and name not in self._interfaces:
                    raise WireError("interface not served", name)
                # For a broadcast, `local` is the interface's own address and not what the datagram was sent to.
                address = socket.inet_ntoa(local)
                ours, broadcast = self._addresses_of(name), local != header
                if broadcast and address not in ours:
                    # Where an interface has no address, the kernel names one of another: it is not our network.
                    raise WireError("no address of ours on the interface", name)
                also = tuple(each for each in ours if each != address)
                # No relay's client can mean the loopback.
                all_ours = (each for each in self._addresses_of("") if not each.startswith("127."))
                elsewhere = tuple(each for each in all_ours if each not in ours and each != address)
                arrival = Arrival(address, name, broadcast, also, elsewhere)
                if len(ancillary) == 1 and name in self._indexes:
                    if len(self._arrivals) >= MOST_ARRIVALS:
                        self._arrivals.clear()
                    self._arrivals[value] = arrival
                return arrival
        raise WireError("no packet information")

    def _interface(self, index: int) -> str:
        name = self._names.get(index)
        if name is None:
            try:
                name = self._names[index] = socket.if_indextoname(index)
            except OSError:
                # It is gone already; the next one with this index may have another name.
                return f"#{index}"
            self._indexes[name] = index
        return name

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
        self._pending.add(answers.saved)
        answers.saved.add_done_callback(partial(self._saved, answers.replies))

    def _saved(self, replies: list[Reply], saved: Future[None]) -> None:
        self._pending.discard(saved)
        if saved.cancelled():
            return
        error = saved.exception()
        if error is not None:
            self._drop("not saved", error=str(error), replies=len(replies))
        else:
            self._send_all(replies)
        self._recorder.flush()

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
        index = self._indexes.get(reply.arrival.interface, 0) if to_all else 0
        port = self._relay_port if way is _RELAY else self._client_port
        try:
            self._sock.sendmsg((reply.data,), _sent_from(reply.arrival.address, index), 0, (address, port))
        except OSError as error:
            self._drop(f"send: {error.strerror}", to=address, interface=reply.arrival.interface)
        else:
            self.sent += 1

    def _send_frame(self, frames: Frames, reply: Reply) -> None:
        arrival, to = reply.arrival, reply.destination
        try:
            frames.send(arrival.interface, to.mac, arrival.address, to.address, SERVER_PORT, to.port, reply.data)
        except OSError as error:
            self._drop(f"send: {error.strerror}", to=to.mac, interface=arrival.interface)
        else:
            self.sent += 1

    def _drop(self, reason: str, **context: object) -> None:
        """Count it, and say it aloud the first time only: a broken client sends for hours."""
        self.dropped[reason] += 1
        level = log.warning if self.dropped[reason] == 1 else log.debug
        level("dhcp.dropped", reason=reason, **context)


# Replies go out by the few ways that requests came in.
@lru_cache(maxsize=MOST_ARRIVALS)
def _sent_from(address: str, index: int) -> tuple[tuple[int, int, bytes]]:
    """The ancillary data that makes an address of ours the sender, by the interface with this index unless 0."""
    return ((socket.IPPROTO_IP, IP_PKTINFO, _PKTINFO.pack(index, socket.inet_aton(address), _ANYWHERE)),)


def prepare(sock: socket.socket) -> None:
    """Set what a DHCP socket needs, also on one that was handed over by systemd."""
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    # Beyond net.core.rmem_max only root may go; the plain option is cut to it silently.
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
            break
        except OSError:
            continue
