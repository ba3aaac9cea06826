"""The same for many machines on the command line, and operations."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.fakes.api import FakeApi, machine
from tests.fakes.terminal import CommandLine, Keyboard

WEB = "aaaa1111-0000-4000-8000-000000000001"
OPERATION = "eeee5555-0000-4000-8000-000000000005"


def result(name: str, status: int = 200, detail: str = "") -> dict[str, Any]:
    return {
        "machine": WEB,
        "name": name,
        "status": status,
        "code": "ok" if status < 400 else "refused",
        "detail": detail,
    }


class Many(FakeApi):
    """The API with bulk requests and one operation."""

    def __init__(self) -> None:
        super().__init__()
        self.items = [result("web-1"), result("db-1", 409, "machine db-1 is locked; unlock it first")]
        self.operation: dict[str, Any] = {
            "id": OPERATION,
            "action": "power-cycle",
            "machines": [WEB],
            "state": "running",
            "total": 1,
            "results": [],
            "error": "",
            "started_by": "user:admin",
            "started_at": "2030-05-01T12:00:00Z",
            "ended_at": None,
        }

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard()])
        app.router.add_routes(
            [
                web.post("/api/v1/bulk/machines", self._bulk),
                web.get("/api/v1/operations", self._operations),
                web.get("/api/v1/operations/{operation}", self._one),
            ]
        )
        return app

    async def _bulk(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("action") and not body.get("dry_run"):
            return web.json_response(self.operation, status=202)
        failed = sum(each["status"] >= 400 for each in self.items)
        answer = {"total": 2, "done": 2 - failed, "failed": failed, "dry_run": False, "items": self.items}
        return web.json_response(answer)

    async def _operations(self, request: web.Request) -> web.Response:
        return web.json_response({"items": [self.operation], "total": 1, "next": None})

    async def _one(self, request: web.Request) -> web.Response:
        return web.json_response(self.operation)

    def end(self) -> None:
        self.operation |= {
            "state": "failed",
            "results": [result("web-1", 504, "BMC away")],
            "error": "failed for 1 of 1",
        }


@pytest.fixture
def api() -> Many:
    return Many()


@pytest.fixture
async def cli(api: Many, tmp_path: Path) -> AsyncIterator[CommandLine]:
    api.add(machine("web-1", WEB))
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


async def test_fields_params_and_meta_are_changed_of_all_that_fit(api: Many, cli: CommandLine) -> None:
    words = ("machines", "bulk", "--filter", "stage=discover", "--set", "workflow=deploy", "--set", "params.rack=7")
    answer = await cli(*words, "--yes")
    assert (answer.code, answer.out) == (1, "1 of 2 done\n")
    assert answer.err == "db-1: machine db-1 is locked; unlock it first\n"
    bodies = [body for _, body in api.asked("POST")]
    wanted = {"filter": "stage=discover", "change": {"workflow": "deploy", "params": {"rack": 7}}}
    assert bodies == [{**wanted, "dry_run": True}, wanted]


async def test_a_person_is_asked_with_the_number_of_machines(api: Many, cli: CommandLine) -> None:
    answer = await cli("machines", "bulk", "--all", "--verb", "delete", stdin=Keyboard("n\n", person=True))
    assert "delete: 1 of 2 machines? [y/N]" in answer.err
    assert [body["dry_run"] for _, body in api.asked("POST")] == [True]


async def test_a_dry_run_changes_nothing(api: Many, cli: CommandLine) -> None:
    answer = await cli("machines", "bulk", "web-1", "db-1", "--verb", "resume", "--dry-run")
    assert answer.out == "1 of 2 would be done\n"
    assert [body for _, body in api.asked("POST")] == [
        {"machines": ["web-1", "db-1"], "verb": "resume", "dry_run": True}
    ]


async def test_a_power_action_is_followed_to_its_end(api: Many, cli: CommandLine) -> None:
    cli.on_sleep = api.end
    answer = await cli("machines", "bulk", "web-1", "--power", "power-cycle", "--yes")
    assert (answer.code, answer.out, answer.err) == (1, "web-1: BMC away\n", "failed for 1 of 1\n")


@pytest.mark.parametrize(
    "words",
    [
        ("--verb", "resume"),
        ("web-1", "--all", "--verb", "resume"),
        ("web-1",),
        ("web-1", "--verb", "resume", "--power", "power-on"),
        ("web-1", "--verb", "resume", "--stage", "x"),
        ("web-1", "--set", "workflow"),
    ],
)
async def test_what_is_not_clear_is_refused_before_anything_is_asked(
    api: Many, cli: CommandLine, words: tuple[str, ...]
) -> None:
    assert (await cli("machines", "bulk", *words)).code == 2
    assert api.requests == []


async def test_operations_are_listed_and_shown(api: Many, cli: CommandLine) -> None:
    api.end()
    assert "eeee5555" in (await cli("operations", "list")).out
    shown = (await cli("operations", "show", "eeee")).out
    assert shown.startswith("power-cycle: failed, 1 of 1\n")
    assert "BMC away" in shown
    assert json.loads((await cli("operations", "show", "eeee", "--json")).out) == api.operation


async def test_an_unknown_operation_is_3(cli: CommandLine) -> None:
    assert (await cli("operations", "show", "ffff")).code == 3
