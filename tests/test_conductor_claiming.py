"""Claims: what the conductor makes of the claim table's answers, with repairs, stops, single-step and disks."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from provisioner.access import Principal, Who
from provisioner.conductor.registration import Hello
from provisioner.errors import Conflict, Invalid, Refused
from provisioner.lifecycle import SERVER_BOOT_ID, Outcome
from provisioner.model.content import Retry, Stage, Task
from provisioner.model.machines import ExitState, Hold, Job, JobState, Machine
from tests.parts import OPERATOR, WHERE, task

FAILED = (JobState.FAILED, ExitState.FAILED)


async def given(parts, *tasks, **change):
    """A machine that is up and has these tasks to do in a stage of its own."""
    for each in reversed(tasks):  # repairs are named after what they repair
        if isinstance(each, Task):
            await parts.catalog.put(each, OPERATOR)
    names = tuple(each.name if isinstance(each, Task) else each for each in tasks)
    listed = tuple(name for name in names if name not in {repair for each in tasks for repair in repairs_of(each)})
    await parts.catalog.put(Stage(name="own", tasks=listed), OPERATOR)
    return await parts.ready(stage="own", **change)


def repairs_of(each):
    return each.on_error if isinstance(each, Task) else ()


async def hello_again(parts, machine, boot_id="boot-1", instance="agent-2"):
    said = Hello(boot_id=boot_id, bootenv="discovery", instance=instance)
    return await parts.registrations.hello(machine, said, Principal(Who.MACHINE, machine))


def chain(parts, machine):
    """The machine's jobs from the first on, by their links."""
    found, key = [], parts.machine(machine).current_job
    while key:
        job = parts.jobs.find(key)
        found.insert(0, job)
        key = job.previous
    return found


# --- repairs --------------------------------------------------------------------------------------------------


async def test_a_failed_task_is_repaired_once_and_then_done_again(parts):
    machine = await given(parts, task("fragile", on_error=("mend", "check")), task("mend"), task("check"), "two")
    await parts.end(await parts.begin(machine), *FAILED)
    assert parts.machine(machine).repairs_left == ("mend", "check")
    await parts.end(await parts.begin(machine))
    await parts.end(await parts.begin(machine))
    again = await parts.begin(machine)
    assert (again.task, again.attempt, again.repair) == ("fragile", 2, False)
    await parts.end(again)
    await parts.end(await parts.begin(machine))
    told = [(job.task, job.index, job.attempt, job.repair, job.state.value) for job in chain(parts, machine)]
    assert told == [
        ("fragile", 0, 1, False, "failed"),
        ("mend", 0, 1, True, "finished"),
        ("check", 0, 1, True, "finished"),
        ("fragile", 0, 2, False, "finished"),
        ("two", 1, 1, False, "finished"),
    ]
    assert parts.machine(machine).done
    ((_, told_of),) = await parts.events("machine.repair")
    assert (told_of["task"], told_of["repairs"]) == ("fragile", ["mend", "check"])


async def test_a_task_that_fails_after_its_repair_holds_the_machine(parts):
    machine = await given(parts, task("fragile", on_error=("mend",)), task("mend"))
    await parts.end(await parts.begin(machine), *FAILED)
    await parts.end(await parts.begin(machine))
    await parts.end(await parts.begin(machine), *FAILED, "exit code 7")
    held = parts.machine(machine)
    assert (held.hold, held.waiting_for) == (Hold.FAILED, "task 'fragile' failed: exit code 7")
    await parts.machines.resume(machine, OPERATOR)
    await parts.end(await parts.begin(machine), *FAILED)
    assert (await parts.begin(machine)).task == "mend"


async def test_a_repair_that_fails_holds_the_machine_and_is_done_again_first(parts):
    machine = await given(parts, task("fragile", on_error=("mend",)), task("mend"))
    await parts.end(await parts.begin(machine), *FAILED)
    await parts.end(await parts.begin(machine), *FAILED, "no glue")
    assert parts.machine(machine).waiting_for == "task 'mend' (a repair of 'fragile') failed: no glue"
    await parts.change(machine, runnable=True)
    job = await parts.begin(machine)
    assert (job.task, job.attempt, job.repair, job.index) == ("mend", 2, True, 0)


