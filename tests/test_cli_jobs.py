"""`provisioner jobs`, without logs."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.api import FakeApi, job, machine
from tests.fakes.terminal import CommandLine


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def cli(api: FakeApi, tmp_path: Path) -> AsyncIterator[CommandLine]:
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


WEB = "aaaa1111-0000-4000-8000-000000000001"
FIRST, SECOND = "cccc3333-0000-4000-8000-000000000003", "dddd4444-0000-4000-8000-000000000004"


@pytest.fixture(autouse=True)
def two_jobs(api: FakeApi) -> None:
    api.add(machine("web-1", WEB))
    api.add_jobs(
        job(FIRST, WEB, state="failed", exit_code=3, exit_state="failed", message="hello.sh ended with 3"),
        job(SECOND, WEB, task="bye", state="running", exit_code=None, ended_at=None),
    )


async def test_jobs_are_listed_newest_first_with_names_of_machines(cli: CommandLine) -> None:
    header, *rows = [line.split() for line in (await cli("jobs", "list")).out.splitlines()]
    assert header[:5] == ["ID", "MACHINE", "TASK", "STATE", "EXIT"]
    assert [row[:4] for row in rows] == [
        ["dddd4444", "web-1", "bye", "running"],
        ["cccc3333", "web-1", "hello", "failed"],
    ]


async def test_jobs_may_be_of_one_machine_and_state(api: FakeApi, cli: CommandLine) -> None:
    found = json.loads((await cli("jobs", "list", "--machine", "web-1", "--state", "failed", "--json")).out)
    assert [each["id"] for each in found] == [FIRST]
    assert api.asked("GET")[-1][0] == f"/api/v1/jobs?sort=-created_at&limit=50&machine={WEB}&state=failed"


async def test_a_list_that_is_cut_says_so(cli: CommandLine) -> None:
    assert (await cli("jobs", "list", "--limit", "1")).err == "the newest 1 of 2; --limit shows more\n"


async def test_a_job_shows_how_it_ended_and_what_was_rendered(api: FakeApi, cli: CommandLine) -> None:
    api.rendered[FIRST] = [{"name": "hello.sh", "content": "echo hello\n", "path": "", "mode": ""}]
    out = (await cli("jobs", "show", "cccc")).out
    fields = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert fields["machine"] == ["web-1"]
    assert fields["exit"] == ["failed", "3"]
    assert fields["message"] == ["hello.sh", "ended", "with", "3"]
    assert fields["rendered"] == ["hello.sh"]


async def test_a_job_of_a_forgotten_machine_is_shown(api: FakeApi, cli: CommandLine) -> None:
    api.machines.clear()
    result = await cli("jobs", "show", FIRST)
    assert result.code == 0
    assert WEB in result.out


async def test_a_job_for_programs_is_the_whole_job(api: FakeApi, cli: CommandLine) -> None:
    assert json.loads((await cli("jobs", "show", FIRST, "--json")).out) == api.jobs[FIRST]


async def test_rendered_files_are_shown_as_they_ran(api: FakeApi, cli: CommandLine) -> None:
    api.rendered[FIRST] = [
        {"name": "motd", "content": "welcome", "path": "/etc/motd", "mode": "0644"},
        {"name": "hello.sh", "content": "echo hello\n", "path": "", "mode": ""},
    ]
    assert (await cli("jobs", "actions", "cccc")).out == ("--- motd -> /etc/motd\nwelcome\n--- hello.sh\necho hello\n")


async def test_nothing_rendered_is_a_remark(cli: CommandLine) -> None:
    assert (await cli("jobs", "actions", "cccc")).err == "nothing was rendered for this job\n"


async def test_a_job_is_told_to_stop_with_the_reason(api: FakeApi, cli: CommandLine) -> None:
    result = await cli("jobs", "cancel", "dddd", "--reason", "wrong disk")
    assert api.asked("POST") == [(f"/api/v1/jobs/{SECOND}/cancel", {"reason": "wrong disk"})]
    assert result.out == "job dddd4444 is told to stop\n"


async def test_an_unknown_job_is_3(cli: CommandLine) -> None:
    result = await cli("jobs", "show", "eeee")
    assert (result.code, result.err) == (
        3,
        "provisioner: there is no job 'eeee'; `provisioner jobs list` shows those there are\n",
    )
