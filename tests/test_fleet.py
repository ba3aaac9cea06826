"""The simulated fleet itself: its agents get work done, its journal and its audit see what is wrong."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import ServerAway
from agent.messages import Reply, Request
from tests.fleet.audit import Books, Immutable, faults, read
from tests.fleet.inside import inside
from tests.fleet.journal import Journal
from tests.fleet.network import Mishaps
from tests.fleet.plan import Act, log_of
from tests.fleet.strand import StrandClock, run, wait_for

TASKS = ("one", "two", "three")


def play(machine: int, task: str, script: str, run: int) -> Act:
    return Act(192 if (task, run) == ("two", 1) else 0, 1.0, log_of(3000, f"{machine} {task} {run}\n"))


@pytest.mark.parametrize("mishaps", [Mishaps(), Mishaps(twice=0.2, lost=0.1, late=0.2, late_seconds=0.2)])
async def test_machines_come_to_the_end_of_their_work_whatever_the_network_does(
    tmp_path: Path, mishaps: Mishaps
) -> None:
    async with inside(tmp_path / "data", mishaps=mishaps) as site:
        await site.operator.make_workflow("w", {name: {} for name in TASKS}, [("s", "discovery", TASKS)])
        site.add_machines(5, play)
        await site.until(lambda shown: len(shown) == 5)
        for each in await site.operator.every("/api/v1/machines"):
            await site.operator.assign(each["id"], "w")
        async with asyncio.timeout(90):
            await site.done()
            # The answer to the last report may have been lost: then the machine tells it once more.
            while len(site.log.reported) < 5 * len(TASKS):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert len(site.log.reported) == 5 * len(TASKS)
        for job in site.log.reported:
            assert await site.operator.ask("GET", f"/api/v1/jobs/{job}/log") == site.log.written[job]
        assert faults(read(tmp_path / "data" / "provisioner.db", tmp_path / "copy.db"), site.journal) == []


async def test_blocking_code_waits_without_holding_up_the_loop() -> None:
    clock = StrandClock(asyncio.get_running_loop().time, asyncio.sleep, pace=0.001)
    order: list[str] = []

    def work(name: str, seconds: float) -> str:
        clock.sleep(seconds)
        order.append(name)
        return name

    assert await asyncio.gather(run(work, "slow", 50), run(work, "quick", 1)) == ["slow", "quick"]
    assert order == ["quick", "slow"]


async def test_an_error_of_what_is_waited_for_comes_out_in_the_blocking_code() -> None:
    async def fail() -> None:
        raise ServerAway("gone")

    def work() -> str:
        try:
            wait_for(fail())
        except ServerAway as away:
            return str(away)
        return ""

    assert await run(work) == "gone"


async def test_cancelling_ends_the_blocking_code_where_it_waits() -> None:
    waiting, ended = asyncio.Event(), []

    async def forever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    def work() -> None:
        try:
            wait_for(forever())
        finally:
            ended.append(True)

    task = asyncio.create_task(run(work))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]


# --- the audit ------------------------------------------------------------------------------------------------


def job(id: str, previous: str = "", state: str = "finished", machine: str = "m") -> dict[str, object]:
    return {"id": id, "machine": machine, "task": "t", "index": 0, "attempt": 1, "previous": previous, "state": state}


def books(*jobs: dict[str, object], current: str, events: int = 2) -> Books:
    machine = {"id": "m", "name": "m", "macs": ["a"], "current_job": current, "params": {}, "inventory": {}}
    told = [(number + 1, "machine.create", "m", "m") for number in range(events)]
    return Books({"m": machine}, {str(each["id"]): each for each in jobs}, {}, told, "ok")


RIGHT = books(job("1"), job("2", "1"), current="2")


def test_right_books_have_no_faults() -> None:
    assert faults(RIGHT, Journal(machines={"m": ("a",)}, jobs={"1": job("1")}, started={"1"})) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (books(job("1", state="running"), job("2", "1", "created"), current="2"), "2 live jobs"),
        (books(job("1"), job("2", "0"), current="2"), "leads to 0"),
        (books(job("1"), job("2"), current="2"), "passes 1 of 2"),
        (replace(RIGHT, events=RIGHT.events[1:]), "event 2 follows 0"),
        (replace(RIGHT, integrity="row 3 missing"), "row 3 missing"),
    ],
)
def test_the_audit_sees_what_can_never_be(wrong: Books, says: str) -> None:
    assert says in "".join(faults(wrong, Journal()))


@pytest.mark.parametrize(
    ("journal", "says"),
    [
        (Journal(machines={"m2": ("b",)}), "machine m2 was registered"),
        (Journal(jobs={"3": job("3")}), "job 3 was handed out and is gone"),
        (Journal(actions={"1": ["a"]}), "what job 1 rendered"),
        (Journal(params={("m", "p"): [1]}), "param p of machine m"),
        (Journal(inventories={"m": [{"cpu": 1}]}), "the inventory of machine m"),
    ],
)
def test_the_audit_sees_what_was_lost(journal: Journal, says: str) -> None:
    assert says in "".join(faults(RIGHT, journal))


def test_a_final_job_that_changes_is_seen() -> None:
    immutable = Immutable()
    assert list(immutable.changed(RIGHT)) == []
    changed = books(job("1", state="failed"), job("2", "1"), current="2")
    assert ["job 1 was final" in fault for fault in immutable.changed(changed)] == [True]


def test_log_bytes_that_contradict_earlier_ones_are_seen() -> None:
    journal = Journal()
    for offset, data, size in ((0, b"abc", 3), (0, b"abcd", 4), (2, b"XY", 4)):
        journal.answered(Request("PUT", f"/api/v1/jobs/j/log?offset={offset}", data), _size(size))
    assert journal.logs["j"] == b"abcd"
    assert ["other bytes at 2" in fault for fault in journal.faults] == [True]


def _size(size: int) -> Reply:
    return Reply(200, {}, b'{"size": %d}' % size)