async def test_a_repair_that_reboots_goes_on_after_the_boot(parts):
    machine = await given(parts, task("fragile", on_error=("mend",)), task("mend"))
    await parts.end(await parts.begin(machine), *FAILED)
    await parts.end(await parts.begin(machine), JobState.FINISHED, ExitState.REBOOT)
    await parts.hello(machine, "boot-2")
    assert (await parts.begin(machine, "boot-2")).task == "fragile"


async def test_retries_come_after_the_repair_and_count_from_there(parts):
    fragile = task("fragile", on_error=("mend",), retry=Retry(max=1, backoff_seconds=10))
    machine = await given(parts, fragile, task("mend"))
    for expected in ("fragile", "mend", "fragile"):
        job = await parts.begin(machine)
        assert job.task == expected
        await parts.end(job, *(FAILED if expected == "fragile" else ()))
    with pytest.raises(Refused, match="the next attempt is due at 12:00:10 UTC"):
        await parts.claim(machine)
    parts.clock.pass_seconds(10)
    last = await parts.begin(machine)
    assert (last.task, last.attempt) == ("fragile", 3)
    await parts.end(last, *FAILED)
    assert parts.machine(machine).hold is Hold.FAILED
    ((_, told),) = await parts.events("machine.retry")
    assert (told["task"], told["retry"]) == ("fragile", 1)


async def test_what_cannot_be_run_is_neither_repaired_nor_retried(parts):
    needy = task("fragile", on_error=("mend",), retry=Retry(max=3), required_params=("needed",))
    machine = await given(parts, needy, task("mend"))
    with pytest.raises(Refused, match="needs param 'needed'"):
        await parts.claim(machine)
    assert parts.machine(machine).hold is Hold.FAILED


# --- single-step and stops ------------------------------------------------------------------------------------


async def test_in_single_step_the_machine_is_held_after_every_job(parts):
    machine = await given(parts, "one", "two", step=True)
    await parts.end(await parts.begin(machine))
    held = parts.machine(machine)
    assert (held.hold, held.waiting_for) == (
        Hold.STEP,
        "single-step after 'one'; set the machine runnable for the next job",
    )
    await parts.hello(machine, "boot-2")
    assert not parts.machine(machine).runnable
    await parts.change(machine, runnable=True)
    assert (await parts.begin(machine, "boot-2")).task == "two"


async def test_in_single_step_an_entry_of_the_server_is_a_job_too(parts):
    machine = await parts.ready(workflow="deploy", step=True)
    for done in ("one", "action:power-status"):
        await parts.change(machine, runnable=True)
        job = await claimed(parts, machine)
        assert job.task == done
        await parts.jobs.end(job.id, "", Outcome(JobState.FINISHED, ExitState.COMPLETE, 0), OPERATOR)
        assert parts.machine(machine).hold is Hold.STEP
    await parts.change(machine, runnable=True)
    await parts.end(await parts.begin(machine))
    for entry, why in (("stage:finish", Hold.STEP), ("bootenv:local", Hold.BOOT)):
        await parts.change(machine, runnable=True)
        assert (await claimed(parts, machine)).task == entry
        assert parts.machine(machine).hold is why
    await parts.hello(machine, "boot-2", "local")
    assert parts.machine(machine).hold is Hold.STEP


async def claimed(parts, machine):
    """The machine's job after one claim, started if an agent runs it."""
    order = await parts.claim(machine)
    if order is not None:
        await parts.jobs.start(order.job.id, "boot-1", "agent-1", Principal(Who.MACHINE, machine))
    return parts.jobs.find(parts.machine(machine).current_job)


