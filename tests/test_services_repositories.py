"""Repositories passed on: from a real upstream on loopback, that is slow, wrong, gone or hostile."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import ClientPayloadError, ClientResponse, ClientSession, ClientTimeout, TCPConnector, web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from provisioner.conductor.tokens import Tokens
from provisioner.conductor.turns import Turns
from provisioner.errors import NotFound
from provisioner.services.http import App
from provisioner.services.repositories import Repositories
from provisioner.services.transfers import Transfers
from provisioner.services.upstreams import AWAY_SECONDS, FETCHES_PER_UPSTREAM, PASSED_PER_UPSTREAM
from provisioner.store.file_cache import FileCache, Part
from provisioner.wire.http_parts import Stored, answer
from tests.fakes.turns import FakeTurns

BIG = bytes(range(256)) * 4096
DEB = "pool/main/a/apt_2.6.1_amd64.deb"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Upstream:
    """Answers with what `files` has, or as `handler` says; remembers what it was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {"InRelease": b"index 1", DEB: BIG}
        self.handler: Handler | None = None
        self.asked: list[tuple[str, str, dict[str, str]]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One answer."""
        self.asked.append((request.method, request.path, dict(request.headers)))
        if self.handler is not None:
            return await self.handler(request)
        content = self.files.get(request.path.removeprefix("/debian/"))
        if content is None:
            raise web.HTTPNotFound
        etag = hashlib.md5(content).hexdigest()
        if request.headers.get("If-None-Match") == f'"{etag}"':
            raise web.HTTPNotModified
        return web.Response(body=content, headers={"ETag": f'"{etag}"'})


class Notebook:
    """Remembers what was told to the timeline."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def served(self, *told: Any) -> None:
        self.told.append(told)


class Site:
    """Upstream, repositories and a client of theirs."""

    def __init__(
        self,
        upstream: Upstream,
        server: TestServer,
        notebook: Notebook,
        cache: Callable[[Callable[[], float]], FileCache],
        folder: Path,
        silent_seconds: float,
        scheme: str,
    ) -> None:
        self.folder = folder
        self.upstream = upstream
        self.server = server
        self.notebook = notebook
        self.now = 1_000_000.0
        self.cache = cache(lambda: self.now)
        self.repositories = Repositories(
            {"debian": str(server.make_url("/debian/").with_scheme(scheme))},
            self.cache,
            Transfers(notebook, cast(Turns, FakeTurns())),
            lambda: ClientSession(auto_decompress=False, timeout=ClientTimeout(total=None, sock_read=silent_seconds)),
            lambda: self.now,
        )
        self.client: TestClient[Any, Any] | None = None
        self.hosts: dict[int, ClientSession] = {}
        self.answers: list[ClientResponse] = []

    async def get(self, path: str, method: str = "GET", at: int = 1, **headers: str) -> ClientResponse:
        """An answer, whose body is not read yet, to the host with this number."""
        assert self.client is not None
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        url = self.client.make_url(f"/repos/debian/{path}")
        if at not in self.hosts:
            self.hosts[at] = ClientSession(connector=TCPConnector(limit=0, local_addr=(f"127.0.0.{at}", 0)))
        self.answers.append(await self.hosts[at].request(method, url, headers=named))
        return self.answers[-1]

    async def read(self, path: str, at: int = 1, **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        got = await self.get(path, at=at, **headers)
        return got.status, await got.read()

    async def close(self) -> None:
        """The hosts go."""
        for answered in self.answers:
            answered.close()
        for session in self.hosts.values():
            await session.close()

    @property
    def counts(self) -> dict[str, int]:
        """What became of requests."""
        (found,) = self.repositories.now().repositories
        names = ("hits", "fetches", "unchanged", "passed", "stale", "failed")
        return {name: getattr(found, name) for name in names if getattr(found, name)}

    @property
    def error(self) -> str:
        """What went wrong last."""
        return self.repositories.now().repositories[0].error

    async def settled(self) -> None:
        """All fetches have ended."""
        await self.repositories.settled()


@asynccontextmanager
async def opened(
    folder: Path,
    cache: type[FileCache] = FileCache,
    limit_bytes: int = 100 << 20,
    silent_seconds: float = 60.0,
    scheme: str = "http",
) -> AsyncIterator[Site]:
    upstream = Upstream()
    app = web.Application()
    app.router.add_get("/{path:.*}", upstream.answer)
    async with TestServer(app) as server:
        made = partial(cache, folder, limit_bytes)
        site = Site(upstream, server, Notebook(), made, folder, silent_seconds, scheme)
        running = asyncio.create_task(site.repositories.run())
        served = App(cast(Tokens, None), cookies=False).build([site.repositories.routes()])
        try:
            async with TestClient(TestServer(served)) as site.client:
                await site.repositories.started.wait()
                try:
                    yield site
                finally:
                    await site.close()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened(tmp_path / "repos") as site:
        yield site


def slowly(go_on: asyncio.Event) -> Handler:
    """An upstream that sends BIG, of which only the beginning until it may go on."""

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(BIG)
        await response.prepare(request)
        await response.write(BIG[:1000])
        await go_on.wait()
        await response.write(BIG[1000:])
        return response

    return slow


async def test_a_file_comes_from_the_upstream_once_and_from_its_copy_then(site: Site) -> None:
    assert await site.read(DEB) == (200, BIG)
    await site.settled()
    assert await site.read(DEB) == (200, BIG)
    assert len(site.upstream.asked) == 1 and site.counts == {"fetches": 1, "hits": 1}
    assert [(told[1], told[3]) for told in site.notebook.told] == [(f"/repos/debian/{DEB}", len(BIG))] * 2


async def test_the_first_reader_does_not_wait_for_the_whole_and_others_share_the_fetch(site: Site) -> None:
    go_on = asyncio.Event()

    site.upstream.handler = slowly(go_on)
    one, other = await site.get(DEB), await site.get(DEB)
    assert await one.content.readexactly(1000) == BIG[:1000] == await other.content.readexactly(1000)
    part = await site.get(DEB, Range="bytes=10-19")
    assert (part.status, await part.read()) == (206, BIG[10:20])
    go_on.set()
    assert await one.content.read() == BIG[1000:] == await other.content.read()
    assert len(site.upstream.asked) == 1


async def test_a_fetch_goes_on_when_its_reader_hangs_up(site: Site) -> None:
    go_on = asyncio.Event()

    site.upstream.handler = slowly(go_on)
    (await site.get(DEB)).close()
    go_on.set()
    await site.settled()
    site.upstream.handler = None
    assert await site.read(DEB) == (200, BIG) and len(site.upstream.asked) == 1


async def test_ranges_head_and_conditions_are_answered_from_the_copy(site: Site) -> None:
    first = await site.get(DEB)
    await first.read()
    await site.settled()
    assert await site.read(DEB, Range="bytes=-5") == (206, BIG[-5:])
    head = await site.get(DEB, "HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(BIG)))
    assert (await site.read(DEB, If_None_Match=first.headers["ETag"]))[0] == 304
    assert len(site.upstream.asked) == 1


async def test_an_index_is_asked_for_again_when_its_copy_is_old_and_kept_when_it_is_the_same(site: Site) -> None:
    assert await site.read("InRelease") == (200, b"index 1")
    await site.settled()
    site.now += 59
    assert await site.read("InRelease") == (200, b"index 1") and len(site.upstream.asked) == 1
    site.now += 2
    assert await site.read("InRelease") == (200, b"index 1")
    await site.settled()
    assert "If-None-Match" in site.upstream.asked[1][2] and site.counts["unchanged"] == 1
    site.upstream.files["InRelease"] = b"index 2, longer"
    site.now += 61
    assert await site.read("InRelease") == (200, b"index 2, longer")


async def test_a_copy_is_given_out_however_old_when_the_upstream_is_away(site: Site) -> None:
    await site.read("InRelease")
    await site.settled()
    site.now += 10_000
    await site.server.close()
    assert await site.read("InRelease") == (200, b"index 1") and site.counts["stale"] == 1


async def test_an_upstream_that_is_away_is_said_to_be(site: Site) -> None:
    await site.server.close()
    got = await site.get("InRelease")
    problem = await got.json()
    assert (got.status, problem["code"]) == (502, "upstream-failed") and "cannot be fetched" in problem["detail"]
    assert site.counts == {"fetches": 1, "failed": 1} and "cannot be fetched" in site.notebook.told[0][5]


@pytest.mark.parametrize(
    ("status", "answered"), [(404, 404), (410, 404), (403, 502), (500, 502), (503, 502), (504, 504)]
)
async def test_what_the_upstream_refuses_is_refused(site: Site, status: int, answered: int) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    site.upstream.handler = refuse
    assert (await site.read("InRelease"))[0] == answered


async def test_what_the_upstream_has_no_more_is_not_kept_either(site: Site) -> None:
    await site.read("InRelease")
    await site.settled()
    del site.upstream.files["InRelease"]
    site.now += 61
    assert (await site.read("InRelease"))[0] == 404
    await site.settled()
    assert site.cache.size == 0


async def test_a_fetch_that_breaks_off_is_resumed_for_as_long_as_it_gets_on(site: Site) -> None:
    async def breaking(request: web.Request) -> web.StreamResponse:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        headers = {"ETag": '"e"', "Content-Range": f"bytes {start}-{len(BIG) - 1}/{len(BIG)}"}
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        response.content_length = len(BIG) - start
        await response.prepare(request)
        await response.write(BIG[start : start + 200_000])
        if start + 200_000 < len(BIG):
            assert request.transport is not None
            request.transport.close()
        return response

    site.upstream.handler = breaking
    assert await site.read(DEB) == (200, BIG)
    assert {asked[2].get("If-Range") for asked in site.upstream.asked} == {None, '"e"'}


async def test_what_ends_too_early_is_never_taken_for_whole_and_not_kept(site: Site) -> None:
    async def short(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(BIG)
        await response.prepare(request)
        await response.write(BIG[:1000])
        assert request.transport is not None
        request.transport.close()
        return response

    site.upstream.handler = short
    try:
        assert (await site.read(DEB))[0] == 502
    except ClientPayloadError:
        assert "cut off" in site.notebook.told[0][5]
    await site.settled()
    assert site.cache.find("debian", DEB) is None and site.counts["failed"] == 1


async def test_a_file_that_is_not_what_its_name_says_is_never_sent_whole(site: Site) -> None:
    path = f"dists/x/by-hash/SHA256/{hashlib.sha256(b'right').hexdigest()}"
    site.upstream.files[path] = b"wrong"
    with pytest.raises(ClientPayloadError):
        await site.read(path)
    await site.settled()
    site.upstream.files[path] = b"right"
    assert await site.read(path) == (200, b"right")


async def test_a_file_of_unknown_length_is_sent_when_it_is_all_there(site: Site) -> None:
    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for _ in range(3):
            await response.write(b"piece ")
        return response

    site.upstream.handler = chunked
    got = await site.get("Packages")
    assert (got.headers["Content-Length"], await got.read()) == ("18", b"piece piece piece ")


def says_raw(answer: bytes) -> Handler:
    """An upstream that sends these bytes and hangs up."""

    async def raw(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(answer)
        request.transport.close()
        return web.Response()

    return raw


async def test_a_file_that_ends_where_its_connection_does_is_not_taken_for_whole(site: Site) -> None:
    site.upstream.handler = says_raw(b"HTTP/1.0 200 OK\r\n\r\nhalf a pack")
    status, body = await site.read(DEB)
    assert status == 502 and b"without its length" in body
    assert site.cache.find("debian", DEB) is None


async def test_headers_that_are_no_text_are_not_repeated(site: Site) -> None:
    head = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: "\xff"\r\nContent-Type: text/\xff\r\n\r\n'
    site.upstream.handler = says_raw(head + b"ok")
    got = await site.get(DEB)
    assert (got.status, await got.read()) == (200, b"ok")
    assert got.headers["Content-Type"] == "application/octet-stream"


async def test_a_redirect_on_the_same_server_is_followed(site: Site) -> None:
    async def moved(request: web.Request) -> web.StreamResponse:
        if request.path == "/elsewhere":
            return web.Response(body=b"there")
        raise web.HTTPFound("/elsewhere")

    site.upstream.handler = moved
    assert await site.read("InRelease") == (200, b"there")


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/x", "/debian/InRelease"])
async def test_a_redirect_elsewhere_or_in_a_circle_is_refused(site: Site, target: str) -> None:
    async def moved(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(target)

    site.upstream.handler = moved
    status, body = await site.read("InRelease")
    assert status == 502 and (b"another server" in body or b"redirects" in body)


@pytest.mark.parametrize("path", ["..%2f..%2fetc/passwd", "%2e%2e/x", "dists/", "a%5cb", "a%0d%0ab"])
async def test_no_path_leads_out_of_the_repository(site: Site, path: str) -> None:
    assert site.client is not None
    got = await site.client.get(URL(f"/repos/debian/{path}", encoded=True))
    assert got.status in (403, 404) and site.upstream.asked == []


async def test_names_are_passed_on_as_the_upstream_has_them(site: Site) -> None:
    site.upstream.files["pool/p_1:2+dfsg~1 x.deb"] = b"odd"
    assert await site.read("pool/p_1%3a2+dfsg~1%20x.deb") == (200, b"odd")


async def test_an_unknown_repository_is_refused_with_those_there_are(site: Site) -> None:
    assert site.client is not None
    got = await site.client.get("/repos/fedora/x")
    assert got.status == 404 and "debian" in (await got.json())["detail"]


async def test_copies_outlive_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path / "repos") as before:
        await before.read(DEB)
        await before.settled()
    async with opened(tmp_path / "repos") as after:
        after.upstream.files.clear()
        assert await after.read(DEB) == (200, BIG) and after.upstream.asked == []


async def test_before_the_service_runs_it_asks_for_patience(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 0, lambda: 0.0)
    repositories = Repositories({"a": "http://127.0.0.1:1/"}, cache, Transfers(Notebook(), cast(Turns, FakeTurns())))
    app = App(cast(Tokens, None), cookies=False).build([repositories.routes()])
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/repos/a/x")).status == 503


# --- HEAD


async def test_head_asks_the_upstream_for_the_head_only(site: Site) -> None:
    head = await site.get(DEB, "HEAD")
    assert (head.status, head.headers["Content-Length"], await head.read()) == (200, str(len(BIG)), b"")
    assert [asked[0] for asked in site.upstream.asked] == ["HEAD"] and site.cache.size == 0
    got = await site.get(DEB)
    assert got.headers["ETag"] == head.headers["ETag"] and await got.read() == BIG


async def test_head_of_an_old_copy_asks_whether_it_is_right_and_of_an_upstream_that_is_away_is_the_copys(
    site: Site,
) -> None:
    await site.read("InRelease")
    await site.settled()
    site.now += 61
    assert (await site.get("InRelease", "HEAD")).headers["Content-Length"] == "7"
    assert site.upstream.asked[-1][0] == "HEAD" and site.counts["unchanged"] == 1
    assert await site.read("InRelease") == (200, b"index 1") and len(site.upstream.asked) == 2
    await site.server.close()
    site.now += 61
    assert (await site.get("InRelease", "HEAD")).status == 200 and site.counts["stale"] == 1


async def test_head_of_what_is_not_there_is_404(site: Site) -> None:
    assert (await site.get("nothing", "HEAD")).status == 404


async def test_head_while_the_file_is_being_fetched_is_answered_from_what_is_known(site: Site) -> None:
    go_on = asyncio.Event()
    site.upstream.handler = slowly(go_on)
    first = await site.get(DEB)
    head = await site.get(DEB, "HEAD")
    assert head.headers["Content-Length"] == str(len(BIG)) and len(site.upstream.asked) == 1
    go_on.set()
    assert await first.read() == BIG


@pytest.mark.parametrize("status", [405, 501])
async def test_an_upstream_that_does_not_know_head_is_asked_for_the_file(site: Site, status: int) -> None:
    async def no_head(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status) if request.method == "HEAD" else web.Response(body=b"content")

    site.upstream.handler = no_head
    assert (await site.get("InRelease", "HEAD")).headers["Content-Length"] == "7"


async def test_a_fetch_that_begins_while_the_head_is_asked_for_is_shared(site: Site) -> None:
    head_asked, head_goes_on, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    whole = slowly(go_on)

    async def no_head(request: web.Request) -> web.StreamResponse:
        if request.method != "HEAD":
            return await whole(request)
        head_asked.set()
        await head_goes_on.wait()
        return web.Response(status=405)

    site.upstream.handler = no_head
    head = asyncio.ensure_future(site.get(DEB, "HEAD"))
    await head_asked.wait()
    reader = await site.get(DEB)
    head_goes_on.set()
    assert (await head).headers["Content-Length"] == str(len(BIG))
    go_on.set()
    assert await reader.read() == BIG and [method for method, _, _ in site.upstream.asked] == ["HEAD", "GET"]


# --- what is too large to be kept


def serves_ranges(content: bytes, breaks_at: int = 0) -> Handler:
    """An upstream that has one file and knows ranges; with `breaks_at` it hangs up after so many bytes, each time."""

    async def ranged(request: web.Request) -> web.StreamResponse:
        found = answer(request.method, request.headers, Stored(len(content), '"e"', 0))
        headers = {"ETag": '"e"', "Content-Range": found.content_range(len(content))}
        response = web.StreamResponse(status=found.status, headers={k: v for k, v in headers.items() if v})
        response.content_length = found.length
        await response.prepare(request)
        part = content[found.start : found.start + found.length]
        await response.write(part[: breaks_at or len(part)])
        if breaks_at and breaks_at < len(part):
            assert request.transport is not None
            request.transport.close()
        return response

    return ranged


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose cache is smaller than BIG."""
    async with opened(tmp_path / "repos", limit_bytes=len(BIG) // 2) as site:
        site.upstream.handler = serves_ranges(BIG)
        yield site


def on_disk(site: Site) -> int:
    return sum(path.stat().st_size for path in site.folder.rglob("*") if path.is_file())


async def test_what_is_larger_than_the_cache_is_passed_on_and_never_on_our_disk(small: Site) -> None:
    assert await small.read(DEB) == (200, BIG)
    assert on_disk(small) == 0 == small.cache.size and small.counts["passed"] == 1
    before = len(small.upstream.asked)
    assert await small.read(DEB) == (200, BIG) and len(small.upstream.asked) == before + 1
    assert [(told[1], told[3]) for told in small.notebook.told] == [(f"/repos/debian/{DEB}", len(BIG))] * 2


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=5-9", BIG[5:10]),
        ("bytes=-7", BIG[-7:]),
        (f"bytes={len(BIG) - 3}-", BIG[-3:]),
        ("bytes=1-1,2-5", BIG[1:6]),
    ],
)
async def test_ranges_of_what_is_passed_on_are_right(small: Site, wanted: str, part: bytes) -> None:
    assert await small.read(DEB, Range=wanted) == (206, part)


async def test_a_range_of_what_is_passed_on_is_right_where_the_upstream_knows_none(small: Site) -> None:
    async def whole(request: web.Request) -> web.StreamResponse:
        return web.Response(body=BIG, headers={"ETag": '"e"'})

    small.upstream.handler = whole
    assert await small.read(DEB, Range="bytes=700000-700009") == (206, BIG[700_000:700_010])


async def test_a_range_that_is_not_there_is_refused(small: Site) -> None:
    assert (await small.read(DEB, Range=f"bytes={len(BIG)}-"))[0] == 416


async def test_conditions_on_what_is_passed_on_are_about_our_tags(small: Site) -> None:
    tag = (await small.get(DEB)).headers["ETag"]
    assert (await small.get(DEB, If_None_Match=tag)).status == 304
    assert await small.read(DEB, Range="bytes=0-4", If_Range=tag) == (206, BIG[:5])
    assert await small.read(DEB, Range="bytes=0-4", If_Range='"other"') == (200, BIG)


async def test_what_is_passed_on_goes_on_where_the_upstream_broke_off(small: Site) -> None:
    small.upstream.handler = serves_ranges(BIG, breaks_at=300_000)
    assert await small.read(DEB) == (200, BIG)


async def test_what_is_passed_on_is_cut_off_when_it_is_another_file_by_now(small: Site) -> None:
    asked = []

    async def changing(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return await serves_ranges(BIG if len(asked) < 3 else BIG + b"!", breaks_at=300_000)(request)

    small.upstream.handler = changing
    with pytest.raises(ClientPayloadError):
        await small.read(DEB)
    assert "cut off" in small.notebook.told[-1][5] and "cannot be resumed" in small.notebook.told[-1][5]


async def test_few_readers_at_a_time_are_passed_what_is_too_large(small: Site) -> None:
    go_on = asyncio.Event()
    await small.read(DEB)
    small.upstream.handler = slowly(go_on)
    readers = [await small.get(DEB, at=number + 1) for number in range(PASSED_PER_UPSTREAM)]
    one_more = asyncio.ensure_future(small.get(DEB, at=PASSED_PER_UPSTREAM + 1))
    readers.pop().close()
    late = await one_more
    go_on.set()
    assert [await reader.read() for reader in [*readers, late]] == [BIG] * PASSED_PER_UPSTREAM


async def test_a_file_without_a_length_that_is_too_large_is_refused_with_what_to_do(small: Site) -> None:
    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(BIG)
        return response

    small.upstream.handler = chunked
    status, body = await small.read("huge")
    assert status == 502 and b"repos.cache_mb" in body and on_disk(small) == 0


async def test_after_a_while_it_is_tried_again_to_keep_a_file(small: Site) -> None:
    await small.read(DEB)
    small.upstream.handler = serves_ranges(b"smaller")
    small.now += 61
    assert await small.read(DEB) == (200, b"smaller")
    await small.settled()
    assert small.cache.size > 0


# --- our disk


async def test_what_a_full_disk_does_not_take_is_passed_on(tmp_path: Path) -> None:
    class FullDisk(FileCache):
        def write(self, part: Part, data: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def begin(self, size: int) -> Part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with opened(tmp_path / "repos", FullDisk) as site:
        assert await site.read(DEB) == (200, BIG)
        assert site.counts["passed"] == 1 and "make room on the disk" in site.error


async def test_a_disk_that_gets_full_cuts_the_readers_off_who_are_passed_the_file_when_they_ask_again(
    tmp_path: Path,
) -> None:
    class GetsFull(FileCache):
        def write(self, part: Part, data: bytes) -> None:
            if part.size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().write(part, data[:1000])

    async with opened(tmp_path / "repos", GetsFull) as site:
        with pytest.raises(ClientPayloadError):
            await site.read(DEB)
        assert await site.read(DEB) == (200, BIG) and on_disk(site) == 0


# --- upstreams that are slow or wrong


async def test_an_upstream_that_says_nothing_is_given_up_with_504(tmp_path: Path) -> None:
    stopped = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        await stopped.wait()
        return web.Response()

    async with opened(tmp_path / "repos", silent_seconds=0.05) as site:
        site.upstream.handler = silent
        got = await site.get(DEB)
        assert (got.status, (await got.json())["code"]) == (504, "upstream-timeout")
        stopped.set()


async def test_an_upstream_that_falls_silent_in_the_middle_is_asked_again(tmp_path: Path) -> None:
    stopped = asyncio.Event()
    asked = []

    async def falls_silent(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        if len(asked) > 1:
            return await serves_ranges(BIG)(request)
        response = web.StreamResponse(headers={"ETag": '"e"'})
        response.content_length = len(BIG)
        await response.prepare(request)
        await response.write(BIG[:1000])
        await stopped.wait()
        return response

    async with opened(tmp_path / "repos", silent_seconds=0.05) as site:
        site.upstream.handler = falls_silent
        assert await site.read(DEB) == (200, BIG)
        stopped.set()


async def test_a_file_that_changes_in_the_middle_of_a_fetch_is_never_put_together_from_both(site: Site) -> None:
    asked = []

    async def changing(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return await serves_ranges(BIG if len(asked) == 1 else BIG + b"!", breaks_at=300_000)(request)

    site.upstream.handler = changing
    with pytest.raises(ClientPayloadError):
        await site.read(DEB)
    await site.settled()
    site.upstream.handler = None
    assert await site.read(DEB) == (200, BIG)


async def test_an_upstream_that_does_not_speak_tls_is_said_to_be(tmp_path: Path) -> None:
    async with opened(tmp_path / "repos", scheme="https") as site:
        status, body = await site.read(DEB)
        assert status == 502 and b"cannot be fetched" in body and b"SSL" in body


async def test_an_upstream_that_is_away_is_left_alone_for_a_while_where_there_is_a_copy(site: Site) -> None:
    await site.read("InRelease")
    await site.settled()
    site.now += 100
    await site.server.close()
    for _ in range(3):
        assert await site.read("InRelease") == (200, b"index 1")
    assert site.counts == {"fetches": 2, "stale": 3}
    site.now += AWAY_SECONDS
    assert await site.read("InRelease") == (200, b"index 1") and site.counts["fetches"] == 3


# --- many at once


async def test_few_files_of_an_upstream_are_fetched_at_once_and_the_others_wait(site: Site) -> None:
    go_on = asyncio.Event()
    count = FETCHES_PER_UPSTREAM + 5
    site.upstream.handler = slowly(go_on)
    reading = [asyncio.ensure_future(site.read(f"pool/{number}.deb", at=number + 1)) for number in range(count)]
    while len(site.upstream.asked) < FETCHES_PER_UPSTREAM:
        await asyncio.wait(reading, timeout=0.01)
    assert len(site.upstream.asked) == FETCHES_PER_UPSTREAM
    go_on.set()
    assert await asyncio.gather(*reading) == [(200, BIG)] * count


async def test_a_host_that_asks_for_made_up_names_does_not_hold_up_others(site: Site) -> None:
    go_on = asyncio.Event()

    async def sometimes(request: web.Request) -> web.StreamResponse:
        if "made-up" in request.path:
            await go_on.wait()
            raise web.HTTPNotFound
        return web.Response(body=b"index")

    site.upstream.handler = sometimes
    methods = ("GET", "HEAD") * FETCHES_PER_UPSTREAM
    asking = [asyncio.ensure_future(site.get(f"made-up-{n}", method)) for n, method in enumerate(methods)]
    while len(site.upstream.asked) < FETCHES_PER_UPSTREAM // 2:
        await asyncio.wait(asking, timeout=0.01)
    assert await asyncio.wait_for(site.read("InRelease", at=2), 5) == (200, b"index")
    assert len(site.upstream.asked) == FETCHES_PER_UPSTREAM // 2 + 1
    go_on.set()
    assert {answered.status for answered in await asyncio.gather(*asking)} == {404}


async def test_a_host_that_reads_slowly_leaves_places_to_others(small: Site) -> None:
    go_on = asyncio.Event()
    await small.read(DEB)
    small.upstream.handler = slowly(go_on)
    slow = [asyncio.ensure_future(small.read(DEB)) for _ in range(PASSED_PER_UPSTREAM)]
    while small.counts["passed"] < 1 + PASSED_PER_UPSTREAM // 2:
        await asyncio.wait(slow, timeout=0.01)
    other = await asyncio.wait_for(small.get(DEB, at=2), 5)
    go_on.set()
    assert await other.read() == BIG and await asyncio.gather(*slow) == [(200, BIG)] * PASSED_PER_UPSTREAM


async def test_copies_of_a_repository_can_be_removed(site: Site) -> None:
    await site.read(DEB)
    await site.settled()
    (found,) = site.repositories.now().repositories
    assert found.bytes == site.cache.size > len(BIG)
    assert (await site.repositories.clear("debian")).bytes > len(BIG) and site.cache.size == 0
    assert await site.read(DEB) == (200, BIG) and len(site.upstream.asked) == 2
    with pytest.raises(NotFound, match="debian"):
        await site.repositories.clear("fedora")
