"""The web UI: pages rendered on the server, and their fragments for what changes while they are open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from provisioner.access import Who, require_user
from provisioner.conductor.actions import Actions
from provisioner.conductor.archive import Archive
from provisioner.conductor.bulk import Bulk
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.clashes import Clashes
from provisioner.conductor.doctor import Doctor
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machines import Machines
from provisioner.conductor.networks import Networks
from provisioner.conductor.operations import Operations
from provisioner.conductor.registration import Registrations
from provisioner.conductor.tokens import Tokens
from provisioner.conductor.turns import Turns
from provisioner.errors import ProvisionerError
from provisioner.model.machines import Machine
from provisioner.services.http import number, principal
from provisioner.services.repositories import Repositories
from provisioner.services.ui_answers import SECURITY_HEADERS, Answers, redirect
from provisioner.services.ui_api import api_view
from provisioner.services.ui_clashes import ClashPages
from provisioner.services.ui_doctor import DoctorPages
from provisioner.services.ui_downloads import DownloadPages
from provisioner.services.ui_fleet import Fleet
from provisioner.services.ui_forms import Forms
from provisioner.services.ui_jobs import JobViews
from provisioner.services.ui_login import Login
from provisioner.services.ui_logs import LogPages
from provisioner.services.ui_network_forms import NetworkPages
from provisioner.services.ui_networks import Here, nowhere
from provisioner.services.ui_pages import STATIC, Assets, Page, Templates
from provisioner.services.ui_views import Views
from provisioner.store.assets import Assets as JobFiles
from provisioner.store.database import Database
from provisioner.store.recorder import FlightRecorder

_MACHINES = Page(
    "machines",
    "/",
    ("clashes", "counts", "rows"),
    # Not `job`: the log of every running job would pass through every open list.
    "machine,agent,power.done,job.create,job.start,job.end,job.cancel",
)
_MACHINE = Page("machine", "/", ("header", "tabs", "body"), "*")
_JOBS = Page("jobs", "/jobs", ("counts", "rows"), "job.create,job.start,job.end,job.cancel,machine.delete")
_JOB = Page("job", "/jobs", ("header", "body"), "*")
_CONTENT = Page("content", "/content", ("body",), "content,object")
_OBJECT = Page("object", "/content", ("body",), "content,object,machine.workflow,machine.stage")
_HEALTH = Page(
    "health",
    "/health",
    ("body",),
    "server,content,machine.create,machine.delete,machine.clash,machine.resolve,job.create,job.end,operation",
)
_API = Page("api", "/health", ("operations",))
_ERROR = Page("error", "")

_KEPT_FOR_EVER = "public, max-age=31536000, immutable"
_LOG_CHUNK = 1 << 20
_LONGEST_LOG = 1 << 50


class Ui:
    """The routes of the web UI; `templates` is the folder that holds `ui/`, `assets` what jobs handed in."""

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        machines: Machines,
        jobs: Jobs,
        actions: Actions,
        database: Database,
        tokens: Tokens,
        templates: Path,
        *,
        bulk: Bulk,
        operations: Operations,
        clashes: Clashes,
        doctor: Doctor,
        recorder: FlightRecorder | None,
        turns: Turns,
        repositories: Repositories,
        registrations: Registrations,
        networks: Networks,
        archive: Archive,
        assets: JobFiles,
        version: str = "",
        here: Here = nowhere,
        document: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._ledger = ledger
        self._document = document
        self._machines = machines
        self._jobs = jobs
        self._of_jobs = JobViews(ledger, catalog, jobs, database, assets)
        self._views = Views(ledger, catalog, jobs, actions, database, self._of_jobs)
        self._assets = Assets.read(templates / "ui" / STATIC)
        self._answers = Answers(Templates(templates / "ui", self._assets), ledger.clock, version)
        self._login = Login(self._answers, tokens)
        self._forms = Forms(self._answers, catalog, machines, jobs, actions)
        self._fleet = Fleet(self._answers, self._views, bulk, operations)
        self._clashes = ClashPages(self._answers, ledger, self._views, clashes, registrations)
        self._networks = NetworkPages(self._answers, ledger, self._views, networks, here)
        self._logs = LogPages(self._answers, ledger, machines, archive)
        self._doctor = DoctorPages(self._answers, ledger, machines, doctor, recorder)
        self._downloads = DownloadPages(self._answers, turns, repositories)

    def routes(self) -> list[web.RouteDef]:
        """The routes of this service."""
        return [
            web.get("/", self.machines),
            web.get("/machines", self.machines),
            web.get("/machines/{machine}", self.machine),
            web.get("/machines/{machine}/{tab}", self.machine),
            web.get("/jobs", self.jobs),
            web.get("/jobs/{job}", self.job),
            web.get("/jobs/{job}/log.txt", self.log_text),
            web.get("/content", self.content),
            web.get("/content/{kind}", self.content),
            web.get("/content/{kind}/{name:.+}", self.content_object),
            web.get("/health", self.health),
            web.get("/api/docs", self.api),
            web.get(f"/{STATIC}/{{version}}/{{file}}", self.static),
            *self._login.routes(),
            *self._forms.routes(),
            *self._fleet.routes(),
            *self._clashes.routes(),
            *self._networks.routes(),
            *self._logs.routes(),
            *self._doctor.routes(),
            *self._downloads.routes(),
        ]

    def error_page(self, request: web.Request, error: ProvisionerError) -> web.Response:
        """An error as a page; whoever is not logged in is sent to do that first."""
        wants_page = request.method == "GET" and "fragment" not in request.query
        if error.status == 401 and wants_page:
            return redirect(f"/login?next={quote(request.path_qs, safe='')}")
        return self._answers.page(request, _ERROR, {"error": error}, error.status)

    async def static(self, request: web.Request) -> web.Response:
        """A style sheet, script or picture."""
        asset = self._assets.find(request.match_info["file"])
        # A page from before an upgrade asks for an old version; what it gets must not be kept under that address.
        same = request.match_info["version"] == self._assets.version
        headers = {"Cache-Control": _KEPT_FOR_EVER if same else "no-store", "X-Content-Type-Options": "nosniff"}
        response = web.Response(body=asset.body, content_type=asset.content_type, charset="utf-8", headers=headers)
        response.enable_compression()
        return response

    def _require(self, request: web.Request) -> None:
        require_user(principal(request), "use the web UI")

    async def machines(self, request: web.Request) -> web.Response:
        """The list of machines."""
        self._require(request)
        last = await self._views.last_event()
        return self._answers.live(request, _MACHINES, self._views.machines(request.query), last)

    async def machine(self, request: web.Request) -> web.Response:
        """One machine."""
        self._require(request)
        last = await self._views.last_event()
        found = self._machines.find(request.match_info["machine"])
        machine = self._ledger.read(Machine, found.id) or found
        tab = request.match_info.get("tab", "overview")
        values = await self._views.machine(machine, tab, request.query)
        return self._answers.live(request, _MACHINE, values, last, machine)

    async def jobs(self, request: web.Request) -> web.Response:
        """The newest jobs."""
        self._require(request)
        last = await self._views.last_event()
        return self._answers.live(request, _JOBS, self._of_jobs.jobs(request.query), last)

    async def job(self, request: web.Request) -> web.Response:
        """One job."""
        self._require(request)
        last = await self._views.last_event()
        job = self._jobs.find(request.match_info["job"])
        machine = self._ledger.read(Machine, job.machine)
        at = number(request, "at", 0, 0, _LONGEST_LOG) if "at" in request.query else -1
        return self._answers.live(request, _JOB, await self._of_jobs.job(job, at), last, machine)

    async def log_text(self, request: web.Request) -> web.StreamResponse:
        """The whole log as it was written."""
        self._require(request)
        job = self._jobs.find(request.match_info["job"])
        response = web.StreamResponse(
            headers={**SECURITY_HEADERS, "Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        offset = 0
        while True:
            data, _ = await self._jobs.read_log(job.id, offset, _LOG_CHUNK, 0)
            if not data:
                return response
            await response.write(data)
            offset += len(data)

    async def content(self, request: web.Request) -> web.Response:
        """Content objects of one kind."""
        self._require(request)
        last = await self._views.last_event()
        return self._answers.live(request, _CONTENT, self._views.content(request.match_info.get("kind", "")), last)

    async def content_object(self, request: web.Request) -> web.Response:
        """One content object."""
        self._require(request)
        last = await self._views.last_event()
        values = self._views.content_object(request.match_info["kind"], request.match_info["name"])
        return self._answers.live(request, _OBJECT, values, last)

    async def api(self, request: web.Request) -> web.Response:
        """The API's operations, searched by the words of a query."""
        if principal(request).who is not Who.USER:
            return redirect(f"/login?next={quote(request.path_qs, safe='')}")
        return self._answers.live(request, _API, api_view(self._document(), request.query.get("q", "")), 0)

    async def health(self, request: web.Request) -> web.Response:
        """How the server is."""
        self._require(request)
        last = await self._views.last_event()
        return self._answers.live(request, _HEALTH, await self._views.health(), last)
