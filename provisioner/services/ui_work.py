"""A machine's way through its tasks: which are done, which one is at hand, what was repaired, where it is to stop.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from provisioner.model.machines import LIVE_STATES, Job, JobState, Machine

# Entries that only say where the tasks after them belong; they are no work of their own.
_MARKERS = ("stage:", "bootenv:")
LOST = frozenset({JobState.FAILED, JobState.ABANDONED})
JOBS_FOLLOWED = 300


class Progress(Struct, frozen=True):
    """How many tasks are done of how many, and which comes next ('' when none)."""

    done: int
    total: int
    following: str


class Step(Struct, frozen=True):
    """One entry of the task list; `status` is done, running, failed, held or pending (also the CSS class).

    `job` is its latest job, `repairs` are those that mended what made it fail, oldest first. `stops`: the machine is
    held before it.
    """

    index: int
    entry: str
    name: str
    kind: str
    status: str
    job: Job | None = None
    repairs: tuple[Job, ...] = ()
    stops: bool = False


class Leg(Struct, frozen=True):
    """The steps of one stage; `bootenv` is what it made the machine boot, if anything."""

    stage: str
    bootenv: str
    steps: tuple[Step, ...]

    @property
    def status(self) -> str:
        """done, running, failed, held or pending."""
        statuses = [step.status for step in self.steps]
        for status in ("failed", "running", "held"):
            if status in statuses:
                return status
        if all(status == "done" for status in statuses):
            return "done"
        return "running" if "done" in statuses else "pending"

    @property
    def tasks(self) -> tuple[Step, ...]:
        """The steps that are work, without the markers of stage and bootenv."""
        return tuple(step for step in self.steps if step.kind not in ("stage", "bootenv"))

    @property
    def stops(self) -> tuple[Step, ...]:
        """The markers that the machine is held before."""
        return tuple(step for step in self.steps if step.stops and step.kind in ("stage", "bootenv"))


def is_work(entry: str) -> bool:
    """Whether the entry of a task list is a task or an action, not a marker of a stage or bootenv."""
    return not entry.startswith(_MARKERS)


def progress(machine: Machine, job: Job | None) -> Progress:
    """How far the machine has come; `job` is its current job."""
    done_up_to = _done_up_to(machine, job)
    work = [(index, entry) for index, entry in enumerate(machine.tasks) if is_work(entry)]
    following = next((entry for index, entry in work if index >= done_up_to), "")
    return Progress(sum(index < done_up_to for index, _ in work), len(work), following)


def _done_up_to(machine: Machine, job: Job | None) -> int:
    """The first index that is not done yet."""
    at_hand = job if job is not None and job.index == machine.current_task else None
    repairing = at_hand is not None and at_hand.repair
    if machine.done or at_hand is None or (at_hand.state is JobState.FINISHED and not repairing):
        return min(machine.current_task + 1, len(machine.tasks))
    return machine.current_task


def legs(machine: Machine, job: Job | None, jobs: Mapping[int, Sequence[Job]]) -> tuple[Leg, ...]:
    """The task list by stages; `jobs` has the jobs of each index that has been reached, oldest first."""
    parts: list[tuple[str, list[Step]]] = []
    for index, entry in enumerate(machine.tasks):
        kind, colon, name = entry.partition(":")
        step = Step(
            index=index,
            entry=entry,
            name=name if colon else entry,
            kind=kind if colon else "task",
            status=_status(machine, job, index),
            job=next((each for each in reversed(jobs.get(index, ())) if not each.repair), None),
            repairs=tuple(each for each in jobs.get(index, ()) if each.repair),
            stops=entry in machine.stop_before,
        )
        if step.kind == "stage" or not parts:
            parts.append((step.name if step.kind == "stage" else machine.stage, []))
        parts[-1][1].append(step)
    return tuple(Leg(stage, _bootenv(steps), tuple(steps)) for stage, steps in parts)


def _bootenv(steps: Iterable[Step]) -> str:
    return next((step.name for step in steps if step.kind == "bootenv"), "")


def _status(machine: Machine, job: Job | None, index: int) -> str:
    if index < _done_up_to(machine, job):
        return "done"
    if index > machine.current_task or job is None:
        return "pending"
    if job.state in LIVE_STATES or (job.repair and machine.runnable):
        return "running"
    return "failed" if job.state in LOST else "held"


def jobs_of_run(machine: Machine, job: Job | None, find: Callable[[str], Job | None]) -> dict[int, list[Job]]:
    """The jobs at each index of the machine's present list, oldest first, found by following the chain of jobs back.

    At most `JOBS_FOLLOWED`: a task that is tried again for ever has a long chain.
    """
    found: dict[int, list[Job]] = {}
    for _ in range(JOBS_FOLLOWED):
        if job is None or job.workflow != machine.workflow or job.index >= len(machine.tasks):
            break
        if not job.repair and machine.tasks[job.index] != job.task:
            break
        if job.index <= machine.current_task:
            found.setdefault(job.index, []).insert(0, job)
        job = find(job.previous)
    return found
