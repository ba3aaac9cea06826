"""The same for many machines: the form below the list of machines, its results, and operations that go on after it."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web
from msgspec import Struct

from provisioner.access import require_user
from provisioner.conductor.bulk import Bulk, BulkWork
from provisioner.conductor.machine_changes import MachineChange
from provisioner.conductor.operations import Operations
from provisioner.errors import unknown
from provisioner.model.operations import Operation
from provisioner.power.driver import ACTIONS
from provisioner.services.http import json, principal
from provisioner.services.ui_answers import Answers, posted_fields, redirect, wrong
from provisioner.services.ui_pages import Page
from provisioner.services.ui_views import Views
from provisioner.services.ui_words import count
from provisioner.services.ui_work_events import action_words

_RESULTS = Page("bulk", "/")
_OPERATION = Page("operation", "/", ("body",), "operation,power")
_VERBS = ("resume", "pause", "assign", "power")


class Asked(Struct, frozen=True):
    """What is to be done with each machine: `title` says it, a `warning` is to be confirmed first."""

    work: BulkWork
    title: str
    warning: str = ""


def asked(form: dict[str, str]) -> Asked:
    """What the form asks for; raises Invalid."""
    match form.get("do", ""):
        case "resume":
            return Asked(BulkWork(verb="resume"), "Resume")
        case "pause":
            return Asked(BulkWork(change=MachineChange(runnable=False)), "Pause")
        case "assign":
            workflow = form.get("workflow", "")
            title = f"Assign workflow {workflow}" if workflow else "Take the work away"
            warning = "What they work at now is dropped. No disk that holds data is erased without leave for it."
            return Asked(BulkWork(change=MachineChange(workflow=workflow)), title, warning)
        case "power":
            return _power(form.get("action", ""))
    raise wrong("do", unknown("verb", form.get("do", ""), _VERBS))


def _power(name: str) -> Asked:
    action = ACTIONS.get(name)
    if action is None:
        raise wrong("action", unknown("power action", name, ACTIONS))
    warning = "Whatever runs on them is cut off." if action.disruptive else ""
    return Asked(BulkWork(action=name), action_words(name), warning)


class Fleet:
    """The routes of work on many machines."""

    def __init__(self, answers: Answers, views: Views, bulk: Bulk, operations: Operations) -> None:
        self._answers = answers
        self._views = views
        self._bulk = bulk
        self._operations = operations

    def routes(self) -> list[web.RouteDef]:
        """The routes of this service."""
        return [
            web.post("/bulk", self.do),
            web.get("/bulk/machines", self.chosen),
            web.get("/operations/{operation}", self.operation),
        ]

    async def chosen(self, request: web.Request) -> web.Response:
        """The ids of all machines that the list has when narrowed by `q` and `state`, for the page's script."""
        require_user(principal(request), "use the web UI")
        return json({"machines": self._views.chosen(request.query)}, headers={"Cache-Control": "no-store"})

    async def do(self, request: web.Request) -> web.Response:
        """Do it to all chosen machines; each has a result of its own."""
        caller = principal(request)
        require_user(caller, "change machines")
        fields = await posted_fields(request)
        form = dict(fields)
        wanted = asked(form)
        self._bulk.check(wanted.work)
        machines = self._machines(fields)
        if not machines:
            raise wrong("machine", "no machine is chosen; mark some in the list")
        if wanted.warning and not form.get("confirmed"):
            question = f"{wanted.title}: {count(len(machines), 'machine')}? {wanted.warning}"
            # Those that are asked about, whoever else fits the filter when the answer comes.
            kept = [pair for pair in fields if pair[0] not in ("all", "q", "state", "machine")]
            those = [("machine", machine) for machine in machines]
            return self._answers.ask(request, question, "Yes, do it", [*kept, *those], "/")
        if wanted.work.action:
            require_user(caller, "use actions")
            begun = await self._bulk.begin(machines, wanted.work, caller)
            return redirect(f"/operations/{begun.id}")
        result = await self._bulk.do(machines, wanted.work, caller)
        return self._answers.page(request, _RESULTS, {"title": wanted.title, "result": result})

    def _machines(self, fields: Iterable[tuple[str, str]]) -> list[str]:
        form = dict(fields)
        if form.get("all"):
            return self._views.chosen(form)
        return list(dict.fromkeys(value for name, value in fields if name == "machine"))

    async def operation(self, request: web.Request) -> web.Response:
        """A long action on many machines, followed."""
        require_user(principal(request), "use the web UI")
        last = await self._views.last_event()
        found = self._operations.find(request.match_info["operation"])
        return self._answers.live(request, _OPERATION, {"operation": found, **_counted(found)}, last)


def _counted(operation: Operation) -> dict[str, object]:
    failed = [each for each in operation.results if each.status >= 400]
    return {"failed": failed, "done": [each for each in operation.results if each.status < 400]}
