"""A machine's history as a tar, read by another reader; and a search through the logs of chosen jobs."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from contextlib import aclosing
from datetime import timedelta

import pytest

from provisioner.conductor.archive import Busy, LogFilter
from provisioner.errors import NotFound
from provisioner.model.machines import Job, JobState, RenderedFile
from provisioner.store.log_search import Bounds, Wanted
from tests.parts import BMC, OPERATOR, START

HOUR = timedelta(hours=1)


async def save(parts, id, *, machine="m1", task="one", state=JobState.FINISHED, hours=0, log=b"", files=()):
    at = START + hours * HOUR
    tx = parts.ledger.transaction()
    tx.put(Job(id=id, machine=machine, task=task, state=state, created_at=at, ended_at=at))
    if files:
        tx.put_actions(id, files)
    await tx.commit()
    if log:
        await parts.logs.append(id, 0, log)


async def exported(parts, machine):
    """{name: bytes} of the archive, in its order."""
    async with aclosing(parts.archive.export(machine)) as pieces:
        archive = b"".join([piece async for piece in pieces])
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


async def test_a_machines_history_has_all_that_there_is_of_it(parts):
    machine = (await parts.register()).machine.id
    files = (RenderedFile("run", "echo é\n"), RenderedFile("../run", "x"))
    await save(parts, "11111111-1", machine=machine, task="stage:x/y", log=b"first\n", files=files)
    await save(parts, "22222222-2", machine=machine, task="two")
    await save(parts, "33333333-3", machine="other", log=b"not mine")
    async with parts.assets.upload("22222222-2", "core.gz") as upload:
        await upload.write(b"\x1f\x8b")
        await upload.finish(START)
    found = await exported(parts, machine)
    assert list(found) == [
        "machine.json",
        "timeline.ndjson",
        "jobs/0001-stage-x-y-11111111/job.json",
        "jobs/0001-stage-x-y-11111111/log.txt",
        "jobs/0001-stage-x-y-11111111/rendered/01-run",
        "jobs/0001-stage-x-y-11111111/rendered/02--run",
        "jobs/0002-two-22222222/job.json",
        "jobs/0002-two-22222222/assets/core.gz",
    ]
    assert json.loads(found["machine.json"])["id"] == machine
    assert json.loads(found["jobs/0002-two-22222222/job.json"])["task"] == "two"
    assert found["jobs/0001-stage-x-y-11111111/log.txt"] == b"first\n"
    assert found["jobs/0001-stage-x-y-11111111/rendered/01-run"].decode() == "echo é\n"
    assert found["jobs/0002-two-22222222/assets/core.gz"] == b"\x1f\x8b"


async def test_the_timeline_has_all_events_of_the_machine_in_their_order(parts):
    machine = (await parts.register()).machine.id
    for _ in range(3):
        tx = parts.ledger.transaction()
        for _ in range(700):
            tx.event("machine.update", machine=machine)
            tx.event("machine.update", machine="other")
        await tx.commit()
    found = await exported(parts, machine)
    events = [json.loads(line) for line in found["timeline.ndjson"].splitlines()]
    assert [event["kind"] for event in events].count("machine.update") == 2100
    assert {event["machine"] for event in events} <= {machine, ""}
    assert [event["id"] for event in events] == sorted(event["id"] for event in events)


async def test_secure_params_are_not_in_it(parts):
    machine = (await parts.register()).machine.id
    await parts.change(machine, params=BMC)
    found = await exported(parts, machine)
    assert not [name for name, data in found.items() if BMC["power/password"].encode() in data]
    assert json.loads(found["machine.json"])["params"]["power/address"] == BMC["power/address"]


async def test_the_same_history_makes_the_same_archive(parts):
    machine = (await parts.register()).machine.id
    await save(parts, "11111111-1", machine=machine, log=b"first\n")

    async def archive():
        return b"".join([piece async for piece in parts.archive.export(machine)])

    assert await archive() == await archive()


async def test_a_job_that_is_removed_meanwhile_is_left_out_and_the_rest_is_whole(parts):
    machine = (await parts.register()).machine.id
    await save(parts, "11111111-1", machine=machine, log=b"first\n")
    await save(parts, "22222222-2", machine=machine, log=b"second\n")
    archive = b""
    async for piece in parts.archive.export(machine):
        archive += piece
        if b"0001-one" in piece:
            await parts.logs.delete("11111111-1")
            await parts.retention.delete("22222222-2", OPERATOR)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        names = tar.getnames()
    assert "jobs/0001-one-11111111/job.json" in names
    assert not [name for name in names if "22222222" in name]


async def test_a_log_that_goes_on_while_it_is_read_does_not_break_the_archive(parts):
    machine = (await parts.register()).machine.id
    await save(parts, "11111111-1", machine=machine, log=b"x" * 1_000_000)
    archive, grown = b"", False
    async for piece in parts.archive.export(machine):
        archive += piece
        if b"log.txt" in piece and not grown:
            grown = True
            await parts.logs.append("11111111-1", 1_000_000, b"y" * 1000)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert tar.getmember("jobs/0001-one-11111111/log.txt").size == 1_000_000
    assert grown


async def test_a_machine_that_is_not_there_has_no_history(parts):
    with pytest.raises(NotFound, match="there is no machine 'm1'"):
        await anext(parts.archive.export("m1"))


async def test_only_so_many_exports_at_a_time_and_one_that_is_given_up_makes_room(parts):
    machine = (await parts.register()).machine.id
    under_way = [parts.archive.export(machine) for _ in range(4)]
    for each in under_way:
        await anext(each)
    with pytest.raises(Busy, match="4 exports are under way"):
        await anext(parts.archive.export(machine))
    for each in under_way:
        await each.aclose()
    assert await exported(parts, machine)


# --- search ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def logs(parts):
    await save(parts, "a", machine="m1", task="one", state=JobState.FAILED, hours=1, log=b"an Error\n")
    await save(parts, "b", machine="m1", task="two", hours=2, log=b"no error\n")
    await save(parts, "c", machine="m2", task="one", hours=3, log=b"error again\n")
    await save(parts, "d", machine="m2", task="one", hours=4)
    return parts


@pytest.mark.parametrize(
    ("only", "jobs"),
    [
        ({}, ["c", "b", "a"]),
        ({"machine": "m1"}, ["b", "a"]),
        ({"task": "one"}, ["c", "a"]),
        ({"state": JobState.FAILED}, ["a"]),
        ({"since": START + 2 * HOUR}, ["c", "b"]),
        ({"machine": "m2", "task": "two"}, []),
    ],
)
async def test_the_logs_of_chosen_jobs_are_looked_through_newest_first(logs, only, jobs):
    result = await logs.archive.search(Wanted("ERROR"), LogFilter(**only), Bounds())
    assert [found.job for found in result.found] == jobs
    assert not result.truncated


async def test_only_so_many_searches_wait(logs):
    others = [asyncio.ensure_future(logs.archive.search(Wanted("x"), LogFilter(), Bounds())) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="4 searches are under way"):
        await logs.archive.search(Wanted("x"), LogFilter(), Bounds())
    await asyncio.gather(*others)
    assert (await logs.archive.search(Wanted("again"), LogFilter(), Bounds())).found


async def test_a_search_that_is_given_up_ends_and_makes_room(parts):
    await save(parts, "a", log=b"x\n" * 1_000_000)
    search = asyncio.ensure_future(parts.archive.search(Wanted("y"), LogFilter(), Bounds()))
    await asyncio.sleep(0)
    search.cancel()
    with pytest.raises(asyncio.CancelledError):
        await search
    assert (await parts.archive.search(Wanted("x"), LogFilter(), Bounds(hits=1))).found
