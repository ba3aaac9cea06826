"""Where machines stand, and what moves them from there: every pair of the machine table."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from provisioner.availability import with_availability
from provisioner.claims import Answer, Asked, claim
from provisioner.endings import after_job
from provisioner.errors import Conflict, ProvisionerError
from provisioner.hellos import came_up
from provisioner.lifecycle import SERVER_BOOT_ID, Outcome, cancel_job, end_job, lose_job
from provisioner.model.content import Bootenv, Retry, Stage, Task, Workflow
from provisioner.model.machines import LIVE_STATES, AgentInfo, ExitState, Hold, JobState
from provisioner.plan import clear_workflow, ready_if_up, resume, set_bootenv, set_runnable, set_workflow
from provisioner.standing import (
    MACHINE_EVENTS,
    MACHINE_ROWS,
    MACHINE_TABLE,
    STANDINGS,
    MachineEvent,
    Standing,
    standing,
)
from tests.running_job import EARLIER, NOW, TASKS, job, machine, wipe

LATER = NOW + timedelta(seconds=5)


# --- standings ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "current", "word"),
    [
        ({"errors": ("unknown stage 'x'",)}, job(), Standing.UNAVAILABLE),
        ({}, job(), Standing.WORKING),
        ({"runnable": False, "hold": Hold.PAUSED}, job(JobState.CREATED), Standing.WORKING),
        ({"runnable": False, "hold": Hold.BOOT}, None, Standing.BOOTING),
        ({"runnable": False, "hold": Hold.AGENT}, job(JobState.INCOMPLETE), Standing.BOOTING),
        ({"runnable": False, "current_task": -1}, None, Standing.BOOTING),
        ({"current_task": len(TASKS)}, job(JobState.FINISHED), Standing.COMPLETE),
        ({"current_task": len(TASKS), "runnable": False, "hold": Hold.PAUSED}, None, Standing.COMPLETE),
        ({"runnable": False, "hold": Hold.FAILED}, job(JobState.FAILED), Standing.HELD),
        ({"tasks": ()}, None, Standing.IDLE),
        ({"not_before": LATER}, job(JobState.FAILED), Standing.BACKING_OFF),
        ({"not_before": NOW}, job(JobState.FAILED), Standing.READY),
        ({}, None, Standing.READY),
        ({"current_job": "j2"}, job(), Standing.READY),
    ],
)
def test_a_machine_stands_where_its_fields_say(fields, current, word):
    assert standing(machine(**fields), current, NOW) is word


def test_every_standing_has_its_row_and_meaning():
    assert [row.standing for row in STANDINGS] == list(Standing)
    assert all(row.meaning for row in STANDINGS)


# --- the machine table ----------------------------------------------------------------------------------------

STAGES = {
    stage.name: stage
    for stage in (
        Stage(name="install", bootenv="discovery", tasks=("wipe", "write")),
        Stage(name="local", bootenv="local", tasks=("report",)),
        Stage(name="empty"),
    )
}
WORKFLOWS = [Workflow(name="deploy", stages=("install", "local")), Workflow(name="rest", stages=("local",))]
VIEW = {
    "stages": STAGES,
    "workflows": {workflow.name: workflow for workflow in WORKFLOWS},
    "bootenvs": {name: Bootenv(name=name) for name in ("discovery", "local")},
    "profiles": {},
    "tasks": {name: Task(name=name) for name in ("wipe", "write", "report", "mend")},
}
TASK_KINDS = (
    wipe(),
    wipe(idempotent=True),
    wipe(retry=Retry(max=2)),
    wipe(on_error=("mend",)),
    wipe(max_resumes=1),
)
OUTCOMES = [
    *(Outcome(JobState.FINISHED, exit_state) for exit_state in ExitState),
    *(Outcome(JobState.INCOMPLETE, exit_state) for exit_state in ExitState),
    Outcome(JobState.FAILED, ExitState.FAILED, 1),
]


@st.composite
def situations(draw):
    """A machine and its current job as they can be found together: what is not runnable has a reason, and so on."""
    tasks = draw(st.sampled_from([(), TASKS, ("wipe",)]))
    place = draw(st.integers(-1, len(tasks))) if tasks else -1
    state = draw(st.sampled_from([None, *JobState]))
    current = None
    if state is not None:
        current = job(
            state,
            index=place if 0 <= place < len(tasks) and draw(st.booleans()) else len(tasks) + 1,
            boot_id=draw(st.sampled_from(["boot-1", SERVER_BOOT_ID])) if state in LIVE_STATES else "boot-1",
            repair=draw(st.booleans()),
            resumes=draw(st.integers(0, 2)),
            cancel_requested=state is JobState.RUNNING and draw(st.booleans()),
        )
    runnable = draw(st.booleans())
    errors = draw(st.sampled_from([(), (), ("unknown stage 'x'",)]))
    reasons = [each for each in Hold if each and (errors or each is not Hold.ERRORS)]
    hold = Hold.NONE if runnable else draw(st.sampled_from(reasons))
    current_bootenv = draw(st.sampled_from(["discovery", "local"]))
    return (
        machine(
            tasks=tasks,
            workflow="deploy" if tasks == TASKS else "",
            current_task=place,
            current_job="j1" if current else "",
            runnable=runnable,
            hold=hold,
            waiting_for="" if runnable else "a reason",
            not_before=draw(st.sampled_from([None, LATER])) if state in (JobState.FAILED, JobState.ABANDONED) else None,
            errors=errors,
            step=draw(st.booleans()),
            repaired=draw(st.booleans()),
            bootenv=current_bootenv,
            agent=AgentInfo(boot_id="boot-1", instance="agent-1", bootenv=current_bootenv, hello_at=EARLIER),
        ),
        current,
    )


def stop(current):
    return cancel_job(current, "other work", NOW) if current is not None and not current.final else current


def happen(event, machine, current, task, outcome, workflow):
    """The event, by the functions that the conductor calls for it; returns machine, job and time."""
    agent = replace(machine.agent, boot_id="boot-2", instance="agent-2")
    match event:
        case MachineEvent.GIVE:
            return ready_if_up(set_workflow(replace(machine, errors=()), workflow, STAGES)), stop(current), NOW
        case MachineEvent.CLEAR:
            return ready_if_up(clear_workflow(replace(machine, errors=()))), stop(current), NOW
        case MachineEvent.PAUSE | MachineEvent.RELEASE:
            return set_runnable(machine, event is MachineEvent.RELEASE), current, NOW
        case MachineEvent.RESUME:
            return resume(machine), current, NOW
        case MachineEvent.UP | MachineEvent.UP_ELSEWHERE:
            elsewhere = {"discovery": "local", "local": "discovery"}[machine.bootenv]
            agent = replace(agent, bootenv=machine.bootenv if event is MachineEvent.UP else elsewhere)
            up = came_up(machine, current, task, agent, NOW)
            return up.machine, up.lost or current, NOW
        case MachineEvent.CLAIM:
            return claimed(machine, current, task)
        case MachineEvent.END:
            ended = end_job(current, outcome, NOW)
            # A second report is answered with the first result, and nothing follows from it.
            return (machine if ended is current else after_job(machine, ended, task, NOW)), ended, NOW
        case MachineEvent.LOSE:
            lost = lose_job(current, "silent", NOW)
            return after_job(machine, lost, task, NOW), lost, NOW
        case MachineEvent.CANCEL:
            asked = cancel_job(current, "enough", NOW)
            return (after_job(machine, asked, task, NOW) if asked.final else machine), asked, NOW
        case MachineEvent.TIME:
            return machine, current, LATER
        case MachineEvent.BREAK:
            return with_availability(replace(machine, stage="gone"), VIEW), current, NOW
        case MachineEvent.MEND:
            return with_availability(machine, VIEW), current, NOW


def claimed(machine, current, task, boot_id="boot-1"):
    got = claim(Asked(machine, current, boot_id, NOW))
    if got.answer is Answer.NOTHING:
        return replace(machine, current_task=len(machine.tasks)) if machine.tasks else machine, current, NOW
    if got.answer is Answer.SAME:
        return machine, current, NOW
    if got.answer is Answer.BUSY:
        raise Conflict(got.reason)
    new = job(JobState.CREATED, id="j2", index=got.index, task=got.entry, repair=got.repair)
    moved = replace(machine, current_job="j2", current_task=got.index, not_before=None)
    if got.answer is not Answer.APPLY:
        return moved, new, NOW
    kind, _, name = got.entry.partition(":")
    moved = set_bootenv(moved, name) if kind == "bootenv" else replace(moved, stage=name)
    done = replace(new, state=JobState.FINISHED)
    return after_job(moved, done, None, NOW), done, NOW


@pytest.mark.parametrize("event", MachineEvent)
@settings(max_examples=150, deadline=None)
@given(situations(), st.sampled_from(TASK_KINDS), st.sampled_from(OUTCOMES), st.sampled_from(WORKFLOWS))
def test_an_event_leads_where_the_machine_table_says_or_changes_nothing(event, situation, task, outcome, workflow):
    before, current = situation
    word = standing(before, current, NOW)
    if event is MachineEvent.TIME and word is not Standing.BACKING_OFF:
        return
    assume(event not in (MachineEvent.END, MachineEvent.LOSE, MachineEvent.CANCEL) or current is not None)
    assume(
        event is not MachineEvent.END or current.boot_id != SERVER_BOOT_ID or outcome.state is not JobState.INCOMPLETE
    )
    row = MACHINE_TABLE.get((word, event))
    try:
        after, then, now = happen(event, before, current, task, outcome, workflow)
    except ProvisionerError:
        assert row is None or event not in (MachineEvent.PAUSE, MachineEvent.RELEASE, MachineEvent.GIVE)
        return
    if row is None:
        assert standing(after, then, now) is word
    else:
        assert standing(after, then, now) in row.after
    if not after.runnable:
        assert after.waiting_for and after.hold is not Hold.NONE
    else:
        assert after.hold is Hold.NONE and after.waiting_for == ""


def test_every_event_is_explained_and_happens_somewhere():
    assert set(MACHINE_EVENTS) == set(MachineEvent) == {event for _, event in MACHINE_TABLE}


def test_no_pair_is_in_the_machine_table_twice():
    assert sum(len(row.before) for row in MACHINE_ROWS) == len(MACHINE_TABLE)


def test_every_standing_can_be_left_and_reached():
    assert {before for before, _ in MACHINE_TABLE} == set(Standing)
    assert {after for row in MACHINE_ROWS for after in row.after if after not in row.before} == set(Standing)


@pytest.mark.parametrize("word", [Standing.IDLE, Standing.COMPLETE, Standing.UNAVAILABLE])
def test_resume_is_refused_where_the_machine_table_has_no_row_for_it(word):
    given = {
        Standing.IDLE: machine(tasks=(), current_task=-1),
        Standing.COMPLETE: machine(current_task=len(TASKS)),
        Standing.UNAVAILABLE: machine(errors=("x",)),
    }[word]
    assert standing(given, None, NOW) is word and (word, MachineEvent.RESUME) not in MACHINE_TABLE
    with pytest.raises(ProvisionerError):
        resume(given)
