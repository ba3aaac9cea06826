"""The state machine of jobs, pair by pair."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from msgspec.structs import replace

from provisioner.errors import Conflict
from provisioner.lifecycle import (
    JOB_ACTIONS,
    JOB_EVENTS,
    JOB_TABLE,
    JobAction,
    JobEvent,
    Outcome,
    cancel_job,
    end_job,
    job_step,
    lose_job,
    start_job,
)
from provisioner.model.machines import FINAL_STATES, ExitState, Job, JobState

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=5)
PAIRS = list(product(JobState, JobEvent))


def job(state=JobState.RUNNING, **fields):
    return Job(
        **{"id": "j1", "machine": "m1", "task": "wipe", "index": 2, "boot_id": "boot-1", "created_at": EARLIER}
        | {"state": state, "instance": "agent-1"}
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


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
@pytest.mark.parametrize("event", [*_REPORTS])
def test_a_late_report_changes_nothing_that_is_final(state, event):
    given = job(state, exit_code=7, message="first", ended_at=EARLIER)
    assert happen(given, event, agent="agent-2") == given


def test_what_the_agent_reports_after_a_cancel_stays_on_the_cancelled_job():
    asked = cancel_job(job(), "wrong disk", NOW)
    ended = end_job(asked, Outcome(JobState.FAILED, ExitState.FAILED, 143, "killed by signal 15"), NOW)
    assert (ended.state, ended.exit_code, ended.message) == (JobState.CANCELLED, 143, "killed by signal 15")


def test_a_report_without_a_message_leaves_the_reason_of_the_cancel():
    ended = end_job(cancel_job(job(), "wrong disk", NOW), Outcome(JobState.FINISHED, ExitState.COMPLETE, 0), NOW)
    assert (ended.state, ended.exit_code, ended.message) == (JobState.CANCELLED, 0, "wrong disk")


def test_a_lost_run_that_was_asked_to_stop_tells_both_reasons():
    assert lose_job(cancel_job(job(), "wrong disk", NOW), "silent", NOW).message == "wrong disk; silent"


def test_going_on_is_counted_and_saying_so_twice_is_not():
    paused = job(JobState.INCOMPLETE, resumes=4)
    resumed = start_job(paused, "boot-2", "agent-2", NOW)
    assert resumed.resumes == 5
    assert start_job(resumed, "boot-2", "agent-2", NOW).resumes == 5
    assert start_job(job(JobState.CREATED), "boot-1", "agent-1", NOW).resumes == 0


def test_every_word_of_the_table_is_explained():
    assert set(JOB_EVENTS) == set(JobEvent) == {event for _, event in JOB_TABLE}
    assert set(JOB_ACTIONS) == set(JobAction) == {step.action for step in JOB_TABLE.values()}


def test_every_state_is_reached_and_only_final_ones_are_never_left():
    assert {step.next for step in JOB_TABLE.values()} | {JobState.CREATED} == set(JobState)
    assert {state for state, _ in JOB_TABLE} == set(JobState) - FINAL_STATES
