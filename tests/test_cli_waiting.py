"""Waiting for machines and jobs: conditions, waits in vain, and the end of the time."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from provisioner.cli.exits import Exit, Failure
from provisioner.cli.waiting import Condition, condition
from tests.fakes.api import FakeApi, job, machine
from tests.fakes.terminal import CommandLine

WEB = "aaaa1111-0000-4000-8000-000000000001"
FIRST, SECOND = "cccc3333-0000-4000-8000-000000000003", "dddd4444-0000-4000-8000-000000000004"


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def cli(api: FakeApi, tmp_path: Path) -> AsyncIterator[CommandLine]:
    api.add(machine("web-1", WEB, tasks=["hello"], current_task=0, current_job=FIRST))
    api.add_jobs(job(FIRST, WEB, state="running"))
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


@pytest.mark.parametrize(
    ("word", "shown", "holds"),
    [
        ("stage=deploy", {"stage": "deploy"}, True),
        ("stage!=deploy", {"stage": "deploy"}, False),
        ("done=true", {"done": True}, True),
        ("params.rack=7", {"params": {"rack": 7}}, True),
        ("params.net/v1.gateway=a=b", {"params": {"net/v1.gateway": "a=b"}}, True),
        ("agent.bootenv=local", {"agent": {"bootenv": "local"}}, True),
        ("agent.bootenv=", {"agent": {}}, True),
        ("nothing.at.all!=x", {}, True),
        ('macs=["a"]', {"macs": ["a"]}, True),
    ],
)
def test_a_condition_compares_what_is_shown(word: str, shown: dict[str, object], holds: bool) -> None:
    assert condition(word).holds(shown) is holds


@pytest.mark.parametrize("word", ["", "done", "=x", "!=x"])
def test_what_is_no_condition_is_refused(word: str) -> None:
    with pytest.raises(Failure, match="FIELD=VALUE|is no condition") as refused:
        condition(word)
    assert refused.value.exit is Exit.USAGE


def test_a_condition_is_shown_as_it_was_written() -> None:
    assert [str(Condition("a.b", "c")), str(Condition("a", "", True))] == ["a.b=c", "a!="]


async def test_a_field_that_there_is_not_is_refused_rather_than_waited_for(cli: CommandLine) -> None:
    result = await cli("machines", "wait", "web-1", "--until", "stge=deploy", "--timeout", "1h")
    assert result.code == Exit.USAGE
    assert "no field 'stge'; there is: " in result.err and "workflow" in result.err


async def test_a_machine_is_waited_for_until_it_is_done(api: FakeApi, cli: CommandLine) -> None:
    cli.on_sleep = lambda: api.machines[WEB].update(done=True) if len(cli.sleeps) == 3 else None
    result = await cli("machines", "wait", "web-1")
    assert (result.code, result.out, len(cli.sleeps)) == (Exit.OK, "web-1: done=true\n", 3)


async def test_all_conditions_must_hold(api: FakeApi, cli: CommandLine) -> None:
    api.machines[WEB].update(stage="deploy")
    cli.on_sleep = lambda: api.machines[WEB].update(power="off")
    result = await cli("machines", "wait", "web-1", "--until", "stage=deploy", "--until", "power=off", "--json")
    assert result.code == Exit.OK
    assert json.loads(result.out)[0]["power"] == "off"


async def test_the_end_of_the_time_is_an_exit_code_of_its_own(cli: CommandLine) -> None:
    result = await cli("machines", "wait", "web-1", "--until", "stage=deploy", "--timeout", "5s")
    assert result.code == Exit.TIMED_OUT
    assert result.err == "provisioner: after 5 s not yet stage=deploy: web-1\n"
    assert sum(cli.sleeps) == 5


async def test_a_machine_that_a_failed_job_holds_is_not_waited_for(api: FakeApi, cli: CommandLine) -> None:
    api.jobs[FIRST]["state"] = "failed"
    api.machines[WEB].update(runnable=False, waiting_for="task 'hello' failed: it ended with 3")
    result = await cli("machines", "wait", "web-1")
    assert result.code == Exit.FAILED
    assert "web-1 is held: task 'hello' failed: it ended with 3" in result.err


async def test_a_patient_wait_goes_on_although_a_failed_job_holds_the_machine(api: FakeApi, cli: CommandLine) -> None:
    api.jobs[FIRST]["state"] = "failed"
    api.machines[WEB].update(runnable=False, waiting_for="task 'hello' failed")
    cli.on_sleep = lambda: api.machines[WEB].update(done=True)
    assert (await cli("machines", "wait", "web-1", "--patient")).code == Exit.OK


async def test_a_server_that_is_away_is_waited_for(api: FakeApi, cli: CommandLine) -> None:
    async with api.served():
        pass
    cli.on_sleep = lambda: api.machines[WEB].update(done=True)
    assert (await cli("machines", "wait", "web-1")).code == Exit.OK


async def test_jobs_are_waited_for_until_all_have_ended(api: FakeApi, cli: CommandLine) -> None:
    api.add_jobs(job(SECOND, WEB, state="finished"))
    cli.on_sleep = lambda: api.jobs[FIRST].update(state="finished")
    result = await cli("jobs", "wait", "cccc", "dddd")
    assert (result.code, result.out) == (Exit.OK, "job cccc3333 is finished\njob dddd4444 is finished\n")


async def test_a_job_that_failed_is_an_exit_code(api: FakeApi, cli: CommandLine) -> None:
    api.jobs[FIRST]["state"] = "failed"
    assert (await cli("jobs", "wait", FIRST)).code == Exit.FAILED


async def test_a_job_that_has_ended_otherwise_cannot_become_what_is_waited_for(api: FakeApi, cli: CommandLine) -> None:
    api.jobs[FIRST].update(state="cancelled", message="cancelled by user:admin")
    result = await cli("jobs", "wait", FIRST, "--until", "state=finished")
    assert result.code == Exit.FAILED
    assert "job cccc3333 is cancelled: cancelled by user:admin" in result.err


@pytest.mark.parametrize("time", ["soon", "-1", "5d", "inf", ""])
async def test_a_time_that_is_none_is_refused(cli: CommandLine, time: str) -> None:
    result = await cli("machines", "wait", "web-1", f"--timeout={time}")
    assert result.code == Exit.USAGE
