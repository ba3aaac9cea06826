"""Connections that ask for boot scripts only, and those that go over to aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession, web
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.conductor.boot_context import Reached
from provisioner.errors import Invalid
from provisioner.services.plain_port import LARGEST_REQUEST, PlainPort
from provisioner.services.plain_site import PlainSite
from provisioner.sockets import tcp

PATH = "/boot/52-54-00-00-00-01.ipxe"


def give(mac: str, reached: Reached, client: str) -> bytes:
    if mac.endswith(":ff"):
        raise Invalid("no such luck", object=mac, code="boot-script")
    return f"{mac} {reached.url} {client}".encode()


def small(path: str, client: str) -> tuple[bytes, bytes] | None:
    return (b"Content-Type: text/small\r\n", f"{path} {client}".encode()) if path.startswith("small/") else None


async def other(request: web.Request) -> web.Response:
    return web.Response(text=f"aiohttp {request.method} {request.path} {len(await request.read())}")


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", other)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    sock = tcp("127.0.0.1", 0)
    port = sock.getsockname()[1]
    await PlainSite(runner, sock, give, small=small).start()
    try:
        yield port
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()


def request(path: str = PATH, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", *(headers or ("Host: 10.0.0.1:8091",)), "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def answer(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Status line and body."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode()
    length = next(int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:"))
    return head.splitlines()[0], await reader.readexactly(length)


async def ask(data: bytes) -> tuple[str, bytes]:
    async with connected() as (reader, writer):
        writer.write(data)
        return await answer(reader)


async def test_a_script_is_for_the_mac_in_its_name_and_by_the_address_that_the_client_names() -> None:
    assert await ask(request()) == ("HTTP/1.1 200 OK", b"52:54:00:00:00:01 http://10.0.0.1:8091 127.0.0.1")


async def test_a_request_without_a_host_gets_the_address_of_the_socket() -> None:
    _, body = await ask(request(PATH, "User-Agent: iPXE/1.21.1"))
    assert body.startswith(b"52:54:00:00:00:01 http://127.0.0.1:")


@pytest.mark.parametrize(
    "agent",
    [
        ("Connection: keep-alive", "User-Agent: iPXE/1.21.1", "Host: 10.0.0.1"),
        ("User-Agent: UefiHttpBoot/1.0", "host:10.0.0.1"),
    ],
)
async def test_requests_as_boot_loaders_write_them_are_answered_here(agent: tuple[str, ...]) -> None:
    assert (await ask(request(PATH, *agent)))[1] == b"52:54:00:00:00:01 http://10.0.0.1 127.0.0.1"


async def test_one_connection_is_good_for_many_scripts_also_when_they_are_asked_for_at_once() -> None:
    async with connected() as (reader, writer):
        writer.write(request() * 3)
        assert [(await answer(reader))[0] for _ in range(3)] == ["HTTP/1.1 200 OK"] * 3
        writer.write(request())
        assert (await answer(reader))[1].startswith(b"52:54")


async def test_a_script_that_cannot_be_made_is_a_problem_and_the_connection_goes_on() -> None:
    async with connected() as (reader, writer):
        writer.write(request("/boot/52-54-00-00-00-ff.ipxe"))
        status, body = await answer(reader)
        assert status.split()[1] == "422" and b"no such luck" in body
        writer.write(request())
        assert (await answer(reader))[0] == "HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    "data",
    [
        request("/files/ipxe/snponly.efi"),
        request(method="HEAD").replace(b"HEAD", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc"),
        request(PATH, "Host: a", "Content-Length: 0"),
        request(PATH, "Host: a", "Connection: close"),
        request(PATH, "Host: a", "Connection: keep-alive, close"),
        request(PATH, "Host: a", "Range: bytes=0-1"),
        request("/files/small/a", "Host: a", 'If-None-Match: "x"'),
        request("/files/small/a", "Host: a", "Authorization: Bearer x"),
        request("/files/small/../small/a"),
        request("/files/small//a"),
        request("/files/small/.a"),
        request("/files/small/a%20b"),
        request("/files/small/"),
        request("/boot/52-54-00-00-00-0G.ipxe"),
        request("/boot/52-54-00-00-00-01.ipxe?a=b"),
        request("http://10.0.0.1/boot/52-54-00-00-00-01.ipxe"),
        request(version="1.0", path=PATH),
        request(PATH, "Host: a", *["X: a"] * 30),
    ],
)
async def test_everything_else_is_answered_by_aiohttp(data: bytes) -> None:
    status, body = await ask(data)
    assert status.endswith("200 OK") and body.startswith(b"aiohttp ")


async def test_a_request_without_a_header_is_refused_as_everywhere() -> None:
    async with connected() as (reader, writer):
        writer.write(f"GET {PATH} HTTP/1.1\r\n\r\n".encode() + request())
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 5)


@pytest.mark.parametrize("letter", ["\x01", "\x0b", "\x7f"])
async def test_a_header_with_what_no_header_has_is_refused_as_everywhere(letter: str) -> None:
    async with connected() as (reader, writer):
        writer.write(request(PATH, "Host: a", f"X: a{letter}b"))
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 5)


async def test_a_small_file_is_given_from_here() -> None:
    async with connected() as (reader, writer):
        writer.write(request("/files/small/a-b/c.efi") + request())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"\r\nContent-Type: text/small\r\nContent-Length: 25\r\n\r\n" in head
        assert await reader.readexactly(25) == b"small/a-b/c.efi 127.0.0.1"
        assert (await answer(reader))[1].startswith(b"52:54")


async def test_a_connection_that_went_over_stays_there_and_still_gets_scripts() -> None:
    async with connected() as (reader, writer):
        writer.write(request() + request("/files/a"))
        assert (await answer(reader))[1].startswith(b"52:54") and (await answer(reader))[1].startswith(b"aiohttp")
        writer.write(request())
        assert (await answer(reader))[1] == f"aiohttp GET {PATH} 0".encode()


async def test_a_request_that_comes_in_pieces_is_answered_all_the_same() -> None:
    async with connected() as (reader, writer):
        for byte in request():
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await answer(reader))[0] == "HTTP/1.1 200 OK"


async def test_requests_larger_than_the_buffer_are_no_fault() -> None:
    status, body = await ask(request(PATH, "Host: a", f"X-Long: {'x' * (LARGEST_REQUEST + 1000)}"))
    assert status.endswith("200 OK") and body.startswith(b"aiohttp")


async def test_a_client_that_asks_and_does_not_read_is_not_read_from_either() -> None:
    async with connected() as (reader, writer):
        asked = 3000
        writer.write(request() * asked)
        for _ in range(asked):
            assert (await answer(reader))[0] == "HTTP/1.1 200 OK"


async def test_a_real_client_gets_script_and_file_over_one_connection() -> None:
    async with serving() as port, ClientSession() as session:
        for path, expected in ((PATH, "52:54:00:00:00:01"), ("/files/a", "aiohttp"), (PATH, "aiohttp")):
            async with session.get(f"http://127.0.0.1:{port}{path}") as got:
                assert (await got.text()).startswith(expected)


async def test_a_connection_on_which_nothing_is_said_is_ended() -> None:
    port = PlainPort(asyncio.Protocol, give, sweep_seconds=0)
    server = await asyncio.get_running_loop().create_server(port, sock=tcp("127.0.0.1", 0))
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await asyncio.wait_for(reader.read(), 5) == b"" or reader.at_eof()
    writer.close()
    port.close()
    server.close()


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.9", 1), "sockname": ("10.0.0.1", 80)})
        self.written = b""
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: object) -> None:
        self.written += bytes(data)  # type: ignore[call-overload]

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Taker(asyncio.Protocol):
    """What goes over."""

    def __init__(self) -> None:
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data


@settings(max_examples=50)
@given(st.lists(st.sampled_from([request(), b"GET ", b"\r\n", b"\0", b"Host: a\r\n", b"\xff" * 9, PATH.encode()])))
def test_whatever_is_sent_is_answered_here_or_goes_over_whole(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    port = PlainPort(Taker, give)
    transport = Transport()
    port.buffer[: len(data)] = data
    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        loop.call_soon(lambda: _feed(port, transport, len(data)))
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()
    answered = transport.written.count(b"HTTP/1.1 200 OK")
    rest = transport.protocol.data if isinstance(transport.protocol, Taker) else b""
    assert request() * answered + rest == data


def _feed(port: PlainPort, transport: Transport, size: int) -> None:
    connection = port()
    connection.connection_made(transport)
    if size:
        connection.buffer_updated(size)
