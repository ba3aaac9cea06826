"""What the end of a job does to its machine, as data: ENDED_TABLE, row by row; the first row that holds decides.

Pure: `now` and `jitter`, a number from 0 to 1, are arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from provisioner.model.content import Retry, Task
from provisioner.model.machines import ExitState, Hold, Job, JobState, Machine
from provisioner.plan import at_place, hold

AGENT_TO_COME_BACK = "its agent to come back"


class Ended(Struct, frozen=True):
    """A job that ended or paused, its machine, its task (None: nothing of it counts), and a number from 0 to 1."""

    machine: Machine
    job: Job
    task: Task | None
    now: datetime
    jitter: float = 0.0

    @property
    def current(self) -> bool:
        """Whether the job is what the machine is at."""
        return self.machine.current_job == self.job.id and self.job.index == self.machine.current_task

    @property
    def retries(self) -> int:
        """How often the job's task was tried again by itself so far."""
        return self.job.attempt - 1 if self.job.repair else self.machine.retries

    @property
    def retry_left(self) -> bool:
        """Whether it may be tried again by itself."""
        return self.task is not None and self.retries < self.task.retry.max


class EndedRow(Struct, frozen=True):
    """One row: when `condition` holds, `decide` gives the machine; `when` and `then` say the same for people."""

    name: str
    when: str
    then: str
    condition: Callable[[Ended], bool]
    decide: Callable[[Ended], Machine]


_LEAVING = (ExitState.REBOOT, ExitState.POWEROFF, ExitState.STOP)
# More would be beyond what a float can say.
_DOUBLINGS = 60


def _advance(ended: Ended) -> Machine:
    machine, index = ended.machine, ended.job.index
    last = index + 1 >= len(machine.tasks)
    kept = {"hold": machine.hold, "waiting_for": machine.waiting_for, "stopped_at": machine.stopped_at}
    return replace(at_place(machine, len(machine.tasks) if last else index), **kept)


def _past(ended: Ended) -> Machine:
    """The machine with the job behind it: a repair off the list of repairs, or the next place."""
    if ended.job.repair:
        return replace(ended.machine, repairs_left=ended.machine.repairs_left[1:], not_before=None)
    return _advance(ended)


def _held(why: Hold, reason: Callable[[Ended], str]) -> Callable[[Ended], Machine]:
    return lambda ended: hold(ended.machine, why, reason(ended))


def _back_off(ended: Ended) -> Machine:
    assert ended.task is not None
    retry = ended.task.retry
    pause = min(retry.backoff_seconds * 2 ** min(ended.retries, _DOUBLINGS), retry.max_backoff_seconds)
    later = ended.now + timedelta(seconds=pause * (1 - ended.jitter / 2))
    return replace(ended.machine, not_before=later, retries=ended.machine.retries + (not ended.job.repair))


def mend_pause(machine: Machine, task: Task | None, now: datetime) -> Machine:
    """Let the machine go on whose next attempt is further ahead than the longest pause of its task.

    The clock has been set back since, and nobody is to wait for an hour because it was wrong by one.
    """
    longest = timedelta(seconds=(task.retry if task is not None else Retry()).max_backoff_seconds)
    too_far = machine.not_before is not None and machine.not_before - now > longest
    return replace(machine, not_before=None) if too_far else machine


def _too_often(ended: Ended) -> bool:
    limit = ended.task.max_resumes if ended.task is not None else 0
    done = ended.job.resumes if ended.job.state is JobState.INCOMPLETE else ended.job.attempt - 1
    return 0 < limit <= done


def _again_at_once(ended: Ended) -> bool:
    never_ran = ended.job.started_at is None
    return never_ran or (ended.task is not None and ended.task.idempotent)


def lost_reason(job: Job) -> str:
    """Why a machine waits after contact with a job that cannot simply be redone was lost."""
    return (
        f"task {job.task!r} was under way when the machine went away, and it is not marked idempotent;"
        " look at its log, then set the machine runnable to do it again"
    )


def _state(*states: JobState) -> Callable[[Ended], bool]:
    return lambda ended: ended.job.state in states


def _finished_and(*exit_states: ExitState) -> Callable[[Ended], bool]:
    return lambda ended: ended.job.state is JobState.FINISHED and ended.job.exit_state in exit_states


def _incomplete_and(*exit_states: ExitState) -> Callable[[Ended], bool]:
    return lambda ended: ended.job.state is JobState.INCOMPLETE and ended.job.exit_state in exit_states


def _failure(ended: Ended) -> str:
    job = ended.job
    of = f" (a repair of {ended.machine.tasks[job.index]!r})" if job.repair else ""
    return f"task {job.task!r}{of} {job.state.value}: {job.message or 'see its log'}"


