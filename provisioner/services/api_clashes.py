"""Clashes: newcomers that are held because they look like known machines, and how they are resolved."""

from __future__ import annotations

from aiohttp import web
from msgspec import Struct

from provisioner.conductor.catalog import Catalog
from provisioner.conductor.clashes import Clashes
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.registration import Registrations
from provisioner.identity import maybe_mac
from provisioner.model.machines import Clash
from provisioner.services.api_machines import MachineView, machine_answer
from provisioner.services.callers import require
from provisioner.services.http import body, principal
from provisioner.services.operations import Operation
from provisioner.services.resources import Resource, Routes


class ResolveBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Who the newcomer is: a known machine by id or name; empty: a new one."""

    machine: str


class ClashRoutes:
    """The routes of clashes; every one checks its caller first."""

    def __init__(self, ledger: Ledger, catalog: Catalog, clashes: Clashes, registrations: Registrations) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._clashes = clashes
        self._registrations = registrations

    def operations(self) -> list[Operation]:
        """What can be done with clashes."""
        path, shown = "/api/v1/clashes/{mac}/resolve", {200: MachineView}
        example = {"machine": "node-1"}
        return [
            *Routes(self._resource()).operations(),
            Operation("POST", path, self.resolve, "machines", shown, body=ResolveBody, example=example),
        ]

    def _resource(self) -> Resource:
        return Resource(
            cls=Clash,
            plural="clashes",
            key="mac",
            tag="machines",
            all=lambda: self._ledger.read_all(Clash),
            read=lambda mac: self._ledger.read(Clash, maybe_mac(mac)),
            get=lambda mac: self._ledger.get(Clash, maybe_mac(mac)),
            delete=self._clashes.forget,
            order="first_seen_at",
        )

    async def resolve(self, request: web.Request) -> web.Response:
        """Say who a held newcomer is: its MACs move to that machine, or to a new one."""
        require(request, "change clashes")
        asked = await body(request, ResolveBody)
        mac = request.match_info["mac"]
        resolved = await self._registrations.resolve(mac, asked.machine, principal(request))
        return machine_answer(resolved, self._catalog.view)
