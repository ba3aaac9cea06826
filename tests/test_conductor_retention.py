"""Jobs and events that go: what goes with them, what stays, and what a crash in the middle leaves to be done."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from provisioner.access import SERVER
from provisioner.conductor.retention import NAMED, TOGETHER, Retention
from provisioner.errors import NotFound, Refused, StoreError
from provisioner.model.machines import Job, JobState, RenderedFile
from provisioner.model.operations import Operation, OperationState
from provisioner.retention import Limits
from provisioner.store.event_search import EventQuery
from tests.parts import OPERATOR, START, opened

DAY = timedelta(days=1)


NONE_GO = Limits(keep_days=99_999)


async def save(parts, *ids, machine="m1", state=JobState.FINISHED, days=0):
    """Jobs that ended so many days ago, each with a log, an asset and a rendered file."""
    tx = parts.ledger.transaction()
    at = START - days * DAY
    for id in ids:
        tx.put(Job(id=id, machine=machine, task="t", state=state, created_at=at, ended_at=at))
        tx.put_actions(id, (RenderedFile("run", "x"),))
    await tx.commit()
    for id in ids:
        await parts.logs.append(id, 0, b"12345")
        async with parts.assets.upload(id, "a") as upload:
            await upload.write(b"123")
            await upload.finish(at)


def jobs(parts):
    return [job.id for job in parts.ledger.read_all(Job)]


async def left(parts, id):
    """What there still is of a job besides its record: log, assets, rendered files."""
    return (await parts.logs.size(id), len(await parts.assets.listed(id)), bool(await parts.database.actions(id)))


async def test_jobs_that_outlived_the_limits_go_with_all_that_belongs_to_them(parts):
    await save(parts, "a", "b", days=9)
    await save(parts, "c", days=1)
    pruned = await parts.retention.prune(Limits(keep_days=5), OPERATOR)
    assert (pruned.jobs, pruned.count, pruned.bytes) == (["a", "b"], 2, 16)
    assert jobs(parts) == ["c"]
    assert await left(parts, "a") == (0, 0, False)
    assert await left(parts, "c") == (5, 1, True)
    assert await parts.events("job.prune") == [("", {"count": 2})]
    assert await parts.database.removed_jobs(9) == []


async def test_a_dry_run_tells_the_same_and_removes_nothing(parts):
    await save(parts, "a", "b", days=9)
    told = await parts.retention.prune(Limits(keep_days=5), OPERATOR, dry_run=True)
    assert jobs(parts) == ["a", "b"]
    assert await left(parts, "a") == (5, 1, True)
    assert await parts.retention.prune(Limits(keep_days=5), OPERATOR) == told


async def test_jobs_that_something_can_still_come_of_stay(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.end(await parts.begin(machine))
    await save(parts, "incomplete", state=JobState.INCOMPLETE, days=9)
    await save(parts, "old", machine=machine, days=9)
    parts.clock.pass_seconds(9 * 86400)
    pruned = await parts.retention.prune(Limits(1, 1), OPERATOR)
    assert pruned.jobs == ["old"]
    assert sorted(jobs(parts)) == sorted([job.id, "incomplete"])


async def test_nothing_to_remove_changes_nothing(parts):
    assert await parts.retention.prune(NONE_GO, OPERATOR) == await parts.retention.prune(Limits(), OPERATOR)
    assert await parts.events("job.prune") == []


async def test_many_jobs_go_in_several_transactions_and_only_some_are_named(parts):
    ids = [f"j{number:05}" for number in range(2 * TOGETHER + 1)]
    tx = parts.ledger.transaction()
    for id in ids:
        tx.put(Job(id=id, machine="m1", task="t", state=JobState.FAILED, created_at=START - DAY))
    await tx.commit()
    pruned = await parts.retention.prune(Limits(keep_days=1), OPERATOR)
    assert (pruned.jobs, pruned.count) == (ids[:NAMED], len(ids))
    assert [data["count"] for _, data in await parts.events("job.prune")] == [TOGETHER, TOGETHER, 1]


async def test_two_that_prune_at_once_remove_each_job_once(parts):
    await save(parts, "a", "b", days=9)
    both = await asyncio.gather(*(parts.retention.prune(Limits(keep_days=5), OPERATOR) for _ in range(2)))
    assert sorted(pruned.count for pruned in both) == [0, 2]
    assert jobs(parts) == []


async def test_house_is_kept_by_the_settings(parts):
    await save(parts, "a", days=9)
    await save(parts, "b", "c", days=1)
    house = Retention(parts.ledger, parts.logs, parts.assets, Limits(5, 1))
    await house.keep_house()
    assert jobs(parts) == ["c"]


async def test_without_settings_nothing_goes(parts):
    await save(parts, "a", days=9999)
    await parts.retention.keep_house()
    assert jobs(parts) == ["a"]


async def test_old_events_go(parts):
    for _ in range(3):
        tx = parts.ledger.transaction()
        tx.event("server.start")
        await tx.commit()
        parts.clock.pass_seconds(86400)
    await Retention(parts.ledger, parts.logs, parts.assets, Limits(), event_days=1).keep_house()
    assert [event.time for event in await parts.database.events(EventQuery())] == [START + 2 * DAY]


async def test_operations_go_a_month_after_their_end(parts):
    tx = parts.ledger.transaction()
    for id, state, days in (
        ("old", OperationState.FINISHED, 31),
        ("young", OperationState.FAILED, 29),
        ("running", OperationState.RUNNING, 99),
    ):
        at = START - days * DAY
        tx.put(Operation(id=id, action="restart", machines=(), state=state, started_at=at - DAY, ended_at=at))
    await tx.commit()
    await parts.retention.keep_house()
    assert [operation.id for operation in parts.ledger.read_all(Operation)] == ["young", "running"]


# --- deleting one ---------------------------------------------------------------------------------------------


async def test_a_job_is_deleted_with_all_that_belongs_to_it(parts):
    await save(parts, "a")
    assert (await parts.retention.delete("a", OPERATOR)).id == "a"
    assert jobs(parts) == []
    assert await left(parts, "a") == (0, 0, False)
    assert await parts.events("job.delete") == [("a", {"task": "t"})]


async def test_a_job_that_has_not_ended_cannot_be_deleted(parts):
    await save(parts, "a", state=JobState.INCOMPLETE)
    with pytest.raises(Refused, match="job a is incomplete; only a job that has ended"):
        await parts.retention.delete("a", OPERATOR)
    assert jobs(parts) == ["a"]


async def test_the_job_that_its_machine_stands_at_cannot_be_deleted(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.end(await parts.begin(machine))
    with pytest.raises(Refused, match="its machine stands at job"):
        await parts.retention.delete(job.id, OPERATOR)


async def test_a_job_that_is_not_there_cannot_be_deleted(parts):
    with pytest.raises(NotFound, match="there is no job 'a'"):
        await parts.retention.delete("a", OPERATOR)


# --- files follow ---------------------------------------------------------------------------------------------


async def test_files_of_a_deleted_machines_jobs_go(parts):
    machine = (await parts.register()).machine.id
    await save(parts, "a", machine=machine)
    await parts.machines.delete(machine, OPERATOR)
    assert await parts.database.actions("a") is None
    await parts.retention.follow()
    assert await left(parts, "a") == (0, 0, False)


async def test_files_that_a_crash_left_go_when_the_server_starts_again(tmp_path):
    async with opened(tmp_path) as parts:
        await save(parts, "a", "b")
        tx = parts.ledger.transaction()
        tx.delete(Job, "a")
        await tx.commit()
        assert await left(parts, "a") == (5, 1, False)
    async with opened(tmp_path) as parts:
        await parts.retention.follow()
        assert await left(parts, "a") == (0, 0, False)
        assert await left(parts, "b") == (5, 1, True)


async def test_files_of_jobs_that_nobody_removed_are_never_touched(parts):
    await parts.logs.append("stranger", 0, b"12345")
    await parts.retention.follow()
    await parts.retention.keep_house()
    assert await parts.logs.size("stranger") == 5


async def test_files_that_cannot_be_removed_are_noted_and_do_not_hold_up_others(parts):
    await save(parts, "a", "b")
    parts.logs.path("a").unlink()
    parts.logs.path("a").mkdir()
    tx = parts.ledger.transaction()
    tx.delete(Job, "a")
    tx.delete(Job, "b")
    await tx.commit()
    await parts.retention.follow()
    await parts.retention.follow()
    assert await left(parts, "b") == (0, 0, False)
    assert await parts.database.removed_jobs(9) == ["a"]
    parts.logs.path("a").rmdir()
    await Retention(parts.ledger, parts.logs, parts.assets).follow()
    assert await parts.database.removed_jobs(9) == []


async def test_jobs_stay_when_their_removal_cannot_be_written(parts):
    await save(parts, "a", days=9)
    parts.database._write_conn.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError):
        await parts.retention.prune(Limits(keep_days=1), SERVER)
    assert jobs(parts) == ["a"]
    assert await left(parts, "a") == (5, 1, True)
