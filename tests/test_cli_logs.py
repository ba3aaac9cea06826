"""`provisioner jobs log`: every byte once, whatever happens to the server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.fakes.api import FakeApi, Problem, job, machine
from tests.fakes.terminal import CommandLine


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def cli(api: FakeApi, tmp_path: Path) -> AsyncIterator[CommandLine]:
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


WEB = "aaaa1111-0000-4000-8000-000000000001"
FIRST, SECOND, THIRD = "cccc3333", "dddd4444", "eeee5555"


@pytest.fixture(autouse=True)
def one_machine(api: FakeApi) -> None:
    api.add(machine("web-1", WEB, tasks=["hello", "bye"], current_task=0, current_job=FIRST))
    api.add_jobs(job(FIRST, WEB))
    api.logs[FIRST] = b"hello\n"


def running(api: FakeApi, identity: str, **fields: object) -> None:
    api.add_jobs(job(identity, WEB, state="running", exit_code=None, ended_at=None, **fields))


def log_requests(api: FakeApi) -> int:
    return sum("/log?" in path for path, _ in api.asked("GET"))


class Script:
    """Does one step each time the log is asked for with `wait`, as time would."""

    def __init__(self, *steps) -> None:
        self._steps = list(steps)

    def __call__(self, request: web.Request) -> None:
        if request.path.endswith("/log") and request.query["wait"] != "0" and self._steps:
            self._steps.pop(0)()


# --- reading --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [FIRST, "cccc", "web-1", "aaaa"])
async def test_a_log_is_found_by_job_or_machine(cli: CommandLine, word: str) -> None:
    result = await cli("jobs", "log", word)
    assert (result.code, result.out, result.err) == (0, "hello\n", "")


async def test_the_log_of_a_failed_job_can_be_read_without_failing(api: FakeApi, cli: CommandLine) -> None:
    api.jobs[FIRST]["state"] = "failed"
    assert (await cli("jobs", "log", FIRST)).code == 0


async def test_a_long_log_is_read_in_pieces(api: FakeApi, cli: CommandLine) -> None:
    api.logs[FIRST], api.log_piece = bytes(range(65, 91)) * 100, 64
    assert (await cli("jobs", "log", FIRST)).out == api.logs[FIRST].decode()


async def test_the_log_of_a_running_job_is_what_there_is_now(api: FakeApi, cli: CommandLine) -> None:
    running(api, FIRST)
    assert (await cli("jobs", "log", FIRST)).out == "hello\n"


async def test_a_machine_without_jobs_says_so(api: FakeApi, cli: CommandLine) -> None:
    api.add(machine("db-1", "bbbb"))
    result = await cli("jobs", "log", "db-1")
    assert (result.code, result.err) == (3, "provisioner: machine db-1 has had no job yet; -f waits for the first\n")


async def test_a_word_that_is_neither_says_where_to_look(cli: CommandLine) -> None:
    result = await cli("jobs", "log", "web-9")
    assert result.code == 3
    assert result.err.startswith("provisioner: there is no machine and no job 'web-9'; ")


async def test_a_log_is_not_json(cli: CommandLine) -> None:
    assert (await cli("jobs", "log", FIRST, "--json")).code == 2


# --- following ------------------------------------------------------------------------------------------------


async def test_following_a_job_copies_its_log_as_it_grows_until_it_ends(api: FakeApi, cli: CommandLine) -> None:
    running(api, FIRST)

    def grow() -> None:
        api.logs[FIRST] += b"more\n"

    def end() -> None:
        api.logs[FIRST] += b"last\n"
        api.jobs[FIRST]["state"] = "finished"

    api.before = Script(lambda: None, grow, lambda: None, end)
    result = await cli("jobs", "log", "-f", FIRST)
    assert (result.code, result.out, result.err) == (0, "hello\nmore\nlast\n", "")


async def test_following_a_job_that_fails_tells_how_and_ends_with_1(api: FakeApi, cli: CommandLine) -> None:
    api.jobs[FIRST] |= {"state": "failed", "message": "hello.sh ended with 3"}
    result = await cli("jobs", "log", "-f", FIRST)
    assert (result.code, result.out) == (1, "hello\n")
    assert result.err == "job cccc3333 failed: hello.sh ended with 3\n"


async def test_an_incomplete_job_is_followed_on(api: FakeApi, cli: CommandLine) -> None:
    api.jobs[FIRST]["state"] = "incomplete"

    def resume() -> None:
        api.logs[FIRST] += b"after the reboot\n"
        api.jobs[FIRST]["state"] = "finished"

    api.before = Script(lambda: None, resume)
    assert (await cli("jobs", "log", "-f", FIRST)).out == "hello\nafter the reboot\n"


async def test_a_restarted_server_loses_and_doubles_no_byte(api: FakeApi, cli: CommandLine) -> None:
    running(api, FIRST)

    def away() -> None:
        raise Problem(503, "starting", "the server is starting")

    def end() -> None:
        api.logs[FIRST] += b"last\n"
        api.jobs[FIRST]["state"] = "finished"

    api.before = Script(lambda: None, away, away, end)
    result = await cli("jobs", "log", "-f", FIRST)
    assert (result.code, result.out) == (0, "hello\nlast\n")
    assert cli.sleeps == [1.0, 1.0]


async def test_a_server_that_stays_away_is_given_up_after_two_minutes(api: FakeApi, cli: CommandLine) -> None:
    running(api, FIRST)

    def away() -> None:
        raise Problem(503, "starting", "the server is starting")

    api.before = Script(*[away] * 1000)
    result = await cli("jobs", "log", "-f", FIRST)
    assert (result.code, sum(cli.sleeps)) == (1, 120.0)
    assert "the server is starting" in result.err


async def test_only_a_follower_is_patient(api: FakeApi, cli: CommandLine) -> None:
    def refuse(request: web.Request) -> None:
        if request.path.endswith("/log"):
            raise Problem(503, "starting", "the server is starting")

    api.before = refuse
    assert (await cli("jobs", "log", FIRST)).code == 1
    assert cli.sleeps == []


async def test_following_a_machine_goes_from_job_to_job_until_its_tasks_are_done(
    api: FakeApi, cli: CommandLine
) -> None:
    def next_jobs() -> None:
        api.jobs[FIRST]["state"] = "finished"
        api.add_jobs(job(SECOND, WEB, task="stage:farewell"), job(THIRD, WEB, task="bye"))
        api.logs[THIRD] = b"bye\n"
        api.machines[WEB] |= {"done": True, "current_job": THIRD}

    running(api, FIRST)
    api.before = Script(next_jobs)
    result = await cli("jobs", "log", "-f", "web-1")
    assert (result.code, result.out) == (0, "hello\nbye\n")
    assert result.err.splitlines() == [
        "==> web-1: hello (job cccc3333) <==",
        "==> web-1: bye (job eeee5555) <==",
        "==> web-1 has done all its tasks <==",
    ]


async def test_of_a_machines_jobs_the_current_one_is_read(api: FakeApi, cli: CommandLine) -> None:
    api.add_jobs(job(SECOND, WEB, task="bye"))
    assert (await cli("jobs", "log", "web-1")).out == "hello\n"
    api.machines[WEB]["current_job"] = ""
    assert (await cli("jobs", "log", "web-1")).out == ""


async def test_following_a_machine_starts_at_its_newest_job(api: FakeApi, cli: CommandLine) -> None:
    api.add_jobs(job(SECOND, WEB, task="bye"))
    api.logs[SECOND] = b"bye\n"
    api.machines[WEB] |= {"done": True, "current_job": SECOND}
    assert (await cli("jobs", "log", "-f", "web-1")).out == "bye\n"


async def test_following_waits_while_the_machine_is_between_jobs(api: FakeApi, cli: CommandLine) -> None:
    def come() -> None:
        if len(cli.sleeps) == 3:
            api.add_jobs(job(SECOND, WEB, task="bye"))
            api.machines[WEB]["done"] = True

    cli.on_sleep = come
    assert (await cli("jobs", "log", "-f", "web-1")).code == 0
    assert len(cli.sleeps) == 3


async def test_following_a_machine_ends_with_1_when_a_job_failed_for_good(api: FakeApi, cli: CommandLine) -> None:
    api.jobs[FIRST] |= {"state": "failed", "message": "hello.sh ended with 3"}
    api.machines[WEB]["runnable"] = False
    result = await cli("jobs", "log", "-f", "web-1")
    assert result.code == 1
    assert result.err.endswith("job cccc3333 failed: hello.sh ended with 3\n")


async def test_following_a_machine_goes_on_when_a_failed_task_is_tried_again(api: FakeApi, cli: CommandLine) -> None:
    api.jobs[FIRST] |= {"state": "failed", "message": "hello.sh ended with 3"}

    def again() -> None:
        api.add_jobs(job(SECOND, WEB, attempt=2))
        api.logs[SECOND] = b"hello at last\n"
        api.machines[WEB]["done"] = True

    cli.on_sleep = again
    result = await cli("jobs", "log", "-f", "web-1")
    assert (result.code, result.out) == (0, "hello\nhello at last\n")