async def test_a_machine_is_stopped_before_a_task_and_passes_it_once(parts):
    machine = await given(parts, "one", "two", stop_before=("two",))
    await parts.end(await parts.begin(machine))
    with pytest.raises(Refused, match="stopped before 'two'; set the machine runnable to go on"):
        await parts.claim(machine)
    held = parts.machine(machine)
    assert (held.hold, held.stopped_at, held.current_task) == (Hold.STOP_BEFORE, 1, 0)
    assert await parts.events("machine.stop") == [(held.name, {"entry": "two"})]
    await parts.hello(machine, "boot-2")
    assert not parts.machine(machine).runnable
    await parts.change(machine, runnable=True)
    job = await parts.begin(machine, "boot-2")
    await parts.end(job, *FAILED)
    await parts.change(machine, runnable=True)
    assert (await parts.begin(machine, "boot-2")).attempt == 2


async def test_a_machine_is_stopped_before_a_stage_and_again_after_a_restart(parts):
    machine = await parts.ready(workflow="deploy", stop_before=("stage:prepare",))
    for _ in range(2):
        with pytest.raises(Refused, match="stopped before 'stage:prepare'"):
            await parts.claim(machine)
        await parts.machines.restart(machine, "", OPERATOR)
    assert parts.machine(machine).runnable


# --- agents that restart, and jobs that go on -----------------------------------------------------------------


async def test_a_job_whose_agent_was_restarted_goes_on_with_the_next_process(parts):
    machine = await given(parts, "one")
    job = await parts.begin(machine)
    await parts.end(job, JobState.INCOMPLETE, ExitState.RESTART)
    assert parts.machine(machine).waiting_for == "its agent to come back"
    await hello_again(parts, machine, instance="agent-2")
    order = await parts.claim(machine)
    assert (order.job.id, order.resumed, order.repeated) == (job.id, True, True)


async def test_a_task_that_is_incomplete_for_ever_is_counted_and_ends_held(parts):
    machine = await given(parts, task("endless", max_resumes=2))
    job = None
    for number in range(1, 4):
        job = await parts.begin(machine, f"boot-{number}")
        assert job.resumes == number - 1
        await parts.end(job, JobState.INCOMPLETE, ExitState.REBOOT)
        await parts.hello(machine, f"boot-{number + 1}")
    held = parts.machine(machine)
    assert (held.hold, held.runnable) == (Hold.RESUMES, False)
    assert "went on 2 times and is still incomplete" in held.waiting_for
    await parts.change(machine, runnable=True)
    assert (await parts.begin(machine, "boot-4")).id == job.id


async def test_a_repeated_claim_is_told_apart_from_a_new_one(parts):
    machine = await given(parts, "one")
    first, second = await parts.claim(machine), await parts.claim(machine)
    assert first.job == second.job
    assert [(order.repeated, order.resumed) for order in (first, second)] == [(False, False), (True, False)]


async def test_a_claim_repeated_while_the_first_is_on_its_way_is_answered_when_the_job_is_on_disk(parts):
    machine = await given(parts, "one")

    async def order_and_what_is_on_disk():
        order = await parts.claim(machine)
        return order, parts.ledger.read(Job, order.job.id)

    answers = await asyncio.gather(order_and_what_is_on_disk(), order_and_what_is_on_disk())
    assert [order.repeated for order, _ in answers] == [False, True]
    assert [on_disk is not None for _, on_disk in answers] == [True, True]


async def test_a_job_claimed_by_a_boot_that_is_gone_is_given_anew(parts):
    machine = await given(parts, "one")
    old = (await parts.claim(machine)).job
    await parts.hello(machine, "boot-2")
    new = (await parts.claim(machine, "boot-2")).job
    assert (new.previous, new.attempt) == (old.id, 2)
    assert parts.jobs.find(old.id).state is JobState.ABANDONED


async def test_a_claim_by_another_boot_without_a_hello_loses_the_running_job(parts):
    machine = await given(parts, task("safe", idempotent=True))
    job = await parts.begin(machine)
    tx = parts.ledger.transaction()
    known = parts.ledger.get(Machine, machine)
    tx.put(replace(known, agent=replace(known.agent, boot_id="")))
    await tx.commit()
    assert (await parts.claim(machine, "boot-2")).job.attempt == 2
    assert parts.jobs.find(job.id).state is JobState.ABANDONED


