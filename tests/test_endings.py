"""What ends of jobs do to machines: every test is named after the row that decides in it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from provisioner.endings import ENDED_TABLE, Ended, after_job, ended_row, mend_pause
from provisioner.model.content import Retry, Task
from provisioner.model.machines import ExitState, Hold, JobState
from tests.running_job import EARLIER, NOW, TASKS, job, machine, wipe

TASK_KINDS = (
    wipe(),
    wipe(idempotent=True),
    wipe(retry=Retry(max=2)),
    wipe(on_error=("mend",)),
    wipe(max_resumes=1),
)


@pytest.fixture(autouse=True)
def decided_by_the_row_in_its_name(request):
    """A test called test_ended_ROW__what is about that row: it decided, every time."""
    used.clear()
    yield
    named = re.match(r"test_ended_(.+?)__", request.node.name)
    if named is not None:
        assert used and {re.sub(r"\W", "_", name) for name in used} == {named[1]}


used: list[str] = []


def after(state, exit_state=ExitState.NONE, task=None, *, on=None, jitter=0.0, name="wipe", **fields):
    """The machine after such an end of its job. The test's name begins with the row that must have decided."""
    at, ended = on or machine(), job(state, exit_state=exit_state, task=name, **fields)
    used.append(ended_row(Ended(at, ended, task or wipe(), NOW, jitter)).name)
    return after_job(at, ended, task or wipe(), NOW, jitter)


def test_every_row_has_a_test_with_its_name():
    names = [name for name in globals() if name.startswith("test_ended_")]
    rows = [re.sub(r"\W", "_", row.name) for row in ENDED_TABLE]
    assert [row for row in rows if not any(name.startswith(f"test_ended_{row}__") for name in names)] == []
    assert len(set(rows)) == len(rows) and all(row.when and row.then for row in ENDED_TABLE)


@pytest.mark.parametrize("on", [machine(current_job="j2"), machine(current_task=3)])
@pytest.mark.parametrize("state", [JobState.FINISHED, JobState.FAILED, JobState.INCOMPLETE, JobState.ABANDONED])
def test_ended_no_longer_current__changes_nothing(on, state):
    assert after(state, on=on) is on


@pytest.mark.parametrize("on", [machine(current_job="j2", step=True), machine(current_task=3, step=True)])
def test_ended_no_longer_current__does_not_hold_a_machine_in_single_step(on):
    assert after(JobState.FINISHED, on=on) is on


@pytest.mark.parametrize("exit_state", [ExitState.NONE, ExitState.COMPLETE])
def test_ended_finished__goes_on(exit_state):
    got = after(JobState.FINISHED, exit_state)
    assert (got.current_task, got.runnable, got.done) == (2, True, False)


def test_ended_finished__completes_the_list_with_its_last():
    assert after(JobState.FINISHED, ExitState.COMPLETE, on=machine(current_task=5), index=5).done


def test_ended_finished__forgets_what_was_counted():
    tried = machine(attempts=3, retries=2, repaired=True, not_before=EARLIER)
    got = after(JobState.FINISHED, ExitState.COMPLETE, on=tried)
    assert (got.attempts, got.retries, got.repaired, got.not_before) == (0, 0, False, None)


def test_ended_finished__leaves_a_pause_of_the_operator_and_the_last_stop():
    paused = machine(runnable=False, hold=Hold.PAUSED, waiting_for="an operator paused it", stopped_at=2)
    got = after(JobState.FINISHED, ExitState.COMPLETE, on=paused)
    assert (got.runnable, got.hold, got.waiting_for, got.stopped_at) == (
        False,
        Hold.PAUSED,
        "an operator paused it",
        2,
    )


def test_ended_finished__takes_a_repair_off_the_list_and_stays():
    on = machine(repairs_left=("mend", "check"), repaired=True, attempts=2)
    got = after(JobState.FINISHED, ExitState.COMPLETE, on=on, repair=True, name="mend")
    assert (got.repairs_left, got.current_task, got.attempts, got.repaired) == (("check",), 2, 2, True)


@pytest.mark.parametrize("exit_state", [ExitState.REBOOT, ExitState.POWEROFF, ExitState.STOP])
def test_ended_finished_and_leaves__holds_the_machine_behind_the_task(exit_state):
    got = after(JobState.FINISHED, exit_state)
    assert (got.runnable, got.hold, got.waiting_for) == (False, Hold.BOOT, f"{exit_state.value} after task 'wipe'")


