"""Where a machine stands, in words: its state, why it waits and what can be done.

Pure: `now` is an argument. `_RULES` is the table that tells the state; the first rule that answers counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from provisioner.identity import maybe_mac
from provisioner.model.machines import LIVE_STATES, Hold, Job, JobState, Machine
from provisioner.services.ui_work import LOST, Progress, progress


class State(StrEnum):
    """The states of machines as the UI tells them apart; the value is also the CSS class."""

    WORKING = "working"
    WAITING = "waiting"
    FAILED = "failed"
    COMPLETE = "complete"
    ABSENT = "absent"
    IDLE = "idle"


STATE_WORDS = {
    State.WORKING: "working",
    State.WAITING: "waiting",
    State.FAILED: "failed",
    State.COMPLETE: "complete",
    State.ABSENT: "not up yet",
    State.IDLE: "no work",
}


class Standing(Struct, frozen=True):
    """A machine's state: a sentence without its subject, what can be done about it, and since when.

    `suggested` names the control that usually helps: `run`, `assign`, `power` or ''. `again`: to go on is to do
    the same task once more.
    """

    state: State
    sentence: str
    advice: str = ""
    suggested: str = ""
    since: datetime | None = None
    again: bool = False

    @property
    def word(self) -> str:
        """The state in one or two words."""
        return STATE_WORDS[self.state]


class _Seen(Struct, frozen=True):
    machine: Machine
    job: Job | None
    now: datetime

    @property
    def at_hand(self) -> Job | None:
        """The current job, if it belongs to where the list stands."""
        return self.job if self.job is not None and self.job.index == self.machine.current_task else None


def standing(machine: Machine, job: Job | None, now: datetime) -> Standing:
    """How the machine stands; `job` is its current job, if there is one."""
    seen = _Seen(machine, job, now)
    return next(found for rule in _RULES if (found := rule(seen)) is not None)


def _unusable(seen: _Seen) -> Standing | None:
    if not seen.machine.errors:
        return None
    return Standing(
        State.FAILED,
        f"cannot be used: {'; '.join(seen.machine.errors)}",
        "Load the content that is missing, or give the machine other work.",
        "assign",
        seen.machine.updated_at,
    )


def _busy(seen: _Seen) -> Standing | None:
    job = seen.at_hand
    if job is None or job.state not in LIVE_STATES:
        return None
    done = progress(seen.machine, job)
    place = f"{min(done.done + 1, done.total)} of {done.total}"
    if job.cancel_requested:
        return Standing(State.WORKING, f"is stopping task {job.task}: cancel was asked for", since=job.started_at)
    if job.state is JobState.CREATED:
        return Standing(State.WORKING, f"is about to run task {job.task}, {place}", since=job.created_at)
    if job.repair:
        failed = seen.machine.tasks[job.index] if job.index < len(seen.machine.tasks) else "the one before it"
        sentence = f"is running task {job.task} to repair what made task {failed} fail"
        return Standing(State.WORKING, sentence, since=job.started_at)
    again = f", attempt {job.attempt}" if job.attempt > 1 else ""
    return Standing(State.WORKING, f"is running task {job.task}, {place}{again}", since=job.started_at)


def _complete(seen: _Seen) -> Standing | None:
    machine = seen.machine
    if not machine.tasks or not machine.done:
        return None
    what = f"workflow {machine.workflow}" if machine.workflow else f"stage {machine.stage}"
    then = f"; {machine.waiting_for}" if machine.waiting_for else ""
    since = seen.job.ended_at if seen.job is not None else machine.updated_at
    return Standing(State.COMPLETE, f"has finished {what}{then}", since=since)


def _failed(seen: _Seen) -> Standing | None:
    job, machine = seen.at_hand, seen.machine
    if job is None or job.state not in LOST or machine.runnable:
        return None
    if job.state is JobState.ABANDONED:
        return Standing(
            State.FAILED,
            f"lost contact during task {job.task}: {job.message}",
            "Nobody knows how far the task came. Read its log; “Run again” does the same task once more.",
            "run",
            job.ended_at,
            again=True,
        )
    code = f" with exit code {job.exit_code}" if job.exit_code is not None else ""
    said = f": {job.message}" if job.message else ""
    return Standing(
        State.FAILED,
        f"failed in task {job.task}{code}{said}",
        "Read the log and mend the cause; “Run again” goes on with this task.",
        "run",
        job.ended_at,
        again=True,
    )


def _cancelled(seen: _Seen) -> Standing | None:
    job, machine = seen.at_hand, seen.machine
    if job is None or job.state is not JobState.CANCELLED or machine.runnable:
        return None
    said = f": {job.message}" if job.message else ""
    advice = "“Run again” does the same task once more."
    return Standing(
        State.WAITING, f"waits, because task {job.task} was cancelled{said}", advice, "run", job.ended_at, again=True
    )


def _switched_off(seen: _Seen) -> Standing | None:
    if seen.machine.power != "off":
        return None
    advice = "Power it on; it goes on with its work when its agent comes up."
    return Standing(State.ABSENT, "is switched off", advice, "power")


def _never_up(seen: _Seen) -> Standing | None:
    if seen.machine.agent.hello_at is not None:
        return None
    advice = "Power it on and let it boot from the network. Its timeline shows how far the boot came."
    return Standing(State.ABSENT, "has not come up yet", advice, "power", seen.machine.created_at)


def _idle(seen: _Seen) -> Standing | None:
    if seen.machine.tasks:
        return None
    return Standing(State.IDLE, "has nothing to do", "Assign a workflow to give it work.", "assign")


def _other_environment(seen: _Seen) -> Standing | None:
    machine = seen.machine
    if machine.agent.bootenv == machine.bootenv:
        return None
    return Standing(
        State.ABSENT,
        f"must boot {machine.bootenv}; its agent last ran in {machine.agent.bootenv}",
        "If it does not reboot by itself, set its next boot and power-cycle it.",
        "power",
    )


def _rebooting(seen: _Seen) -> Standing | None:
    word, _, rest = seen.machine.waiting_for.partition(" ")
    if seen.machine.runnable or word not in ("reboot", "poweroff"):
        return None
    what = "is rebooting" if word == "reboot" else "switches itself off"
    advice = "It goes on by itself when its agent comes up again."
    return Standing(State.ABSENT, f"{what} {rest}".strip(), advice, "power", seen.machine.updated_at)


def can_resume(machine: Machine) -> bool:
    """Whether an operator may let it go on: it is held, and not because it is still to boot another environment."""
    elsewhere = machine.hold is Hold.BOOT and machine.agent.bootenv != machine.bootenv
    return bool(machine.tasks) and not machine.done and not machine.runnable and not machine.errors and not elsewhere


def _later(seen: _Seen) -> Standing | None:
    machine = seen.machine
    if machine.not_before is None or machine.not_before <= seen.now or not machine.runnable:
        return None
    task = seen.at_hand.task if seen.at_hand is not None else "the next task"
    advice = "Nothing needs to be done; “Pause” stops further attempts."
    return Standing(State.WAITING, f"waits to try {task} again", advice, since=machine.not_before)


def _held(seen: _Seen) -> Standing | None:
    if seen.machine.runnable:
        return None
    reason = seen.machine.waiting_for or "an operator to let it run"
    return Standing(State.WAITING, f"waits: {reason}", "“Resume” lets it go on.", "run")


def _ready(seen: _Seen) -> Standing:
    following = progress(seen.machine, seen.job).following
    doing = f"is about to run task {following}" if following else "is about to finish"
    return Standing(State.WORKING, doing, since=seen.machine.updated_at)


_RULES: tuple[Callable[[_Seen], Standing | None], ...] = (
    _unusable,
    _busy,
    _complete,
    _failed,
    _cancelled,
    _switched_off,
    _never_up,
    _idle,
    _rebooting,
    _other_environment,
    _later,
    _held,
    _ready,
)


# --- lists ----------------------------------------------------------------------------------------------------


class Row(Struct, frozen=True):
    """A machine as a line of the list."""

    machine: Machine
    standing: Standing
    progress: Progress
    last_seen: datetime | None


def row(machine: Machine, job: Job | None, now: datetime) -> Row:
    """The line of this machine."""
    return Row(machine, standing(machine, job, now), progress(machine, job), last_seen(machine, job, now))


def last_seen(machine: Machine, job: Job | None, now: datetime) -> datetime | None:
    """When the machine was last heard of; a machine that runs a job is heard of now."""
    if job is not None and job.state is JobState.RUNNING:
        return now
    moments = [machine.agent.hello_at]
    if job is not None:
        moments += [job.started_at, job.ended_at]
    known = [moment for moment in moments if moment is not None]
    return max(known, default=None)


def fits(machine: Machine, words: Iterable[str]) -> bool:
    """Whether every word of a filter occurs in what people know the machine by."""
    text = " ".join(
        (
            machine.name,
            machine.id,
            machine.address,
            *machine.macs,
            machine.workflow,
            machine.stage,
            machine.bootenv,
            machine.description,
            machine.identity.serial,
            machine.identity.dmi_uuid,
            *machine.profiles,
        )
    ).lower()
    return all(word in text or maybe_mac(word) in text for word in words)


def tally(rows: Iterable[Row]) -> dict[State, int]:
    """How many machines are in each state."""
    counts = dict.fromkeys(State, 0)
    for each in rows:
        counts[each.standing.state] += 1
    return counts
