"""The claim as data: CLAIM_TABLE says, row by row and in this order, what an agent that asks for work is answered.

The first row whose condition holds decides. Pure: the conductor carries out what is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from provisioner.lifecycle import SERVER_BOOT_ID
from provisioner.model.machines import LIVE_STATES, Job, JobState, Machine


class Answer(StrEnum):
    """What a claim is answered."""

    BUSY = "busy"
    STOP = "stop"
    LOSE = "lose"
    NOTHING = "nothing"
    SAME = "same"
    APPLY = "apply"
    ACTION = "action"
    NEW = "new"


ANSWERS: dict[Answer, str] = {
    Answer.BUSY: "409 with the reason to wait",
    Answer.STOP: "the machine is held; 409 with the reason",
    Answer.LOSE: "the job is abandoned (or ends cancelled), then the table decides again",
    Answer.NOTHING: "204: all tasks are done",
    Answer.SAME: "202: the same job again",
    Answer.APPLY: "204: the entry was applied and recorded as a finished job; look again",
    Answer.ACTION: "204: the server carries it out as a job; look again",
    Answer.NEW: "201: a new job",
}


class Asked(Struct, frozen=True):
    """All that a claim is decided on: the machine, its current job, and which of its boots asks when."""

    machine: Machine
    job: Job | None
    boot_id: str
    now: datetime

    @property
    def at_hand(self) -> Job | None:
        """The current job if it belongs to where the list stands now."""
        return self.job if self.job is not None and self.job.index == self.machine.current_task else None

    @property
    def upcoming(self) -> int:
        """The place that is due: the present one again unless its task is finished, else the next."""
        job = self.at_hand
        done = job is None or (job.state is JobState.FINISHED and not job.repair)
        return self.machine.current_task + done


class Claim(Struct, frozen=True):
    """What to do about a claim: `index` and `entry` are for STOP, SAME, APPLY, ACTION and NEW.

    `repair` marks a new job that is for the failed task at its place.
    """

    answer: Answer
    reason: str = ""
    index: int = -1
    entry: str = ""
    repair: bool = False


class ClaimRow(Struct, frozen=True):
    """One row: when `condition` holds, `decide` gives the claim; `when` and `then` say the same for people."""

    name: str
    when: str
    then: str
    condition: Callable[[Asked], bool]
    decide: Callable[[Asked], Claim]


def _entries(asked: Asked) -> Iterator[tuple[int, str, bool]]:
    """The entries from the place that is due on: place, entry, and whether it says what is so already."""
    machine = asked.machine
    for index in range(max(asked.upcoming, 0), len(machine.tasks)):
        entry = machine.tasks[index]
        kind, _, name = entry.partition(":")
        so_already = (kind, name) in (("stage", machine.stage), ("bootenv", machine.bootenv))
        yield index, entry, so_already


def _due(asked: Asked) -> Claim:
    for index, entry, so_already in _entries(asked):
        if not so_already:
            kind, colon, _ = entry.partition(":")
            answer = Answer.NEW if not colon else Answer.ACTION if kind == "action" else Answer.APPLY
            return Claim(answer, index=index, entry=entry)
    return _nothing(asked)


def _nothing(asked: Asked) -> Claim:
    return Claim(Answer.NOTHING, "all tasks are done", index=len(asked.machine.tasks))


def _stop(asked: Asked) -> Claim | None:
    """The stop that comes before any other entry is done, None when there is none."""
    for index, entry, so_already in _entries(asked):
        if entry in asked.machine.stop_before and index > asked.machine.stopped_at:
            reason = f"stopped before {entry!r}; set the machine runnable to go on"
            return Claim(Answer.STOP, reason, index=index, entry=entry)
        if not so_already:
            return None
    return None


def _same(asked: Asked) -> Claim:
    assert asked.job is not None
    return Claim(Answer.SAME, index=asked.job.index, entry=asked.job.task, repair=asked.job.repair)


def _repair(asked: Asked) -> Claim:
    machine = asked.machine
    return Claim(Answer.NEW, index=machine.current_task, entry=machine.repairs_left[0], repair=True)


def _busy(reason: Callable[[Asked], str]) -> Callable[[Asked], Claim]:
    return lambda asked: Claim(Answer.BUSY, reason(asked))


def _state_is(state: JobState) -> Callable[[Asked], bool]:
    return lambda asked: asked.at_hand is not None and asked.at_hand.state is state


def _servers(asked: Asked) -> bool:
    return asked.job is not None and asked.job.boot_id == SERVER_BOOT_ID and not asked.job.final


def _other_boot(asked: Asked) -> bool:
    job = asked.job
    return job is not None and job.state in LIVE_STATES and job.boot_id not in ("", asked.boot_id)


_AGAIN = "the same place again: 201 a new job, or the server does the entry again (204)"

CLAIM_TABLE: tuple[ClaimRow, ...] = (
    ClaimRow(
        "not available",
        "the machine refers to something that does not exist",
        "409 with its errors",
        lambda asked: not asked.machine.available,
        _busy(lambda asked: f"machine is not available: {'; '.join(asked.machine.errors)}"),
    ),
    ClaimRow(
        "not runnable",
        "the machine is held or boots",
        "409 with what it waits for",
        lambda asked: not asked.machine.runnable,
        _busy(lambda asked: f"machine is not runnable: {asked.machine.waiting_for or 'its agent to come up'}"),
    ),
    ClaimRow(
        "from a boot that is over",
        "another boot said hello since",
        "409: say hello first",
        lambda asked: asked.machine.agent.boot_id not in ("", asked.boot_id),
        _busy(lambda asked: "the agent of another boot said hello since; say hello first"),
    ),
    ClaimRow(
        "in another environment",
        "the agent runs in another bootenv than the machine's",
        "409: boot first",
        lambda asked: asked.machine.agent.bootenv not in ("", asked.machine.bootenv),
        _busy(
            lambda asked: (
                f"the machine is up in {asked.machine.agent.bootenv!r} and its bootenv is {asked.machine.bootenv!r};"
                " boot it first"
            )
        ),
    ),
    ClaimRow(
        "the server at work",
        "an `action:` entry is being carried out",
        "409: wait for it",
        _servers,
        _busy(lambda asked: f"the server is carrying out {asked.job.task if asked.job else ''!r}"),
    ),
    ClaimRow(
        "lost to another boot",
        "the current job is created or running, and was claimed by another boot",
        "that job becomes abandoned; then by this table again",
        _other_boot,
        lambda asked: Claim(Answer.LOSE, "the machine came back from another boot"),
    ),
    ClaimRow(
        "another agent at work",
        "the current job is running on this boot",
        "409: wait for it",
        lambda asked: asked.job is not None and asked.job.state is JobState.RUNNING,
        _busy(lambda asked: f"job {asked.machine.current_job} is being run by another agent"),
    ),
    ClaimRow("tasks all done", "nothing is left of the list", "204", lambda asked: asked.machine.done, _nothing),
    ClaimRow(
        "too early to try again",
        "the pause after a failure is not over",
        "409 with the time of the next attempt",
        lambda asked: asked.machine.not_before is not None and asked.machine.not_before > asked.now,
        _busy(lambda asked: f"the next attempt is due at {asked.machine.not_before:%H:%M:%S} UTC"),
    ),
    ClaimRow(
        "claimed but never started",
        "the current job is created, by this boot",
        "202: the same job again (its answer may have been lost)",
        _state_is(JobState.CREATED),
        _same,
    ),
    ClaimRow(
        "incomplete",
        "the current job is incomplete",
        "202: the same job goes on",
        _state_is(JobState.INCOMPLETE),
        _same,
    ),
    ClaimRow(
        "repairs to do",
        "the task failed, and tasks of its `on_error` are left",
        "201: a job marked `repair` at the same place",
        lambda asked: bool(asked.machine.repairs_left),
        _repair,
    ),
    ClaimRow(
        "to be stopped before",
        "the entry that is due is named in `stop_before` and was not passed yet",
        "the machine is held; 409",
        lambda asked: _stop(asked) is not None,
        lambda asked: _stop(asked) or _due(asked),
    ),
    ClaimRow("failed", "the current job failed", _AGAIN, _state_is(JobState.FAILED), _due),
    ClaimRow("abandoned", "the current job was abandoned", _AGAIN, _state_is(JobState.ABANDONED), _due),
    ClaimRow("cancelled", "the current job was cancelled", _AGAIN, _state_is(JobState.CANCELLED), _due),
    ClaimRow(
        "repaired",
        "the last repair is finished",
        "201: a new job for the failed task",
        lambda asked: asked.at_hand is not None and asked.at_hand.repair,
        _due,
    ),
    ClaimRow(
        "next",
        "the current job is finished, or there is none at this place",
        "the next entry: 201 for a task, 204 for one that the server does; entries that say what is so are skipped",
        lambda asked: True,
        _due,
    ),
)


def claim(asked: Asked) -> Claim:
    """The first row of CLAIM_TABLE that holds decides."""
    return row_for(asked).decide(asked)


def row_for(asked: Asked) -> ClaimRow:
    """The row that decides; the last one always holds."""
    return next(row for row in CLAIM_TABLE if row.condition(asked))
