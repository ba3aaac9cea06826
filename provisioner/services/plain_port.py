"""The way of plain requests past the HTTP library: a storm asks for thousands, each of which costs a third this way.

A connection begins here. For as long as all that comes in are plain requests for boot scripts and small files they are
answered from here; at the first byte of anything else the connection goes over to aiohttp, with that byte, and stays
there. So everything that is answered here is answered there as well (`GET /boot/{mac}.ipxe`, `GET /files/{path}`), only
slower.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from time import time
from typing import Any, cast

from provisioner.conductor.boot_context import Reached
from provisioner.errors import ProvisionerError
from provisioner.services.http import problem
from provisioner.services.reach import client_of, reached_by

# MAC, reached, address of the client; raises ProvisionerError.
GiveScript = Callable[[str, Reached, str], bytes]
# Path below /files/, address of the client; fields of the head and the content, None when this is for aiohttp.
GiveFile = Callable[[str, str], tuple[bytes, bytes] | None]

# More than any boot loader's request; what is larger is not for us.
LARGEST_REQUEST = 4096
# Who says nothing from one look to the next is gone.
SWEEP_SECONDS = 75.0
# The machines of a site send the same few headers, and others whatever they like.
_MOST_HEADS = 256
# Written out: a group that is repeated takes twice the time.
_MAC = b"-".join([rb"[0-9a-f][0-9a-f]"] * 6)
# Names that need no decoding, and lead nowhere but down.
_PATH = rb"(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,100}/){0,20}[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}"
_REQUEST_LINE = re.compile(rb"GET /(?:boot/(" + _MAC + rb")\.ipxe|files/(" + _PATH + rb")) HTTP/1\.1\r\n")
_HEADERS = re.compile(rb"(?:[A-Za-z-]{1,40}:[^\x00-\x08\x0a-\x1f\x7f]*\r\n){1,30}")
_SCRIPT_FIELDS = b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
_HOST = re.compile(rb"(?:^|\n)host:[ \t]*([!-~]*)[ \t]*\r", re.IGNORECASE)
# Whoever sends a body, wants the connection closed or changed, has conditions or asks for a part is served by aiohttp.
_NOT_PLAIN = re.compile(
    rb"(?:^|\n)(?:content-length:|transfer-encoding:|connection:(?![ \t]*keep-alive[ \t]*\r)|expect:|upgrade:|range:"
    rb"|if-[a-z-]*:|authorization:"
    rb"|host:.*\nhost:)",
    re.IGNORECASE | re.DOTALL,
)


class PlainPort:
    """Makes the protocol of each new connection; `web` makes the one that it goes over to."""

    def __init__(
        self,
        web: Callable[[], asyncio.Protocol],
        give: GiveScript,
        sweep_seconds: float = SWEEP_SECONDS,
        *,
        small: GiveFile = lambda path, client: None,
    ) -> None:
        self.web = web
        self.give = give
        self.small = small
        self._sweep_seconds = sweep_seconds
        # One for all: what was read is used up before the next connection reads.
        self.buffer = memoryview(bytearray(LARGEST_REQUEST))
        self.connections: set[_Connection] = set()
        self._heads: dict[tuple[bytes, Any], Reached | None] = {}
        self._date = (0, b"")
        self._sweeping: asyncio.TimerHandle | None = None

    def __call__(self) -> asyncio.BufferedProtocol:
        """The protocol for a new connection."""
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(self._sweep_seconds, self._sweep)
        return _Connection(self)

    def close(self) -> None:
        """End the connections that are still here."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        for connection in list(self.connections):
            connection.close()

    def _sweep(self) -> None:
        for connection in list(self.connections):
            connection.end_if_idle()
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_later(self._sweep_seconds, self._sweep) if self.connections else None

    def reached(self, headers: bytes, local: Any) -> Reached | None:
        """By which address of ours a client came; None for headers with which we do not answer here."""
        key = (headers, local)
        try:
            return self._heads[key]
        except KeyError:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            known = self._heads[key] = _read(headers, local)
            return known

    def head(self, now: float) -> bytes:
        """The head of any answer up to its fields; `now` in seconds since 1970."""
        second = int(now)
        if self._date[0] != second:
            date = formatdate(second, usegmt=True).encode()
            self._date = (second, b"HTTP/1.1 200 OK\r\nDate: " + date + b"\r\n")
        return self._date[1]


def _read(headers: bytes, local: Any) -> Reached | None:
    if not _HEADERS.fullmatch(headers) or _NOT_PLAIN.search(headers):
        return None
    host = _HOST.search(headers)
    return reached_by(host[1].decode("ascii") if host else "", local)


class _Connection(asyncio.BufferedProtocol):
    """One connection, for as long as it asks for boot scripts and small files only."""

    def __init__(self, port: PlainPort) -> None:
        self._port = port
        self._rest = b""
        self._paused = False
        self._heard = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._local = transport.get_extra_info("sockname")
        self._client = client_of(transport.get_extra_info("peername"))
        self._port.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.connections.discard(self)

    def close(self) -> None:
        """End it; nothing is under way, for answers are written whole."""
        self._transport.abort()

    def end_if_idle(self) -> None:
        """End it unless something was heard since this was asked last."""
        if not self._heard:
            self.close()
        self._heard = False

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._port.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._heard = True
        self._answer(self._rest + bytes(self._port.buffer[:nbytes]))

    def pause_writing(self) -> None:
        # It asks faster than it reads.
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused = False
        self._transport.resume_reading()
        if self._rest:
            self._answer(self._rest)

    def _answer(self, data: bytes) -> None:
        place = 0
        while place < len(data) and not self._paused:
            end = self._answer_one(data, place)
            if not end:
                self._hand_over(data[place:])
                return
            place = end
        self._rest = data[place:]

    def _answer_one(self, data: bytes, place: int) -> int:
        """Answer the request that begins at this place; returns where it ends, 0 when it is not for us."""
        line = _REQUEST_LINE.match(data, place)
        if line is None:
            return 0
        begin = line.end()
        # The first empty line: no header that we know as such has a line break in it.
        end = data.find(b"\r\n\r\n", begin)
        reached = self._port.reached(data[begin : end + 2], self._local) if end >= 0 else None
        if reached is None:
            return 0
        mac: bytes | None = line[1]
        if mac is not None:
            self._give_script(mac.decode().replace("-", ":"), reached)
        elif not self._give_file(line[2]):
            return 0
        return end + 4

    def _give_file(self, path: bytes) -> bool:
        made = self._port.small(path.decode(), self._client)
        if made is None:
            return False
        fields, content = made
        self._send(fields, content)
        return True

    def _give_script(self, mac: str, reached: Reached) -> None:
        try:
            made = self._port.give(mac, reached, self._client)
        except ProvisionerError as error:
            self._refuse(error)
        else:
            self._send(_SCRIPT_FIELDS, made)

    def _send(self, fields: bytes, content: bytes) -> None:
        length = str(len(content)).encode()
        head = self._port.head(time())
        self._transport.write(b"".join((head, fields, b"Content-Length: ", length, b"\r\n\r\n", content)))

    def _refuse(self, error: ProvisionerError) -> None:
        answer = problem(error)
        body = cast(bytes, answer.body)
        phrase = HTTPStatus(answer.status).phrase
        head = (
            f"HTTP/1.1 {answer.status} {phrase}\r\nContent-Type: {answer.content_type}\r\nContent-Length: {len(body)}"
        )
        self._transport.write(head.encode() + b"\r\n\r\n" + body)

    def _hand_over(self, data: bytes) -> None:
        self._port.connections.discard(self)
        protocol = self._port.web()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(data)
