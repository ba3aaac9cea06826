"""One tree of files for TFTP and HTTP alike: boot scripts and rendered files first, then the static root."""

from __future__ import annotations

import os
from contextlib import suppress
from email.utils import formatdate
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from aiohttp import web

from provisioner.conductor.boot import Boot
from provisioner.conductor.boot_context import Reached
from provisioner.errors import Denied, NotFound, ProvisionerError
from provisioner.services.reach import client_of, of_request, reached_at
from provisioner.services.stored import StoredFile, WholeBody, content_type
from provisioner.services.transfers import Transfers
from provisioner.wire.http_parts import Stored

_NOT_FOUND = "there is no file {!r}"
# What is made for who asks, and has a ticket in it.
_NOT_KEPT = {"Cache-Control": "no-store"}
# Read and sent at once; reading takes the event loop no longer than preparing sendfile for it would.
SMALL_BYTES = 64 << 10
_MOST_HEADS = 1024


class Tree:
    """Finds files by path; `http_port` makes the URLs in what TFTP serves."""

    def __init__(self, boot: Boot, transfers: Transfers, root: Path, agent: bytes, http_port: int) -> None:
        self._boot = boot
        self._transfers = transfers
        self._root = root
        self._agent = agent
        self._http_port = http_port
        self._inside = ""

    async def open(self, path: str, client_address: str, local_address: str) -> bytes | BinaryIO:
        """For TFTP: the content or the open file; raises NotFound, Denied, or why it could not be rendered."""
        reached = reached_at(local_address, self._http_port)
        made = self._rendered(path, reached, "tftp", client_address)
        if made is not None:
            return made
        return self._opened(path.removeprefix("files/"))

    def _rendered(self, path: str, reached: Reached, protocol: str, client: str) -> bytes | None:
        script = self._boot.named(path, reached, protocol, client)
        if script is not None:
            return script
        return self._boot.file(path.removeprefix("boot/"), reached, client)

    def static(self, path: str) -> Path:
        """A file below the static root; raises Denied for a path that leads out of it, NotFound."""
        if "\0" in path:
            raise Denied("a file name has no NUL in it", code="path-refused")
        try:
            found = (self._root / path).resolve()
            there = found.is_file()
        except (OSError, RuntimeError, ValueError):  # longer than a name can be, links in a circle, no text
            raise NotFound(_NOT_FOUND.format(path), object=path) from None
        if not found.is_relative_to(self._root.resolve()):
            raise Denied(f"{path!r} leads out of the served files", code="path-refused")
        if not there:
            raise NotFound(_NOT_FOUND.format(path), object=path)
        return found

    def _opened(self, path: str) -> BinaryIO:
        try:
            return self.static(path).open("rb")
        except OSError as error:
            raise Denied(f"the server cannot read {path!r}: {error.strerror}", code="unreadable") from error

    # --- HTTP -------------------------------------------------------------------------------------------------

    def routes(self) -> list[web.RouteDef]:
        """The routes of this service; anybody on the provisioning network may fetch, nothing lasting is in there."""
        return [
            web.get("/agent.pyz", self.get_agent),
            web.get("/files/{path:.+}", self.get_file),
            web.get("/boot/{path:.+}", self.get_rendered),
            web.get("/grub/{path:.+}", self.get_grub),
        ]

    async def get_agent(self, request: web.Request) -> web.Response:
        """The agent as one runnable file."""
        return self._made(request, self._agent, "application/octet-stream")

    async def get_rendered(self, request: web.Request) -> web.Response:
        """A boot script or another file rendered for who asks."""
        return await self._give_rendered(request, request.match_info["path"])

    async def get_grub(self, request: web.Request) -> web.Response:
        """What GRUB asks for: the signed one looks here, whatever path it was loaded from."""
        return await self._give_rendered(request, f"grub/{request.match_info['path']}")

    async def _give_rendered(self, request: web.Request, path: str) -> web.Response:
        client, reached = _client(request), of_request(request)
        # Whoever asks how long a script is does not boot.
        protocol = "http" if request.method == "GET" else ""
        script = self._boot.named(path, reached, protocol, client)
        if script is not None:
            return web.Response(body=script, content_type="text/plain", charset="utf-8", headers=_NOT_KEPT)
        made = self._boot.file(path.removeprefix("boot/"), reached, client)
        if made is None:
            raise NotFound(_NOT_FOUND.format(path), object=path)
        return self._made(request, made, content_type(path))

    def _made(self, request: web.Request, made: bytes, kind: str) -> web.Response:
        if request.method == "GET":
            self._transfers.recorder.served("http", request.path, _client(request), len(made), 0)
        return web.Response(body=made, headers={"Content-Type": kind, **_NOT_KEPT})

    async def get_file(self, request: web.Request) -> web.StreamResponse:
        """A static file, by sendfile, with ranges; how it went is told in the timeline."""
        client = _client(request)
        try:
            file = self._opened(request.match_info["path"])
        except ProvisionerError as error:
            self._transfers.recorder.served("http", request.path, client, 0, 0, error.message)
            raise
        found = os.fstat(file.fileno())
        stored = Stored(found.st_size, _etag(found), int(found.st_mtime))
        follower = self._transfers.of(request.path, client)
        body = WholeBody(file, found.st_size)
        return StoredFile(request.method, request.headers, body, stored, content_type(file.name), follower)

    def small(self, path: str, client: str) -> tuple[bytes, bytes] | None:
        """A small static file for a plain request: the fields of its head, and all of it; told in the timeline.

        None for whatever has to be looked at more closely; nothing is told then.
        """
        try:
            # Whoever opens a pipe waits for its other end unless told not to.
            descriptor = os.open(f"{self._root}/{path}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        with suppress(OSError), open(descriptor, "rb", buffering=0) as file:
            found = os.fstat(descriptor)
            if not S_ISREG(found.st_mode) or found.st_size > SMALL_BYTES:
                return None
            # Where links lead decides whether it is given, and by its name there what it is.
            place = os.readlink(f"/proc/self/fd/{descriptor}")
            if not self._is_inside(place):
                return None
            content = file.read(SMALL_BYTES + 1)
            if content is None or len(content) != found.st_size:
                return None
            self._transfers.given(f"/files/{path}", client, len(content))
            return _fields(_etag(found), int(found.st_mtime), content_type(place)), content
        return None

    def _is_inside(self, place: str) -> bool:
        if self._inside and place.startswith(self._inside):
            return True
        self._inside = os.path.join(os.path.realpath(self._root), "")
        return place.startswith(self._inside)


@lru_cache(maxsize=_MOST_HEADS)
def _fields(etag: str, modified: int, kind: str) -> bytes:
    fields = {
        "Content-Type": kind,
        "ETag": etag,
        "Last-Modified": formatdate(modified, usegmt=True),
        "Accept-Ranges": "bytes",
    }
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()


def _client(request: web.Request) -> str:
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return client_of(peer)


def _etag(found: os.stat_result) -> str:
    """Strong: a file that is written over in place changes its time, one that is put in its place its inode."""
    return f'"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"'
