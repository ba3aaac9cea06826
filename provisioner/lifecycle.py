"""The state machine of jobs, and the claim that makes them, as data.

JOB_TABLE says what each event does to a job in each state; a pair that it lacks raises Conflict and changes nothing.
CLAIM_TABLE says, row by row and in this order, what an agent that asks for work is answered. Nothing here acts, looks
at a clock or draws a random number: `now` and new ids are arguments, and what follows is returned.

    created ──start──▶ running ──finish──▶ finished
       │                 │  ▲ ─────fail──▶ failed
       │                 │  └──start── incomplete ◀──suspend── running
       ├──lose───────────┴──lose─────▶ abandoned
       └──cancel─────────┴──(cancel asked, then any end)──▶ cancelled
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from provisioner.errors import Conflict
from provisioner.model import LIVE_STATES, ExitState, Job, JobState, Machine, Retry, Task


class JobEvent(StrEnum):
    """What can happen to a job."""

    START = "start"
    FINISH = "finish"
    FAIL = "fail"
    SUSPEND = "suspend"
    LOSE = "lose"
    CANCEL = "cancel"


class JobStep(Struct, frozen=True):
    """What an event does: `action` is one of begin, end, pause, ask, keep; `next` is the state afterwards."""

    action: str
    next: JobState


_END = "end"
JOB_TABLE: dict[tuple[JobState, JobEvent], JobStep] = {
    (JobState.CREATED, JobEvent.START): JobStep("begin", JobState.RUNNING),
    (JobState.CREATED, JobEvent.FAIL): JobStep(_END, JobState.FAILED),
    (JobState.CREATED, JobEvent.LOSE): JobStep(_END, JobState.ABANDONED),
    (JobState.CREATED, JobEvent.CANCEL): JobStep(_END, JobState.CANCELLED),
    (JobState.RUNNING, JobEvent.START): JobStep("keep", JobState.RUNNING),
    (JobState.RUNNING, JobEvent.FINISH): JobStep(_END, JobState.FINISHED),
    (JobState.RUNNING, JobEvent.FAIL): JobStep(_END, JobState.FAILED),
    (JobState.RUNNING, JobEvent.SUSPEND): JobStep("pause", JobState.INCOMPLETE),
    (JobState.RUNNING, JobEvent.LOSE): JobStep(_END, JobState.ABANDONED),
    (JobState.RUNNING, JobEvent.CANCEL): JobStep("ask", JobState.RUNNING),
    (JobState.INCOMPLETE, JobEvent.START): JobStep("begin", JobState.RUNNING),
    (JobState.INCOMPLETE, JobEvent.SUSPEND): JobStep("keep", JobState.INCOMPLETE),
    (JobState.INCOMPLETE, JobEvent.CANCEL): JobStep(_END, JobState.CANCELLED),
}


class Outcome(Struct, frozen=True):
    """How a run of a job ended, as the agent (or the server, for its own actions) reports it."""

    state: JobState
    exit_state: ExitState = ExitState.NONE
    exit_code: int | None = None
    message: str = ""


_EVENT_OF_OUTCOME = {
    JobState.FINISHED: JobEvent.FINISH,
    JobState.FAILED: JobEvent.FAIL,
    JobState.INCOMPLETE: JobEvent.SUSPEND,
}


def job_step(job: Job, event: JobEvent) -> JobStep:
    """The row for this job and event; raises Conflict when there is none."""
    step = JOB_TABLE.get((job.state, event))
    if step is None:
        raise Conflict(f"job {job.id} is {job.state.value} and cannot {event.value}", object=job.id, code="job-state")
    return step


def start_job(job: Job, boot_id: str, instance: str, now: datetime) -> Job:
    """An agent begins or resumes the job; the same agent may say so twice, another one is refused."""
    step = job_step(job, JobEvent.START)
    if step.action == "keep":
        if job.instance != instance:
            raise Conflict(f"job {job.id} is held by another agent", object=job.id, code="job-held")
        return job
    return replace(
        job,
        state=step.next,
        boot_id=boot_id,
        instance=instance,
        started_at=job.started_at or now,
        exit_state=ExitState.NONE,
        exit_code=None,
        message="",
    )


def end_job(job: Job, outcome: Outcome, now: datetime) -> Job:
    """Record how a run ended; a job that has ended already stays as it is. A cancelled run ends cancelled."""
    if job.final:
        return job
    event = _EVENT_OF_OUTCOME.get(outcome.state)
    if event is None:
        choices = ", ".join(state.value for state in _EVENT_OF_OUTCOME)
        raise Conflict(f"a result is one of {choices}, not {outcome.state.value}", object=job.id, code="job-result")
    step = job_step(job, event)
    if step.action == "keep":
        return job
    state = JobState.CANCELLED if job.cancel_requested else step.next
    return replace(
        job,
        state=state,
        exit_state=outcome.exit_state,
        exit_code=outcome.exit_code,
        message=outcome.message,
        ended_at=None if state is JobState.INCOMPLETE else now,
    )


def lose_job(job: Job, reason: str, now: datetime) -> Job:
    """Contact with the job's run is lost for good."""
    step = job_step(job, JobEvent.LOSE)
    state = JobState.CANCELLED if job.cancel_requested else step.next
    return replace(job, state=state, message=reason, ended_at=now)


