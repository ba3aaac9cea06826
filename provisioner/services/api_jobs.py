"""Jobs as operators read them: state, log, what ran; and stopping one."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machines import Machines
from provisioner.model import Job, RenderedFile
from provisioner.services.callers import job_of, require
from provisioner.services.http import body, json, number, principal
from provisioner.services.listing import page
from provisioner.services.operations import Operation, Query, Raw
from provisioner.store.database import Database

_LOG_READ_LIMIT = 4 << 20
_JOB = "/api/v1/jobs/{job}"
_LOG_QUERY = (
    Query("offset", "the first byte wanted", Annotated[int, Meta(ge=0, le=1 << 53)]),
    Query("wait", "seconds to wait for more when there is none", Annotated[int, Meta(ge=0, le=60)]),
    Query("limit", "at most so many bytes", Annotated[int, Meta(ge=1, le=_LOG_READ_LIMIT)]),
)


class CancelBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Why a job is stopped."""

    reason: str = ""


class JobRoutes:
    """The routes of jobs that operators use."""

    def __init__(self, ledger: Ledger, machines: Machines, jobs: Jobs, database: Database) -> None:
        self._ledger = ledger
        self._machines = machines
        self._jobs = jobs
        self._database = database

    def operations(self) -> list[Operation]:
        """What operators can do with jobs."""
        return [
            Operation("GET", "/api/v1/jobs", self.list_jobs, "jobs", lists=Job),
            Operation("GET", _JOB, self.get_job, "jobs", {200: Job}),
            Operation("GET", f"{_JOB}/log", self.get_log, "jobs", {200: Raw()}, _LOG_QUERY),
            Operation("GET", f"{_JOB}/actions", self.get_rendered, "jobs", {200: list[RenderedFile]}),
            Operation("POST", f"{_JOB}/cancel", self.cancel_job, "jobs", {200: Job}, body=CancelBody),
        ]

    def _show_job(self, job: Job) -> dict[str, Any]:
        shown: dict[str, Any] = msgspec.to_builtins(job, builtin_types=())
        return shown | {"progress": self._jobs.progress(job.id)}

    async def list_jobs(self, request: web.Request) -> web.Response:
        """Jobs; `machine` may be an id or a name."""
        require(request, "list jobs")
        query = dict(request.query)
        if "machine" in query:
            query["machine"] = self._machines.find(query["machine"]).id
        return json(page(self._ledger.read_all(Job), Job, query, self._show_job))

    async def get_job(self, request: web.Request) -> web.Response:
        """One job."""
        return json(self._show_job(job_of(request, self._jobs, "read jobs")))

    async def get_log(self, request: web.Request) -> web.Response:
        """Bytes of a job's log from `offset`; with `wait`, waits so many seconds for more."""
        job = job_of(request, self._jobs, "read logs")
        offset = number(request, "offset", 0, 0, 1 << 53)
        wait = number(request, "wait", 0, 0, 60)
        limit = number(request, "limit", _LOG_READ_LIMIT, 1, _LOG_READ_LIMIT)
        data, size = await self._jobs.read_log(job.id, offset, limit, wait)
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
