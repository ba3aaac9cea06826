"""One tree of files for TFTP and HTTP alike: boot scripts and rendered files first, then the static root."""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from provisioner.conductor.boot import Boot
from provisioner.conductor.boot_context import Reached
from provisioner.errors import Denied, NotFound, ProvisionerError

_NOT_FOUND = "there is no file {!r}"


class Tree:
    """Finds files by path; `http_port` makes the URLs in what TFTP serves."""

    def __init__(self, boot: Boot, root: Path, agent: bytes, http_port: int) -> None:
        self._boot = boot
        self._root = root
        self._agent = agent
        self._http_port = http_port

    async def open(self, path: str, client_address: str, local_address: str) -> bytes | BinaryIO:
        """For TFTP: the content or the open file; raises NotFound, Denied, or why it could not be rendered."""
        reached = Reached(local_address, f"http://{local_address}:{self._http_port}")
        made = self._rendered(path, reached, "tftp", client_address)
        if made is not None:
            return made
        return self.static(path.removeprefix("files/")).open("rb")

    def _rendered(self, path: str, reached: Reached, protocol: str, client: str) -> bytes | None:
        script = self._boot.named(path, reached, protocol, client)
        if script is not None:
            return script
        return self._boot.file(path.removeprefix("boot/"), reached, client)

    def static(self, path: str) -> Path:
        """A file below the static root; raises Denied for a path that leads out of it, NotFound."""
        if "\0" in path:
            raise Denied("a file name has no NUL in it", code="path-refused")
        found = (self._root / path).resolve()
        if not found.is_relative_to(self._root.resolve()):
            raise Denied(f"{path!r} leads out of the served files", code="path-refused")
        try:
            there = found.is_file()
        except OSError:  # a name longer than a file system can have
            there = False
        if not there:
            raise NotFound(_NOT_FOUND.format(path), object=path)
        return found

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
        await self._boot.served("http", request.path, request.remote or "", len(self._agent), 0)
        return web.Response(body=self._agent, content_type="application/octet-stream")

    async def get_rendered(self, request: web.Request) -> web.Response:
        """A boot script or another file rendered for who asks."""
        return await self._give_rendered(request, request.match_info["path"])

    async def get_grub(self, request: web.Request) -> web.Response:
        """What GRUB asks for: the signed one looks here, whatever path it was loaded from."""
        return await self._give_rendered(request, f"grub/{request.match_info['path']}")

    async def _give_rendered(self, request: web.Request, path: str) -> web.Response:
        host = request.host.rpartition(":")[0] or request.host
        reached = Reached(host, f"{request.scheme}://{request.host}")
        made = self._rendered(path, reached, "http", request.remote or "")
        if made is None:
            raise NotFound(_NOT_FOUND.format(path), object=path)
        await self._boot.served("http", request.path, request.remote or "", len(made), 0)
        return web.Response(body=made, content_type="text/plain")

    async def get_file(self, request: web.Request) -> web.StreamResponse:
        """A static file, by sendfile, with ranges; how it went is told in the timeline."""
        client, begun = request.remote or "", time.monotonic()
        try:
            found = self.static(request.match_info["path"])
        except ProvisionerError as error:
            await self._boot.served("http", request.path, client, 0, 0, error.message)
            raise

        async def ended(size: int, error: str) -> None:
            if request.method == "GET":
                await self._boot.served("http", request.path, client, size, time.monotonic() - begun, error)

        return _ToldFile(found, ended)


class _ToldFile(web.FileResponse):
    """A file that tells how its transfer ended. aiohttp sends the file while it prepares the response."""

    def __init__(self, path: Path, ended: Callable[[int, str], Awaitable[None]]) -> None:
        super().__init__(path)
        self._ended = ended

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the file, then tell."""
        try:
            writer = await super().prepare(request)
        except (ConnectionError, TimeoutError) as error:
            await self._ended(0, f"cut off: {error or type(error).__name__}")
            raise
        except CancelledError:
            # That is how we hear that the client hung up, or that we stop.
            await self._ended(0, "cut off: the connection was closed")
            raise
        except (AssertionError, RuntimeError) as error:
            # What aiohttp and asyncio raise, by version, for a connection that went before the first byte was sent.
            if request.transport is not None and not request.transport.is_closing():
                raise
            await self._ended(0, "cut off: the connection was closed")
            raise ConnectionResetError("the connection was closed") from error
        await self._ended(self.content_length or 0, "")
        return writer
