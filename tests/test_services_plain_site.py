"""A site whose connections begin at a plain port: how many it takes in, and what becomes of them when it stops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import ClientSession, web

from provisioner.conductor.boot_context import Reached
from provisioner.services.plain_site import PlainSite
from provisioner.sockets import tcp

REQUEST = b"GET /boot/52-54-00-00-00-01.ipxe HTTP/1.1\r\nHost: a\r\n\r\n"


def give(mac: str, reached: Reached, client: str) -> bytes:
    return b"a script"


async def look(request: web.Request) -> web.Response:
    """What the kernel keeps for this connection."""
    assert request.transport is not None
    sock = request.transport.get_extra_info("socket")
    return web.Response(text=str(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)))


@asynccontextmanager
async def serving() -> AsyncIterator[PlainSite]:
    app = web.Application()
    app.router.add_get("/look", look)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = PlainSite(runner, tcp("127.0.0.1", 0), give)
    await site.start()
    try:
        yield site
    finally:
        await runner.cleanup()


async def connect(site: PlainSite) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = site.name.removeprefix("http://").rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Up to its body, which is a script."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert await reader.readexactly(len(b"a script")) == b"a script"
    return head


async def test_more_that_connect_at_once_than_are_taken_in_a_turn_are_all_answered() -> None:
    async with serving() as site:
        pairs = await asyncio.gather(*(connect(site) for _ in range(200)))
        for _, writer in pairs:
            writer.write(REQUEST)
        answers = [await answer(reader) for reader, _ in pairs]
        for _, writer in pairs:
            writer.close()
    assert {head.partition(b"\r\n")[0] for head in answers} == {b"HTTP/1.1 200 OK"}


async def test_what_waits_in_the_kernel_for_a_slow_client_is_bounded() -> None:
    async with serving() as site, ClientSession() as session, session.get(f"{site.name}/look") as reply:
        assert await reply.text() == str(512 << 10)


async def test_a_site_that_stops_ends_the_connections_that_have_not_gone_over() -> None:
    async with serving() as site:
        reader, writer = await connect(site)
        writer.write(REQUEST)
        await answer(reader)
        await site.stop()
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