ENDED_TABLE: tuple[EndedRow, ...] = (
    EndedRow(
        "no longer current",
        "the machine was given other work meanwhile",
        "nothing",
        lambda ended: not ended.current,
        lambda ended: ended.machine,
    ),
    EndedRow(
        "finished and leaves",
        "finished, with reboot, power off or stop (exit 64, 32, 16)",
        "the next place; held until the next boot",
        _finished_and(*_LEAVING),
        lambda ended: hold(_past(ended), Hold.BOOT, f"{ended.job.exit_state.value} after task {ended.job.task!r}"),
    ),
    EndedRow("finished", "finished (exit 0)", "the next place, or the next repair", _state(JobState.FINISHED), _past),
    EndedRow(
        "incomplete while its agent restarts",
        "incomplete, its agent being ended from outside (`restart`)",
        "held until an agent says hello again; the same job goes on then",
        _incomplete_and(ExitState.RESTART),
        _held(Hold.AGENT, lambda ended: AGENT_TO_COME_BACK),
    ),
    EndedRow(
        "incomplete too often",
        "incomplete, after going on `max_resumes` times",
        "held until an operator lets it go on, also over a boot",
        lambda ended: ended.job.state is JobState.INCOMPLETE and _too_often(ended),
        _held(
            Hold.RESUMES,
            lambda ended: (
                f"task {ended.job.task!r} went on {ended.job.resumes} times and is still incomplete;"
                " set the machine runnable to let it go on"
            ),
        ),
    ),
    EndedRow(
        "incomplete and leaves",
        "incomplete, with reboot, power off or stop (exit 192, 160, 144)",
        "held until the next boot; the same job goes on then",
        _incomplete_and(*_LEAVING),
        _held(Hold.BOOT, lambda ended: ended.job.exit_state.value),
    ),
    EndedRow(
        "incomplete",
        "incomplete (exit 128)",
        "held until an operator or the next boot; the same job goes on then",
        _state(JobState.INCOMPLETE),
        _held(Hold.INCOMPLETE, lambda ended: f"task {ended.job.task!r} to go on"),
    ),
    EndedRow(
        "cancelled",
        "cancelled, however its run ended",
        "held until an operator lets it go on, also over a boot",
        _state(JobState.CANCELLED),
        _held(Hold.CANCELLED, _failure),
    ),
    EndedRow(
        "failed and to be repaired",
        "failed for the first time, and the task has `on_error`",
        "its `on_error` tasks come next, then the task again; this takes no retry",
        lambda ended: (
            ended.job.state is JobState.FAILED
            and not ended.job.repair
            and not ended.machine.repaired
            and ended.task is not None
            and bool(ended.task.on_error)
        ),
        lambda ended: replace(
            ended.machine, repairs_left=ended.task.on_error if ended.task is not None else (), repaired=True
        ),
    ),
    EndedRow(
        "lost too often",
        "abandoned, after `max_resumes` attempts",
        "held until an operator lets it go on, also over a boot",
        lambda ended: ended.job.state is JobState.ABANDONED and _too_often(ended),
        _held(
            Hold.RESUMES,
            lambda ended: (
                f"task {ended.job.task!r} was lost at attempt {ended.job.attempt};"
                " set the machine runnable to do it again"
            ),
        ),
    ),
    EndedRow(
        "lost and to be done again",
        "abandoned, and it never ran or its task is idempotent",
        "the same place again",
        lambda ended: ended.job.state is JobState.ABANDONED and _again_at_once(ended),
        lambda ended: ended.machine,
    ),
    EndedRow(
        "retries left",
        "failed or abandoned, and `retry.max` is not reached",
        "the same place again after a pause that doubles up to `max_backoff_seconds`",
        lambda ended: ended.job.state in (JobState.FAILED, JobState.ABANDONED) and ended.retry_left,
        _back_off,
    ),
    EndedRow(
        "failed",
        "failed",
        "held until an operator or the next boot",
        _state(JobState.FAILED),
        _held(Hold.FAILED, _failure),
    ),
    EndedRow(
        "lost",
        "abandoned",
        "held until an operator lets it go on, also over a boot",
        _state(JobState.ABANDONED),
        _held(Hold.LOST, lambda ended: lost_reason(ended.job)),
    ),
)


def ended_row(ended: Ended) -> EndedRow:
    """The row of ENDED_TABLE that decides; every job that ended or paused has one."""
    return next(row for row in ENDED_TABLE if row.condition(ended))


def after_job(machine: Machine, job: Job, task: Task | None, now: datetime, jitter: float = 0.0) -> Machine:
    """The machine after its current job ended or paused: it goes on, waits, or tries again later.

    `jitter`, from 0 to 1, makes the pause before a retry up to half as long. A machine in single-step is held wherever
    it would go on.
    """
    ended = Ended(machine, job, task, now, jitter)
    after = ended_row(ended).decide(ended)
    return hold_for_step(after, job) if machine.step and after.runnable and ended.current else after


def hold_for_step(machine: Machine, job: Job) -> Machine:
    """The machine, in single-step, held after this job."""
    return hold(machine, Hold.STEP, f"single-step after {job.task!r}; set the machine runnable for the next job")
