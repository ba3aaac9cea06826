"""The page that looks for a text in all logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from msgspec import Struct

from provisioner.access import require_user
from provisioner.conductor.archive import Archive, LogFilter
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machines import Machines
from provisioner.errors import ProvisionerError, unknown
from provisioner.model.machines import Job, JobState, Machine
from provisioner.services.http import principal
from provisioner.services.ui_answers import Answers, wrong
from provisioner.services.ui_jobs import without_controls
from provisioner.services.ui_pages import Page
from provisioner.store.log_search import LONGEST_TEXT, Bounds, Found, Wanted

_LOGS = Page("logs", "/jobs")
HITS_LIMIT = 200


class Line(Struct, frozen=True):
    """A line that was found: what is before the text, the text as it stands there, what is after it."""

    number: int
    offset: int
    before: str
    text: str
    after: str


class JobLines(Struct, frozen=True):
    """The lines of one job; `machine` is its machine's name, empty when it is no more."""

    job: Job
    machine: str
    lines: list[Line]


class LogPages:
    """The route of the search."""

    def __init__(self, answers: Answers, ledger: Ledger, machines: Machines, archive: Archive) -> None:
        self._answers = answers
        self._ledger = ledger
        self._machines = machines
        self._archive = archive

    def routes(self) -> list[web.RouteDef]:
        """The routes of this service."""
        return [web.get("/logs", self.search)]

    async def search(self, request: web.Request) -> web.Response:
        """Lines that have the text `q`, of the jobs that `machine`, `task` and `state` leave."""
        require_user(principal(request), "read logs")
        asked = {name: request.query.get(name, "").strip() for name in ("machine", "task", "state")}
        asked |= {"q": request.query.get("q", ""), "case": request.query.get("case", "")}
        shown: dict[str, Any] = {"jobs": [], "lines": 0, "searched": 0, "truncated": False, "message": ""}
        status = 200
        if asked["q"]:
            try:
                shown |= await self._found(asked)
            except ProvisionerError as error:
                shown["message"], status = error.message, error.status
        values = {**shown, "asked": asked, "states": [state.value for state in JobState]}
        return self._answers.page(request, _LOGS, values, status)

    async def _found(self, asked: Mapping[str, str]) -> dict[str, Any]:
        text, case = asked["q"], asked["case"] == "true"
        if len(text) > LONGEST_TEXT:
            raise wrong("text", f"is longer than {LONGEST_TEXT} characters")
        if asked["state"] and asked["state"] not in set(JobState):
            raise wrong("state", unknown("state", asked["state"], list(JobState)))
        only = LogFilter(
            self._machines.find(asked["machine"]).id if asked["machine"] else "",
            asked["task"],
            JobState(asked["state"]) if asked["state"] else None,
        )
        result = await self._archive.search(Wanted(text, case), only, Bounds(hits=HITS_LIMIT))
        return {
            "jobs": self._by_job(result.found, text),
            "lines": len(result.found),
            "searched": result.searched,
            "truncated": result.truncated,
        }

    def _by_job(self, found: list[Found], text: str) -> list[JobLines]:
        by_job: dict[str, list[Line]] = {}
        for each in found:
            by_job.setdefault(each.job, []).append(_line(each, text))
        jobs = [(self._ledger.read(Job, job), lines) for job, lines in by_job.items()]
        return [JobLines(job, self._name(job.machine), lines) for job, lines in jobs if job is not None]

    def _name(self, machine: str) -> str:
        found = self._ledger.read(Machine, machine)
        return found.name if found is not None else ""


def _line(found: Found, text: str) -> Line:
    shown = without_controls(found.hit.text)
    place = shown.lower().find(text.lower())
    # Letters whose small form is longer, and texts between control sequences, are not marked.
    if place < 0 or shown[place : place + len(text)].lower() != text.lower():
        return Line(found.hit.line, found.hit.offset, shown, "", "")
    end = place + len(text)
    return Line(found.hit.line, found.hit.offset, shown[:place], shown[place:end], shown[end:])
