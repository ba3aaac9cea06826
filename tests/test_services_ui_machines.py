"""Where a machine stands, in words."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from provisioner.model.machines import AgentInfo, Hold, JobState
from provisioner.services.ui_machines import (
    State,
    can_resume,
    fits,
    last_seen,
    row,
    standing,
    tally,
)
from tests.deploying_machine import NOW, TASKS, ended, job, machine

# --- the state ------------------------------------------------------------------------------------------------


def test_a_running_job_makes_it_working_and_tells_which_task_of_how_many():
    found = standing(machine(), job(), NOW)
    assert (found.state, found.word) == (State.WORKING, "working")
    assert found.sentence == "is running task image, 2 of 4"
    assert found.since == NOW - timedelta(seconds=80)


def test_a_second_attempt_is_told():
    assert standing(machine(), job(attempt=3), NOW).sentence == "is running task image, 2 of 4, attempt 3"


def test_a_job_that_was_handed_out_and_not_started_is_working_too():
    found = standing(machine(), job(JobState.CREATED, started_at=None), NOW)
    assert found.sentence == "is about to run task image, 2 of 4"


def test_a_repair_says_what_it_is_for():
    found = standing(machine(), job(task="mend", repair=True), NOW)
    assert found.sentence == "is running task mend to repair what made task image fail"


def test_an_operator_may_let_a_machine_go_on_unless_it_waits_for_its_own_boot():
    assert can_resume(machine(runnable=False, hold=Hold.PAUSED))
    assert can_resume(machine(runnable=False, hold=Hold.BOOT))
    assert not can_resume(machine(runnable=False, hold=Hold.BOOT, bootenv="local"))
    assert not can_resume(machine())
    assert not can_resume(machine(runnable=False, current_task=len(TASKS)))


def test_a_job_that_is_told_to_stop_says_so():
    found = standing(machine(), job(cancel_requested=True), NOW)
    assert found.sentence == "is stopping task image: cancel was asked for"


def test_a_failed_job_makes_it_failed_with_code_message_and_what_to_do():
    waits = machine(runnable=False, waiting_for="task 'image' failed: no disk")
    found = standing(waits, ended(JobState.FAILED, exit_code=1, message="no disk"), NOW)
    assert found.state is State.FAILED
    assert found.sentence == "failed in task image with exit code 1: no disk"
    assert "Run again" in found.advice
    assert found.suggested == "run"


def test_a_failed_job_that_is_tried_again_is_no_failure_yet():
    again = machine(not_before=NOW + timedelta(seconds=8))
    found = standing(again, ended(JobState.FAILED), NOW)
    assert found.state is State.WAITING
    assert found.sentence == "waits to try image again"
    assert found.since == NOW + timedelta(seconds=8)


def test_a_failed_job_whose_next_attempt_is_due_is_working():
    assert standing(machine(not_before=NOW), ended(JobState.FAILED), NOW).state is State.WORKING


def test_lost_contact_is_a_failure_of_its_own_kind():
    found = standing(machine(runnable=False), ended(JobState.ABANDONED, message="silent for 60 s"), NOW)
    assert found.state is State.FAILED
    assert found.sentence == "lost contact during task image: silent for 60 s"


def test_a_cancelled_job_makes_it_wait_for_an_operator():
    found = standing(machine(runnable=False), ended(JobState.CANCELLED, message="wrong machine"), NOW)
    assert (found.state, found.suggested) == (State.WAITING, "run")
    assert found.sentence == "waits, because task image was cancelled: wrong machine"


def test_a_machine_with_errors_has_failed_whatever_it_does():
    found = standing(machine(errors=("unknown stage 'x'", "unknown profile 'y'")), job(), NOW)
    assert found.state is State.FAILED
    assert found.sentence == "cannot be used: unknown stage 'x'; unknown profile 'y'"


def test_all_tasks_done_is_complete_since_the_last_job_ended():
    found = standing(machine(current_task=len(TASKS)), ended(JobState.FINISHED, index=7), NOW)
    assert (found.state, found.sentence) == (State.COMPLETE, "has finished workflow deploy")
    assert found.since == NOW - timedelta(seconds=20)


def test_a_complete_machine_that_is_off_is_still_complete():
    assert standing(machine(current_task=len(TASKS), power="off"), None, NOW).state is State.COMPLETE


def test_work_of_a_stage_without_workflow_is_named_by_the_stage():
    found = standing(machine(workflow="", current_task=len(TASKS)), None, NOW)
    assert found.sentence == "has finished stage write"


def test_what_comes_after_the_last_task_is_told_with_complete():
    found = standing(machine(current_task=len(TASKS), waiting_for="poweroff after task 'report'"), None, NOW)
    assert found.sentence == "has finished workflow deploy; poweroff after task 'report'"


def test_a_machine_that_is_off_suggests_power():
    found = standing(machine(power="off"), None, NOW)
    assert (found.state, found.sentence, found.suggested) == (State.ABSENT, "is switched off", "power")


def test_a_machine_that_never_came_up_is_not_up_yet():
    found = standing(machine(agent=AgentInfo(), current_task=-1), None, NOW)
    assert (found.state, found.sentence) == (State.ABSENT, "has not come up yet")


def test_a_machine_without_tasks_has_no_work():
    found = standing(machine(tasks=(), workflow="", current_task=-1, runnable=False), None, NOW)
    assert (found.state, found.suggested) == (State.IDLE, "assign")


def test_a_machine_that_must_boot_something_else_is_not_up_yet():
    waits = machine(bootenv="local", runnable=False, waiting_for="boot of local")
    found = standing(waits, ended(JobState.FINISHED), NOW)
    assert found.state is State.ABSENT
    assert found.sentence == "must boot local; its agent last ran in discovery"


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("reboot after task 'image'", "is rebooting after task 'image'"),
        ("reboot", "is rebooting"),
        ("poweroff after task 'image'", "switches itself off after task 'image'"),
    ],
)
def test_a_machine_that_reboots_or_switches_itself_off_is_not_up_yet(reason, sentence):
    found = standing(machine(runnable=False, waiting_for=reason), ended(JobState.FINISHED), NOW)
    assert (found.state, found.sentence) == (State.ABSENT, sentence)


def test_any_other_reason_to_wait_is_told_as_it_is():
    found = standing(machine(runnable=False, waiting_for="an operator paused it"), ended(JobState.FINISHED), NOW)
    assert (found.state, found.sentence) == (State.WAITING, "waits: an operator paused it")


def test_waiting_without_a_reason_names_who_must_act():
    found = standing(machine(runnable=False), None, NOW)
    assert found.sentence == "waits: an operator to let it run"


def test_a_runnable_machine_between_two_jobs_is_about_to_run_the_next():
    found = standing(machine(), ended(JobState.FINISHED), NOW)
    assert (found.state, found.sentence) == (State.WORKING, "is about to run task settings")


def test_a_runnable_machine_with_only_markers_left_is_about_to_finish():
    found = standing(machine(tasks=("a", "stage:end"), current_task=0), job(JobState.FINISHED, index=0), NOW)
    assert found.sentence == "is about to finish"


# --- lists ----------------------------------------------------------------------------------------------------


def test_a_running_machine_is_seen_now_others_when_they_were_last_heard_of():
    assert last_seen(machine(), job(), NOW) == NOW
    assert last_seen(machine(), ended(JobState.FINISHED), NOW) == NOW - timedelta(seconds=20)
    assert last_seen(machine(), None, NOW) == NOW - timedelta(minutes=10)
    assert last_seen(machine(agent=AgentInfo()), None, NOW) is None


@pytest.mark.parametrize("words", [[], ["n01"], ["52:54", "deploy"], ["10.0.0.9"], ["sn77"], ["disco"]])
def test_a_filter_finds_a_machine_by_anything_people_know_it_by(words):
    known = machine(macs=("52:54:00:00:00:01",), address="10.0.0.9")
    known = replace(known, identity=replace(known.identity, serial="SN77"))
    assert fits(known, words)


def test_every_word_of_a_filter_must_fit():
    assert not fits(machine(), ["n01", "discover-me"])


def test_states_are_counted_also_when_nobody_has_them():
    rows = [row(machine(), job(), NOW), row(machine(power="off"), None, NOW)]
    counted = tally(rows)
    assert counted[State.WORKING] == counted[State.ABSENT] == 1
    assert counted[State.FAILED] == 0
