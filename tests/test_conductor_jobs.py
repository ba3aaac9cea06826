"""Jobs: one workflow claim by claim, and all the ways in which a job can go another way."""

import pytest
from msgspec.structs import replace

from provisioner.access import Principal, Who
from provisioner.conductor.machine_changes import MachineChange
from provisioner.errors import Conflict, Invalid, NotFound, Refused
from provisioner.lifecycle import SERVER_BOOT_ID, Outcome
from provisioner.model.machines import ExitState, JobState, Machine, RenderedFile
from provisioner.store.logs import LogGap
from tests.parts import OPERATOR


def agent(machine):
    return Principal(Who.MACHINE, machine)


# --- claiming -------------------------------------------------------------------------------------------------


async def test_a_workflow_is_done_claim_by_claim_over_two_environments(parts):
    machine = await parts.ready(workflow="deploy")
    first = await parts.claim(machine)
    assert (first.job.task, first.job.index, first.job.stage, first.job.workflow) == ("one", 2, "prepare", "deploy")
    assert first.files[0].source == "echo one\n" and first.machine_tasks_left == 5
    await parts.jobs.start(first.job.id, "boot-1", "agent-1", agent(machine))
    await parts.end(first.job)
    assert await parts.claim(machine) is None  # the action is the server's
    action = parts.jobs.find(parts.machine(machine).current_job)
    assert (action.task, action.state, action.boot_id) == ("action:power-status", JobState.RUNNING, SERVER_BOOT_ID)
    await parts.jobs.end(action.id, "", Outcome(JobState.FINISHED, ExitState.COMPLETE, 0, "is on"), OPERATOR)
    await parts.end(await parts.begin(machine))
    assert await parts.claim(machine) is None  # stage:finish
    assert parts.machine(machine).stage == "finish"
    assert await parts.claim(machine) is None  # bootenv:local
    after = parts.machine(machine)
    assert (after.bootenv, after.runnable, after.waiting_for) == ("local", False, "boot of local")
    with pytest.raises(Refused, match="not runnable: boot of local") as caught:
        await parts.claim(machine)
    assert caught.value.code == "not-now"
    await parts.hello(machine, "boot-2", "local")
    assert (await parts.begin(machine, "boot-2")).task == "two"
    await parts.end(parts.jobs.find(parts.machine(machine).current_job))
    assert parts.machine(machine).done and await parts.claim(machine, "boot-2") is None
    told = [data["task"] for _, data in await parts.events("job.end")]
    assert told == ["one", "action:power-status", "redo", "stage:finish", "bootenv:local", "two"]
    assert len(await parts.events("machine.complete")) == 1


async def test_a_work_order_has_all_templates_and_the_context(parts):
    machine = await parts.ready(workflow="greet", name="n1", params={"secret": "s", "count": 9})
    order = None
    while order is None:
        order = await parts.claim(machine)
    (file,) = order.files
    assert (file.template, order.templates) == ("shared/hello", {"shared/hello": "hello {{ machine.name }}\n"})
    assert order.context["machine"]["name"] == "n1" and order.context["server"]["address"] == "10.0.0.1"
    assert order.context["params"] == {"count": 9, "secret": "s", "agent/kexec": False}


async def test_a_task_is_not_given_secrets_that_it_does_not_declare(parts):
    machine = await parts.ready(stage="finish", force=True, bootenv="local", params={"secret": "s"})
    assert "secret" not in (await parts.claim(machine)).context["params"]


async def test_a_job_never_started_is_given_again(parts):
    machine = await parts.ready(stage="redo", force=True)
    first, second = await parts.claim(machine), await parts.claim(machine)
    assert first.job.id == second.job.id and not second.resumed