def test_ended_finished_and_leaves__also_a_repair():
    on = machine(repairs_left=("mend",), repaired=True)
    got = after(JobState.FINISHED, ExitState.REBOOT, on=on, repair=True)
    assert (got.repairs_left, got.current_task, got.hold) == ((), 2, Hold.BOOT)


def test_ended_incomplete_while_its_agent_restarts__waits_for_it():
    got = after(JobState.INCOMPLETE, ExitState.RESTART)
    assert (got.runnable, got.hold, got.waiting_for) == (False, Hold.AGENT, "its agent to come back")


@pytest.mark.parametrize("exit_state", [ExitState.REBOOT, ExitState.INCOMPLETE])
def test_ended_incomplete_too_often__waits_for_an_operator(exit_state):
    got = after(JobState.INCOMPLETE, exit_state, wipe(max_resumes=3), resumes=3)
    assert (got.runnable, got.hold) == (False, Hold.RESUMES)
    assert got.waiting_for.startswith("task 'wipe' went on 3 times and is still incomplete")


@pytest.mark.parametrize("limit", [4, 0])
@pytest.mark.parametrize("exit_state", [ExitState.REBOOT, ExitState.POWEROFF, ExitState.STOP])
def test_ended_incomplete_and_leaves__holds_the_machine_until_its_agent_is_back(exit_state, limit):
    got = after(JobState.INCOMPLETE, exit_state, wipe(max_resumes=limit), resumes=3)
    assert (got.runnable, got.hold, got.waiting_for) == (False, Hold.BOOT, exit_state.value)
    assert got.current_task == 2


@pytest.mark.parametrize("exit_state", [ExitState.INCOMPLETE, ExitState.NONE])
def test_ended_incomplete__waits_for_the_task(exit_state):
    got = after(JobState.INCOMPLETE, exit_state)
    assert (got.hold, got.waiting_for) == (Hold.INCOMPLETE, "task 'wipe' to go on")


def test_ended_cancelled__holds_the_machine_in_spite_of_retries_and_repairs():
    task = wipe(retry=Retry(max=5), on_error=("mend",), idempotent=True)
    got = after(JobState.CANCELLED, task=task, message="an operator")
    assert (got.runnable, got.hold, got.waiting_for) == (False, Hold.CANCELLED, "task 'wipe' cancelled: an operator")


@pytest.mark.parametrize("retry", [Retry(), Retry(max=3)])
def test_ended_failed_and_to_be_repaired__does_the_repairs_at_once(retry):
    got = after(JobState.FAILED, ExitState.FAILED, wipe(on_error=("mend", "check"), retry=retry))
    assert (got.runnable, got.repairs_left, got.repaired, got.not_before) == (True, ("mend", "check"), True, None)
    assert (got.retries, got.current_task) == (0, 2)


@pytest.mark.parametrize(("message", "shown"), [("exit code 1", "exit code 1"), ("", "see its log")])
def test_ended_failed__holds_the_machine_with_the_reason(message, shown):
    got = after(JobState.FAILED, ExitState.FAILED, message=message)
    assert (got.runnable, got.hold, got.waiting_for) == (False, Hold.FAILED, f"task 'wipe' failed: {shown}")


def test_ended_failed__repairs_only_once():
    got = after(JobState.FAILED, task=wipe(on_error=("mend",)), on=machine(repaired=True), message="x")
    assert (got.runnable, got.repairs_left, got.waiting_for) == (False, (), "task 'wipe' failed: x")


def test_ended_failed__names_the_task_that_a_repair_was_for():
    on = machine(repaired=True, repairs_left=("mend",))
    got = after(JobState.FAILED, task=Task(name="mend", on_error=("more",)), on=on, repair=True, name="mend")
    assert got.waiting_for == "task 'mend' (a repair of 'wipe') failed: see its log"
    assert got.repairs_left == ("mend",)


def test_ended_failed__ends_the_retries():
    assert not after(JobState.FAILED, task=wipe(retry=Retry(max=3)), on=machine(retries=3)).runnable


def test_ended_failed__ends_a_repairs_own_retries():
    on = machine(repaired=True, repairs_left=("mend",))
    assert not after(JobState.FAILED, task=wipe(retry=Retry(max=1)), on=on, repair=True, attempt=2).runnable


