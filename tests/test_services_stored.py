"""Stored files over real connections: whole, in parts, in turns, and to those who do not read."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from provisioner.errors import NotFound
from provisioner.services.stored import DRIBBLE_BYTES, SLICE_BYTES, Body, Pace, StoredFile, WholeBody, content_type
from provisioner.wire.http_parts import Stored

CONTENT = bytes(range(256)) * (SLICE_BYTES * 5 // 2 // 256)


class Notebook:
    """Follows one transfer; `held` is how often it has to wait."""

    def __init__(self, held: int = 0) -> None:
        self.held = held
        self.sent: list[int] = []
        self.end: asyncio.Future[tuple[int, str, bool]] = asyncio.get_running_loop().create_future()

    def begin(self, size: int, start: int) -> None:
        self.begun = (size, start)

    def may_go_on(self) -> bool:
        self.held -= 1
        return self.held < 0

    def progress(self, sent: int) -> None:
        self.sent.append(sent)

    def ended(self, sent: int, error: str, *, whole: bool) -> None:
        self.end.set_result((sent, error, whole))


class Failing(WholeBody):
    """Comes in until it does not."""

    async def ready(self, place: int) -> int:
        if place >= SLICE_BYTES:
            raise NotFound("the upstream went away")
        return SLICE_BYTES


@asynccontextmanager
async def serving(
    path: Path, notebook: Notebook, body: type[WholeBody] = WholeBody, pace: Pace | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        opened: Body = body(path.open("rb"), len(CONTENT))
        stored = Stored(len(CONTENT), '"tag"', 1_000_000_000)
        return StoredFile(request.method, request.headers, opened, stored, "application/efi", notebook, pace)

    app = web.Application()
    app.router.add_get("/file", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0], limit=2 * len(CONTENT))
    try:
        yield reader, writer
    finally:
        writer.close()
        await runner.cleanup()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def request(method: str = "GET", **headers: str) -> bytes:
    lines = [
        f"{method} /file HTTP/1.1",
        "Host: x",
        *(f"{name.replace('_', '-')}: {text}" for name, text in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


async def head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
    return int(lines[0].split()[1]), {
        name: text for name, _, text in (line.partition(": ") for line in lines[1:] if line)
    }


async def test_a_file_is_sent_whole_and_the_connection_goes_on(path: Path) -> None:
    notebook = Notebook()
    async with serving(path, notebook) as (reader, writer):
        writer.write(request())
        status, headers = await head(reader)
        assert (status, headers["Content-Length"], headers["ETag"]) == (200, str(len(CONTENT)), '"tag"')
        assert (headers["Content-Type"], headers["Accept-Ranges"]) == ("application/efi", "bytes")
        assert hashlib.md5(await reader.readexactly(len(CONTENT))).digest() == hashlib.md5(CONTENT).digest()
        assert await notebook.end == (len(CONTENT), "", True)
        writer.write(request("HEAD"))
        assert (await head(reader))[1]["Content-Length"] == str(len(CONTENT))
        writer.write(request("HEAD"))
        assert (await head(reader))[0] == 200
    assert notebook.sent[-1] == len(CONTENT)


@pytest.mark.parametrize(
    ("wanted", "start", "end"), [("bytes=5-9", 5, 10), (f"bytes={SLICE_BYTES - 3}-", SLICE_BYTES - 3, None)]
)
async def test_a_part_is_sent_and_told_as_such(path: Path, wanted: str, start: int, end: int | None) -> None:
    notebook = Notebook()
    async with serving(path, notebook) as (reader, writer):
        writer.write(request(Range=wanted))
        status, headers = await head(reader)
        expected = CONTENT[start:end]
        assert (status, headers["Content-Length"]) == (206, str(len(expected)))
        assert headers["Content-Range"].endswith(f"/{len(CONTENT)}")
        assert await reader.readexactly(len(expected)) == expected
        assert await notebook.end == (len(expected), "", end is None)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"If_None_Match": '"tag"'}, 304), ({"If_Match": '"x"'}, 412), ({"Range": f"bytes={len(CONTENT)}-"}, 416)],
)
async def test_what_is_not_sent_has_no_body_and_the_connection_goes_on(
    path: Path, headers: dict[str, str], status: int
) -> None:
    async with serving(path, Notebook()) as (reader, writer):
        for _ in range(2):
            writer.write(request(**headers))
            assert (await head(reader))[0] == status


async def test_whoever_waits_for_its_turn_gets_a_little_and_then_all(path: Path) -> None:
    notebook = Notebook(held=3)
    async with serving(path, notebook, pace=Pace(dribble_seconds=0)) as (reader, writer):
        writer.write(request())
        await head(reader)
        assert await reader.readexactly(len(CONTENT)) == CONTENT
        assert await notebook.end == (len(CONTENT), "", True)
    assert notebook.sent[:4] == [DRIBBLE_BYTES, 2 * DRIBBLE_BYTES, 3 * DRIBBLE_BYTES, 3 * DRIBBLE_BYTES + SLICE_BYTES]


async def test_whoever_does_not_read_is_cut_off(path: Path) -> None:
    notebook = Notebook()
    async with serving(path, notebook, pace=Pace(stall_seconds=0)) as (reader, writer):
        writer.write(request())
        _, error, whole = await asyncio.wait_for(notebook.end, 10)
        assert error.startswith("cut off: nothing was read") and not whole


async def test_whoever_hangs_up_while_it_waits_is_let_go(path: Path) -> None:
    notebook = Notebook(held=1_000_000)
    async with serving(path, notebook, pace=Pace(dribble_seconds=0)) as (reader, writer):
        writer.write(request())
        await head(reader)
        await reader.readexactly(DRIBBLE_BYTES)
        writer.transport.abort()
        assert (await asyncio.wait_for(notebook.end, 10))[1].startswith("cut off: ")


async def test_a_file_that_cannot_be_had_whole_is_never_taken_for_whole(path: Path) -> None:
    notebook = Notebook()
    async with serving(path, notebook, Failing) as (reader, writer):
        writer.write(request())
        await head(reader)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(len(CONTENT))
        assert (await notebook.end)[1:] == ("cut off: the upstream went away", False)


async def test_a_file_that_becomes_shorter_is_cut_off(path: Path) -> None:
    path.write_bytes(CONTENT[:10])  # noqa: ASYNC240
    notebook = Notebook()
    async with serving(path, notebook) as (reader, writer):
        writer.write(request())
        await head(reader)
        assert (await asyncio.wait_for(notebook.end, 10))[1].startswith("cut off: ")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("shim/shimx64.efi", "application/efi"),
        ("BOOTX64.EFI", "application/efi"),
        ("debian.iso", "application/vnd.efi-iso"),
        ("disk.img", "application/vnd.efi-img"),
        ("disk.img.zst", "application/zstd"),
        ("a.ipxe", "text/plain; charset=utf-8"),
        ("vmlinuz", "application/octet-stream"),
    ],
)
def test_files_have_the_types_that_firmware_wants(name: str, kind: str) -> None:
    assert content_type(name) == kind
