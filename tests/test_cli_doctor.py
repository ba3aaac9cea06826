"""`provisioner doctor`: findings in words, and an exit code for scripts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.fakes.api import FakeApi, machine
from tests.fakes.terminal import CommandLine

WEB = "aaaa1111-0000-4000-8000-000000000001"
FINDING = {
    "code": "foreign-dhcp",
    "severity": "error",
    "subject": "10.0.0.250",
    "title": "Another DHCP server is at work: 10.0.0.250",
    "advice": "Switch 10.0.0.250 off on this network",
    "macs": ["52:54:00:00:00:01"],
    "count": 2,
    "last": "2030-05-01T12:00:00Z",
}


class Examining(FakeApi):
    """The API with a doctor."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[dict[str, Any]] = [FINDING]
        self.probes = 0
        self.asked: dict[str, str] = {}
        self.subnets = [{"name": "rack", "enabled": True}]

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard()])
        app.router.add_routes(
            [
                web.get("/api/v1/doctor", self._examine),
                web.post("/api/v1/doctor/probe", self._probe),
                web.get("/api/v1/subnets", self._list_subnets),
                web.get("/api/v1/machines", self._list_machines),
                web.get("/api/v1/machines/{machine}", self._get_machine),
            ]
        )
        return app

    async def _examine(self, request: web.Request) -> web.Response:
        self.asked = dict(request.query)
        return web.json_response({"items": self.items, "since": "2030-05-01T00:00:00Z", "events": 12})

    async def _list_subnets(self, request: web.Request) -> web.Response:
        return web.json_response({"items": self.subnets, "total": len(self.subnets), "next": None})

    async def _probe(self, request: web.Request) -> web.Response:
        self.probes += 1
        return web.json_response({"items": self.items, "since": "2030-05-01T00:00:00Z", "events": 12})


@pytest.fixture
def api() -> Examining:
    return Examining()


@pytest.fixture
async def cli(api: Examining, tmp_path: Path) -> AsyncIterator[CommandLine]:
    api.add(machine("web-1", WEB))
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


async def test_findings_are_said_with_what_to_do(cli: CommandLine, api: Examining) -> None:
    said = await cli("doctor")
    assert said.code == 1
    assert "ERROR  Another DHCP server is at work: 10.0.0.250" in said.out
    assert "Switch 10.0.0.250 off" in said.out
    assert "[foreign-dhcp, seen 2 times, last 2030-05-01 12:00:00 UTC] 52:54:00:00:00:01" in said.out
    assert api.probes == 1


async def test_quick_does_not_probe(cli: CommandLine, api: Examining) -> None:
    assert (await cli("doctor", "--quick")).code == 1
    assert api.probes == 0


async def test_without_errors_the_exit_code_is_0(cli: CommandLine, api: Examining) -> None:
    api.items = [FINDING | {"severity": "notice"}]
    said = await cli("doctor", "--quick")
    assert said.code == 0 and "NOTICE" in said.out


async def test_a_healthy_network_is_said_so(cli: CommandLine, api: Examining) -> None:
    api.items = []
    assert "nothing is wrong" in (await cli("doctor", "--quick")).err


async def test_one_machine_is_asked_for_by_its_id(cli: CommandLine, api: Examining) -> None:
    await cli("doctor", "web-1", "--quick")
    assert api.asked == {"machine": WEB}


@pytest.mark.parametrize("subnets", [[], [{"name": "rack", "enabled": False}]])
async def test_when_no_subnet_is_switched_on_it_is_said_that_dhcp_is_silent(
    cli: CommandLine, api: Examining, subnets: list[dict[str, Any]]
) -> None:
    api.items, api.subnets = [], subnets
    said = await cli("doctor", "--quick")
    assert "DHCP answers nobody: no subnet is switched on" in said.out and "subnets add" in said.out
    assert (said.code, "nothing is wrong" in said.err) == (0, False)
    assert "DHCP answers nobody" not in (await cli("doctor", "web-1", "--quick")).out
    assert json.loads((await cli("doctor", "--quick", "--json")).out)["items"] == []
