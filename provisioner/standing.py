"""Where a machine stands in its work, and what moves it, as data.

STANDINGS derives one word from a machine's fields and its current job. MACHINE_TABLE says which events can happen in
each standing, what they do and where they may lead; any other is refused, or changes nothing. What some of them do is
a table of its own: `claims`, `endings`, `hellos`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from provisioner.model.machines import LIVE_STATES, Hold, Job, Machine

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
_ANY = tuple(Standing)
_USABLE = tuple(each for each in Standing if each is not _S.UNAVAILABLE)
_AT_REST = tuple(each for each in _USABLE if each is not _S.WORKING)
_OPEN = (_S.READY, _S.IDLE, _S.COMPLETE)

MACHINE_ROWS: tuple[MachineRow, ...] = (
    MachineRow(MachineEvent.GIVE, _AT_REST, "make the list; set stage and bootenv", (_S.READY, _S.BOOTING, _S.IDLE)),
    MachineRow(
        MachineEvent.GIVE,
        (_S.WORKING,),
        "make the list; set stage and bootenv; stop the job",
        (_S.WORKING, _S.READY, _S.BOOTING, _S.IDLE),
    ),
    MachineRow(MachineEvent.GIVE, (_S.UNAVAILABLE,), "the same, and look again what is missing", _ANY),
    MachineRow(MachineEvent.CLEAR, _AT_REST, "empty the list", (_S.IDLE, _S.BOOTING)),
    MachineRow(MachineEvent.CLEAR, (_S.WORKING,), "empty the list; stop the job", (_S.WORKING, _S.IDLE, _S.BOOTING)),
    MachineRow(MachineEvent.CLEAR, (_S.UNAVAILABLE,), "the same, and look again what is missing", _ANY),
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
        "as release, and `on_error` counts anew; refused without work, or while another bootenv is to come up",
        (_S.READY,),
    ),
    MachineRow(MachineEvent.UP, (_S.WORKING,), "by the table of hellos; its job is lost (a server's goes on)", _USABLE),
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
    MachineRow(MachineEvent.CLAIM, (_S.COMPLETE, _S.IDLE), "nothing: 204", (_S.COMPLETE, _S.IDLE)),
    MachineRow(MachineEvent.CLAIM, (_S.WORKING,), "by the claim table: the same job again, or it is lost", _USABLE),
    MachineRow(MachineEvent.END, (_S.WORKING,), "by the table of ends", _AT_REST),
    MachineRow(MachineEvent.LOSE, (_S.WORKING,), "by the table of ends", _AT_REST),
    MachineRow(MachineEvent.CANCEL, (_S.WORKING,), "ask the agent to stop, or end it", (_S.WORKING, *_AT_REST)),
    MachineRow(MachineEvent.CANCEL, (_S.BOOTING, _S.HELD, _S.READY), "end the incomplete job", _AT_REST),
    MachineRow(MachineEvent.TIME, (_S.BACKING_OFF,), "nothing: the time is up", (_S.READY,)),
    MachineRow(MachineEvent.BREAK, _USABLE, "hold it and say what is missing; a job goes on", (_S.UNAVAILABLE,)),
    MachineRow(MachineEvent.MEND, (_S.UNAVAILABLE,), "let it go on if it was held for that", _USABLE),
    *(
        MachineRow(
            event, (_S.UNAVAILABLE,), "as if it could be used, which it cannot until that is mended", (_S.UNAVAILABLE,)
        )
        for event in (
            MachineEvent.PAUSE,
            MachineEvent.RELEASE,
            MachineEvent.UP,
            MachineEvent.UP_ELSEWHERE,
            MachineEvent.END,
            MachineEvent.LOSE,
            MachineEvent.CANCEL,
        )
    ),
)
MACHINE_TABLE: dict[tuple[Standing, MachineEvent], MachineRow] = {
    (before, row.event): row for row in MACHINE_ROWS for before in row.before
}
