"""What the API tells of downloads and repositories."""

from __future__ import annotations

from pathlib import Path

from provisioner.conductor.turns import Turns
from provisioner.services.api_downloads import DownloadRoutes
from provisioner.services.http import App
from provisioner.services.operations import routes as api_routes
from provisioner.services.repositories import Repositories
from provisioner.services.transfers import Transfers
from provisioner.store.file_cache import FileCache
from tests.parts import MAC, OTHER_MAC, Parts, opened, serving


def routes(parts: Parts, folder: Path) -> DownloadRoutes:
    turns = Turns(parts.ledger, 1, seconds=parts.clock.seconds)
    turns.ask(MAC, "10.0.0.50", ("/files/k",))
    turns.ask(OTHER_MAC, "10.0.0.51", ("/files/k",))
    cache = FileCache(folder, 0, lambda: 0.0)
    upstreams = {"debian": "http://127.0.0.1:1/debian/"}
    return DownloadRoutes(turns, Repositories(upstreams, cache, Transfers(parts.boot, turns)))


async def test_downloads_are_those_who_have_a_slot_and_those_who_wait(tmp_path: Path) -> None:
    async with opened(tmp_path) as parts:
        made = routes(parts, tmp_path / "repos")
        app = App(parts.tokens, cookies=False).build([api_routes(made.operations())])
        async with serving(app, await parts.secret()) as client:
            found = await (await client.get("/api/v1/downloads")).json()
            assert (found["limit"], found["taken"]) == (1, 1)
            assert [each["mac"] for each in found["running"]] == [MAC]
            assert [(each["mac"], each["place"]) for each in found["waiting"]] == [(OTHER_MAC, 1)]
            kept = await (await client.get("/api/v1/repositories")).json()
            assert kept["bytes"] == 0 and [each["path"] for each in kept["repositories"]] == ["/repos/debian/"]


async def test_they_are_for_operators(tmp_path: Path) -> None:
    async with opened(tmp_path) as parts:
        made = routes(parts, tmp_path / "repos")
        app = App(parts.tokens, cookies=False).build([api_routes(made.operations())])
        async with serving(app) as client:
            for path in ("/api/v1/downloads", "/api/v1/repositories"):
                assert (await client.get(path)).status == 401


async def test_the_copies_of_a_repository_can_be_removed(tmp_path: Path) -> None:
    async with opened(tmp_path) as parts:
        made = routes(parts, tmp_path / "repos")
        app = App(parts.tokens, cookies=False).build([api_routes(made.operations())])
        async with serving(app, await parts.secret()) as client:
            answer = await client.delete("/api/v1/repositories/debian/copies")
            assert (answer.status, await answer.json()) == (200, {"bytes": 0})
            unknown = await client.delete("/api/v1/repositories/fedora/copies")
            assert unknown.status == 404 and "debian" in (await unknown.json())["detail"]
        async with serving(app) as client:
            assert (await client.delete("/api/v1/repositories/debian/copies")).status == 401
