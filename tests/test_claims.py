"""The claim table, row by row: every test is named after the row that decides in it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from provisioner.claims import ANSWERS, CLAIM_TABLE, Answer, Asked, claim, row_for
from provisioner.lifecycle import SERVER_BOOT_ID
from provisioner.model.machines import AgentInfo, Job, JobState, Machine

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=5)
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


def asked(job=None, boot_id="boot-1", **fields):
    return Asked(machine(**fields), job, boot_id, NOW)


def ask(job=None, boot_id="boot-1", **fields):
    """What is answered. The test's name begins with the row that must have decided."""
    given = asked(job, boot_id, **fields)
    used.append(row_for(given).name)
    return claim(given)


used = []


@pytest.fixture(autouse=True)
def decided_by_the_row_in_its_name(request):
    """A test called test_claim_ROW__what is about that row: the row decided in it, every time."""
    used.clear()
    yield
    named = re.match(r"test_claim_(.+?)__", request.node.name)
    if named is not None:
        assert used and {re.sub(r"\W", "_", name) for name in used} == {named[1]}


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


def test_claim_not_runnable__without_a_reason_names_its_agent():
    assert ask(runnable=False).reason == "machine is not runnable: its agent to come up"


def test_claim_not_runnable__comes_before_what_the_job_is():
    assert ask(job(JobState.INCOMPLETE), runnable=False, waiting_for="x").answer is Answer.BUSY


def test_claim_from_a_boot_that_is_over__is_told_to_say_hello():
    got = ask(agent=AgentInfo(boot_id="boot-2"), boot_id="boot-1")
    assert got.answer is Answer.BUSY
    assert "say hello first" in got.reason


def test_claim_another_agent_at_work__waits():
    got = ask(job())
    assert (got.answer, got.reason) == (Answer.BUSY, "job j1 is being run by another agent")


def test_claim_another_agent_at_work__also_when_the_job_is_of_an_earlier_list():
    assert ask(job(index=0)).answer is Answer.BUSY


def test_claim_tasks_all_done__answers_nothing():
    got = ask(job(JobState.FINISHED, index=5), current_task=len(TASKS))
    assert (got.answer, got.reason, got.index) == (Answer.NOTHING, "all tasks are done", len(TASKS))


def test_claim_too_early_to_try_again__says_when():
    got = ask(job(JobState.FAILED), not_before=NOW + timedelta(seconds=5))
    assert (got.answer, got.reason) == (Answer.BUSY, "the next attempt is due at 12:00:05 UTC")


def test_claim_claimed_but_never_started__gives_the_same_job():
    got = ask(job(JobState.CREATED))
    assert (got.answer, got.index, got.entry) == (Answer.SAME, 2, "wipe")


def test_claim_incomplete__gives_the_same_job_also_to_another_boot():
    got = ask(job(JobState.INCOMPLETE), boot_id="boot-2")
    assert (got.answer, got.index, got.entry) == (Answer.SAME, 2, "wipe")


def test_claim_failed__does_the_task_again_as_soon_as_the_pause_is_over():
    assert ask(job(JobState.FAILED), not_before=NOW).answer is Answer.NEW


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


def test_claim_in_another_environment__is_told_to_boot_first():
    got = ask(agent=AgentInfo(boot_id="boot-1", bootenv="local"))
    assert got.answer is Answer.BUSY
    assert got.reason == "the machine is up in 'local' and its bootenv is 'discovery'; boot it first"


def test_claim_the_server_at_work__waits_also_after_another_boot():
    doing = job(task="action:cycle", boot_id=SERVER_BOOT_ID)
    for boot_id in ("boot-1", "boot-2"):
        got = ask(doing, boot_id)
        assert (got.answer, got.reason) == (Answer.BUSY, "the server is carrying out 'action:cycle'")


@pytest.mark.parametrize("state", [JobState.CREATED, JobState.RUNNING])
@pytest.mark.parametrize("place", [2, 4])
def test_claim_lost_to_another_boot__is_abandoned_before_anything_else(state, place):
    got = ask(job(state, index=place), boot_id="boot-2")
    assert (got.answer, got.reason) == (Answer.LOSE, "the machine came back from another boot")


def test_claim_claimed_but_never_started__also_when_a_repair():
    got = ask(job(JobState.CREATED, repair=True, task="mend"), repairs_left=("mend",))
    assert (got.answer, got.entry, got.repair) == (Answer.SAME, "mend", True)


