"""A machine's way through its tasks."""

import pytest

from provisioner.model.machines import JobState
from provisioner.services.ui_work import JOBS_FOLLOWED, jobs_of_run, legs, progress
from tests.deploying_machine import ended, job, machine


@pytest.mark.parametrize(
    ("current_task", "state", "done", "following"),
    [
        (-1, None, 0, "check"),
        (1, JobState.FINISHED, 0, "check"),
        (2, JobState.RUNNING, 0, "check"),
        (2, JobState.FINISHED, 1, "image"),
        (4, JobState.FAILED, 1, "image"),
        (4, JobState.INCOMPLETE, 1, "image"),
        (5, JobState.FINISHED, 3, "report"),
        (8, JobState.FINISHED, 4, ""),
    ],
)
def test_progress_counts_tasks_without_markers(current_task, state, done, following):
    current = job(state, index=min(current_task, 7)) if state else None
    found = progress(machine(current_task=current_task), current)
    assert (found.done, found.total, found.following) == (done, 4, following)


def test_after_a_rewind_the_old_job_does_not_count():
    found = progress(machine(current_task=1), ended(JobState.FAILED))
    assert (found.done, found.following) == (0, "check")


def test_legs_are_the_stages_with_their_tasks_and_bootenv():
    found = legs(machine(), job(), {})
    assert [leg.stage for leg in found] == ["prepare", "write", "end"]
    assert [leg.bootenv for leg in found] == ["discovery", "", ""]
    assert [[step.name for step in leg.tasks] for leg in found] == [["check"], ["image", "settings"], ["report"]]
    assert [leg.status for leg in found] == ["done", "running", "pending"]


def test_a_list_without_stage_entries_is_one_leg_of_the_machines_stage():
    found = legs(machine(workflow="", tasks=("a", "action:power-on"), current_task=-1), None, {})
    assert [(leg.stage, [step.kind for step in leg.steps]) for leg in found] == [("write", ["task", "action"])]
    assert [step.name for step in found[0].tasks] == ["a", "power-on"]


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (JobState.CREATED, "running"),
        (JobState.RUNNING, "running"),
        (JobState.FAILED, "failed"),
        (JobState.ABANDONED, "failed"),
        (JobState.INCOMPLETE, "held"),
        (JobState.CANCELLED, "held"),
        (JobState.FINISHED, "done"),
    ],
)
def test_the_current_step_shows_how_its_job_stands(state, status):
    statuses = {step.index: step.status for leg in legs(machine(), job(state), {}) for step in leg.steps}
    assert statuses[4] == status
    assert (statuses[3], statuses[5]) == ("done", "pending")


def test_a_stage_that_is_half_done_is_running():
    half = legs(machine(), job(JobState.FINISHED), {})[1]
    assert half.status == "running"


def test_the_chain_of_jobs_gives_the_latest_of_each_step():
    chain = {
        "a": job(JobState.FINISHED, index=2, id="a"),
        "b": job(JobState.FAILED, id="b", previous="a"),
        "c": job(JobState.RUNNING, id="c", previous="b", attempt=2),
    }
    found = jobs_of_run(machine(), chain["c"], chain.get)
    assert {index: [each.id for each in jobs] for index, jobs in found.items()} == {4: ["b", "c"], 2: ["a"]}


def test_the_chain_ends_where_other_work_began():
    old = job(JobState.FINISHED, index=2, id="old", workflow="discover")
    found = jobs_of_run(machine(), job(previous="old"), {"old": old}.get)
    assert list(found) == [4]


def test_jobs_ahead_of_where_the_list_stands_are_from_an_earlier_run():
    later = job(JobState.FINISHED, index=5)
    assert jobs_of_run(machine(current_task=2), later, {}.get) == {}


def test_repairs_stand_with_the_task_that_they_are_for():
    chain = {
        "a": job(JobState.FAILED, id="a"),
        "b": job(JobState.FINISHED, id="b", previous="a", task="mend", repair=True),
        "c": job(JobState.RUNNING, id="c", previous="b", attempt=2),
    }
    found = jobs_of_run(machine(), chain["c"], chain.get)
    (step,) = [step for leg in legs(machine(), chain["c"], found) for step in leg.steps if step.index == 4]
    assert (step.job.id, [each.id for each in step.repairs], step.status) == ("c", ["b"], "running")


def test_a_repair_that_is_done_does_not_make_its_task_done():
    mended = job(JobState.FINISHED, task="mend", repair=True)
    assert (progress(machine(), mended).done, progress(machine(), mended).following) == (1, "image")
    for runnable, status in ((True, "running"), (False, "held")):
        found = legs(machine(runnable=runnable), mended, {})
        assert {step.index: step.status for leg in found for step in leg.steps}[4] == status


def test_steps_say_where_the_machine_is_to_stop():
    found = legs(machine(stop_before=("settings", "stage:end")), job(), {})
    assert [step.name for leg in found for step in leg.tasks if step.stops] == ["settings"]
    assert [step.entry for leg in found for step in leg.stops] == ["stage:end"]


def test_a_chain_of_very_many_attempts_is_followed_only_so_far():
    jobs = {str(number): job(JobState.FAILED, id=str(number), previous=str(number - 1)) for number in range(1, 999)}
    assert len(jobs_of_run(machine(), jobs["998"], jobs.get)[4]) == JOBS_FOLLOWED
