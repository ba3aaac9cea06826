"""What jobs have left behind: files they handed in, words in their logs, a machine's history; and what may go."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated

import structlog
from aiohttp import web
from msgspec import Meta, Struct

from provisioner.access import require_machine
from provisioner.conductor.archive import Archive, LogFilter
from provisioner.conductor.assets import JobAssets, check_name
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machines import Machines
from provisioner.conductor.retention import Pruned, Retention
from provisioner.config import LONGEST_DAYS
from provisioner.errors import FieldError, Invalid, NotFound, ProvisionerError, unknown
from provisioner.model.machines import Job, JobState
from provisioner.retention import Limits
from provisioner.services.api_jobs import show_job
from provisioner.services.callers import job_of, machine_of, require
from provisioner.services.http import body, json, number, principal, unless_left
from provisioner.services.listing import flag, moment
from provisioner.services.operations import Operation, Query, Raw
from provisioner.services.preconditions import check, tag_of
from provisioner.store.assets import Asset, Assets
from provisioner.store.log_search import LONGEST_TEXT, Bounds, Wanted

log = structlog.get_logger(__name__)

_JOB = "/api/v1/jobs/{job}"
_ASSET = _JOB + "/assets/{name}"
_MOST_HITS = 1000
_PIECE_BYTES = 256 << 10
_SEARCH = (
    Query("q", "the text, as it stands in the log", Annotated[str, Meta(min_length=1, max_length=LONGEST_TEXT)]),
    Query("machine", "only logs of this machine, by id or name"),
    Query("task", "only logs of this task"),
    Query("state", "only logs of jobs in this state", JobState),
    Query("since", "only logs of jobs made since", datetime),
    Query("limit", "at most so many lines, 100 unless told", Annotated[int, Meta(ge=1, le=_MOST_HITS)]),
    Query("case", "upper and lower case are different", bool),
)


class Prune(Struct, frozen=True, forbid_unknown_fields=True):
    """Which jobs go: those that ended so many days ago, and all but each machine's newest; or what the settings say."""

    older_than_days: Annotated[float, Meta(ge=0, le=LONGEST_DAYS)] | None = None
    keep_per_machine: Annotated[int, Meta(ge=0, le=1 << 53)] | None = None
    dry_run: bool = False


class AssetList(Struct, frozen=True):
    """The files that a job handed in, by name."""

    items: list[Asset]


class LogLine(Struct, frozen=True):
    """A line that has the text: its number from 1, the offset of the text in the job's log, the line itself."""

    job: str
    machine: str
    task: str
    line: int
    offset: int
    text: str


class LogLines(Struct, frozen=True):
    """The lines, newest jobs first; `searched` counts logs. `truncated`: there may be more."""

    items: list[LogLine]
    searched: int
    truncated: bool