def test_claim_incomplete__also_when_a_repair():
    assert ask(job(JobState.INCOMPLETE, repair=True, task="mend"), repairs_left=("mend",)).entry == "mend"


@pytest.mark.parametrize("last", [job(JobState.FAILED), job(JobState.FINISHED, repair=True, task="first")])
def test_claim_repairs_to_do__gives_the_first_of_them_at_the_same_place(last):
    got = ask(last, repairs_left=("mend", "check"))
    assert (got.answer, got.index, got.entry, got.repair) == (Answer.NEW, 2, "mend", True)


def test_claim_repairs_to_do__gives_a_failed_repair_again():
    assert ask(job(JobState.FAILED, repair=True, task="mend"), repairs_left=("mend",)).entry == "mend"


def test_claim_repaired__does_the_failed_task_again():
    got = ask(job(JobState.FINISHED, repair=True, task="mend"))
    assert (got.answer, got.index, got.entry, got.repair) == (Answer.NEW, 2, "wipe", False)


def test_claim_to_be_stopped_before__holds_the_machine_at_a_task():
    got = ask(job(JobState.FINISHED), stop_before=("write",))
    assert (got.answer, got.index, got.entry) == (Answer.STOP, 3, "write")
    assert got.reason == "stopped before 'write'; set the machine runnable to go on"


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.ABANDONED, JobState.CANCELLED])
def test_claim_to_be_stopped_before__also_before_another_attempt(state):
    assert ask(job(state), stop_before=("wipe",)).index == 2


@pytest.mark.parametrize("entry", ["stage:install", "bootenv:discovery"])
def test_claim_to_be_stopped_before__also_an_entry_that_would_be_skipped(entry):
    got = ask(current_task=-1, stop_before=(entry,))
    assert (got.answer, got.entry) == (Answer.STOP, entry)


def test_claim_to_be_stopped_before__an_action():
    assert ask(job(JobState.FINISHED, index=3), current_task=3, stop_before=("action:cycle",)).index == 4


def test_claim_to_be_stopped_before__the_second_of_the_same_name():
    again = ("wipe", "wipe")
    assert ask(job(JobState.FINISHED, index=0), current_task=0, tasks=again, stop_before=again, stopped_at=0).index == 1


def test_claim_next__passes_a_stop_where_the_machine_was_stopped_last():
    assert ask(job(JobState.FINISHED), stop_before=("write",), stopped_at=3).entry == "write"


def test_claim_next__is_not_stopped_by_what_comes_later():
    assert ask(job(JobState.FINISHED), stop_before=("report",)).entry == "write"


def test_claim_next__leaves_out_nothing_but_what_is_so_already():
    got = ask(current_task=-1, stage="other", bootenv="discovery")
    assert (got.answer, got.index, got.entry) == (Answer.APPLY, 0, "stage:install")


@pytest.mark.parametrize("entry", ["wish:x", "name:m1", "workflow:"])
def test_claim_next__hands_unknown_entries_to_the_server_which_refuses_them(entry):
    assert ask(current_task=-1, tasks=(entry,)).answer is Answer.APPLY


def test_every_answer_is_explained_and_every_row_says_what_it_does():
    assert set(ANSWERS) == set(Answer)
    assert all(row.when and row.then for row in CLAIM_TABLE)
    assert len({row.name for row in CLAIM_TABLE}) == len(CLAIM_TABLE)


_JOBS = [None, *(job(state, index=index) for state, index in product(JobState, (1, 2)))]


@pytest.mark.parametrize("boot_id", ["boot-1", "boot-2"])
@pytest.mark.parametrize("given", _JOBS, ids=lambda each: f"{each.state}-{each.index}" if each else "none")
@pytest.mark.parametrize("place", range(-1, len(TASKS) + 1))
@pytest.mark.parametrize("runnable", [True, False])
def test_any_claim_is_answered_and_no_entry_is_left_out_or_done_ahead(boot_id, given, place, runnable):
    got = claim(asked(given, boot_id, current_task=place, runnable=runnable))
    if got.answer in (Answer.NEW, Answer.APPLY, Answer.ACTION):
        assert got.index in (place, place + 1) or all(":" in entry for entry in TASKS[place + 1 : got.index])
    if got.answer in (Answer.BUSY, Answer.STOP):
        assert got.reason
