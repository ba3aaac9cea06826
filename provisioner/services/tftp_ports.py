"""The sockets of TFTP: one for requests, one for each transfer, and what tells which of many have something to read.

One wake-up of the event loop serves all sockets that are ready: a reader of the loop's own for each costs as much as
the datagram itself. A window leaves in one call where the kernel cuts it into datagrams (UDP_SEGMENT, udp(7)).
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from ipaddress import ip_address
from struct import Struct as Layout
from typing import Any, Protocol

# Not in Python's socket module before 3.14, or not at all; numbers of <linux/in.h> and <linux/udp.h>.
IP_PKTINFO = 8
_UDP = 17
_UDP_SEGMENT = 103
_PKTINFO = Layout("@I4s4s")
_PKTINFO6 = Layout("@16sI")
_SEGMENT = Layout("@H")
ANCILLARY_BYTES = socket.CMSG_SPACE(_PKTINFO.size) + socket.CMSG_SPACE(_PKTINFO6.size)
_MAPPED = "::ffff:"
_MAPPED_BYTES = bytes(10) + b"\xff\xff"

# The kernel's limits for one call.
_MOST_SEGMENTS = 64
_MOST_BYTES = 65507
# A window of 64 blocks of an Ethernet frame; the kernel counts its own overhead as well.
SEND_BUFFER_BYTES = 512 * 1024
# Between two looks at what else the event loop has to do: a millisecond or two.
_READY_AT_ONCE = 64
# A thousand requests at once. Root may have it whatever the system's limit is (number of <asm/socket.h>).
RECEIVE_BUFFER_BYTES = 1 << 20
_SO_RCVBUFFORCE = 33
# What a kernel or a card says that cannot cut: the block does not fit into a frame, or checksums are not made for it.
_CANNOT_CUT = (errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP)
# The way to the client is missing for now: a cable, an ARP answer, a buffer. To a transfer that is one loss more.
_LOST = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENOBUFS, errno.EHOSTDOWN, errno.EPERM)

Address = tuple[Any, ...]
# First and last port that transfers are sent from; (0, 0) is any.
Ports = tuple[int, int]
ANY_PORT: Ports = (0, 0)


def open_socket(address: str = "", port: int = 69) -> socket.socket:
    """A socket bound for TFTP; OSError when the port is taken or we may not have it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        tell_destinations(sock)
        make_room(sock)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


def tell_destinations(sock: socket.socket) -> None:
    """Have the kernel tell with each datagram by which of our addresses it came."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def make_room(sock: socket.socket) -> None:
    """Have the kernel keep many requests for us."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except OSError:
        # Without privileges the system's limit holds; what was had with them stays.
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < RECEIVE_BUFFER_BYTES:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)


def destination(ancillary: list[tuple[int, int, bytes]]) -> tuple[str, bool]:
    """Our address that a datagram reached, and whether it was sent to many."""
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            _, local, header = _PKTINFO.unpack_from(value)
            return socket.inet_ntoa(local), local != header
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            packed, _ = _PKTINFO6.unpack_from(value)
            return plain(socket.inet_ntop(socket.AF_INET6, packed)), packed[0] == 0xFF
    return "", False


def plain(address: str) -> str:
    """An IPv4 address as such, though it came through an IPv6 socket."""
    return address.removeprefix(_MAPPED) if address.startswith(_MAPPED) and "." in address else address


def _source(sock: socket.socket, local: str, client: Address) -> list[tuple[int, int, bytes]]:
    """Ancillary data that makes a datagram leave from this address of ours."""
    if not local:
        return []
    if sock.family == socket.AF_INET:
        return [(socket.IPPROTO_IP, IP_PKTINFO, _PKTINFO.pack(0, socket.inet_aton(local), bytes(4)))]
    packed = ip_address(local.partition("%")[0]).packed
    if len(packed) == 4:
        packed = _MAPPED_BYTES + packed
    return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6.pack(packed, _interface(local, client)))]


def _interface(local: str, client: Address) -> int:
    """A link-local address means something together with its interface only; other addresses find their way."""
    return int(client[3]) if local.startswith("fe80:") else 0


def reply(sock: socket.socket, data: bytes, client: Address, local: str) -> None:
    """Answer from the socket that was asked, and from the address of ours that was."""
    sock.sendmsg([data], _source(sock, local, client), 0, client)


class Lost(Exception):
    """The datagram did not leave; another may."""


class Port(Protocol):
    """Where a transfer sends from; takes `most` blocks at once."""

    most: int

    def prepare(self, block_size: int, window: int) -> None:
        """Make ready for blocks of this size, so many in a row."""

    def say(self, data: bytes) -> None:
        """Send one datagram of any size; raises as `send` does."""

    def send(self, data: bytes | memoryview) -> None:
        """Send datagrams that lie one behind the other, all but the last of the size it was prepared for.

        Raises BlockingIOError when the kernel takes no more for now, Lost, or OSError when it is of no use to go on.
        """

    def receive(self, most: int, /) -> bytes:
        """The next datagram of the client; BlockingIOError if there is none."""