async def test_a_claim_in_another_environment_is_refused_though_the_machine_is_runnable(parts):
    machine = await given(parts, "one")
    await parts.change(machine, bootenv="local", force=True)
    await parts.change(machine, runnable=True)
    with pytest.raises(Refused, match="is up in 'discovery' and its bootenv is 'local'"):
        await parts.claim(machine)


async def test_nobody_claims_as_the_server(parts):
    machine = await given(parts, "one")
    with pytest.raises(Invalid, match="is no boot of a machine"):
        await parts.jobs.claim(machine, SERVER_BOOT_ID, WHERE, OPERATOR)


# --- the erase check ------------------------------------------------------------------------------------------


async def test_a_destructive_task_is_refused_while_every_disk_holds_data(parts):
    machine = await given(parts, task("wipe", destructive=True, retry=Retry(max=3)))
    disks = [{"path": "/dev/sda", "serial": "WD-1", "partitions": [{"name": "sda1"}]}]
    await parts.registrations.report_inventory(machine, {"disks": disks}, OPERATOR)
    with pytest.raises(Refused, match=r"/dev/sda \(serial WD-1\) of machine .* holds some; grant it") as caught:
        await parts.claim(machine)
    assert caught.value.code == "job-cannot-run"
    job = parts.jobs.find(parts.machine(machine).current_job)
    assert job.state is JobState.FAILED and parts.machine(machine).hold is Hold.FAILED
    await parts.machines.grant_erase(machine, "WD-1", 1, OPERATOR)
    await parts.change(machine, runnable=True)
    assert (await parts.begin(machine)).attempt == 2


# --- operators' verbs -----------------------------------------------------------------------------------------


async def test_cancel_keeps_what_the_agent_reports_and_holds_the_machine_over_a_boot(parts):
    machine = await given(parts, "one")
    job = await parts.begin(machine)
    await parts.jobs.cancel(job.id, "wrong disk", OPERATOR)
    ended = await parts.end(job, *FAILED, "killed by signal 15")
    assert (ended.state, ended.exit_code) == (JobState.CANCELLED, 1)
    assert "killed by signal 15" in ended.message
    await parts.hello(machine, "boot-2")
    assert parts.machine(machine).hold is Hold.CANCELLED
    await parts.machines.resume(machine, OPERATOR)
    assert (await parts.begin(machine, "boot-2")).task == "one"


async def test_a_restart_stops_the_running_job_and_begins_from_the_stage_that_is_named(parts):
    machine = await parts.ready(workflow="deploy")
    job = await parts.begin(machine)
    got = await parts.machines.restart(machine, "finish", OPERATOR)
    assert (got.tasks, got.stage, got.bootenv) == (("stage:finish", "bootenv:local", "two"), "finish", "local")
    assert parts.jobs.find(job.id).cancel_requested
    await parts.end(job)
    await parts.hello(machine, "boot-2", "local")
    assert (await parts.begin(machine, "boot-2")).task == "two"


async def test_a_locked_machine_goes_on_working_while_operators_wait(parts):
    machine = await given(parts, "one", "two", locked=True)
    await parts.end(await parts.begin(machine))
    with pytest.raises(Refused, match="is locked; unlock it first"):
        await parts.change(machine, runnable=False)
    job = await parts.begin(machine)
    with pytest.raises(Refused, match="is locked; unlock it first"):
        await parts.jobs.cancel(job.id, "", OPERATOR)
    assert job.task == "two" and not parts.jobs.find(job.id).cancel_requested


async def test_a_hello_of_a_boot_that_is_over_changes_nothing(parts):
    machine = await given(parts, "one")
    await parts.hello(machine, "boot-2")
    job = await parts.begin(machine, "boot-2")
    before = parts.machine(machine)
    with pytest.raises(Conflict, match="boot boot-1 of machine .* is over"):
        await parts.hello(machine, "boot-1")
    assert parts.machine(machine) == before and parts.jobs.find(job.id).state is JobState.RUNNING


async def test_setting_the_clock_ahead_loses_no_job(parts):
    machine = await given(parts, "one")
    job = await parts.begin(machine)
    parts.clock.step(3600)
    await parts.jobs.drop_silent()
    assert parts.jobs.find(job.id).state is JobState.RUNNING
