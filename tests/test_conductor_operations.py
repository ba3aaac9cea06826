"""Operations: begun, carried out a few at a time, kept on disk, ended by a restart."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from provisioner.conductor.operations import AT_ONCE, Operations
from provisioner.errors import NotFound
from provisioner.model.operations import ItemResult, Operation, OperationState
from tests.parts import OPERATOR, START, opened


async def good(machine):
    return ItemResult(machine, machine, 200, detail="done")


async def carried_out(parts, work, count=3):
    """An operation on so many machines, as it is when it has ended."""
    operations = Operations(parts.ledger)
    begun = await operations.begin("power-on", [f"m{number}" for number in range(count)], work, OPERATOR)
    running = asyncio.create_task(operations.run())
    while not (found := operations.find(begun.id)).final:
        await parts.ledger.changed(Operation, begun.id, 10)
    running.cancel()
    return found


async def test_an_operation_is_on_disk_before_anything_is_done(parts):
    operations = Operations(parts.ledger)
    begun = await operations.begin("power-on", ["m1"], good, OPERATOR)
    assert operations.find(begun.id) == begun
    assert (begun.state, begun.total, begun.started_at, begun.started_by) == ("running", 1, START, "user:admin")


async def test_it_ends_with_a_result_for_each_machine(parts):
    done = await carried_out(parts, good)
    assert (done.state, done.error, done.ended_at) == (OperationState.FINISHED, "", START)
    assert sorted(result.machine for result in done.results) == ["m0", "m1", "m2"]
    assert [data["state"] for _, data in await parts.events("operation.end")] == ["finished"]


async def test_a_disk_that_fails_meanwhile_makes_its_end_late_and_stops_nothing(parts):
    async def mended(seconds):
        table.execute("ALTER TABLE aside RENAME TO operations")

    async def work(machine):
        if machine == "m0":
            table.execute("ALTER TABLE operations RENAME TO aside")
        return await good(machine)

    with closing(sqlite3.connect(parts.database.path, isolation_level=None)) as table:
        operations = Operations(parts.ledger, mended)
        begun = await operations.begin("power-on", ["m0", "m1", "m2"], work, OPERATOR)
        running = asyncio.create_task(operations.run())
        async with asyncio.timeout(20):
            while not operations.find(begun.id).final:
                assert not running.done()
                await parts.ledger.changed(Operation, begun.id, 0.05)
        running.cancel()
    assert operations.find(begun.id).state is OperationState.FINISHED


async def test_it_has_failed_when_one_machine_has(parts):
    async def work(machine):
        return ItemResult(machine, machine, 504 if machine == "m1" else 200)

    done = await carried_out(parts, work)
    assert (done.state, done.error) == (OperationState.FAILED, "failed for 1 of 3 machines")


async def test_a_fault_of_ours_is_the_result_of_that_machine_only(parts):
    async def work(machine):
        if machine == "m1":
            raise ZeroDivisionError
        return await good(machine)

    done = await carried_out(parts, work)
    assert sorted(result.status for result in done.results) == [200, 200, 500]


async def test_only_some_machines_are_worked_on_at_once(parts):
    now, most = 0, 0

    async def work(machine):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return await good(machine)

    done = await carried_out(parts, work, count=3 * AT_ONCE)
    assert len(done.results) == 3 * AT_ONCE and most <= AT_ONCE


async def test_an_operation_on_no_machine_is_over_at_once(parts):
    assert (await carried_out(parts, good, count=0)).state is OperationState.FINISHED


async def test_what_was_under_way_at_a_restart_has_failed_and_says_so(tmp_path):
    async with opened(tmp_path) as before:
        begun = await Operations(before.ledger).begin("power-on", ["m1"], good, OPERATOR)
    async with opened(tmp_path) as parts:
        assert await Operations(parts.ledger).end_left_over() == 1
        left = Operations(parts.ledger).find(begun.id)
        assert left.state is OperationState.FAILED and "the server was restarted" in left.error
        assert await Operations(parts.ledger).end_left_over() == 0


async def test_an_unknown_operation_is_not_found(parts):
    with pytest.raises(NotFound, match="there is no operation 'x'"):
        Operations(parts.ledger).find("x")