class _Cutting(ABC):
    """Has the kernel cut a run into datagrams, and takes one at a time where the kernel cannot."""

    def __init__(self) -> None:
        self.most = 1
        self._step = 0

    def prepare(self, block_size: int, window: int) -> None:
        """As many as the kernel cuts."""
        self._step = block_size + 4
        self.most = max(1, min(_MOST_SEGMENTS, _MOST_BYTES // self._step, window))

    def say(self, data: bytes) -> None:
        """In one piece."""
        try:
            self._send_one(data)
        except OSError as error:
            if error.errno in _LOST:
                raise Lost from error
            raise

    def send(self, data: bytes | memoryview) -> None:
        """All at once, or one by one."""
        try:
            if len(data) <= self._step:
                self._send_one(data)
            else:
                self._send_many(data)
        except BlockingIOError:
            raise
        except OSError as error:
            if self.most > 1 and len(data) > self._step and error.errno in _CANNOT_CUT:
                # From now on we are asked for one at a time.
                self.most = 1
                self._send_each(data)
            elif error.errno in _LOST:
                raise Lost from error
            else:
                raise

    def _send_each(self, data: bytes | memoryview) -> None:
        for at in range(0, len(data), self._step):
            try:
                self._send_one(data[at : at + self._step])
            except BlockingIOError:
                # The rest counts as lost: the client asks for it, or the timer does.
                raise Lost from None

    @abstractmethod
    def _send_one(self, data: bytes | memoryview) -> None:
        """Send one block."""

    @abstractmethod
    def _send_many(self, data: bytes | memoryview) -> None:
        """Send blocks in one call, cut by the kernel."""


class OwnPort(_Cutting):
    """A socket that hears this client only, bound to the address at which it reached us.

    Others that write to its port are told by the kernel that nobody is there (ICMP).
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self.sock = sock
        # Once a block: a method of ours around it would cost as much as the rest of us.
        self.receive = sock.recv
        self._cutting = False

    @classmethod
    def open(cls, client: Address, local: str, port: int = 0) -> OwnPort:
        """A new socket; OSError when there is none, or the port is taken."""
        address = plain(client[0])
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            if family == socket.AF_INET6:
                sock.bind((local, port, 0, _interface(local, client)))
                sock.connect(client)
            else:
                sock.bind((local, port))
                sock.connect((address, client[1]))
        except OSError:
            sock.close()
            raise
        return cls(sock)

    def _send_one(self, data: bytes | memoryview) -> None:
        if self._cutting:
            self._cut(0)
        self.sock.send(data)

    def _send_many(self, data: bytes | memoryview) -> None:
        if not self._cutting:
            self._cut(self._step)
        self.sock.send(data)

    def _cut(self, step: int) -> None:
        """Have the kernel cut what is sent from now on; 0: not."""
        self.sock.setsockopt(_UDP, _UDP_SEGMENT, step)
        self._cutting = bool(step)

    def close(self) -> None:
        """Give the port back."""
        self.sock.close()


class SharedPort(_Cutting):
    """The socket for requests, used for a transfer as well (single-port mode); datagrams are sorted by their sender."""

    def __init__(self, sock: socket.socket, client: Address, local: str) -> None:
        super().__init__()
        self._sock = sock
        self._client = client
        self._source = _source(sock, local, client)
        self._with_segment = self._source

    def prepare(self, block_size: int, window: int) -> None:
        """As many as the kernel cuts."""
        super().prepare(block_size, window)
        self._with_segment = [*self._source, (_UDP, _UDP_SEGMENT, _SEGMENT.pack(self._step))]

    def _send_one(self, data: bytes | memoryview) -> None:
        self._sock.sendmsg([data], self._source, 0, self._client)

    def _send_many(self, data: bytes | memoryview) -> None:
        self._sock.sendmsg([data], self._with_segment, 0, self._client)

    def receive(self, most: int, /) -> bytes:
        """Nothing is here: the service hands over what came."""
        raise BlockingIOError


class PortRange:
    """Gives transfers a port each, from a range or any."""

    def __init__(self, ports: Ports = ANY_PORT) -> None:
        self._first, self._last = ports
        self._next = self._first

    def open(self, client: Address, local: str) -> OwnPort:
        """A port; OSError when all are in use."""
        if not self._first:
            return OwnPort.open(client, local)
        for _ in range(self._first, self._last + 1):
            port = self._next
            self._next = port + 1 if port < self._last else self._first
            try:
                return OwnPort.open(client, local, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        raise OSError(errno.EADDRINUSE, f"all ports from {self._first} to {self._last} are in use")


class Readers:
    """Calls back for every socket that has something to read, many in one turn of the event loop."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._callbacks: dict[int, Callable[[float], None]] = {}

    def start(self) -> None:
        """Begin to listen; on the running event loop."""
        self._epoll = select.epoll()
        asyncio.get_running_loop().add_reader(self._epoll, self._ready)

    def stop(self) -> None:
        """End it."""
        if self._epoll is not None:
            asyncio.get_running_loop().remove_reader(self._epoll)
            self._epoll.close()
            self._epoll = None

    def add(self, sock: socket.socket, callback: Callable[[float], None]) -> None:
        """Call `callback` with the loop's time whenever the socket has something; it must not raise."""
        assert self._epoll is not None
        self._callbacks[sock.fileno()] = callback
        self._epoll.register(sock, select.EPOLLIN)

    def remove(self, sock: socket.socket) -> None:
        """Forget the socket, before it is closed."""
        if self._callbacks.pop(sock.fileno(), None) is not None and self._epoll is not None:
            self._epoll.unregister(sock)

    def _ready(self) -> None:
        assert self._epoll is not None
        now = asyncio.get_running_loop().time()
        for descriptor, _ in self._epoll.poll(0, _READY_AT_ONCE):
            # One callback may end another's transfer.
            callback = self._callbacks.get(descriptor)
            if callback is not None:
                callback(now)
