"""`provisioner power`."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.api import FakeApi, Problem, machine
from tests.fakes.terminal import CommandLine


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def cli(api: FakeApi, tmp_path: Path) -> AsyncIterator[CommandLine]:
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


@pytest.fixture(autouse=True)
def three_machines(api: FakeApi) -> None:
    api.add(machine("web-1", "aaaa"), machine("web-2", "bbbb"), machine("web-3", "cccc"))


@pytest.mark.parametrize(
    ("words", "action"),
    [
        (["on", "web-1"], "power-on"),
        (["off", "web-1"], "power-off"),
        (["off", "--soft", "web-1"], "power-off-soft"),
        (["cycle", "web-1"], "power-cycle"),
        (["reset", "web-1"], "power-reset"),
        (["status", "web-1"], "power-status"),
        (["next-boot", "pxe", "web-1"], "next-boot-pxe"),
        (["next-boot", "disk", "web-1"], "next-boot-disk"),
    ],
)
async def test_each_verb_asks_for_its_action(api: FakeApi, cli: CommandLine, words: list[str], action: str) -> None:
    result = await cli("power", *words)
    assert api.asked("POST") == [(f"/api/v1/machines/aaaa/actions/{action}", {})]
    assert (result.code, result.out) == (0, f"web-1 did {action}\n")


async def test_several_machines_answer_in_the_order_asked_for(cli: CommandLine) -> None:
    result = await cli("power", "on", "web-3", "web-1", "bb")
    assert result.out == "web-3 did power-on\nweb-1 did power-on\nweb-2 did power-on\n"


async def test_one_failure_stops_none_of_the_others(api: FakeApi, cli: CommandLine) -> None:
    api.power_problems["web-2"] = Problem(502, "bmc-login-refused", "login refused by the BMC at 10.0.0.9:623")
    result = await cli("power", "on", "web-1", "web-2", "web-3")
    assert result.code == 1
    assert result.out == "web-1 did power-on\nweb-3 did power-on\n"
    assert result.err.startswith("web-2: login refused by the BMC at 10.0.0.9:623")


async def test_an_unknown_machine_among_others_is_told(cli: CommandLine) -> None:
    result = await cli("power", "status", "web-1", "web-9")
    assert (result.code, result.out) == (3, "web-1 did power-status\n")
    assert "there is no machine 'web-9'" in result.err


async def test_a_machine_named_twice_is_switched_once(api: FakeApi, cli: CommandLine) -> None:
    await cli("power", "cycle", "web-1", "web-1")
    assert len(api.asked("POST")) == 1


async def test_with_json_answers_and_errors_are_one_list(api: FakeApi, cli: CommandLine) -> None:
    api.power_problems["web-2"] = Problem(504, "bmc-unreachable", "no answer")
    result = await cli("--json", "power", "on", "web-1", "web-2")
    first, second = json.loads(result.out)
    assert first == {"machine": "web-1", "action": "power-on", "state": "on", "message": "did power-on"}
    assert (second["machine"], second["error"]["code"]) == ("web-2", "bmc-unreachable")
    assert result.code == 1
