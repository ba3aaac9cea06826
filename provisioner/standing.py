"""Where a machine stands in its work, and what moves it, as data.

STANDINGS derives one word from a machine's fields and its current job. MACHINE_TABLE says which events can happen in
each standing, what they do and where they may lead. ENDED_TABLE says, row by row, what the end of a job does to its
machine, UP_TABLE what the hello of an agent does. Pure: `now` and `jitter` are arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from provisioner.errors import Conflict
from provisioner.lifecycle import SERVER_BOOT_ID, lose_job
from provisioner.model import LIVE_STATES, AgentInfo, ExitState, Hold, Job, JobState, Machine, Task
from provisioner.plan import at_place, hold, release

AGENT_TO_COME_BACK = "its agent to come back"
NEW_BOOT = "the machine came back from another boot"


# --- one word for where a machine stands ------------------------------------------------------------------------


class Standing(StrEnum):
    """Where a machine stands in its work, in one word."""

    UNAVAILABLE = "unavailable"
    WORKING = "working"
    BOOTING = "booting"
    COMPLETE = "complete"
    HELD = "held"
    IDLE = "idle"
    BACKING_OFF = "backing-off"
    READY = "ready"


class StandingRow(Struct, frozen=True):
    """The first row whose condition holds names the standing."""

    standing: Standing
    meaning: str
    condition: Callable[[Machine, Job | None, datetime], bool]


STANDINGS: tuple[StandingRow, ...] = (
    StandingRow(
        Standing.UNAVAILABLE,
        "it refers to something that does not exist; `errors` says what",
        lambda machine, job, now: not machine.available,
    ),
    StandingRow(
        Standing.WORKING,
        "a job is claimed or running, by its agent or by the server",
        lambda machine, job, now: job is not None and job.id == machine.current_job and job.state in LIVE_STATES,
    ),
    StandingRow(
        Standing.BOOTING,
        "it is to come up, in this or another environment, or its agent restarts",
        lambda machine, job, now: not machine.runnable and machine.hold in (Hold.BOOT, Hold.AGENT, Hold.NONE),
    ),
    StandingRow(
        Standing.COMPLETE,
        "all its tasks are done",
        lambda machine, job, now: bool(machine.tasks) and machine.done,
    ),
    StandingRow(
        Standing.HELD,
        "it waits for an operator (or, after a failure, the next boot); `waiting_for` says why",
        lambda machine, job, now: not machine.runnable,
    ),
    StandingRow(Standing.IDLE, "it is up and has no work", lambda machine, job, now: not machine.tasks),
    StandingRow(
        Standing.BACKING_OFF,
        "its task failed and is tried again by itself after a pause",
        lambda machine, job, now: machine.not_before is not None and machine.not_before > now,
    ),
    StandingRow(Standing.READY, "its agent may claim its next job", lambda machine, job, now: True),
)


def standing(machine: Machine, job: Job | None, now: datetime) -> Standing:
    """Where the machine stands; `job` is its current job."""
    return next(row.standing for row in STANDINGS if row.condition(machine, job, now))


# --- what can happen to a machine -------------------------------------------------------------------------------


class MachineEvent(StrEnum):
    """What can happen to a machine's work."""

    GIVE = "give"
    CLEAR = "clear"
    PAUSE = "pause"
    RELEASE = "release"
    RESUME = "resume"
    UP = "up"
    UP_ELSEWHERE = "up-elsewhere"
    CLAIM = "claim"
    END = "end"
    LOSE = "lose"
    CANCEL = "cancel"
    TIME = "time"
    BREAK = "break"
    MEND = "mend"


MACHINE_EVENTS: dict[MachineEvent, str] = {
    MachineEvent.GIVE: "it is given a workflow or stage, or its work begins anew (`restart`)",
    MachineEvent.CLEAR: "its workflow is cleared",
    MachineEvent.PAUSE: "an operator sets it not runnable",
    MachineEvent.RELEASE: "an operator sets it runnable",
    MachineEvent.RESUME: "an operator lets it go on at the failed task (`resume`)",
    MachineEvent.UP: "an agent says the first hello of a boot in its bootenv",
    MachineEvent.UP_ELSEWHERE: "an agent says the first hello of a boot in another bootenv",
    MachineEvent.CLAIM: "its agent asks for work",
    MachineEvent.END: "its job ended or paused",
    MachineEvent.LOSE: "contact with its job was lost",
    MachineEvent.CANCEL: "its job is cancelled",
    MachineEvent.TIME: "the pause after a failure is over",
    MachineEvent.BREAK: "something that it refers to is gone",
    MachineEvent.MEND: "all that it refers to is there again",
}


class MachineRow(Struct, frozen=True):
    """What an event does in some standings, and where it may lead from there."""

    event: MachineEvent
    before: tuple[Standing, ...]
    action: str
    after: tuple[Standing, ...]