def cancel_job(job: Job, reason: str, now: datetime) -> Job:
    """Cancel: at once when nothing runs, else its agent is asked to and reports the end."""
    step = job_step(job, JobEvent.CANCEL)
    if step.action == "ask":
        return replace(job, cancel_requested=True, message=reason)
    return replace(job, state=step.next, message=reason, ended_at=now)


# --- claiming work --------------------------------------------------------------------------------------------


class Answer(StrEnum):
    """What a claim is answered."""

    BUSY = "busy"
    NOTHING = "nothing"
    SAME = "same"
    APPLY = "apply"
    ACTION = "action"
    NEW = "new"


class Asked(Struct, frozen=True):
    """All that a claim is decided on. `retriable` tells whether a lost run of the current task may simply be redone."""

    machine: Machine
    job: Job | None
    boot_id: str
    now: datetime
    retriable: bool

    @property
    def at_hand(self) -> Job | None:
        """The current job if it belongs to where the list stands now."""
        return self.job if self.job is not None and self.job.index == self.machine.current_task else None

    @property
    def live(self) -> bool:
        """Whether a job is created or running."""
        return self.job is not None and self.job.state in LIVE_STATES


class Claim(Struct, frozen=True):
    """What to do about a claim: `index` and `entry` are for APPLY, ACTION and NEW; `lost` tells to abandon first."""

    answer: Answer
    reason: str = ""
    index: int = -1
    entry: str = ""
    lost: bool = False


def _other_boot(asked: Asked) -> bool:
    return asked.live and asked.job is not None and asked.job.boot_id not in ("", asked.boot_id)


def _state_is(state: JobState) -> Callable[[Asked], bool]:
    return lambda asked: asked.at_hand is not None and asked.at_hand.state is state


def _same(asked: Asked) -> Claim:
    assert asked.job is not None
    return Claim(Answer.SAME, index=asked.job.index, entry=asked.job.task)


def _lost(asked: Asked) -> Claim:
    assert asked.job is not None
    if asked.at_hand is None:
        # The machine was given other work meanwhile: the job's index means nothing in the new list.
        return replace(_entry_at(asked, asked.machine.current_task + 1), lost=True)
    if not asked.retriable:
        return Claim(Answer.BUSY, lost_reason(asked.job), lost=True)
    return replace(_entry_at(asked, asked.job.index), lost=True)


def lost_reason(job: Job) -> str:
    """Why a machine waits after contact with a job that cannot simply be redone was lost."""
    return (
        f"task {job.task!r} was under way when the machine went away, and it is not marked idempotent;"
        " look at its log, then set the machine runnable to do it again"
    )


def _entry_at(asked: Asked, index: int) -> Claim:
    machine = asked.machine
    while index < len(machine.tasks):
        entry = machine.tasks[index]
        kind, colon, name = entry.partition(":")
        if not colon:
            return Claim(Answer.NEW, index=index, entry=entry)
        if kind == "action":
            return Claim(Answer.ACTION, index=index, entry=entry)
        if getattr(machine, kind, None) != name:
            return Claim(Answer.APPLY, index=index, entry=entry)
        index += 1
    return Claim(Answer.NOTHING, "all tasks are done", index=len(machine.tasks))


def _busy(reason: Callable[[Asked], str]) -> Callable[[Asked], Claim]:
    return lambda asked: Claim(Answer.BUSY, reason(asked))


class ClaimRow(Struct, frozen=True):
    """One row: when `condition` holds, `decide` gives the claim."""

    name: str
    condition: Callable[[Asked], bool]
    decide: Callable[[Asked], Claim]


