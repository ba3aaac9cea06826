"""What the pages of jobs show: lists, one job with all that it left, its log's end or a place in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from provisioner.conductor.catalog import Catalog
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.model.machines import LIVE_STATES, Job, JobState, Machine, RenderedFile
from provisioner.services.ui_work import is_work
from provisioner.store.assets import Assets
from provisioner.store.database import Database

# What a cancel does: the agent hears of it with its next heartbeat (see agent/script.py for what follows).
CANCEL_WORDS = (
    "Its agent is told with its next heartbeat. It sends TERM to what runs, and KILL ten seconds later if that has not"
    " ended by then. The machine then waits for an operator."
)
JOBS_LIMIT = 200
# A filter looks through so many of the newest jobs; a list of all would hold up everything else for too long.
JOBS_LOOKED_AT = 5000
# What a page brings of a log without JavaScript.
TAIL_BYTES = 64 << 10
# Of a log that is opened at a place, so much comes before it.
LEAD_BYTES = 8 << 10
# Colours and the like, which only a script can show.
_CONTROLS = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0b-\x1f\x7f]")


class JobRow(Struct, frozen=True):
    """A job as a line of a list; `machine` is the machine's name, empty when it is no more.

    `work` is false for the jobs that only record a change of stage or boot environment.
    """

    job: Job
    machine: str
    seconds: float | None
    work: bool


class Log(Struct, frozen=True):
    """A part of a log; `start` is the offset it begins at, `size` the whole log's.

    Of a log that is opened at a place, `at` is that place's offset, `hit` the line there and `rest` what follows.
    """

    text: str
    start: int
    size: int
    at: int = -1
    hit: str = ""
    rest: str = ""


class JobViews:
    """Gathers what is shown of jobs, from durable state only."""

    def __init__(self, ledger: Ledger, catalog: Catalog, jobs: Jobs, database: Database, assets: Assets) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._jobs = jobs
        self._database = database
        self._assets = assets

    def of_machine(self, machine_id: str) -> list[Job]:
        """The machine's jobs on disk, newest first."""
        found = (self._ledger.read(Job, job.id) for job in self._ledger.jobs_of(machine_id))
        return [job for job in found if job is not None][::-1]

    def rows(self, jobs: Iterable[Job]) -> list[JobRow]:
        """These jobs as lines."""
        return [self._row(job) for job in jobs]

    def _row(self, job: Job) -> JobRow:
        machine = self._ledger.read(Machine, job.machine)
        return JobRow(job, machine.name if machine is not None else "", self._seconds(job), is_work(job.task))

    def _seconds(self, job: Job) -> float | None:
        if job.started_at is None:
            return None
        end = job.ended_at or (self._ledger.clock() if job.state is JobState.RUNNING else None)
        return (end - job.started_at).total_seconds() if end is not None else None

    def jobs(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The newest jobs of all machines, narrowed by `state` and `q` (words in task, machine, workflow, stage)."""
        wanted, words = query.get("state", ""), query.get("q", "").lower().split()
        # The ledger has them about in the order in which they were created.
        newest = sorted(list(self._ledger.read_all(Job))[-JOBS_LOOKED_AT:], key=lambda job: job.created_at)[::-1]
        rows = [each for each in self.rows(newest) if each.work and _fits(each, words)]
        counts = {state: sum(each.job.state is state for each in rows) for state in JobState}
        if wanted:
            rows = [each for each in rows if each.job.state.value == wanted]
        return {
            "jobs": rows[:JOBS_LIMIT],
            "hidden": max(0, len(rows) - JOBS_LIMIT),
            "counts": [(state.value, state.value, counts[state]) for state in JobState],
            "total": sum(counts.values()),
            "wanted": wanted,
            "filter": query.get("q", ""),
        }

    async def job(self, job: Job, at: int = -1) -> dict[str, Any]:
        """One job with what it rendered and handed in, its log's end (or what is around `at`), its other attempts."""
        doc = await self._database.actions(job.id)
        return {
            "job": job,
            "machine": self._ledger.read(Machine, job.machine),
            "seconds": self._seconds(job),
            "live": job.state in LIVE_STATES,
            "job_progress": self._jobs.progress(job.id),
            "files": msgspec.json.decode(doc, type=list[RenderedFile]) if doc else [],
            "assets": await self._assets.listed(job.id),
            "attempts": self.rows(self._attempts(job)),
            "cancel_words": CANCEL_WORDS,
            "previous": self._ledger.read(Job, job.previous) if job.previous else None,
            "known_task": job.task in self._catalog.view["tasks"],
            "log": await self.log(job) if at < 0 else await self.log_at(job, at),
        }

    def _attempts(self, job: Job) -> list[Job]:
        """The other jobs at the same place of the same work, newest first: attempts, and repairs between them."""
        same = (job.index, job.workflow)
        others = self.of_machine(job.machine)
        fitting = [other for other in others if (other.index, other.workflow) == same and other.id != job.id]
        return [other for other in fitting if other.task == job.task or other.repair or job.repair]

    async def log(self, job: Job) -> Log:
        """The end of the job's log."""
        _, size = await self._jobs.read_log(job.id, 0, 0, 0)
        start = max(0, size - TAIL_BYTES)
        data, size = await self._jobs.read_log(job.id, start, TAIL_BYTES, 0)
        if start:
            cut = data.find(b"\n") + 1
            data, start = data[cut:], start + cut
        return Log(_plain(data), start, size)

    async def log_at(self, job: Job, at: int) -> Log:
        """What is around this offset, from the beginning of a line; the log's end when it is not that long."""
        start = max(0, at - LEAD_BYTES)
        data, size = await self._jobs.read_log(job.id, start, TAIL_BYTES, 0)
        if at >= size:
            return await self.log(job)
        cut = data.find(b"\n", 0, at - start) + 1 if start else 0
        line = data.rfind(b"\n", 0, at - start) + 1
        end = data.find(b"\n", line) + 1 or len(data)
        return Log(_plain(data[cut:line]), start + cut, size, at, _plain(data[line:end]), _plain(data[end:]))


def _plain(data: bytes) -> str:
    return without_controls(data.decode("utf-8", "replace"))


def without_controls(text: str) -> str:
    """The text without colours and other control sequences."""
    return _CONTROLS.sub("", text)


def _fits(each: JobRow, words: Iterable[str]) -> bool:
    job = each.job
    text = f"{job.task} {each.machine} {job.workflow} {job.stage} {job.id} {job.message}".lower()
    return all(word in text for word in words)