async def test_a_second_agent_on_the_same_boot_waits(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    with pytest.raises(Refused, match="is being run by another agent"):
        await parts.claim(machine)
    with pytest.raises(Conflict, match="held by another agent"):
        await parts.jobs.start(job.id, "boot-1", "agent-2", agent(machine))
    assert await parts.jobs.start(job.id, "boot-1", "agent-1", agent(machine)) == job


async def test_moving_back_ends_the_job_that_was_claimed_and_never_started(parts):
    machine = await parts.ready(stage="redo", force=True)
    old = (await parts.claim(machine)).job
    await parts.machines.change(machine, MachineChange(current_task=-1), OPERATOR)
    assert parts.jobs.find(old.id).state is JobState.CANCELLED
    new = (await parts.claim(machine)).job
    assert (new.id != old.id, new.previous, new.attempt) == (True, old.id, 1)
    with pytest.raises(Conflict, match="is cancelled and cannot start"):
        await parts.jobs.start(old.id, "boot-1", "agent-1", agent(machine))
    assert (await parts.jobs.start(new.id, "boot-1", "agent-1", agent(machine))).state is JobState.RUNNING


async def test_moving_back_stops_the_job_that_runs_and_then_begins_there(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    await parts.machines.change(machine, MachineChange(current_task=-1), OPERATOR)
    assert parts.jobs.heartbeat(job.id, "agent-1", None).cancel_requested
    with pytest.raises(Refused, match="is being run by another agent"):
        await parts.claim(machine)
    assert (await parts.end(job)).state is JobState.CANCELLED
    assert parts.machine(machine).runnable and (await parts.begin(machine)).previous == job.id


async def test_missing_params_fail_the_job_with_their_names(parts):
    machine = await parts.ready(stage="need", force=True, params={"colour": "red"})
    with pytest.raises(Refused, match="task 'needy' needs param 'needed'") as caught:
        await parts.claim(machine)
    assert caught.value.code == "job-cannot-run" and "colour" not in caught.value.message
    job = parts.jobs.find(parts.machine(machine).current_job)
    assert job.state is JobState.FAILED and "'needed'" in job.message
    assert not parts.machine(machine).runnable and "'needed'" in parts.machine(machine).waiting_for
    assert b"'needed'" in (await parts.jobs.read_log(job.id, 0, 1000, 0))[0]
    await parts.change(machine, params={"needed": "x"}, runnable=True)
    assert (await parts.begin(machine)).attempt == 2


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("gone", "unknown task 'gone'; there is: greet"),
        ("stage:gone", "unknown stage 'gone'; there is: discover"),
        ("bootenv:gone", "unknown bootenv 'gone'; there is: discovery"),
        ("wish:gone", "unknown kind of entry 'wish:gone'; there is: action:NAME, bootenv:NAME, stage:NAME"),
    ],
)
async def test_an_entry_that_nobody_knows_fails_with_the_choices(parts, entry, message):
    machine = await parts.ready(stage="redo", force=True)
    tx = parts.ledger.transaction()
    tx.put(replace(parts.ledger.get(Machine, machine), tasks=(entry,)))
    await tx.commit()
    if ":" in entry:
        assert await parts.claim(machine) is None
    else:
        with pytest.raises(Refused, match="unknown task"):
            await parts.claim(machine)
    job = parts.jobs.find(parts.machine(machine).current_job)
    assert job.state is JobState.FAILED and job.message.startswith(message)
    assert not parts.machine(machine).runnable


async def test_only_known_machines_claim(parts):
    with pytest.raises(Invalid, match="there is no machine 'ghost'") as caught:
        await parts.claim("ghost")
    assert (caught.value.status, caught.value.code) == (422, "unknown-machine")


# --- ending ---------------------------------------------------------------------------------------------------


