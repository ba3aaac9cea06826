"""Held newcomers on the command line."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.fakes.api import FakeApi, machine
from tests.fakes.terminal import CommandLine

WEB = "aaaa1111-0000-4000-8000-000000000001"
MAC = "52:54:00:00:00:99"


class Clashing(FakeApi):
    """The API with one clash."""

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard()])
        app.router.add_routes(
            [
                web.get("/api/v1/machines", self._list_machines),
                web.get("/api/v1/machines/{machine}", self._get_machine),
                web.get("/api/v1/clashes", self._clashes),
                web.post("/api/v1/clashes/{mac}/resolve", self._resolve),
                web.delete("/api/v1/clashes/{mac}", self._gone),
            ]
        )
        return app

    async def _clashes(self, request: web.Request) -> web.Response:
        clash = {"mac": MAC, "machines": [WEB], "reason": "same serial", "last_seen_at": "2030-05-01T12:00:00Z"}
        return web.json_response({"items": [clash], "total": 1, "next": None})

    async def _resolve(self, request: web.Request) -> web.Response:
        return web.json_response(machine("web-1", WEB))

    async def _gone(self, request: web.Request) -> web.Response:
        return web.json_response({"mac": MAC})


@pytest.fixture
def api() -> Clashing:
    return Clashing()


@pytest.fixture
async def cli(api: Clashing, tmp_path: Path) -> AsyncIterator[CommandLine]:
    api.add(machine("web-1", WEB))
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


async def test_a_list_names_the_machines_that_a_newcomer_looks_like(cli: CommandLine) -> None:
    assert (await cli("clashes", "list")).out.splitlines()[1].split() == [
        MAC,
        "web-1",
        "2030-05-01",
        "12:00:00",
        "UTC",
        "same",
        "serial",
    ]


async def test_a_newcomer_is_a_known_machine_or_a_new_one(api: Clashing, cli: CommandLine) -> None:
    assert (await cli("clashes", "resolve", MAC, "--machine", "web-1")).code == 0
    assert (await cli("clashes", "resolve", MAC, "--new")).code == 0
    assert [body for _, body in api.asked("POST")] == [{"machine": WEB}, {"machine": ""}]


@pytest.mark.parametrize("words", [(), ("--new", "--machine", "web-1")])
async def test_exactly_one_answer_is_needed(api: Clashing, cli: CommandLine, words: tuple[str, ...]) -> None:
    assert (await cli("clashes", "resolve", MAC, *words)).code == 2


async def test_a_newcomer_may_try_again(cli: CommandLine) -> None:
    assert "may try again" in (await cli("clashes", "forget", MAC)).out
