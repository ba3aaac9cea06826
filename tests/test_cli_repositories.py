"""Install repositories on the command line."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.fakes.api import FakeApi
from tests.fakes.terminal import CommandLine, Keyboard

DEBIAN = {
    "name": "debian",
    "url": "http://deb.example/debian/",
    "bytes": 12_345_678,
    "hits": 7,
    "fetches": 3,
    "failed": 1,
    "error": "deb.example does not answer",
}


class Mirror(FakeApi):
    """The API with install repositories."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, Any] = {"repositories": [DEBIAN], "bytes": 12_345_678, "limit_bytes": 20_000_000_000}
        self.cleared: list[str] = []

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard()])
        app.router.add_routes(
            [
                web.get("/api/v1/repositories", self._list),
                web.delete("/api/v1/repositories/{name}/copies", self._clear),
            ]
        )
        return app

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response(self.found)

    async def _clear(self, request: web.Request) -> web.Response:
        self.cleared.append(request.match_info["name"])
        return web.json_response({"bytes": 500_000})


@pytest.fixture
def api() -> Mirror:
    return Mirror()


@pytest.fixture
async def cli(api: Mirror, tmp_path: Path) -> AsyncIterator[CommandLine]:
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


async def test_repositories_are_listed_with_what_their_copies_take_and_what_went_wrong(cli: CommandLine) -> None:
    done = await cli("repositories", "list")
    assert done.out.splitlines()[1].split() == ["debian", DEBIAN["url"], "12", "MB", "7", "3", "1"]
    assert "debian: deb.example does not answer" in done.err and "copies take 12 MB of 20000 MB" in done.err


async def test_without_repositories_the_setting_is_named(api: Mirror, cli: CommandLine) -> None:
    api.found = {"repositories": [], "bytes": 0, "limit_bytes": 0}
    done = await cli("repositories", "list")
    assert "repos.upstreams" in done.err and "copies take 0.0 MB\n" in done.err


async def test_they_are_json_for_programs(api: Mirror, cli: CommandLine) -> None:
    assert json.loads((await cli("repositories", "list", "--json")).out) == api.found["repositories"]


async def test_the_copies_of_one_are_removed_when_that_is_meant(api: Mirror, cli: CommandLine) -> None:
    asked = await cli("repositories", "clear", "debian", stdin=Keyboard("n\n", person=True))
    assert asked.code == 1 and api.cleared == []
    done = await cli("repositories", "clear", "debian", "--yes")
    assert done.out == "copies of debian removed, 0.5 MB\n" and api.cleared == ["debian"]