class ArchiveRoutes:
    """The routes of what has been."""

    def __init__(
        self,
        ledger: Ledger,
        machines: Machines,
        jobs: Jobs,
        assets: Assets,
        job_assets: JobAssets,
        retention: Retention,
        archive: Archive,
    ) -> None:
        self._ledger = ledger
        self._machines = machines
        self._jobs = jobs
        self._assets = assets
        self._job_assets = job_assets
        self._retention = retention
        self._archive = archive

    def operations(self) -> list[Operation]:
        """What can be done with what has been."""
        whole_or_part = {200: Raw(), 206: Raw(), 304: None}
        return [
            Operation("GET", "/api/v1/logs", self.search, "jobs", {200: LogLines}, _SEARCH, errors=(503,)),
            Operation("POST", "/api/v1/jobs/prune", self.prune, "jobs", {200: Pruned}, body=Prune),
            Operation("DELETE", _JOB, self.delete, "jobs", {200: Job}, errors=(409,), tagged=True),
            Operation("GET", f"{_JOB}/assets", self.list_assets, "jobs", {200: AssetList}),
            Operation("GET", _ASSET, self.download, "jobs", whole_or_part, errors=(412, 416, 422)),
            Operation(
                "PUT", _ASSET, self.take_in, answers={201: Asset}, body=Raw(), errors=(409, 413, 503), agents=True
            ),
            Operation(
                "GET",
                "/api/v1/machines/{machine}/export",
                self.export,
                "machines",
                {200: Raw("application/x-tar")},
                errors=(503,),
            ),
        ]

    # --- assets -----------------------------------------------------------------------------------------------

    async def take_in(self, request: web.Request) -> web.Response:
        """Hand in a file: the body as it is. The whole file is there when this answers, or nothing of it."""
        job = self._ledger.get(Job, request.match_info["job"])
        require_machine(principal(request), job.machine if job else "", "hand in files for this job")
        if job is None:
            raise NotFound(f"there is no job {request.match_info['job']!r}", object=request.match_info["job"])
        name, length = request.match_info["name"], request.content_length or 0
        return json(await self._job_assets.receive(job.id, name, length, _pieces(request), principal(request)), 201)

    async def list_assets(self, request: web.Request) -> web.Response:
        """List the files that a job handed in."""
        job = job_of(request, self._jobs, "read assets")
        return json(AssetList(await self._assets.listed(job.id)))

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Fetch a file that a job handed in; `Repr-Digest` has its SHA-256, ranges are answered."""
        job = job_of(request, self._jobs, "read assets")
        check_name(request.match_info["name"])
        asset, path = await self._assets.open(job.id, request.match_info["name"])
        # Whatever a machine sends in is never shown as a page of ours.
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f'attachment; filename="{asset.name}"',
            "X-Content-Type-Options": "nosniff",
            "Repr-Digest": f"sha-256=:{b64encode(bytes.fromhex(asset.sha256)).decode()}:",
            "Cache-Control": "no-cache",
        }
        return web.FileResponse(path, headers=headers, chunk_size=_PIECE_BYTES)

    # --- what may go ------------------------------------------------------------------------------------------

    async def prune(self, request: web.Request) -> web.Response:
        """Remove old jobs with their logs, rendered files and assets; `dry_run` only tells which would go."""
        require(request, "delete jobs")
        asked = await body(request, Prune)
        limits = Limits(asked.older_than_days, asked.keep_per_machine)
        if limits == Limits():
            limits = self._retention.limits
        return json(await self._retention.prune(limits, principal(request), dry_run=asked.dry_run))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a job that has ended and that its machine does not stand at, with all that it left."""
        require(request, "delete jobs")
        job = self._ledger.get(Job, request.match_info["job"])
        if job is not None:
            check(request, tag_of(show_job(job, self._ledger, self._jobs)), job.id)
        return json(await self._retention.delete(request.match_info["job"], principal(request)))

    # --- search and export ------------------------------------------------------------------------------------

    async def search(self, request: web.Request) -> web.Response:
        """Look for a text in all logs, newest jobs first. It ends after 5 seconds or 1 GiB, and says so."""
        require(request, "read logs")
        only = LogFilter(
            self._wanted_machine(request),
            request.query.get("task", ""),
            _state(request),
            moment(request.query, "since"),
        )
        wanted = Wanted(_text(request), flag(request.query, "case"))
        result = await self._archive.search(wanted, only, Bounds(hits=number(request, "limit", 100, 1, _MOST_HITS)))
        lines = []
        for found in result.found:
            job = self._ledger.read(Job, found.job)
            if job is not None:
                hit = found.hit
                lines.append(LogLine(job.id, job.machine, job.task, hit.line, hit.offset, hit.text))
        return json(LogLines(lines, result.searched, result.truncated))

    def _wanted_machine(self, request: web.Request) -> str:
        name = request.query.get("machine", "")
        return self._machines.find(name).id if name else ""

    async def export(self, request: web.Request) -> web.StreamResponse:
        """Export a machine's history as a tar: what it is, its timeline, all jobs with logs, rendered files, assets."""
        machine = machine_of(request, self._machines, "export machines")
        response = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="{machine.name}.tar"'})
        response.content_type = "application/x-tar"
        if request.method == "HEAD":
            await response.prepare(request)
            return response
        async with aclosing(self._archive.export(machine.id)) as pieces:
            # Whatever refuses the export does so before its first piece, while an error can still be answered.
            first = await anext(pieces)
            await response.prepare(request)
            try:
                await response.write(first)
                async for piece in pieces:
                    await response.write(piece)
            except ProvisionerError as error:
                log.error("export.cut_off", machine=machine.id, error=error.message)
                _cut_off(request)
        return response


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    try:
        while piece := await unless_left(request, request.content.read(_PIECE_BYTES)):
            yield piece
    except (web.RequestPayloadError, ConnectionError) as error:
        raise Invalid("the body ended too early", status=400, code="body-truncated") from error


def _cut_off(request: web.Request) -> None:
    """End the connection in the middle: the only way left to say that what was sent is not whole."""
    if request.transport is not None:
        request.transport.abort()


def _text(request: web.Request) -> str:
    text = request.query.get("q", "")
    if not text or len(text) > LONGEST_TEXT or "\n" in text:
        raise _wrong("q", f"{text[:40]!r} is not a text of 1 to {LONGEST_TEXT} characters on one line")
    return text


def _state(request: web.Request) -> JobState | None:
    text = request.query.get("state", "")
    if text and text not in set(JobState):
        raise _wrong("state", unknown("state", text[:40], list(JobState)))
    return JobState(text) if text else None


def _wrong(name: str, message: str) -> Invalid:
    return Invalid(f"{name}: {message}", status=400, fields=(FieldError(name, message),))
