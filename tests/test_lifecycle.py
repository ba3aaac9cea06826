"""The state machine of jobs and the claim, pair by pair and row by row."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from msgspec.structs import replace

from provisioner.errors import Conflict
from provisioner.lifecycle import (
    CLAIM_TABLE,
    JOB_TABLE,
    Answer,
    Asked,
    JobEvent,
    Outcome,
    after_job,
    cancel_job,
    claim,
    end_job,
    job_step,
    lose_job,
    may_run_after_boot,
    retriable,
    start_job,
)
from provisioner.model import FINAL_STATES, AgentInfo, ExitState, Job, JobState, Machine, Retry, Task

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=5)
PAIRS = list(product(JobState, JobEvent))
TASKS = ("stage:install", "bootenv:discovery", "wipe", "write", "action:cycle", "report")


def job(state=JobState.RUNNING, **fields):
    return Job(
        **{"id": "j1", "machine": "m1", "task": "wipe", "index": 2, "boot_id": "boot-1", "created_at": EARLIER}
        | {"state": state, "instance": "agent-1"}
        | fields
    )


def machine(**fields):
    return Machine(
        **{"id": "m1", "name": "m1", "created_at": EARLIER, "updated_at": EARLIER, "tasks": TASKS}
        | {"current_task": 2, "current_job": "j1", "runnable": True, "stage": "install", "bootenv": "discovery"}
        | fields
    )


def happen(given, event, agent="agent-1"):
    """The event, through the function that the conductor calls for it."""
    ends = {
        JobEvent.FINISH: Outcome(JobState.FINISHED, ExitState.COMPLETE, 0, "said"),
        JobEvent.FAIL: Outcome(JobState.FAILED, ExitState.FAILED, 1, "said"),
        JobEvent.SUSPEND: Outcome(JobState.INCOMPLETE, ExitState.REBOOT, 64, "said"),
    }
    if event is JobEvent.START:
        return start_job(given, "boot-1", agent, NOW)
    if event is JobEvent.LOSE:
        return lose_job(given, "said", NOW)
    if event is JobEvent.CANCEL:
        return cancel_job(given, "said", NOW)
    return end_job(given, ends[event], NOW)


# --- the job table --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_a_pair_has_its_row_or_raises_conflict(state, event):
    given = job(state)
    if (state, event) in JOB_TABLE:
        assert job_step(given, event) is JOB_TABLE[state, event]
        return
    with pytest.raises(Conflict, match=f"is {state.value} and cannot {event.value}") as caught:
        job_step(given, event)
    assert (caught.value.code, caught.value.object) == ("job-state", "j1")


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair in JOB_TABLE])
def test_an_event_with_a_row_leads_to_its_state(state, event):
    assert happen(job(state), event).state is JOB_TABLE[state, event].next


_REPORTS = (JobEvent.FINISH, JobEvent.FAIL, JobEvent.SUSPEND)


@pytest.mark.parametrize(
    ("state", "event"),
    [pair for pair in PAIRS if pair not in JOB_TABLE and not (pair[0] in FINAL_STATES and pair[1] in _REPORTS)],
)
@pytest.mark.parametrize("cancel_requested", [False, True])
def test_an_event_without_a_row_is_refused(state, event, cancel_requested):
    given = job(state, cancel_requested=cancel_requested)
    before = replace(given)
    with pytest.raises(Conflict):
        happen(given, event)
    assert given == before


@pytest.mark.parametrize(("state", "event"), list(product(sorted(FINAL_STATES), _REPORTS)))
def test_a_second_report_on_a_final_job_is_answered_with_the_first(state, event):
    given = job(state, message="first", ended_at=EARLIER, cancel_requested=True)
    assert happen(given, event) is given


def test_no_event_leads_out_of_a_final_state():
    assert not [state for state, _ in JOB_TABLE if state in FINAL_STATES]


@pytest.mark.parametrize("state", sorted(set(JobState) - {JobState.FINISHED, JobState.FAILED, JobState.INCOMPLETE}))
def test_a_result_is_only_finished_failed_or_incomplete(state):
    with pytest.raises(Conflict, match="a result is one of finished, failed, incomplete") as caught:
        end_job(job(), Outcome(state), NOW)
    assert caught.value.code == "job-result"


def test_starting_notes_who_holds_it_and_when():
    started = start_job(job(JobState.CREATED, boot_id="", instance=""), "boot-2", "agent-2", NOW)
    assert (started.boot_id, started.instance, started.started_at) == ("boot-2", "agent-2", NOW)


def test_the_same_agent_may_start_twice():
    given = job()
    assert start_job(given, "boot-1", "agent-1", NOW) is given


def test_another_agent_may_not_start_a_running_job():
    with pytest.raises(Conflict, match="held by another agent") as caught:
        start_job(job(), "boot-1", "agent-2", NOW)
    assert caught.value.code == "job-held"


def test_resuming_keeps_the_first_start_and_forgets_the_pause():
    paused = job(JobState.INCOMPLETE, started_at=EARLIER, exit_state=ExitState.REBOOT, exit_code=192, message="x")
    resumed = start_job(paused, "boot-2", "agent-2", NOW)
    assert resumed.started_at == EARLIER
    assert (resumed.exit_state, resumed.exit_code, resumed.message) == (ExitState.NONE, None, "")


def test_a_paused_job_has_not_ended():
    paused = end_job(job(), Outcome(JobState.INCOMPLETE, ExitState.REBOOT, 192), NOW)
    assert (paused.ended_at, paused.exit_state, paused.exit_code) == (None, ExitState.REBOOT, 192)


def test_a_finished_job_has_its_outcome_and_end():
    done = end_job(job(), Outcome(JobState.FINISHED, ExitState.COMPLETE, 0, "fine"), NOW)
    assert (done.ended_at, done.exit_code, done.message) == (NOW, 0, "fine")


def test_cancelling_a_running_job_only_asks():
    asked = cancel_job(job(), "stop it", NOW)
    assert (asked.state, asked.cancel_requested, asked.ended_at) == (JobState.RUNNING, True, None)


@pytest.mark.parametrize("state", [JobState.CREATED, JobState.INCOMPLETE])
def test_cancelling_a_job_that_does_not_run_ends_it(state):
    ended = cancel_job(job(state), "stop it", NOW)
    assert (ended.state, ended.message, ended.ended_at) == (JobState.CANCELLED, "stop it", NOW)


@pytest.mark.parametrize("event", [*_REPORTS, JobEvent.LOSE])
def test_a_run_that_was_asked_to_stop_ends_cancelled(event):
    ended = happen(job(cancel_requested=True), event)
    assert (ended.state, ended.ended_at) == (JobState.CANCELLED, NOW)


# --- the claim ------------------------------------------------------------------------------------------------


def ask(job=None, boot_id="boot-1", redo=False, **fields):
    return claim(Asked(machine(**fields), job, boot_id, NOW, redo))


def test_every_row_of_the_claim_table_has_a_test_with_its_name():
    names = [name for name in globals() if name.startswith("test_claim_")]
    rows = [re.sub(r"\W", "_", row.name) for row in CLAIM_TABLE]
    assert [row for row in rows if not any(name.startswith(f"test_claim_{row}__") for name in names)] == []


def test_claim_not_available__answers_the_errors():
    got = ask(errors=("unknown stage 'x'",), runnable=False)
    assert (got.answer, got.reason) == (Answer.BUSY, "machine is not available: unknown stage 'x'")


def test_claim_not_runnable__answers_what_it_waits_for():
    got = ask(runnable=False, waiting_for="boot of local")
    assert (got.answer, got.reason) == (Answer.BUSY, "machine is not runnable: boot of local")


def test_claim_not_runnable__without_a_reason_names_the_operator():
    assert ask(runnable=False).reason == "machine is not runnable: an operator must say so"


def test_claim_from_a_boot_that_is_over__is_told_to_say_hello():
    got = ask(agent=AgentInfo(boot_id="boot-2"), boot_id="boot-1")
    assert (got.answer, got.lost) == (Answer.BUSY, False)
    assert "say hello first" in got.reason


def test_claim_lost_to_another_boot__waits_when_it_cannot_be_redone():
    got = ask(job(), boot_id="boot-2")
    assert (got.answer, got.lost) == (Answer.BUSY, True)
    assert "not marked idempotent" in got.reason


@pytest.mark.parametrize("state", [JobState.CREATED, JobState.RUNNING])
def test_claim_lost_to_another_boot__does_the_same_task_again_when_it_may(state):
    got = ask(job(state), boot_id="boot-2", redo=True)
    assert (got.answer, got.lost, got.index, got.entry) == (Answer.NEW, True, 2, "wipe")


@pytest.mark.parametrize("redo", [False, True])
def test_claim_lost_to_another_boot__of_an_earlier_list_begins_the_present_list(redo):
    got = ask(job(index=4), boot_id="boot-2", redo=redo, current_task=-1, tasks=("first", "second"))
    assert (got.answer, got.lost, got.index, got.entry) == (Answer.NEW, True, 0, "first")


def test_claim_another_agent_at_work__waits():
    got = ask(job())
    assert (got.answer, got.reason, got.lost) == (Answer.BUSY, "job j1 is being run by another agent", False)


def test_claim_another_agent_at_work__also_when_the_job_is_of_an_earlier_list():
    assert ask(job(index=0)).answer is Answer.BUSY


def test_claim_tasks_all_done__answers_nothing():
    got = ask(job(JobState.FINISHED, index=5), current_task=len(TASKS))
    assert (got.answer, got.reason, got.index) == (Answer.NOTHING, "all tasks are done", len(TASKS))


def test_claim_too_early_to_try_again__says_when():
    got = ask(job(JobState.FAILED), not_before=NOW + timedelta(seconds=5))
    assert (got.answer, got.reason) == (Answer.BUSY, "the next attempt is due at 12:00:05 UTC")


def test_claim_too_early_to_try_again__is_over_at_that_very_time():
    assert ask(job(JobState.FAILED), not_before=NOW).answer is Answer.NEW


def test_claim_claimed_but_never_started__gives_the_same_job():
    got = ask(job(JobState.CREATED))
    assert (got.answer, got.index, got.entry) == (Answer.SAME, 2, "wipe")


def test_claim_incomplete__gives_the_same_job_also_to_another_boot():
    got = ask(job(JobState.INCOMPLETE), boot_id="boot-2")
    assert (got.answer, got.index, got.entry) == (Answer.SAME, 2, "wipe")


def test_claim_failed__does_the_task_again():
    got = ask(job(JobState.FAILED))
    assert (got.answer, got.index, got.entry) == (Answer.NEW, 2, "wipe")


def test_claim_abandoned__does_the_task_again():
    got = ask(job(JobState.ABANDONED))
    assert (got.answer, got.index, got.entry) == (Answer.NEW, 2, "wipe")


def test_claim_cancelled__does_the_task_again():
    got = ask(job(JobState.CANCELLED))
    assert (got.answer, got.index, got.entry) == (Answer.NEW, 2, "wipe")


def test_claim_next__gives_the_task_after_the_finished_one():
    got = ask(job(JobState.FINISHED))
    assert (got.answer, got.index, got.entry) == (Answer.NEW, 3, "write")


def test_claim_next__begins_at_the_first_entry_without_any_job():
    got = ask(current_task=-1, current_job="", tasks=("one", "two"))
    assert (got.answer, got.index, got.entry) == (Answer.NEW, 0, "one")


def test_claim_next__ignores_a_failed_job_of_another_place():
    got = ask(job(JobState.FAILED, index=0), current_task=-1, tasks=("one",))
    assert (got.index, got.entry) == (0, "one")


@pytest.mark.parametrize(("field", "entry"), [("stage", "stage:install"), ("bootenv", "bootenv:discovery")])
def test_claim_next__applies_an_entry_that_changes_something(field, entry):
    got = ask(current_task=-1, tasks=(entry, "wipe"), **{field: "other"})
    assert (got.answer, got.index, got.entry) == (Answer.APPLY, 0, entry)


def test_claim_next__skips_entries_that_are_so_already():
    got = ask(current_task=-1)
    assert (got.answer, got.index, got.entry) == (Answer.NEW, 2, "wipe")


def test_claim_next__answers_nothing_when_only_such_entries_are_left():
    got = ask(current_task=-1, tasks=("stage:install", "bootenv:discovery"))
    assert (got.answer, got.index) == (Answer.NOTHING, 2)


def test_claim_next__leaves_actions_to_the_server():
    got = ask(job(JobState.FINISHED, index=3), current_task=3)
    assert (got.answer, got.index, got.entry) == (Answer.ACTION, 4, "action:cycle")


# --- after a job ----------------------------------------------------------------------------------------------


def after(state, exit_state=ExitState.NONE, retry=Retry(), *, on=None, **fields):
    return after_job(on or machine(), job(state, exit_state=exit_state, **fields), retry, NOW)


@pytest.mark.parametrize("exit_state", [ExitState.NONE, ExitState.COMPLETE])
def test_a_finished_job_lets_the_machine_go_on(exit_state):
    got = after(JobState.FINISHED, exit_state)
    assert (got.current_task, got.runnable, got.done) == (2, True, False)


def test_the_last_finished_job_completes_the_list():
    assert after(JobState.FINISHED, ExitState.COMPLETE, on=machine(current_task=5), index=5).done


@pytest.mark.parametrize("exit_state", [ExitState.REBOOT, ExitState.POWEROFF, ExitState.STOP])
def test_a_finished_job_that_reboots_powers_off_or_stops_holds_the_machine(exit_state):
    got = after(JobState.FINISHED, exit_state)
    assert (got.runnable, got.waiting_for) == (False, f"{exit_state.value} after task 'wipe'")


@pytest.mark.parametrize("exit_state", [ExitState.REBOOT, ExitState.POWEROFF, ExitState.STOP])
def test_an_incomplete_job_holds_the_machine_until_its_agent_is_back(exit_state):
    got = after(JobState.INCOMPLETE, exit_state)
    assert (got.runnable, got.waiting_for, got.current_task) == (False, exit_state.value, 2)


def test_a_plainly_incomplete_job_waits_for_the_task():
    assert after(JobState.INCOMPLETE, ExitState.INCOMPLETE).waiting_for == "task 'wipe' to go on"


@pytest.mark.parametrize(("message", "shown"), [("exit code 1", "exit code 1"), ("", "see its log")])
def test_a_failed_job_holds_the_machine_with_the_reason(message, shown):
    got = after(JobState.FAILED, ExitState.FAILED, message=message)
    assert (got.runnable, got.waiting_for) == (False, f"task 'wipe' failed: {shown}")


def test_an_abandoned_job_holds_the_machine_with_the_reason():
    got = after(JobState.ABANDONED)
    assert not got.runnable
    assert "under way when the machine went away" in got.waiting_for


def test_a_cancelled_job_holds_the_machine_in_spite_of_retries():
    got = after(JobState.CANCELLED, retry=Retry(max=5), message="an operator")
    assert (got.runnable, got.waiting_for) == (False, "task 'wipe' cancelled: an operator")


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.ABANDONED])
@pytest.mark.parametrize(("attempt", "seconds"), [(1, 3), (2, 6), (3, 12)])
def test_each_retry_waits_twice_as_long(state, attempt, seconds):
    got = after(state, retry=Retry(max=3, backoff_seconds=3), attempt=attempt)
    assert (got.runnable, got.not_before) == (True, NOW + timedelta(seconds=seconds))


def test_retries_end():
    assert not after(JobState.FAILED, retry=Retry(max=3), attempt=4).runnable


def test_very_many_retries_do_not_overflow():
    assert after(JobState.FAILED, retry=Retry(max=5000), attempt=5000).not_before > NOW


def test_success_after_retries_clears_the_pause():
    assert after(JobState.FINISHED, ExitState.COMPLETE, on=machine(not_before=EARLIER)).not_before is None


@pytest.mark.parametrize("on", [machine(current_job="j2"), machine(current_task=3)])
def test_a_job_that_is_no_longer_current_changes_nothing(on):
    assert after(JobState.FAILED, on=on) is on


# --- after a boot ---------------------------------------------------------------------------------------------


def came_up(given, bootenv="discovery", **task):
    return may_run_after_boot(machine(), given, bootenv, {"wipe": Task(name="wipe", **task)})


def test_a_machine_in_another_bootenv_may_not_run():
    assert not came_up(None, bootenv="local")


def test_a_machine_without_a_job_may_run():
    assert came_up(None)


def test_a_job_of_another_place_does_not_keep_the_machine():
    assert came_up(job(index=1))


@pytest.mark.parametrize("state", [JobState.INCOMPLETE, JobState.FINISHED, JobState.FAILED, JobState.CANCELLED])
def test_a_machine_whose_job_was_not_lost_may_run(state):
    assert came_up(job(state))


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.ABANDONED])
def test_a_machine_that_lost_a_job_may_not_run(state):
    assert not came_up(job(state))


@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.ABANDONED])
def test_a_machine_that_lost_an_idempotent_job_may_run(state):
    assert came_up(job(state), idempotent=True)


def test_a_machine_that_lost_a_job_with_retries_left_may_run():
    assert came_up(job(attempt=2), retry=Retry(max=2))
    assert not came_up(job(attempt=3), retry=Retry(max=2))


def test_a_job_that_never_ran_may_be_redone():
    assert came_up(job(JobState.CREATED))


def test_a_lost_job_whose_task_is_gone_may_not_be_redone():
    assert not retriable(None, job())
    assert not retriable(Task(name="wipe", idempotent=True), None)
