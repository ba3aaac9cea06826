"""Jobs as operators read them: state, log, what ran; and stopping one."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta, Struct
from multidict import MultiDict

from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machines import Machines
from provisioner.model.machines import Job, RenderedFile
from provisioner.services.callers import job_of, require
from provisioner.services.http import body, json, number, principal, unless_closing
from provisioner.services.listing import Listing, Page
from provisioner.services.operations import Operation, Query, Raw
from provisioner.services.preconditions import is_known, tag_of
from provisioner.store.database import Database

_LOG_READ_LIMIT = 4 << 20
_JOB = "/api/v1/jobs/{job}"
_LOG_QUERY = (
    Query("offset", "the first byte wanted", Annotated[int, Meta(ge=0, le=1 << 53)]),
    Query("wait", "seconds to wait for more when there is none", Annotated[int, Meta(ge=0, le=60)]),
    Query("limit", "at most so many bytes", Annotated[int, Meta(ge=1, le=_LOG_READ_LIMIT)]),
)


class JobView(Job, frozen=True, kw_only=True):
    """A job as it is shown: what it last said of its progress, and whether the job before it has been removed."""

    previous_removed: bool = False
    progress: int | None = None


class CancelBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Why a job is stopped."""

    reason: str = ""


def show_job(job: Job, ledger: Ledger, jobs: Jobs) -> dict[str, Any]:
    """A job as it is shown, which is what its ETag is made of."""
    shown: dict[str, Any] = msgspec.to_builtins(job, builtin_types=())
    removed = bool(job.previous) and ledger.read(Job, job.previous) is None
    return shown | {"previous_removed": removed, "progress": jobs.progress(job.id)}


class JobRoutes:
    """The routes of jobs that operators use."""

    def __init__(self, ledger: Ledger, machines: Machines, jobs: Jobs, database: Database) -> None:
        self._ledger = ledger
        self._machines = machines
        self._jobs = jobs
        self._database = database
        computed = {"progress": lambda job: jobs.progress(job.id)}
        self._listing = Listing(Job, attrgetter("id"), "created_at", computed)

    def operations(self) -> list[Operation]:
        """What operators can do with jobs."""
        return [
            Operation("GET", "/api/v1/jobs", self.list_jobs, "jobs", {200: Page[JobView]}, lists=Job),
            Operation("GET", _JOB, self.get_job, "jobs", {200: JobView}, tagged=True),
            Operation("GET", f"{_JOB}/log", self.get_log, "jobs", {200: Raw()}, _LOG_QUERY),
            Operation("GET", f"{_JOB}/actions", self.get_rendered, "jobs", {200: list[RenderedFile]}),
            Operation("POST", f"{_JOB}/cancel", self.cancel_job, "jobs", {200: Job}, body=CancelBody),
        ]

    def _show_job(self, job: Job) -> dict[str, Any]:
        return show_job(job, self._ledger, self._jobs)

    async def list_jobs(self, request: web.Request) -> web.Response:
        """List jobs; `machine` may be an id or a name."""
        require(request, "list jobs")
        asked = MultiDict(request.query)
        if "machine" in asked:
            asked["machine"] = self._machines.find(asked["machine"]).id
        return json(self._listing.page(self._on_disk(asked.get("machine", "")), asked, self._show_job))

    def _on_disk(self, machine: str) -> Iterable[Job]:
        """All jobs, or only those that a machine has: it has few, and there may be very many."""
        if not machine:
            return self._ledger.read_all(Job)
        found = (self._ledger.read(Job, job.id) for job in self._ledger.jobs_of(machine))
        return [job for job in found if job is not None]

    async def get_job(self, request: web.Request) -> web.Response:
        """Read one job."""
        shown = self._show_job(job_of(request, self._jobs, "read jobs"))
        tag = tag_of(shown)
        if is_known(request, tag):
            return web.Response(status=304, headers={"ETag": tag})
        return json(shown, headers={"ETag": tag})

    async def get_log(self, request: web.Request) -> web.Response:
        """Bytes of a job's log from `offset`; with `wait`, waits so many seconds for more."""
        job = job_of(request, self._jobs, "read logs")
        offset = number(request, "offset", 0, 0, 1 << 53)
        wait = number(request, "wait", 0, 0, 60)
        limit = number(request, "limit", _LOG_READ_LIMIT, 1, _LOG_READ_LIMIT)
        waited = await unless_closing(request, self._jobs.read_log(job.id, offset, limit, wait))
        data, size = waited or await self._jobs.read_log(job.id, offset, limit, 0)
        state = self._jobs.find(job.id).state.value
        return web.Response(
            body=data,
            content_type="application/octet-stream",
            headers={"X-Log-Size": str(size), "X-Job-State": state, "Cache-Control": "no-store"},
        )

    async def get_rendered(self, request: web.Request) -> web.Response:
        """The files of the job as they were rendered and run."""
        job = job_of(request, self._jobs, "read rendered actions")
        doc = await self._database.actions(job.id)
        return web.Response(body=doc or b"[]", content_type="application/json")

    async def cancel_job(self, request: web.Request) -> web.Response:
        """Stop a job."""
        require(request, "cancel jobs")
        asked = await body(request, CancelBody)
        return json(await self._jobs.cancel(request.match_info["job"], asked.reason, principal(request)))
