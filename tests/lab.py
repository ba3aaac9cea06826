"""Networks of one's own for tests: network namespaces, cables between them, bridges, and a cable that loses packets.

A test's own thread can enter a namespace: what it opens then belongs there, and so do the programs that it starts.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import ioctl
from itertools import count
from pathlib import Path
from random import Random
from struct import Struct as Layout
from typing import TypeVar

from tests.peers.programs import program, root

_CLONE_NEWNET = 0x40000000
_NETNS = Path("/run/netns")
_OWN = "/proc/thread-self/ns/net"
_LIBC = ctypes.CDLL(None, use_errno=True)
_NUMBERS = count()
_ETH_P_ALL = 0x0003
# <linux/ethtool.h>, <linux/sockios.h>, struct ifreq.
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17
_ETHTOOL_VALUE, _IFREQ = Layout("@II"), Layout("@16sP16x")
T = TypeVar("T")


class Lab:
    """Namespaces by short names, all gone when the context ends."""

    def __init__(self) -> None:
        root()
        self._ip = program("ip", "iproute2")
        self._prefix = f"pv{os.getpid()}-{next(_NUMBERS)}-"
        self._made: list[str] = []

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._made:
            self.run("netns", "delete", self.full(name))

    def full(self, name: str) -> str:
        """What the namespace is called outside of the test."""
        return self._prefix + name

    def run(self, *words: str, stdin: str = "") -> str:
        """One run of ip."""
        return _run(self._ip, *words, stdin=stdin)

    def namespace(self, name: str) -> None:
        """A namespace with its loopback up. IPv6 is off, which is not what is tested and talks of its own accord."""
        self.run("netns", "add", self.full(name))
        self._made.append(name)
        self.do(name, "link set lo up")
        with self.inside(name):
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")

    def do(self, name: str, *commands: str) -> None:
        """Run commands of ip inside the namespace."""
        self.run("-n", self.full(name), "-batch", "-", stdin="\n".join(commands) + "\n")

    def cable(self, one: str, card: str, other: str, other_card: str, mac: str = "") -> None:
        """A cable between cards in two namespaces; `mac` is for the second."""
        address = ["address", mac] if mac else []
        self.run(
            *("-n", self.full(one), "link", "add", card, "type", "veth"),
            *("peer", "name", other_card, *address, "netns", self.full(other)),
        )
        for name, end in ((one, card), (other, other_card)):
            self.opened(name, lambda end=end: _calculate_checksums(end))  # type: ignore[misc]
            self.do(name, f"link set {end} up")

    def mac(self, name: str, card: str) -> str:
        """The hardware address of a card."""
        with self.inside(name):
            return _hardware_address(card)

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """This thread in that namespace."""
        home = os.open(_OWN, os.O_RDONLY)
        try:
            _enter(os.open(_NETNS / self.full(name), os.O_RDONLY))
            try:
                yield
            finally:
                _enter(os.dup(home))
        finally:
            os.close(home)

    def opened(self, name: str, opener: Callable[[], T]) -> T:
        """What `opener` opens there."""
        with self.inside(name):
            return opener()

    def command(self, name: str, *argv: str) -> list[str]:
        """The command that runs `argv` there."""
        return [self._ip, "netns", "exec", self.full(name), *argv]


def sniffer(card: str) -> socket.socket:
    """Everything that passes this card of the namespace one is in, as whole frames."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    sock.bind((card, _ETH_P_ALL))
    sock.setblocking(False)
    return sock


class BadCable:
    """Carries frames between two cards and loses, doubles and swaps some of them, in a thread.

    What netem does, for kernels that lack it; the seed makes a run repeatable as far as the clients are.
    """

    def __init__(
        self, one: socket.socket, other: socket.socket, seed: int, *, lost: float, twice: float, swapped: float
    ) -> None:
        self._ends = {one: other, other: one}
        self._random = Random(seed)
        self._chances = lost, twice, swapped
        self._kept: list[tuple[socket.socket, bytes]] = []
        self._bell, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="bad-cable")
        self.carried = self.lost = self.doubled = self.swapped = 0

    def __enter__(self) -> BadCable:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stop)
        self._thread.join()
        os.close(self._bell)
        for sock in self._ends:
            sock.close()

    def _carry(self) -> None:
        while True:
            ready, _, _ = select.select([self._bell, *self._ends], [], [], 0.02 if self._kept else None)
            if self._bell in ready:
                return
            for sock in ready:
                self._pass(sock)
            if not ready:
                self._let_go()

    def _pass(self, sock: socket.socket) -> None:
        frame, (_, _, kind, *_) = sock.recvfrom(65535)
        if kind == socket.PACKET_OUTGOING:
            return
        lost, twice, swapped = self._chances
        fate = self._random.random()
        to = self._ends[sock]
        if fate < lost:
            self.lost += 1
            return
        self.carried += 1
        if fate < lost + swapped:
            self.swapped += 1
            self._kept.append((to, frame))
            return
        to.send(frame)
        if fate < lost + swapped + twice:
            self.doubled += 1
            to.send(frame)
        self._let_go()

    def _let_go(self) -> None:
        for to, frame in self._kept:
            to.send(frame)
        self._kept.clear()


def _run(*argv: str, stdin: str = "") -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


def _enter(descriptor: int) -> None:
    try:
        if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def _calculate_checksums(card: str) -> None:
    """Between cards of one host the kernel leaves checksums out, which whoever carries frames by hand must have."""
    value = ctypes.create_string_buffer(_ETHTOOL_VALUE.pack(_ETHTOOL_STXCSUM, 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        ioctl(sock, _SIOCETHTOOL, _IFREQ.pack(card.encode(), ctypes.addressof(value)))


def _hardware_address(card: str) -> str:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((card, 0))
        return bytes(sock.getsockname()[4]).hex(":")
