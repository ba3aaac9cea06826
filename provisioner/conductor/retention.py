"""Jobs and events that are removed: when an operator says so, or when they have outlived the settings.

A job is removed in a transaction, with what it rendered, and in that same transaction it is noted that its log and its
assets have to follow. They follow right after, or after a crash when the server starts again. Nothing else is ever
taken for left over: a database that was restored or moved away does not cost anybody's logs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import structlog
from msgspec import Struct

from provisioner.access import Principal, Who
from provisioner.conductor.ledger import Ledger
from provisioner.errors import NotFound, Refused, StoreError
from provisioner.model.machines import Job, Machine
from provisioner.model.operations import Operation
from provisioner.retention import Limits, outlived, removable
from provisioner.store.assets import Assets
from provisioner.store.database import PRUNE_LIMIT
from provisioner.store.logs import JobLogs

log = structlog.get_logger(__name__)

# Jobs in one transaction: others wait for the disk no longer than for a few dozen of their own.
TOGETHER = 500
# Of all that went, as many are named; `count` has them all.
NAMED = 1000
# The results of a long action are for whoever began it; what it did stands in the events.
OPERATIONS_KEPT = timedelta(days=30)
CLOCK = Principal(Who.SERVER, "clock")


class Pruned(Struct, frozen=True):
    """The jobs that went or would go, oldest first, how many, and how many bytes of logs and assets they had."""

    jobs: list[str]
    count: int
    bytes: int


class Retention:
    """Removes jobs, their files, and old events; `limits` and `event_days` (0: for ever) are the settings."""

    def __init__(
        self, ledger: Ledger, logs: JobLogs, assets: Assets, limits: Limits = Limits(), event_days: int = 0
    ) -> None:
        self.limits = limits
        self._ledger = ledger
        self._database = ledger.database
        self._logs = logs
        self._assets = assets
        self._event_days = event_days
        self._following = asyncio.Lock()
        # Jobs whose files could not be removed; tried again when the server starts, and told of once.
        self._stuck: set[str] = set()

    async def keep_house(self) -> None:
        """Remove what has outlived the settings, and operations that nobody follows any more."""
        await self.prune(self.limits, CLOCK)
        await self._prune_operations()
        await self._prune_events()

    async def prune(self, limits: Limits, by: Principal, *, dry_run: bool = False) -> Pruned:
        """Remove the jobs that have outlived these limits, some hundred at a time; `dry_run` only tells which."""
        going = outlived(self._ledger.all(Job), self._current(), self._ledger.clock(), limits)
        ids = [job.id for job in going]
        size = await self._assets.run(lambda: sum(self._logs.size_now(job) + self._assets.size_now(job) for job in ids))
        if dry_run:
            return Pruned(ids[:NAMED], len(ids), size)
        gone: list[str] = []
        for part in _parts(ids, TOGETHER):
            gone += await self._remove_jobs(part, by)
            await self.follow()
        return Pruned(gone[:NAMED], len(gone), size)

    async def delete(self, job_id: str, by: Principal) -> Job:
        """Remove one job; raises NotFound, or Refused while something can still come of it."""
        job = self._ledger.get(Job, job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id!r}", object=job_id)
        if not job.final:
            message = f"job {job.id} is {job.state.value}; only a job that has ended can be deleted"
            raise Refused(message, object=job.id, code="job-state")
        if job.id in self._current():
            message = f"its machine stands at job {job.id}; it can be deleted once the machine has gone on to another"
            raise Refused(message, object=job.id, code="job-current")
        tx = self._ledger.transaction(by=str(by))
        tx.delete(Job, job.id)
        tx.event("job.delete", machine=job.machine, key=job.id, task=job.task)
        await tx.commit()
        await self.follow()
        return job

    async def follow(self) -> None:
        """Remove logs and assets of jobs that are gone, whoever removed those (a deleted machine's too)."""
        async with self._following:
            while jobs := await self._to_follow():
                done = [job for job in jobs if await self._remove_files(job)]
                if done:
                    await self._database.forget_removed(done)

    def _current(self) -> frozenset[str]:
        return frozenset(machine.current_job for machine in self._ledger.all(Machine))

    async def _remove_jobs(self, ids: list[str], by: Principal) -> list[str]:
        """Remove these as far as they may still go: time has passed since they were chosen."""
        current = self._current()
        tx = self._ledger.transaction(by=str(by))
        found = [job for job in (self._ledger.get(Job, each) for each in ids) if job is not None]
        gone = [job.id for job in found if removable(job, current)]
        for job_id in gone:
            tx.delete(Job, job_id)
        if gone:
            tx.event("job.prune", count=len(gone))
        await tx.commit()
        return gone

    async def _to_follow(self) -> list[str]:
        noted = await self._database.removed_jobs(TOGETHER + len(self._stuck))
        return [job for job in noted if job not in self._stuck]

    async def _remove_files(self, job: str) -> bool:
        try:
            await self._logs.delete(job)
            await self._assets.run(lambda: self._assets.remove(job))
        except StoreError as error:
            log.error("retention.files_stay", job=job, error=error.message)
            self._stuck.add(job)
            return False
        return True

    async def _prune_operations(self) -> None:
        before = self._ledger.clock() - OPERATIONS_KEPT
        old = [
            operation.id
            for operation in self._ledger.all(Operation)
            if operation.final and (operation.ended_at or operation.started_at) < before
        ]
        for part in _parts(old, TOGETHER):
            tx = self._ledger.transaction(by=str(CLOCK))
            for each in part:
                tx.delete(Operation, each)
            await tx.commit()

    async def _prune_events(self) -> None:
        if not self._event_days:
            return
        before = self._ledger.clock() - timedelta(days=self._event_days)
        while await self._database.prune_events(before) == PRUNE_LIMIT:
            pass


def _parts(ids: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
