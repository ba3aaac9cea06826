"""Machines: listed, made, read, changed and deleted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any

import msgspec
from aiohttp import web
from msgspec.structs import replace
from multidict import MultiDict

from provisioner.conductor.catalog import Catalog
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machine_changes import MachineChange, NewMachine
from provisioner.conductor.machines import Machines
from provisioner.errors import NotFound
from provisioner.model.machines import Machine
from provisioner.params import ContentView, Params, redact
from provisioner.services.callers import machine_of, require
from provisioner.services.effective import effective_values, own_values, shown_params
from provisioner.services.http import body, json, principal
from provisioner.services.listing import Listing, Page, flag
from provisioner.services.machine_documents import change_of, whole
from provisioner.services.operations import Operation, Query
from provisioner.services.preconditions import check, is_known, revision_tag, tag_of
from provisioner.services.resources import patch_of, sent

_ALL = "/api/v1/machines"
_MACHINE = "/api/v1/machines/{machine}"
_AGGREGATE = Query("aggregate", "`params` are all that a machine has from anywhere, not only its own", bool)
_COMPUTED = {"available": attrgetter("available"), "done": attrgetter("done")}
_EXAMPLE = {"name": "node-1", "macs": ["52:54:00:12:34:56"], "description": "top of rack 1"}
_FORCE = Query("force", "drop work that is left", bool)


class MachineView(Machine, frozen=True, kw_only=True):
    """A machine as it is shown, with what follows from its fields."""

    available: bool = True
    done: bool = True


class MachineDocument(MachineView, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A machine as it replaces the old one: fields that are read-only may be left out, or be as they are."""

    id: str = ""
    created_at: datetime | None = None  # type: ignore[assignment]
    updated_at: datetime | None = None  # type: ignore[assignment]


def show_machine(machine: Machine, view: ContentView) -> dict[str, Any]:
    """A machine as it is shown: its secure params hidden."""
    shown: dict[str, Any] = msgspec.to_builtins(machine, builtin_types=())
    shown["params"] = redact(machine.params, view)
    return shown | {"available": machine.available, "done": machine.done}


def machine_answer(machine: Machine, view: ContentView, status: int = 200) -> web.Response:
    """A machine as an answer, with its ETag."""
    headers = {"ETag": revision_tag(machine)}
    if status == 201:
        headers["Location"] = f"/api/v1/machines/{machine.id}"
    return json(show_machine(machine, view), status, headers)


def decided_machine(request: web.Request, ledger: Ledger, machines: Machines, verb: str) -> Machine:
    """The machine as it has been decided, which is what a change starts from; its preconditions hold."""
    found = machine_of(request, machines, verb)
    machine = ledger.get(Machine, found.id)
    if machine is None:
        raise NotFound(f"there is no machine {found.name!r}", object=found.id)
    check(request, revision_tag(machine), machine.name)
    return machine


def listing_of(view: ContentView, aggregate: bool) -> Listing:
    """How machines are listed; with `aggregate`, params are all that a machine has from anywhere."""
    values = effective_values(view) if aggregate else own_values(view)
    return Listing(Machine, attrgetter("id"), "name", _COMPUTED, {"params": values})


class MachineRoutes:
    """The routes of machines; every one checks its caller first."""

    def __init__(self, ledger: Ledger, catalog: Catalog, machines: Machines) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._machines = machines

    def operations(self) -> list[Operation]:
        """What can be done with machines."""
        tag: str = "machines"
        shown, made = {200: MachineView}, {201: MachineView}
        return [
            Operation("GET", _ALL, self.list_machines, tag, {200: Page[MachineView]}, (_AGGREGATE,), lists=Machine),
            Operation("POST", _ALL, self.create_machine, tag, made, body=NewMachine, example=_EXAMPLE),
            Operation("GET", _MACHINE, self.get_machine, tag, shown, (_AGGREGATE,), tagged=True),
            Operation("PUT", _MACHINE, self.put_machine, tag, shown, (_FORCE,), MachineDocument, tagged=True),
            Operation("PATCH", _MACHINE, self.change_machine, tag, shown, (_FORCE,), MachineChange, tagged=True),
            Operation("DELETE", _MACHINE, self.delete_machine, tag, shown, tagged=True),
        ]

    def _show(self, machine: Machine) -> dict[str, Any]:
        return show_machine(machine, self._catalog.view)

    def _answer(self, machine: Machine, status: int = 200) -> web.Response:
        return machine_answer(machine, self._catalog.view, status)

    async def list_machines(self, request: web.Request) -> web.Response:
        """List machines; inventories are left out."""
        require(request, "list machines")
        aggregate = flag(request.query, "aggregate")
        asked = MultiDict((name, value) for name, value in request.query.items() if name != "aggregate")
        listing = listing_of(self._catalog.view, aggregate)
        show = self._shower(aggregate)
        return json(listing.page(self._ledger.read_all(Machine), asked, show))

    def _shower(self, aggregate: bool) -> Callable[[Machine], dict[str, Any]]:
        """Shows machines without their inventories, with their own params or with all that they have."""
        params = Params(self._catalog.view)

        def show(machine: Machine) -> dict[str, Any]:
            shown = self._show(replace(machine, inventory={}))
            return shown | {"params": shown_params(machine, params)} if aggregate else shown

        return show

    async def create_machine(self, request: web.Request) -> web.Response:
        """Make a machine before it was ever seen."""
        require(request, "create machines")
        asked = await body(request, NewMachine)
        return self._answer(await self._machines.create(asked, principal(request)), 201)

    async def get_machine(self, request: web.Request) -> web.Response:
        """Read one machine, by id or name."""
        machine = machine_of(request, self._machines, "read machines", itself=True)
        aggregate = flag(request.query, "aggregate")
        shown = self._show(machine)
        if aggregate:
            shown["params"] = shown_params(machine, Params(self._catalog.view))
        # What it has from elsewhere may change without its revision.
        tag = tag_of(shown) if aggregate else revision_tag(machine)
        if is_known(request, tag):
            return web.Response(status=304, headers={"ETag": tag})
        return json(shown, headers={"ETag": tag})

    def _decided(self, request: web.Request, verb: str) -> Machine:
        """The machine as it has been decided, which is what a change starts from; its preconditions hold."""
        return decided_machine(request, self._ledger, self._machines, verb)

    async def change_machine(self, request: web.Request) -> web.Response:
        """Change some fields of a machine."""
        require(request, "change machines")
        force = flag(request.query, "force")
        patch = await patch_of(request)
        machine = self._decided(request, "change machines")
        shown = self._document(machine)
        change = change_of(shown, patch.apply(shown), patch.fields)
        return self._answer(await self._machines.change(machine.id, change, principal(request), force=force))

    async def put_machine(self, request: web.Request) -> web.Response:
        """Replace what is set of a machine; its work stays as it is unless another is named."""
        require(request, "change machines")
        force = flag(request.query, "force")
        document = await sent(request)
        machine = self._decided(request, "change machines")
        change = whole(self._document(machine), document)
        return self._answer(await self._machines.change(machine.id, change, principal(request), force=force))

    def _document(self, machine: Machine) -> Any:
        """The machine as it is shown, as plain JSON."""
        return msgspec.json.decode(msgspec.json.encode(self._show(machine)))

    async def delete_machine(self, request: web.Request) -> web.Response:
        """Forget a machine."""
        machine = self._decided(request, "delete machines")
        await self._machines.delete(machine.id, principal(request))
        return self._answer(machine)
