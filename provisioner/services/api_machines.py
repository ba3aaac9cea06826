"""Machines: listed, made, read, changed, deleted, and acted on."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from provisioner.conductor.actions import ActionChoice, ActionResult, Actions
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machine_changes import MachineChange
from provisioner.conductor.machines import Machines
from provisioner.model import Machine
from provisioner.params import redact
from provisioner.services.callers import machine_of, require
from provisioner.services.http import body, json, principal
from provisioner.services.listing import page
from provisioner.services.operations import Operation, Query

_MACHINE = "/api/v1/machines/{machine}"
_FORCE = Query("force", "drop work that is left", bool)


class NewMachine(Struct, frozen=True, forbid_unknown_fields=True):
    """A machine made before it was ever seen."""

    name: str
    macs: tuple[str, ...] = ()
    description: str = ""


class GrantBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Which disk may be erased, for how long."""

    disk: str
    hours: float = 1.0


class MachineRoutes:
    """The routes of machines; every one checks its caller first."""

    def __init__(self, ledger: Ledger, catalog: Catalog, machines: Machines, actions: Actions) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._machines = machines
        self._actions = actions

    def operations(self) -> list[Operation]:
        """What can be done with machines."""
        tag = "machines"
        return [
            Operation("GET", "/api/v1/machines", self.list_machines, tag, lists=Machine),
            Operation("POST", "/api/v1/machines", self.create_machine, tag, {201: Machine}, body=NewMachine),
            Operation("GET", _MACHINE, self.get_machine, tag, {200: Machine}),
            Operation("PATCH", _MACHINE, self.change_machine, tag, {200: Machine}, (_FORCE,), MachineChange),
            Operation("DELETE", _MACHINE, self.delete_machine, tag, {200: Machine}),
            Operation("POST", f"{_MACHINE}/grants", self.grant, tag, {201: Machine}, body=GrantBody),
            Operation("GET", f"{_MACHINE}/actions", self.list_actions, tag, {200: list[ActionChoice]}),
            Operation("POST", _MACHINE + "/actions/{action}", self.act, tag, {200: ActionResult}, errors=(502, 504)),
        ]

    def _show(self, machine: Machine) -> dict[str, Any]:
        shown: dict[str, Any] = msgspec.to_builtins(machine, builtin_types=())
        shown["params"] = redact(machine.params, self._catalog.view)
        return shown | {"available": machine.available, "done": machine.done}

    def _show_short(self, machine: Machine) -> dict[str, Any]:
        return self._show(replace(machine, inventory={}))

    async def list_machines(self, request: web.Request) -> web.Response:
        """Machines; inventories are left out of lists."""
        require(request, "list machines")
        return json(page(self._ledger.read_all(Machine), Machine, request.query, self._show_short))

    async def create_machine(self, request: web.Request) -> web.Response:
        """Make a machine before it was ever seen."""
        require(request, "create machines")
        asked = await body(request, NewMachine)
        made = await self._machines.create(asked.name, asked.macs, asked.description, principal(request))
        return json(self._show(made), status=201)

    async def get_machine(self, request: web.Request) -> web.Response:
        """One machine by id or name."""
        return json(self._show(machine_of(request, self._machines, "read machines", itself=True)))

    async def change_machine(self, request: web.Request) -> web.Response:
        """Change some fields of a machine (merge-patch)."""
        machine = machine_of(request, self._machines, "change machines")
        change = await body(request, MachineChange)
        force = request.query.get("force") == "true"
        return json(self._show(await self._machines.change(machine.id, change, principal(request), force=force)))

    async def delete_machine(self, request: web.Request) -> web.Response:
        """Forget a machine."""
        machine = machine_of(request, self._machines, "delete machines")
        await self._machines.delete(machine.id, principal(request))
        return json(self._show(machine))

    async def grant(self, request: web.Request) -> web.Response:
        """Allow a disk of this machine to be erased for some hours."""
        machine = machine_of(request, self._machines, "grant erasure")
        asked = await body(request, GrantBody)
        granted = await self._machines.grant_erase(machine.id, asked.disk, asked.hours, principal(request))
        return json(self._show(granted), status=201)

    async def list_actions(self, request: web.Request) -> web.Response:
        """The actions, and for each that cannot be used on this machine why not."""
        return json(self._actions.choices(machine_of(request, self._machines, "list actions").id))

    async def act(self, request: web.Request) -> web.Response:
        """Carry out an action and answer what was read back."""
        machine = machine_of(request, self._machines, "use actions")
        return json(await self._actions.perform(machine.id, request.match_info["action"], principal(request)))
