"""Bulk: the same for many machines, each with a transaction and a result of its own."""

import asyncio

import pytest

from provisioner.conductor.bulk import VERBS, Bulk, BulkWork
from provisioner.conductor.machine_changes import MachineChange, NewMachine
from provisioner.conductor.operations import Operations
from provisioner.errors import Invalid, NotFound
from provisioner.model.machines import JobState, Machine
from provisioner.model.operations import Operation, OperationState
from tests.parts import BMC, OPERATOR


def bulk_of(parts, operations=None):
    return Bulk(parts.ledger, parts.machines, parts.jobs, parts.actions, operations or Operations(parts.ledger))


async def made(parts, count=3, **fields):
    return [(await parts.machines.create(NewMachine(f"n{each}", **fields), OPERATOR)).id for each in range(count)]


async def test_a_change_is_made_to_each_machine(parts):
    ids = await made(parts)
    done = await bulk_of(parts).do(ids, BulkWork(change=MachineChange(workflow="deploy")), OPERATOR)
    assert (done.total, done.done, done.failed) == (3, 3, 0)
    assert [parts.machine(each).workflow for each in ids] == ["deploy"] * 3
    assert [(item.machine, item.name, item.status, item.code) for item in done.items][0] == (ids[0], "n0", 200, "ok")


async def test_one_machines_failure_is_its_own(parts):
    ids = await made(parts)
    await parts.change(ids[1], locked=True)
    done = await bulk_of(parts).do([*ids, "ghost"], BulkWork(change=MachineChange(description="x")), OPERATOR)
    assert [(item.status, item.code) for item in done.items] == [
        (200, "ok"),
        (409, "locked"),
        (200, "ok"),
        (404, "not-found"),
    ]
    assert "is locked; unlock it first" in done.items[1].detail and done.failed == 2
    assert parts.machine(ids[2]).description == "x"


async def test_a_bad_change_is_refused_for_each_with_the_choices(parts):
    done = await bulk_of(parts).do(await made(parts, 1), BulkWork(change=MachineChange(workflow="x")), OPERATOR)
    assert done.items[0].status == 422 and "there is: deploy" in done.items[0].detail


async def test_a_dry_run_answers_the_same_and_changes_nothing(parts):
    ids = await made(parts, workflow="deploy")
    await parts.change(ids[0], locked=True)
    before = {machine.id: machine for machine in parts.ledger.all(Machine)}
    for work in (
        BulkWork(change=MachineChange(description="x"), dry_run=True),
        *(BulkWork(verb=verb, dry_run=True) for verb in ("restart", "delete")),
    ):
        done = await bulk_of(parts).do(ids, work, OPERATOR)
        assert done.dry_run and [item.status for item in done.items] == [409, 200, 200], work
    assert {machine.id: machine for machine in parts.ledger.all(Machine)} == before


async def test_machines_are_restarted_from_a_stage(parts):
    ids = await made(parts, workflow="deploy")
    done = await bulk_of(parts).do(ids, BulkWork(verb="restart", stage="finish"), OPERATOR)
    assert done.done == 3 and parts.machine(ids[0]).tasks[0] == "stage:finish"


async def test_machines_are_deleted(parts):
    await bulk_of(parts).do(await made(parts), BulkWork(verb="delete"), OPERATOR)
    assert list(parts.ledger.read_all(Machine)) == []


async def test_jobs_are_cancelled_where_there_are_any(parts):
    busy = await parts.ready(stage="redo", force=True)
    job = await parts.begin(busy)
    idle = (await parts.machines.create(NewMachine("idle"), OPERATOR)).id
    work = BulkWork(verb="cancel", reason="power cut ahead", dry_run=True)
    assert [item.status for item in (await bulk_of(parts).do([busy, idle], work, OPERATOR)).items] == [200, 409]
    assert not parts.jobs.find(job.id).cancel_requested
    await bulk_of(parts).do([busy, idle], BulkWork(verb="cancel", reason="power cut ahead"), OPERATOR)
    assert parts.jobs.find(job.id).cancel_requested


async def test_machines_that_failed_go_on(parts):
    machine = await parts.ready(stage="redo", force=True)
    await parts.end(await parts.begin(machine), JobState.FAILED)
    assert not parts.machine(machine).runnable
    assert (await bulk_of(parts).do([machine], BulkWork(verb="resume"), OPERATOR)).done == 1
    assert parts.machine(machine).runnable


async def test_an_action_is_an_operation_with_a_result_for_each(parts):
    ids = await made(parts, 2, params=BMC)
    without = (await parts.machines.create(NewMachine("plain"), OPERATOR)).id
    operations = Operations(parts.ledger)
    begun = await bulk_of(parts, operations).begin([*ids, without], BulkWork(action="power-on"), OPERATOR)
    running = asyncio.create_task(operations.run())
    while not (done := operations.find(begun.id)).final:
        await parts.ledger.changed(Operation, begun.id, 10)
    running.cancel()
    assert done.state is OperationState.FAILED and done.action == "power-on"
    assert {result.name: result.status for result in done.results} == {"n0": 200, "n1": 200, "plain": 422}


async def test_an_action_can_be_rehearsed(parts):
    (ready,) = await made(parts, 1, params=BMC)
    without = (await parts.machines.create(NewMachine("plain"), OPERATOR)).id
    done = await bulk_of(parts).do([ready, without], BulkWork(action="power-on", dry_run=True), OPERATOR)
    assert [(item.status, item.code) for item in done.items] == [(200, "ok"), (422, "action-unavailable")]


async def test_an_operation_names_only_machines_that_exist(parts):
    with pytest.raises(NotFound, match="there is no machine 'ghost'"):
        await bulk_of(parts).begin(["ghost"], BulkWork(action="power-on"), OPERATOR)
    assert list(parts.ledger.all(Operation)) == []


@pytest.mark.parametrize(
    ("work", "path", "message"),
    [
        (BulkWork(), "change", "exactly one of"),
        (BulkWork(verb="delete", action="power-on"), "action", "there is: verb, action"),
        (BulkWork(verb="explode"), "verb", "unknown verb 'explode'; there is: cancel, delete, restart, resume"),
        (BulkWork(action="explode"), "action", "unknown action 'explode'; there is: .*power-on"),
        (BulkWork(verb="delete", stage="x"), "stage", "is for the verb restart only"),
        (BulkWork(verb="restart", reason="x"), "reason", "is for the verb cancel only"),
    ],
    ids=str,
)
async def test_what_is_not_one_thing_to_do_is_refused(parts, work, path, message):
    with pytest.raises(Invalid, match=message) as caught:
        await bulk_of(parts).do([], work, OPERATOR)
    assert [field.path for field in caught.value.fields] == [path]


def test_every_verb_says_what_it_does():
    assert all(verb.__doc__ for verb in VERBS.values())


async def test_more_machines_than_go_together_are_all_done(parts):
    ids = await made(parts, 450)
    done = await bulk_of(parts).do(ids, BulkWork(change=MachineChange(description="x")), OPERATOR)
    assert (done.total, done.done) == (450, 450)
