"""Params of machines on the command line: several at once. Single ones are in test_cli_machines.py."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.api import FakeApi, machine
from tests.fakes.terminal import CommandLine

WEB = "aaaa1111-0000-4000-8000-000000000001"


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def cli(api: FakeApi, tmp_path: Path) -> AsyncIterator[CommandLine]:
    api.add(machine("web-1", WEB))
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


async def test_several_params_are_one_change(api: FakeApi, cli: CommandLine) -> None:
    result = await cli("machines", "set-params", "web-1", "rack=7", "net/gateway=10.0.0.1")
    assert result.out == "rack, net/gateway of web-1 are set\n"
    assert api.asked("PATCH") == [(f"/api/v1/machines/{WEB}", {"params": {"rack": 7, "net/gateway": "10.0.0.1"}})]


async def test_what_is_no_pair_is_refused_before_anything_is_asked(api: FakeApi, cli: CommandLine) -> None:
    result = await cli("machines", "set-params", "web-1", "rack")
    assert result.code == 2
    assert "write it as rack=7" in result.err
    assert api.requests == []
