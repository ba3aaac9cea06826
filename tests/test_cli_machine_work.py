"""Work on the command line: given, held, begun anew, stepped through."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.api import FakeApi, machine
from tests.fakes.terminal import CommandLine

WEB = "aaaa1111-0000-4000-8000-000000000001"
DB = "bbbb2222-0000-4000-8000-000000000002"


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def cli(api: FakeApi, tmp_path: Path) -> AsyncIterator[CommandLine]:
    api.add(machine("web-1", WEB, workflow="deploy", stage="prepare"), machine("db-1", DB, stage="prepare"))
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


@pytest.mark.parametrize(
    ("verb", "fields", "said"),
    [
        (("run",), {"runnable": True}, "web-1 is runnable"),
        (("pause",), {"runnable": False}, "web-1 is paused"),
        (("step",), {"step": True}, "web-1 stops after every job"),
        (("step", "--off"), {"step": False}, "web-1 works without a break again"),
        (("lock",), {"locked": True}, "web-1 is locked"),
        (("unlock",), {"locked": False}, "web-1 is unlocked"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
async def test_a_verb_is_one_change_of_every_machine_named(
    api: FakeApi, cli: CommandLine, verb: tuple[str, ...], fields: dict[str, Any], said: str
) -> None:
    result = await cli("machines", *verb, "web-1", "db-1")
    assert result.out.splitlines() == [said, said.replace("web-1", "db-1")]
    assert api.asked("PATCH") == [(f"/api/v1/machines/{WEB}", fields), (f"/api/v1/machines/{DB}", fields)]


async def test_a_stage_is_set_and_forced(api: FakeApi, cli: CommandLine) -> None:
    assert (await cli("machines", "set-stage", "db-1", "deploy", "--force")).out == "db-1 is in stage deploy\n"
    assert api.asked("PATCH") == [(f"/api/v1/machines/{DB}?force=true", {"stage": "deploy"})]


async def test_work_begins_again_from_a_stage(api: FakeApi, cli: CommandLine) -> None:
    result = await cli("machines", "restart", "web-1", "--stage", "prepare")
    assert result.out == "web-1 begins deploy again in stage prepare\n"
    assert api.asked("POST") == [(f"/api/v1/machines/{WEB}/restart", {"stage": "prepare"})]


async def test_a_machine_stops_before_tasks(api: FakeApi, cli: CommandLine) -> None:
    assert (await cli("machines", "stop-before", "web-1", "disks", "stage:deploy")).out == (
        "web-1 stops before disks, stage:deploy\n"
    )
    assert (await cli("machines", "stop-before", "web-1")).out == "web-1 stops before nothing any more\n"
    assert [body for _, body in api.asked("PATCH")] == [
        {"stop_before": ["disks", "stage:deploy"]},
        {"stop_before": []},
    ]


async def test_leave_to_erase_is_taken_back(api: FakeApi, cli: CommandLine) -> None:
    assert (await cli("machines", "forbid-erase", "web-1", "/dev/sda")).code == 0
    assert [what for what, _ in api.asked("DELETE")] == [f"/api/v1/machines/{WEB}/grants//dev/sda"]