CLAIM_TABLE: tuple[ClaimRow, ...] = (
    ClaimRow(
        "not available",
        lambda asked: not asked.machine.available,
        _busy(lambda asked: f"machine is not available: {'; '.join(asked.machine.errors)}"),
    ),
    ClaimRow(
        "not runnable",
        lambda asked: not asked.machine.runnable,
        _busy(lambda asked: f"machine is not runnable: {asked.machine.waiting_for or 'an operator must say so'}"),
    ),
    ClaimRow(
        "from a boot that is over",
        lambda asked: asked.machine.agent.boot_id not in ("", asked.boot_id),
        _busy(lambda asked: "the agent of another boot said hello since; say hello first"),
    ),
    ClaimRow("lost to another boot", _other_boot, _lost),
    ClaimRow(
        "another agent at work",
        lambda asked: asked.job is not None and asked.job.state is JobState.RUNNING,
        _busy(lambda asked: f"job {asked.machine.current_job} is being run by another agent"),
    ),
    ClaimRow(
        "tasks all done", lambda asked: asked.machine.done, lambda asked: _entry_at(asked, len(asked.machine.tasks))
    ),
    ClaimRow(
        "too early to try again",
        lambda asked: asked.machine.not_before is not None and asked.machine.not_before > asked.now,
        _busy(lambda asked: f"the next attempt is due at {asked.machine.not_before:%H:%M:%S} UTC"),
    ),
    ClaimRow("claimed but never started", _state_is(JobState.CREATED), _same),
    ClaimRow("incomplete", _state_is(JobState.INCOMPLETE), _same),
    ClaimRow("failed", _state_is(JobState.FAILED), lambda asked: _entry_at(asked, asked.machine.current_task)),
    ClaimRow("abandoned", _state_is(JobState.ABANDONED), lambda asked: _entry_at(asked, asked.machine.current_task)),
    ClaimRow("cancelled", _state_is(JobState.CANCELLED), lambda asked: _entry_at(asked, asked.machine.current_task)),
    ClaimRow("next", lambda asked: True, lambda asked: _entry_at(asked, asked.machine.current_task + 1)),
)


def claim(asked: Asked) -> Claim:
    """The first row of CLAIM_TABLE that holds decides."""
    for row in CLAIM_TABLE:
        if row.condition(asked):
            return row.decide(asked)
    raise AssertionError("the last row always holds")


# --- what a job's end does to its machine ---------------------------------------------------------------------


# More would be pauses of weeks at the usual two seconds, and sooner or later beyond what a date can say.
_DOUBLINGS = 16


def after_job(machine: Machine, job: Job, retry: Retry, now: datetime) -> Machine:
    """The machine after its current job ended or paused: it goes on, waits, or tries again later."""
    if machine.current_job != job.id or job.index != machine.current_task:
        return machine
    if job.state is JobState.FINISHED and job.exit_state in (ExitState.COMPLETE, ExitState.NONE):
        return _advance(machine, job)
    if job.state is JobState.FINISHED:
        return _hold(_advance(machine, job), f"{job.exit_state.value} after task {job.task!r}")
    if job.state in (JobState.FAILED, JobState.ABANDONED) and job.attempt <= retry.max:
        pause = timedelta(seconds=retry.backoff_seconds * 2 ** min(job.attempt - 1, _DOUBLINGS))
        return replace(machine, not_before=now + pause, waiting_for="")
    if job.state is JobState.INCOMPLETE:
        reason = f"task {job.task!r} to go on" if job.exit_state is ExitState.INCOMPLETE else job.exit_state.value
        return _hold(machine, reason)
    if job.state is JobState.ABANDONED:
        return _hold(machine, lost_reason(job))
    return _hold(machine, f"task {job.task!r} {job.state.value}: {job.message or 'see its log'}")


def _advance(machine: Machine, job: Job) -> Machine:
    last = job.index + 1 >= len(machine.tasks)
    return replace(machine, current_task=len(machine.tasks) if last else job.index, not_before=None)


def _hold(machine: Machine, reason: str) -> Machine:
    return replace(machine, runnable=False, waiting_for=reason)


def retriable(task: Task | None, job: Job | None) -> bool:
    """Whether a run of the task whose contact was lost may be redone without asking."""
    if job is None or task is None or job.cancel_requested:
        return False
    never_ran = job.state is JobState.CREATED
    return never_ran or task.idempotent or job.attempt <= task.retry.max


def may_run_after_boot(machine: Machine, job: Job | None, bootenv: str, tasks: Mapping[str, Task]) -> bool:
    """Whether a machine that has just come up in `bootenv` may run: it is the right one, and nothing was lost."""
    if bootenv != machine.bootenv:
        return False
    if job is None or job.index != machine.current_task:
        return True
    if job.state is JobState.ABANDONED or job.state in LIVE_STATES:
        return retriable(tasks.get(job.task), job)
    return True
