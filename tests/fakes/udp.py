"""UDP between a client and a BMC that goes wrong: a hole that swallows everything, and a proxy that falls silent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

# RMCP+ session header: authentication type 6 at byte 4, then the payload type, whose top bit means encrypted.
_AUTH_TYPE_AT, _RMCP_PLUS, _PAYLOAD_TYPE_AT, _ENCRYPTED = 4, 0x06, 5, 0x80
_LONGEST_DATAGRAM = 65535


@contextmanager
def black_hole() -> Iterator[int]:
    """A UDP port on loopback where packets arrive and nothing ever comes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", 0))
        yield hole.getsockname()[1]


class SilentProxy:
    """Passes everything to a BMC on loopback and back, until `lets_through` encrypted requests went by.

    The first encrypted request (Set Session Privilege Level) belongs to the login: with 1, login works and nothing
    after it. Runs in the event loop of whoever made it, until `close`.
    """

    def __init__(self, bmc_port: int, lets_through: int = 1) -> None:
        self.lets_through = lets_through
        self.swallowed = 0
        self._bmc = ("127.0.0.1", bmc_port)
        self._front = _socket()
        self._front.bind(("127.0.0.1", 0))
        self._backs: dict[tuple[str, int], socket.socket] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._front, self._from_clients)

    @property
    def port(self) -> int:
        """Where it listens on loopback."""
        port: int = self._front.getsockname()[1]
        return port

    def close(self) -> None:
        """Close every socket."""
        for each in (self._front, *self._backs.values()):
            self._loop.remove_reader(each)
            each.close()

    def _from_clients(self) -> None:
        data, client = self._front.recvfrom(_LONGEST_DATAGRAM)
        if self._is_swallowed(data):
            self.swallowed += 1
            return
        if client not in self._backs:
            self._backs[client] = self._connect(client)
        self._backs[client].send(data)

    def _connect(self, client: tuple[str, int]) -> socket.socket:
        back = _socket()
        back.connect(self._bmc)
        self._loop.add_reader(back, lambda: self._front.sendto(back.recv(_LONGEST_DATAGRAM), client))
        return back

    def _is_swallowed(self, data: bytes) -> bool:
        if data[_AUTH_TYPE_AT] != _RMCP_PLUS or not data[_PAYLOAD_TYPE_AT] & _ENCRYPTED:
            return False
        self.lets_through -= 1
        return self.lets_through < 0


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made
