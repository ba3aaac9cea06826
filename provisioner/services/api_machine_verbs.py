"""What is done with one machine beyond changing its fields: power, work begun anew, leave to erase."""

from __future__ import annotations

from aiohttp import web
from msgspec import Struct

from provisioner.conductor.actions import ActionChoice, ActionResult, Actions
from provisioner.conductor.bulk import Bulk, BulkWork
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machines import Machines
from provisioner.errors import Invalid
from provisioner.model.machines import Machine
from provisioner.model.operations import Operation as LongAction
from provisioner.services.api_machines import MachineView, decided_machine, machine_answer
from provisioner.services.callers import machine_of
from provisioner.services.http import body, json, principal
from provisioner.services.operations import Operation

_MACHINE = "/api/v1/machines/{machine}"


class GrantBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Which disk may be erased, for how long."""

    disk: str
    hours: float = 1.0


class RestartBody(Struct, frozen=True, forbid_unknown_fields=True):
    """From which stage of its workflow the work begins anew; empty: from its start."""

    stage: str = ""


class NoBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing needs to be said."""


class MachineVerbs:
    """The routes of verbs; every one checks its caller first."""

    def __init__(self, ledger: Ledger, catalog: Catalog, machines: Machines, actions: Actions, bulk: Bulk) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._machines = machines
        self._actions = actions
        self._bulk = bulk

    def operations(self) -> list[Operation]:
        """What can be done with a machine."""
        tag: str = "machines"
        shown, made = {200: MachineView}, {201: MachineView}
        acted = {200: ActionResult, 202: LongAction}
        power = (502, 504)
        return [
            Operation("POST", f"{_MACHINE}/restart", self.restart, tag, shown, body=RestartBody, tagged=True),
            Operation("POST", f"{_MACHINE}/resume", self.resume, tag, shown, body=NoBody, tagged=True),
            Operation("POST", f"{_MACHINE}/grants", self.grant, tag, made, body=GrantBody, example={"disk": "any"}),
            Operation("DELETE", _MACHINE + "/grants/{disk:.+}", self.revoke, tag, shown),
            Operation("GET", f"{_MACHINE}/actions", self.list_actions, tag, {200: list[ActionChoice]}),
            Operation("POST", _MACHINE + "/actions/{action}", self.act, tag, acted, errors=power),
        ]

    def _answer(self, machine: Machine, status: int = 200) -> web.Response:
        return machine_answer(machine, self._catalog.view, status)

    async def restart(self, request: web.Request) -> web.Response:
        """Begin a machine's work anew, from its start or from a stage of its workflow."""
        machine_of(request, self._machines, "change machines")
        asked = await body(request, RestartBody) if request.body_exists else RestartBody()
        machine = decided_machine(request, self._ledger, self._machines, "change machines")
        return self._answer(await self._machines.restart(machine.id, asked.stage, principal(request)))

    async def resume(self, request: web.Request) -> web.Response:
        """Let a machine go on at the task that failed or was held, with all its retries."""
        machine_of(request, self._machines, "change machines")
        if request.body_exists:
            await body(request, NoBody)
        machine = decided_machine(request, self._ledger, self._machines, "change machines")
        return self._answer(await self._machines.resume(machine.id, principal(request)))

    async def grant(self, request: web.Request) -> web.Response:
        """Allow a disk of this machine to be erased for some hours."""
        machine = machine_of(request, self._machines, "grant erasure")
        asked = await body(request, GrantBody)
        granted = await self._machines.grant_erase(machine.id, asked.disk, asked.hours, principal(request))
        return self._answer(granted, 201)

    async def revoke(self, request: web.Request) -> web.Response:
        """Take the leave to erase a disk back."""
        machine = machine_of(request, self._machines, "grant erasure")
        disk = request.match_info["disk"]
        return self._answer(await self._machines.revoke_erase(machine.id, disk, principal(request)))

    async def list_actions(self, request: web.Request) -> web.Response:
        """The actions, and for each that cannot be used on this machine why not."""
        return json(self._actions.choices(machine_of(request, self._machines, "list actions").id))

    async def act(self, request: web.Request) -> web.Response:
        """Carry out an action and answer what was read back; with `Prefer: respond-async`, an operation to follow."""
        machine = machine_of(request, self._machines, "use actions")
        action = request.match_info["action"]
        if not prefers_async(request):
            return json(await self._actions.perform(machine.id, action, principal(request)))
        choice = next((each for each in self._actions.choices(machine.id) if each.name == action), None)
        if choice is not None and not choice.available:
            message = f"machine {machine.name}: {choice.reason}"
            raise Invalid(message, object=machine.id, code="action-unavailable")
        begun = await self._bulk.begin([machine.id], BulkWork(action=action), principal(request))
        return operation_begun(begun)


def prefers_async(request: web.Request) -> bool:
    """Whether the caller would rather follow an operation than wait (RFC 7240)."""
    words = ",".join(request.headers.getall("Prefer", [])).lower().split(",")
    return any(word.partition(";")[0].strip() == "respond-async" for word in words)


def operation_begun(operation: LongAction) -> web.Response:
    """202, and where to follow it."""
    return json(operation, 202, {"Location": f"/api/v1/operations/{operation.id}"})