_S = Standing
_USABLE = tuple(each for each in Standing if each is not _S.UNAVAILABLE)
_AT_REST = tuple(each for each in _USABLE if each is not _S.WORKING)
_OPEN = (_S.READY, _S.IDLE, _S.COMPLETE)

MACHINE_ROWS: tuple[MachineRow, ...] = (
    MachineRow(MachineEvent.GIVE, _AT_REST, "make the list; set stage and bootenv", (_S.READY, _S.BOOTING, _S.IDLE)),
    MachineRow(MachineEvent.GIVE, (_S.WORKING,), "make the list; stop the job", (_S.WORKING, _S.READY, _S.BOOTING)),
    MachineRow(MachineEvent.CLEAR, _AT_REST, "empty the list", (_S.IDLE, _S.BOOTING)),
    MachineRow(MachineEvent.CLEAR, (_S.WORKING,), "empty the list; stop the job", (_S.WORKING, _S.IDLE, _S.BOOTING)),
    MachineRow(MachineEvent.PAUSE, (_S.WORKING,), "hold it; the job goes on", (_S.WORKING,)),
    MachineRow(MachineEvent.PAUSE, (_S.COMPLETE,), "hold it", (_S.COMPLETE,)),
    MachineRow(
        MachineEvent.PAUSE, tuple(s for s in _AT_REST if s is not _S.COMPLETE), "hold it", (_S.HELD, _S.COMPLETE)
    ),
    MachineRow(MachineEvent.RELEASE, (_S.WORKING,), "let it go on after its job", (_S.WORKING,)),
    MachineRow(MachineEvent.RELEASE, _AT_REST, "let it go on, without a pause and with all retries", _OPEN),
    MachineRow(MachineEvent.RESUME, (_S.WORKING,), "let it go on after its job", (_S.WORKING,)),
    MachineRow(
        MachineEvent.RESUME,
        (_S.BOOTING, _S.HELD, _S.BACKING_OFF, _S.READY),
        "as release, and `on_error` counts anew; refused while another bootenv is to come up",
        (_S.READY,),
    ),
    MachineRow(MachineEvent.UP, (_S.WORKING,), "by the table of hellos, its job being lost", _USABLE),
    MachineRow(MachineEvent.UP, _AT_REST, "by the table of hellos", (*_OPEN, _S.HELD, _S.BACKING_OFF)),
    MachineRow(MachineEvent.UP_ELSEWHERE, _AT_REST, "hold it until its bootenv comes up", (_S.BOOTING,)),
    MachineRow(
        MachineEvent.UP_ELSEWHERE,
        (_S.WORKING,),
        "its job is lost (a server's goes on); hold it until its bootenv comes up",
        (_S.BOOTING, _S.WORKING),
    ),
    MachineRow(
        MachineEvent.CLAIM,
        (_S.READY,),
        "by the claim table",
        (_S.WORKING, _S.READY, _S.BOOTING, _S.HELD, _S.COMPLETE),
    ),
    MachineRow(MachineEvent.END, (_S.WORKING,), "by the table of ends", _AT_REST),
    MachineRow(MachineEvent.LOSE, (_S.WORKING,), "by the table of ends", _AT_REST),
    MachineRow(MachineEvent.CANCEL, (_S.WORKING,), "ask the agent to stop, or end it", (_S.WORKING, _S.HELD)),
    MachineRow(MachineEvent.CANCEL, (_S.BOOTING, _S.HELD, _S.READY), "end the incomplete job", (_S.HELD,)),
    MachineRow(MachineEvent.TIME, (_S.BACKING_OFF,), "nothing: the time is up", (_S.READY,)),
    MachineRow(MachineEvent.BREAK, _USABLE, "hold it and say what is missing", (_S.UNAVAILABLE,)),
    MachineRow(MachineEvent.MEND, (_S.UNAVAILABLE,), "nothing else; an operator lets it go on", _USABLE),
)
MACHINE_TABLE: dict[tuple[Standing, MachineEvent], MachineRow] = {
    (before, row.event): row for row in MACHINE_ROWS for before in row.before
}


def machine_step(machine: Machine, job: Job | None, event: MachineEvent, now: datetime) -> MachineRow:
    """The row for this machine and event; raises Conflict when there is none."""
    word = standing(machine, job, now)
    row = MACHINE_TABLE.get((word, event))
    if row is None:
        why = machine.waiting_for or "; ".join(machine.errors)
        message = f"machine {machine.name} is {word.value} and cannot {event.value}" + (f": {why}" if why else "")
        raise Conflict(message, object=machine.id, code="machine-state")
    return row


# --- what a job's end does to its machine -----------------------------------------------------------------------


