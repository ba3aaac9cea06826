"""Which jobs are old enough to go. Pure: the jobs, the time and the limits are arguments.

A job goes only when nothing can still come of it: it is final, and no machine stands at it. So live jobs, incomplete
ones (they go on after a reboot) and the one that decides what its machine does next always stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from provisioner.model.machines import Job


class Limits(Struct, frozen=True):
    """How long jobs are kept, in days since their end, and how many of each machine; None is no limit."""

    keep_days: float | None = None
    keep_per_machine: int | None = None


def removable(job: Job, current: Collection[str]) -> bool:
    """Whether it may go at all; `current` has the jobs that machines stand at."""
    return job.final and job.id not in current


def outlived(jobs: Iterable[Job], current: Collection[str], now: datetime, limits: Limits) -> list[Job]:
    """The jobs that go, oldest first: those ended `keep_days` ago or more, and all but a machine's newest so many.

    `jobs` come oldest first. Jobs that have to stay count among a machine's newest too.
    """
    if limits == Limits():
        return []
    before = now - timedelta(days=limits.keep_days) if limits.keep_days is not None else None
    newer: Counter[str] = Counter()
    found = []
    for job in reversed(list(jobs)):
        newer[job.machine] += 1
        old = before is not None and (job.ended_at or job.created_at) <= before
        surplus = limits.keep_per_machine is not None and newer[job.machine] > limits.keep_per_machine
        if (old or surplus) and removable(job, current):
            found.append(job)
    return found[::-1]
