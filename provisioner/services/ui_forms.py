"""Plain forms that change machines and jobs, for browsers without JavaScript; with it they call the JSON API.

What cuts a machine off or may destroy data is asked about on a page of its own first.
"""

from __future__ import annotations

from collections.abc import Mapping
from json import JSONDecodeError, loads
from typing import Any

from aiohttp import web

from provisioner.access import Principal, require_user
from provisioner.conductor.actions import Actions
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.machine_changes import MachineChange
from provisioner.conductor.machines import Machines
from provisioner.errors import unknown
from provisioner.model.machines import Machine
from provisioner.power.driver import ACTIONS
from provisioner.services.http import principal
from provisioner.services.ui_answers import Answers, posted, redirect, wrong
from provisioner.services.ui_jobs import CANCEL_WORDS
from provisioner.services.ui_pages import Page
from provisioner.services.ui_params import text
from provisioner.services.work import where

_SECRET = Page("secret", "/")
_CHANGES = {
    "pause": MachineChange(runnable=False),
    "rewind": MachineChange(current_task=-1, runnable=True),
    "step": MachineChange(step=True),
    "no-step": MachineChange(step=False),
    "lock": MachineChange(locked=True),
    "unlock": MachineChange(locked=False),
}
_STOP_VERBS = ("stop-before", "go-through")
_WORK_VERBS = ("resume", "restart", *_CHANGES, *_STOP_VERBS)


class Forms:
    """The routes that forms are posted to."""

    def __init__(self, answers: Answers, catalog: Catalog, machines: Machines, jobs: Jobs, actions: Actions) -> None:
        self._answers = answers
        self._catalog = catalog
        self._machines = machines
        self._jobs = jobs
        self._actions = actions

    def routes(self) -> list[web.RouteDef]:
        """The routes of this service."""
        return [
            web.post("/machines/{machine}/work", self.set_work),
            web.post("/machines/{machine}/workflow", self.set_workflow),
            web.post("/machines/{machine}/power", self.power),
            web.post("/machines/{machine}/params", self.set_param),
            web.post("/jobs/{job}/cancel", self.cancel),
        ]

    async def _asked(self, request: web.Request) -> tuple[Machine, dict[str, str], Principal]:
        """The machine, the form and who posted it."""
        caller = principal(request)
        require_user(caller, "use the web UI")
        return self._machines.find(request.match_info["machine"]), await posted(request), caller

    async def set_work(self, request: web.Request) -> web.Response:
        """Let its work go on, begin it anew, pause or step it, stop before an entry; lock the machine or unlock it."""
        machine, form, caller = await self._asked(request)
        verb = form.get("verb", "")
        if verb == "restart":
            stage = form.get("stage", "")
            if not form.get("confirmed"):
                begins = f"from stage {stage}" if stage else "from the start"
                question = f"Begin the work of {machine.name} anew, {begins}? What it runs now is stopped."
                return self._ask(request, machine, question, "Restart", form)
            await self._machines.restart(machine.id, stage, caller)
        elif verb == "resume":
            await self._machines.resume(machine.id, caller)
        elif verb in _STOP_VERBS:
            await self._set_stop(machine.id, form.get("entry", ""), verb == "stop-before", caller)
        elif verb in _CHANGES:
            await self._machines.change(machine.id, _CHANGES[verb], caller)
        else:
            raise wrong("verb", unknown("verb", verb, _WORK_VERBS))
        return redirect(f"/machines/{machine.name}")

    async def _set_stop(self, machine_id: str, entry: str, stop: bool, caller: Principal) -> None:
        present = self._machines.find(machine_id).stop_before
        stops = tuple(each for each in present if each != entry) + ((entry,) if stop else ())
        await self._machines.change(machine_id, MachineChange(stop_before=stops), caller)

    async def set_workflow(self, request: web.Request) -> web.Response:
        """Give the machine a workflow, with leave to erase a disk where one is named; '' takes its work away."""
        machine, form, caller = await self._asked(request)
        workflow, disk = form.get("workflow", ""), form.get("disk", "")
        if disk and not form.get("confirmed"):
            question = f"May workflow {workflow or 'none'} erase disk {disk} of {machine.name}?"
            return self._ask(request, machine, question, "Allow and assign", form)
        if disk:
            await self._machines.grant_erase(machine.id, disk, _hours(form.get("hours", "")), caller)
        await self._machines.change(machine.id, MachineChange(workflow=workflow), caller)
        return redirect(f"/machines/{machine.name}")

    async def power(self, request: web.Request) -> web.Response:
        """A power action."""
        machine, form, caller = await self._asked(request)
        action = ACTIONS.get(form.get("action", ""))
        if action is None:
            raise wrong("action", unknown("power action", form.get("action", ""), ACTIONS))
        if action.disruptive and not form.get("confirmed"):
            question = f"Power action for {machine.name}: {action.description}?"
            return self._ask(request, machine, question, "Yes, do it", form)
        await self._actions.perform(machine.id, action.name, caller)
        return redirect(f"/machines/{machine.name}")

    async def set_param(self, request: web.Request) -> web.Response:
        """Set a param of the machine itself, remove the one named `remove`, or show the secret one named `reveal`."""
        machine, form, caller = await self._asked(request)
        if form.get("reveal"):
            return await self._reveal(request, machine, form["reveal"], caller)
        if form.get("remove"):
            await self._machines.drop_param(machine.id, form["remove"], caller)
        else:
            name = form.get("name", "")
            param = self._catalog.view["params"].get(name)
            value = param_value(form.get("value", ""), param.schema if param is not None else {})
            await self._machines.set_param(machine.id, name, value, caller)
        return redirect(f"/machines/{machine.name}/params")

    async def _reveal(self, request: web.Request, machine: Machine, name: str, caller: Principal) -> web.Response:
        require_user(caller, "reveal secure params")
        value = await self._machines.reveal_param(machine.id, name, where(request).as_context, caller)
        return self._answers.page(request, _SECRET, {"machine": machine, "name": name, "value": text(value)})

    async def cancel(self, request: web.Request) -> web.Response:
        """Stop a job."""
        caller = principal(request)
        require_user(caller, "use the web UI")
        form = await posted(request)
        if not form.get("confirmed"):
            job = self._jobs.find(request.match_info["job"])
            question = f"Cancel task {job.task}? {CANCEL_WORDS}"
            return self._answers.ask(request, question, "Cancel the job", form.items(), f"/jobs/{job.id}")
        job = await self._jobs.cancel(request.match_info["job"], "", caller)
        return redirect(f"/jobs/{job.id}")

    def _ask(
        self, request: web.Request, machine: Machine, question: str, button: str, form: Mapping[str, str]
    ) -> web.Response:
        return self._answers.ask(request, question, button, form.items(), f"/machines/{machine.name}")


def _hours(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise wrong("hours", f"{text[:40]!r} is not a number") from error


def param_value(text: str, schema: Mapping[str, Any]) -> Any:
    """What was typed as the value that it stands for: text where the schema wants text, else JSON, else text."""
    if schema.get("type") == "string":
        return text
    try:
        return loads(text)
    except JSONDecodeError:
        return text
