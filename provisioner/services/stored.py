"""Stored files as answers to GET and HEAD: by sendfile, with conditions and ranges, and in turns when they are large.

Nobody who reads slowly, or not at all, costs more than a descriptor, and that only for a while. Whoever has to wait for
its turn gets its headers at once and then a little every two seconds: firmware, installers and agents give up on a
server that says nothing, and none of them knows how to ask again later.
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from pathlib import PurePosixPath
from typing import BinaryIO, Protocol

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from provisioner.errors import ProvisionerError
from provisioner.wire.http_parts import Answer, Stored, answer

# So much goes out between two looks at the clock and at whose turn it is.
SLICE_BYTES = 4 << 20
# Less than a slice in this time (35 KB/s) is a reader that has gone.
STALL_SECONDS = 120.0
# EDK2 gives up after 5 seconds without a byte.
DRIBBLE_SECONDS, DRIBBLE_BYTES = 2.0, 512
_OTHER_TYPE = "application/octet-stream"
# EDK2 takes what it boots by HTTP for what its type says (UEFI 2.10, section 24.7.3.1).
CONTENT_TYPES = {
    ".efi": "application/efi",
    ".iso": "application/vnd.efi-iso",
    ".img": "application/vnd.efi-img",
    ".ipxe": "text/plain; charset=utf-8",
    ".cfg": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".sha256": "text/plain; charset=utf-8",
    ".yaml": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".xml": "application/xml",
    ".html": "text/html; charset=utf-8",
    ".gz": "application/gzip",
    ".xz": "application/x-xz",
    ".zst": "application/zstd",
}


@lru_cache(maxsize=1024)
def content_type(name: str) -> str:
    """By the last ending of a file's name; a compressed file is one, not another one that is compressed on its way."""
    return CONTENT_TYPES.get(PurePosixPath(name).suffix.lower(), _OTHER_TYPE)


class Body(Protocol):
    """The bytes of a file, which may still be coming in."""

    async def ready(self, place: int) -> int:
        """Up to where its bytes are there: more than `place`, or the end. Raises ProvisionerError when none come."""

    async def send(self, response: web.StreamResponse, transport: asyncio.Transport, place: int, count: int) -> int:
        """Send bytes that are there; returns how many."""

    def close(self) -> None:
        """It is not needed any more."""


class WholeBody:
    """A file that is all there."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size

    async def ready(self, place: int) -> int:
        """All of it."""
        return self.size

    async def send(self, response: web.StreamResponse, transport: asyncio.Transport, place: int, count: int) -> int:
        """From the file to the socket, without a way through here."""
        return await asyncio.get_running_loop().sendfile(transport, self._file, place, count)

    def close(self) -> None:
        """Close it."""
        self._file.close()


class NoBody:
    """Of a file of which nothing is sent, as in an answer to HEAD."""

    async def ready(self, place: int) -> int:
        """Nothing more."""
        return place

    async def send(self, response: web.StreamResponse, transport: asyncio.Transport, place: int, count: int) -> int:
        """Nothing."""
        return 0

    def close(self) -> None:
        """There is nothing to close."""


class Follower(Protocol):
    """Hears how a transfer goes, and says whether it may go on."""

    def begin(self, size: int, start: int) -> None:
        """It begins."""

    def may_go_on(self) -> bool:
        """Whether it may go on as fast as it can; asked again and again."""

    def progress(self, sent: int) -> None:
        """So many bytes are on their way."""

    def ended(self, sent: int, error: str, *, whole: bool) -> None:
        """It has ended."""


class Pace:
    """How long is waited for readers and for turns."""

    def __init__(self, stall_seconds: float = STALL_SECONDS, dribble_seconds: float = DRIBBLE_SECONDS) -> None:
        self.stall_seconds = stall_seconds
        self.dribble_seconds = dribble_seconds


class StoredFile(web.StreamResponse):
    """An answer with a file or a part of it. aiohttp has it sent while it prepares the answer."""

    def __init__(
        self,
        method: str,
        headers: Mapping[str, str],
        body: Body,
        stored: Stored,
        kind: str,
        follower: Follower,
        pace: Pace | None = None,
    ) -> None:
        self._answer: Answer = answer(method, headers, stored)
        super().__init__(status=self._answer.status, headers=_headers(self._answer, stored, kind))
        self._content = body
        self._stored = stored
        self._follower = follower
        self._pace = pace or Pace()
        self._is_sent = method == "GET" and self._answer.status in (200, 206)
        if self._answer.status in (200, 206):
            self.content_length = self._answer.length
        elif self._answer.status != 304:
            self.content_length = 0

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the answer, and tell how that went."""
        try:
            if not self._is_sent:
                return await super().prepare(request)
            return await self._send(request)
        finally:
            self._content.close()

    async def _send(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        start, end = self._answer.start, self._answer.start + self._answer.length
        sent, error = 0, "cut off: the connection was closed"
        self._follower.begin(self._stored.size, start)
        try:
            writer = await super().prepare(request)
            while start + sent < end:
                sent += await self._slice(request, start + sent, end)
                self._follower.progress(sent)
            error = ""
            return writer
        except TimeoutError:
            error = f"cut off: nothing was read for {self._pace.stall_seconds:.0f} seconds"
            raise _gone(request) from None
        except ProvisionerError as problem:
            error = f"cut off: {problem.message}"
            raise _gone(request) from problem
        except (ConnectionError, OSError) as problem:
            error = f"cut off: {problem.strerror or problem or type(problem).__name__}"
            raise _gone(request) from problem
        except CancelledError:
            # That is how we hear that the client hung up, or that we stop.
            raise
        except (AssertionError, RuntimeError) as problem:
            # What aiohttp and asyncio raise, by version, for a connection that went before the first byte was sent.
            if request.transport is not None and not request.transport.is_closing():
                raise
            raise _gone(request) from problem
        finally:
            self._follower.ended(sent, error, whole=not error and end == self._stored.size)

    async def _slice(self, request: web.BaseRequest, place: int, end: int) -> int:
        """Send a little and wait when it is not our turn, else as much as is there at most a slice; how much it was."""
        goes_on = self._follower.may_go_on()
        count = min(await self._content.ready(place), end, place + (SLICE_BYTES if goes_on else DRIBBLE_BYTES)) - place
        if count <= 0:
            raise ConnectionResetError("the file became shorter")
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the connection was closed")
        async with asyncio.timeout(self._pace.stall_seconds):
            done = await self._content.send(self, transport, place, count)
        if done != count:
            raise ConnectionResetError("the file became shorter")
        if not goes_on:
            await asyncio.sleep(self._pace.dribble_seconds)
        return count


def _gone(request: web.BaseRequest) -> ConnectionResetError:
    """What aiohttp is told of an answer that cannot be ended: whoever waits for the rest must see that none comes."""
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError("the connection was closed")


def _headers(answer: Answer, stored: Stored, kind: str) -> dict[str, str]:
    headers = {
        "ETag": stored.etag,
        "Last-Modified": formatdate(stored.modified, usegmt=True),
        "Accept-Ranges": "bytes",
    }
    if answer.status != 304:
        headers["Content-Type"] = kind
    content_range = answer.content_range(stored.size)
    return headers | {"Content-Range": content_range} if content_range else headers