async def test_an_incomplete_job_is_resumed_as_the_same_job(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    await parts.jobs.append_log(job.id, 0, b"half")
    await parts.end(job, JobState.INCOMPLETE, ExitState.REBOOT)
    held = parts.machine(machine)
    assert not held.runnable and held.waiting_for == "reboot"
    await parts.hello(machine, "boot-2")
    order = await parts.claim(machine, "boot-2")
    assert (order.job.id, order.resumed, order.log_size) == (job.id, True, 4)
    again = await parts.jobs.start(job.id, "boot-2", "agent-2", agent(machine))
    assert (again.state, again.attempt, again.exit_state) == (JobState.RUNNING, 1, ExitState.NONE)


async def test_a_second_result_is_answered_with_the_first(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    first = await parts.end(job, message="good")
    assert await parts.end(job, JobState.FAILED, ExitState.FAILED, "bad") == first
    assert parts.jobs.find(job.id).message == "good" and len(await parts.events("job.end")) == 1


async def test_a_failed_job_holds_the_machine_with_the_reason(parts):
    machine = await parts.ready(stage="redo", force=True)
    await parts.end(await parts.begin(machine), JobState.FAILED, ExitState.FAILED, "exit code 1")
    held = parts.machine(machine)
    assert not held.runnable and held.waiting_for == "task 'redo' failed: exit code 1"


async def test_a_task_with_retries_is_tried_again_after_a_pause(parts):
    machine = await parts.ready(stage="stubborn", force=True)
    await parts.end(await parts.begin(machine), JobState.FAILED, ExitState.FAILED)
    with pytest.raises(Refused, match="the next attempt is due at 12:00:10 UTC"):
        await parts.claim(machine)
    parts.clock.pass_seconds(10)
    second = await parts.begin(machine)
    assert second.attempt == 2
    await parts.end(second, JobState.FAILED, ExitState.FAILED)
    assert not parts.machine(machine).runnable


async def test_a_late_copy_of_a_start_does_not_set_an_incomplete_job_going(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    await parts.end(job, JobState.INCOMPLETE, ExitState.REBOOT)
    by = Principal(Who.MACHINE, machine)
    with pytest.raises(Refused, match="claim it first"):
        await parts.jobs.start(job.id, "boot-1", "agent-1", by)
    await parts.hello(machine, "boot-2")
    with pytest.raises(Refused, match="claim it first"):
        await parts.jobs.start(job.id, "boot-1", "agent-1", by)
    assert (await parts.begin(machine, "boot-2", "agent-2")).id == job.id


async def test_a_clock_set_back_makes_nobody_wait_longer_than_the_longest_pause(parts):
    machine = await parts.ready(stage="stubborn", force=True)
    await parts.end(await parts.begin(machine), JobState.FAILED, ExitState.FAILED)
    await parts.jobs.mend_pauses()
    assert parts.machine(machine).not_before is not None
    parts.clock.pass_seconds(-3600)
    await parts.jobs.mend_pauses()
    assert (await parts.begin(machine)).attempt == 2


async def test_a_result_comes_from_the_agent_that_holds_the_job(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    with pytest.raises(Refused, match="held by another agent"):
        await parts.end(job, instance="agent-2")
    assert parts.jobs.find(job.id).state is JobState.RUNNING


async def test_only_an_outcome_is_a_result(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    with pytest.raises(Conflict, match="a result is one of finished, failed, incomplete, not abandoned"):
        await parts.end(job, JobState.ABANDONED)
    assert parts.jobs.find(job.id).state is JobState.RUNNING


async def test_a_running_job_is_cancelled_by_its_agent(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    asked = await parts.jobs.cancel(job.id, "wrong disk", OPERATOR)
    assert asked.state is JobState.RUNNING and parts.jobs.heartbeat(job.id, "agent-1", None).cancel_requested
    ended = await parts.end(job, JobState.FAILED)
    assert (ended.state, ended.exit_code, ended.message) == (JobState.CANCELLED, 1, "wrong disk")
    assert not parts.machine(machine).runnable
    assert parts.machine(machine).waiting_for == "task 'redo' cancelled: wrong disk"


async def test_a_job_that_nobody_runs_is_cancelled_at_once(parts):
    machine = await parts.ready(stage="redo", force=True)
    order = await parts.claim(machine)
    assert (await parts.jobs.cancel(order.job.id, "", OPERATOR)).state is JobState.CANCELLED
    assert parts.jobs.find(order.job.id).message == "asked for by user:admin"
    assert not parts.machine(machine).runnable
    with pytest.raises(Conflict, match="is cancelled and cannot cancel"):
        await parts.jobs.cancel(order.job.id, "", OPERATOR)


async def test_unknown_jobs_are_not_found(parts):
    for doing in (parts.jobs.cancel("x", "", OPERATOR), parts.jobs.read_log("x", 0, 1, 0)):
        with pytest.raises(NotFound, match="there is no job 'x'"):
            await doing
    with pytest.raises(NotFound):
        parts.jobs.heartbeat("x", "", None)


# --- losing ---------------------------------------------------------------------------------------------------


async def test_a_silent_agents_job_is_abandoned_and_holds_the_machine(parts):
    machine = await parts.ready(stage="finish", force=True, bootenv="local")
    job = await parts.begin(machine)
    parts.clock.pass_seconds(59)
    await parts.jobs.drop_silent()
    assert parts.jobs.find(job.id).state is JobState.RUNNING
    parts.clock.pass_seconds(1)
    await parts.jobs.drop_silent()
    assert parts.jobs.find(job.id).state is JobState.ABANDONED
    assert not parts.machine(machine).runnable and "not marked idempotent" in parts.machine(machine).waiting_for
    assert len(await parts.events("agent.lost")) == 1


async def test_while_the_server_stood_still_no_agent_was_silent(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    parts.clock.pass_seconds(3600)
    parts.jobs.hear_anew()
    await parts.jobs.drop_silent()
    assert parts.jobs.find(job.id).state is JobState.RUNNING
    parts.clock.pass_seconds(30)
    await parts.jobs.drop_silent()
    assert parts.jobs.find(job.id).state is JobState.ABANDONED


async def test_heartbeats_and_log_keep_a_job_alive(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    parts.clock.pass_seconds(20)
    parts.jobs.heartbeat(job.id, "agent-1", 40)
    assert parts.jobs.progress(job.id) == 40
    parts.clock.pass_seconds(20)
    await parts.jobs.append_log(job.id, 0, b"x")
    parts.clock.pass_seconds(20)
    parts.jobs.heartbeat(job.id, "agent-2", 99)
    await parts.jobs.drop_silent()
    assert parts.jobs.find(job.id).state is JobState.RUNNING and parts.jobs.progress(job.id) == 40
    parts.clock.pass_seconds(10)
    await parts.jobs.drop_silent()
    assert parts.jobs.find(job.id).state is JobState.ABANDONED


async def test_an_idempotent_job_of_a_silent_agent_is_done_again(parts):
    machine = await parts.ready(stage="redo", force=True)
    await parts.begin(machine)
    parts.clock.pass_seconds(30)
    await parts.jobs.drop_silent()
    assert parts.machine(machine).runnable and (await parts.begin(machine)).attempt == 2


async def test_a_cancelled_job_of_a_silent_agent_is_not_done_again(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    await parts.jobs.cancel(job.id, "enough", OPERATOR)
    parts.clock.pass_seconds(30)
    await parts.jobs.drop_silent()
    assert parts.jobs.find(job.id).state is JobState.CANCELLED and not parts.machine(machine).runnable


async def test_a_claim_from_a_boot_that_is_over_is_refused_and_the_job_goes_on(parts):
    machine = await parts.ready(stage="redo", force=True)
    await parts.hello(machine, "boot-2")
    job = await parts.begin(machine, "boot-2")
    with pytest.raises(Refused, match="say hello first"):
        await parts.claim(machine, "boot-1")
    assert parts.jobs.find(job.id).state is JobState.RUNNING


# --- actions of the server ------------------------------------------------------------------------------------


async def action_running(parts):
    machine = await parts.ready(workflow="deploy")
    await parts.end(await parts.begin(machine))
    assert await parts.claim(machine) is None
    return machine, parts.machine(machine).current_job


async def test_an_agent_waits_while_the_server_carries_out_an_action(parts):
    machine, job = await action_running(parts)
    with pytest.raises(Refused, match="the server is carrying out 'action:power-status'"):
        await parts.claim(machine)
    assert parts.jobs.find(job).state is JobState.RUNNING and parts.machine(machine).runnable


async def test_a_boot_that_an_action_caused_does_not_lose_the_action(parts):
    machine, job = await action_running(parts)
    saved = await parts.hello(machine, "boot-2")
    assert saved.runnable and parts.jobs.find(job).state is JobState.RUNNING


async def test_a_failed_action_stops_the_machine(parts):
    machine, job = await action_running(parts)
    await parts.jobs.end(job, "", Outcome(JobState.FAILED, ExitState.FAILED, None, "no answer"), OPERATOR)
    assert parts.machine(machine).waiting_for == "task 'action:power-status' failed: no answer"


async def test_actions_under_way_when_the_server_went_down_have_failed(parts):
    machine, job = await action_running(parts)
    await parts.jobs.drop_silent()
    await parts.jobs.resume_actions()
    assert parts.jobs.find(job).message == "the server was restarted during this action"
    assert not parts.machine(machine).runnable


# --- logs and rendered files ----------------------------------------------------------------------------------


async def test_a_log_grows_at_its_end_only(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    assert await parts.jobs.append_log(job.id, 0, b"abc") == 3
    assert await parts.jobs.append_log(job.id, 1, b"bcd") == 4
    with pytest.raises(LogGap) as caught:
        await parts.jobs.append_log(job.id, 9, b"x")
    assert (caught.value.status, caught.value.size) == (409, 4)
    assert await parts.jobs.read_log(job.id, 2, 10, 0) == (b"cd", 4)
    assert await parts.jobs.read_log(job.id, 0, 1, 0) == (b"a", 4)


async def test_who_waits_at_the_end_of_a_finished_log_is_answered_at_once(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    await parts.end(job)
    assert await parts.jobs.read_log(job.id, 0, 10, 60) == (b"", 0)


async def test_what_was_rendered_is_kept(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    for content in ("old", "new"):
        await parts.jobs.report_actions(job.id, (RenderedFile("run", content),), agent(machine))
    assert b'"content":"new"' in await parts.database.actions(job.id)


async def test_no_machine_claims_in_the_name_of_the_server(parts):
    machine = await parts.ready(workflow="greet")
    with pytest.raises(Invalid, match="boot_id"):
        await parts.claim(machine, SERVER_BOOT_ID)
