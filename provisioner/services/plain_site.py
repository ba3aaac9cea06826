"""Where machines connect: a bound socket, whose connections begin at a plain port and go over to aiohttp from there."""

from __future__ import annotations

import asyncio
import socket

from aiohttp import web

from provisioner.services.plain_port import GiveFile, GiveScript, PlainPort

# Machines that are switched on together connect together; they are taken in by a few in each turn of the event loop.
_BACKLOG, _TAKEN_AT_ONCE = 4096, 16
# What waits in the kernel for a client's window: of a thousand files at once, megabytes each would be more memory than
# the kernel has for TCP, and then it drops what it has.
_UNSENT_BYTES = 512 << 10


class PlainSite(web.BaseSite):
    """Serves an application on a bound socket; connections begin at a plain port."""

    def __init__(
        self,
        runner: web.BaseRunner,
        sock: socket.socket,
        give: GiveScript,
        *,
        small: GiveFile = lambda path, client: None,
    ) -> None:
        super().__init__(runner, backlog=_TAKEN_AT_ONCE)
        self._sock = sock
        self._give = give
        self._small = small
        self._port: PlainPort | None = None

    @property
    def name(self) -> str:
        """Where it listens."""
        return f"http://{self._sock.getsockname()[0]}:{self._sock.getsockname()[1]}"

    async def start(self) -> None:
        """Take connections."""
        await super().start()
        server = self._runner.server
        assert server is not None
        self._port = PlainPort(server, self._give, small=self._small)
        self._server = await asyncio.get_running_loop().create_server(
            self._port, sock=self._sock, backlog=self._backlog
        )
        # asyncio's backlog is both how many may wait and how many it takes in at once.
        self._sock.listen(_BACKLOG)
        # Connections have it from the socket that they came by.
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)

    async def stop(self) -> None:
        """Take no more, and end those that have not gone over to the application."""
        await super().stop()
        if self._port is not None:
            self._port.close()
