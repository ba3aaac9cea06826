"""Fetches: shared, bounded, given up where nobody waits. What becomes of files is told in the repositories' tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from provisioner.services.fetches import Fetch, Fetches, GrowingBody
from provisioner.services.upstreams import FETCHES_PER_UPSTREAM, Busy, Repository, UpstreamFailed, Upstreams
from provisioner.store.file_cache import FileCache, Note


class Scene:
    """Fetches from an upstream that answers when it may."""

    def __init__(self, folder: Path) -> None:
        self.cache = FileCache(folder, 0, lambda: 0.0)
        self.may_answer = asyncio.Event()
        self.are_asked = asyncio.Event()
        self.is_full = asyncio.Event()
        self.asked: list[str] = []
        self.repository = Repository(name="debian", url="", path="/repos/debian/")

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if len(self.asked) == FETCHES_PER_UPSTREAM // 2 + 2:
            self.are_asked.set()
        if len(self.asked) == FETCHES_PER_UPSTREAM:
            self.is_full.set()
        await self.may_answer.wait()
        return web.Response(body=b"content")

    async def begun(self, *paths: str, client: str = "") -> list[asyncio.Task[Any]]:
        """Somebody waits for each of these: one client, or several."""
        made = [asyncio.create_task(self.wait(path, client or f"of {path}")) for path in paths]
        await asyncio.sleep(0)
        return made

    async def wait(self, path: str, client: str) -> Note | None:
        return await self.fetches.begin(self.repository, path, None, client).note()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    async with TestServer(app) as server, ClientSession() as session, asyncio.TaskGroup() as group:
        made.repository.url = str(server.make_url("/"))
        made.fetches = Fetches(made.cache, Upstreams(session, lambda: 0.0), group, lambda: 0.0, most=20)
        yield made
        made.may_answer.set()


FULL = [f"{number}.deb" for number in range(FETCHES_PER_UPSTREAM)]


async def test_who_hangs_up_before_a_fetch_begins_costs_the_upstream_nothing(scene: Scene) -> None:
    waiting = await scene.begun(*FULL, "gone.deb", "late.deb")
    await scene.is_full.wait()
    waiting[-2].cancel()
    await asyncio.gather(waiting[-2], return_exceptions=True)
    scene.may_answer.set()
    await scene.fetches.settled()
    assert set(scene.asked) == {f"/{name}" for name in [*FULL, "late.deb"]}
    assert scene.repository.fetches == len(FULL) + 1 and scene.repository.failed == 0


async def test_a_file_that_is_being_fetched_is_found(scene: Scene) -> None:
    await scene.begun("a.deb")
    assert scene.fetches.find(scene.repository, "a.deb", "me") is not None
    assert scene.fetches.find(scene.repository, "b.deb", "me") is None
    scene.may_answer.set()
    await scene.fetches.settled()
    assert scene.fetches.find(scene.repository, "a.deb", "me") is None


async def test_so_many_fetches_may_be_under_way_and_no_more(scene: Scene) -> None:
    waiting = await scene.begun(*(f"{number}.deb" for number in range(20)))
    with pytest.raises(Busy, match="ask again") as caught:
        scene.fetches.begin(scene.repository, "21.deb", None, "me")
    assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "5"})
    scene.may_answer.set()
    await asyncio.gather(*waiting)


async def test_no_client_has_all_fetches(scene: Scene) -> None:
    greedy = await scene.begun(*(f"{number}.deb" for number in range(20)), client="greedy")
    modest = await scene.begun("modest.deb", client="modest")
    scene.may_answer.set()
    results = await asyncio.gather(*greedy, *modest, return_exceptions=True)
    assert [isinstance(each, Busy) for each in results] == [False] * 10 + [True] * 10 + [False]


async def test_fetches_of_one_client_do_not_hold_up_those_of_another(scene: Scene) -> None:
    await scene.begun(*(f"{number}.deb" for number in range(9)), client="greedy")
    await scene.begun("modest.deb", client="modest")
    scene.fetches.find(scene.repository, "8.deb", "other")
    await scene.are_asked.wait()
    assert set(scene.asked) == {"/0.deb", "/1.deb", "/2.deb", "/3.deb", "/8.deb", "/modest.deb"}


async def test_repositories_of_one_server_share_its_places(scene: Scene) -> None:
    security = Repository(name="security", url=f"{scene.repository.url}security/", path="/repos/security/")
    await scene.begun(*(f"{number}.deb" for number in range(5)), client="greedy")
    for number in range(5):
        scene.fetches.begin(security, f"{number}.deb", None, "thirsty").waiting = 1
    await scene.begun("modest.deb", "other.deb")
    await scene.is_full.wait()
    assert [path.startswith("/security/") for path in sorted(scene.asked)] == [False] * 6 + [True] * 2


async def test_who_waits_hears_that_the_server_stops(scene: Scene) -> None:
    (waiting,) = await scene.begun("a.deb")
    scene.fetches.end()
    with pytest.raises(UpstreamFailed, match="the server stops"):
        await waiting


async def test_the_last_byte_waits_until_all_of_it_is_right(tmp_path: Path) -> None:
    cache, fetch = FileCache(tmp_path, 0, lambda: 0.0), Fetch()
    part = cache.begin(3)
    cache.write(part, b"abc")
    body = GrowingBody(fetch, part, 3)
    assert await body.ready(0) == 2
    last = asyncio.create_task(body.ready(2))
    await asyncio.sleep(0)
    fetch.is_whole = True
    fetch.grow()
    assert await last == 3
    body.close()
    cache.drop(part)


async def test_readers_hear_of_a_fetch_that_fails(tmp_path: Path) -> None:
    cache, fetch = FileCache(tmp_path, 0, lambda: 0.0), Fetch()
    part = cache.begin(3)
    body = GrowingBody(fetch, part, 3)
    waiting = asyncio.create_task(cast(Any, body.ready(0)))
    await asyncio.sleep(0)
    fetch.fail(UpstreamFailed("broke off"))
    with pytest.raises(UpstreamFailed, match="broke off"):
        await waiting
    body.close()
    cache.drop(part)