def test_ended_lost__holds_the_machine_with_the_reason():
    got = after(JobState.ABANDONED, task=wipe(on_error=("mend",)))
    assert (got.runnable, got.hold) == (False, Hold.LOST)
    assert "under way when the machine went away" in got.waiting_for


def test_ended_lost_too_often__waits_for_an_operator():
    got = after(JobState.ABANDONED, task=wipe(idempotent=True, max_resumes=2), attempt=3)
    assert (got.hold, got.waiting_for) == (
        Hold.RESUMES,
        "task 'wipe' was lost at attempt 3; set the machine runnable to do it again",
    )


def test_ended_lost_and_to_be_done_again__because_it_is_idempotent():
    on = machine()
    assert after(JobState.ABANDONED, task=wipe(idempotent=True), on=on) is on


def test_ended_lost_and_to_be_done_again__because_it_never_ran():
    on = machine()
    assert after(JobState.ABANDONED, on=on, started_at=None) is on


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.ABANDONED])
@pytest.mark.parametrize(("retries", "seconds"), [(0, 3), (1, 6), (2, 12), (7, 300), (70, 300)])
def test_ended_retries_left__waits_twice_as_long_each_time_up_to_the_cap(state, retries, seconds):
    got = after(state, task=wipe(retry=Retry(max=100, backoff_seconds=3)), on=machine(retries=retries))
    assert (got.runnable, got.not_before) == (True, NOW + timedelta(seconds=seconds))
    assert (got.retries, got.current_task) == (retries + 1, 2)


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 8), (0.5, 6), (1.0, 4)])
def test_ended_retries_left__shortens_the_pause_by_chance(jitter, seconds):
    got = after(JobState.FAILED, task=wipe(retry=Retry(max=1, backoff_seconds=8)), jitter=jitter)
    assert got.not_before == NOW + timedelta(seconds=seconds)


def test_ended_retries_left__follow_the_repairs():
    task = wipe(retry=Retry(max=1), on_error=("mend",))
    assert after(JobState.FAILED, task=task, on=machine(repaired=True)).retries == 1


def test_ended_retries_left__of_a_repair_are_its_own():
    on = machine(repaired=True, repairs_left=("mend",), retries=0)
    got = after(JobState.FAILED, task=wipe(retry=Retry(max=1)), on=on, repair=True, attempt=1)
    assert (got.retries, got.repairs_left) == (0, ("mend",)) and got.not_before > NOW


def test_a_job_whose_task_is_gone_is_neither_retried_nor_repaired():
    for state in (JobState.FAILED, JobState.ABANDONED):
        assert not after_job(machine(), job(state), None, NOW).runnable


@pytest.mark.parametrize("state", [JobState.FINISHED, JobState.FAILED, JobState.ABANDONED])
def test_in_single_step_a_machine_is_held_wherever_it_would_go_on(state):
    task = wipe(idempotent=True, retry=Retry(max=1))
    got = after_job(machine(step=True), job(state), task, NOW)
    assert (got.runnable, got.hold) == (False, Hold.STEP)
    assert got.waiting_for == "single-step after 'wipe'; set the machine runnable for the next job"


def test_in_single_step_a_hold_keeps_its_own_reason():
    for state in (JobState.FAILED, JobState.CANCELLED, JobState.INCOMPLETE):
        assert after_job(machine(step=True), job(state), wipe(), NOW).hold is not Hold.STEP


@pytest.mark.parametrize("state", [JobState.FINISHED, JobState.FAILED, JobState.INCOMPLETE, JobState.ABANDONED])
@pytest.mark.parametrize("exit_state", ExitState)
@pytest.mark.parametrize("task", [*TASK_KINDS, None])
def test_every_end_has_a_row_and_never_moves_more_than_one_place(state, exit_state, task):
    got = after_job(machine(), job(state, exit_state=exit_state), task, NOW)
    assert got.current_task == 2 and got.tasks == TASKS


@pytest.mark.parametrize(("ahead", "left"), [(299, 299), (300, 300), (301, None), (3600, None)])
def test_a_pause_that_a_clock_set_back_made_longer_than_its_longest_is_over(ahead, left):
    waits = machine(not_before=NOW + timedelta(seconds=ahead))
    for task in (wipe(), None):
        after = mend_pause(waits, task, NOW)
        assert after.not_before == (None if left is None else NOW + timedelta(seconds=left))
    assert mend_pause(machine(), wipe(), NOW) == machine()