class Ended(Struct, frozen=True):
    """A job that ended or paused, its machine, its task (None: nothing of it counts), and a number from 0 to 1."""

    machine: Machine
    job: Job
    task: Task | None
    now: datetime
    jitter: float = 0.0

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
        lambda ended: ended.machine.current_job != ended.job.id or ended.job.index != ended.machine.current_task,
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
    current = machine.current_job == job.id
    return _single_step(after, job) if current and machine.step and after.runnable else after


def _single_step(machine: Machine, job: Job) -> Machine:
    return hold(machine, Hold.STEP, f"single-step after {job.task!r}; set the machine runnable for the next job")


# --- what the hello of an agent does ----------------------------------------------------------------------------

# What a boot does not cure: an operator says when to go on.
STAYING_HOLDS = frozenset(
    {Hold.PAUSED, Hold.STEP, Hold.STOP_BEFORE, Hold.LOST, Hold.CANCELLED, Hold.RESUMES, Hold.ERRORS}
)
_PAST_BOOTS = 8


class CameUp(Struct, frozen=True):
    """A machine, as after the loss of what an earlier boot did, whose agent says hello; `agent` is what it says."""

    machine: Machine
    job: Job | None
    agent: AgentInfo

    @property
    def same_boot(self) -> bool:
        """Whether this boot has said hello before."""
        return self.agent.boot_id == self.machine.agent.boot_id

    @property
    def going_on(self) -> bool:
        """Whether the machine's job is to go on rather than the next one to begin."""
        return self.job is not None and self.job.state is JobState.INCOMPLETE


class UpRow(Struct, frozen=True):
    """One row: when `condition` holds, `decide` gives the machine; `when` and `then` say the same for people."""

    name: str
    when: str
    then: str
    condition: Callable[[CameUp], bool]
    decide: Callable[[CameUp], Machine]


UP_TABLE: tuple[UpRow, ...] = (
    UpRow(
        "its agent is back",
        "the machine waits for its agent to come back, and this is another process, in the right bootenv",
        "it goes on",
        lambda up: (
            up.machine.hold is Hold.AGENT
            and up.agent.bootenv == up.machine.bootenv
            and (not up.same_boot or up.agent.instance != up.machine.agent.instance)
        ),
        lambda up: release(up.machine),
    ),
    UpRow("said before", "this boot has said hello before", "nothing", lambda up: up.same_boot, lambda up: up.machine),
    UpRow(
        "in another bootenv",
        "the agent runs in another bootenv than the machine's",
        "held until that comes up",
        lambda up: up.agent.bootenv != up.machine.bootenv,
        lambda up: hold(up.machine, Hold.BOOT, f"boot of {up.machine.bootenv}"),
    ),
    UpRow(
        "held over the boot",
        "the machine was paused, stopped, cancelled, lost, or went on too often",
        "it goes on waiting for an operator",
        lambda up: not up.machine.runnable and up.machine.hold in STAYING_HOLDS,
        lambda up: up.machine,
    ),
    UpRow(
        "in single-step",
        "the machine is in single-step, had to boot after a job, and has more to do",
        "held for the next job",
        lambda up: up.machine.step and not up.machine.runnable and up.job is not None and not up.going_on,
        lambda up: _single_step(up.machine, up.job) if up.job is not None else up.machine,
    ),
    UpRow("up", "the machine is up where it should be", "it goes on", lambda up: True, lambda up: release(up.machine)),
)


def up_row(up: CameUp) -> UpRow:
    """The row of UP_TABLE that decides."""
    return next(row for row in UP_TABLE if row.condition(up))


class Up(Struct, frozen=True):
    """What a hello led to: the machine, and the job of an earlier boot that was lost (None: none was)."""

    machine: Machine
    lost: Job | None


def came_up(
    machine: Machine, job: Job | None, task: Task | None, agent: AgentInfo, now: datetime, jitter: float = 0.0
) -> Up:
    """An agent says hello. `job` is the machine's current one and `task` its task.

    Raises Conflict for a boot that another one has followed: what it has to say is late.
    """
    past = machine.agent.past_boots
    if agent.boot_id in past:
        raise Conflict(
            f"boot {agent.boot_id} of machine {machine.name} is over: another one has said hello since",
            object=machine.id,
            code="boot-over",
        )
    same = agent.boot_id == machine.agent.boot_id
    if not same and machine.agent.boot_id:
        past = (*past, machine.agent.boot_id)[-_PAST_BOOTS:]
    lost = None
    # A power action of the server may well be what caused this boot; it ends by itself.
    if not same and job is not None and job.state in LIVE_STATES and job.boot_id not in (SERVER_BOOT_ID, agent.boot_id):
        job = lost = lose_job(job, NEW_BOOT, now)
        machine = after_job(machine, lost, task, now, jitter)
    up = CameUp(machine, job, agent)
    return Up(replace(up_row(up).decide(up), agent=replace(agent, past_boots=past)), lost)
