"""The params of a machine: its own, and what it has from anywhere."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from provisioner.access import require_param
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.machine_changes import MachineChange
from provisioner.conductor.machines import Machines
from provisioner.errors import NotFound
from provisioner.params import redact, resolve
from provisioner.services.callers import machine_of
from provisioner.services.http import body, json, principal
from provisioner.services.operations import Operation, Query

_PARAMS = "/api/v1/machines/{machine}/params"
_PARAM = _PARAMS + "/{name:.+}"
_AGGREGATE = Query("aggregate", "all params that it has from anywhere, not only its own", bool)


class ParamRoutes:
    """The routes of machines' params."""

    def __init__(self, catalog: Catalog, machines: Machines) -> None:
        self._catalog = catalog
        self._machines = machines

    def operations(self) -> list[Operation]:
        """What can be done with the params of a machine."""
        return [
            Operation("GET", _PARAMS, self.get_params, "params", {200: dict[str, Any]}, (_AGGREGATE,)),
            Operation("PATCH", _PARAMS, self.change_params, "params", {200: dict[str, Any]}, body=dict[str, Any]),
            Operation("GET", _PARAM, self.get_param, "params"),
            Operation("PUT", _PARAM, self.put_param, "params", {204: None}, body=Any),
            Operation("DELETE", _PARAM, self.delete_param, "params", {204: None}),
        ]

    async def get_params(self, request: web.Request) -> web.Response:
        """The machine's own params, or with `aggregate=true` all that it has from anywhere; secure ones hidden."""
        machine = machine_of(request, self._machines, "read params", itself=True)
        view = self._catalog.view
        if request.query.get("aggregate") != "true":
            return json(redact(machine.params, view))
        values = {name: found.value for name, found in resolve(machine, view).items()}
        return json(redact(values, view))

    async def change_params(self, request: web.Request) -> web.Response:
        """Set several params of the machine itself, all or none (merge-patch: null takes one off)."""
        machine = machine_of(request, self._machines, "set params", itself=True)
        values = await body(request, dict[str, Any])
        known = resolve(machine, self._catalog.view)
        for name, value in values.items():
            require_param(principal(request), name, value is None or name in known)
        changed = await self._machines.change(machine.id, MachineChange(params=values), principal(request))
        return json(redact(changed.params, self._catalog.view))

    async def get_param(self, request: web.Request) -> web.Response:
        """The value the machine has for one param."""
        machine = machine_of(request, self._machines, "read params", itself=True)
        name = request.match_info["name"]
        found = resolve(machine, self._catalog.view).get(name)
        if found is None:
            raise NotFound(f"machine {machine.name} has no value for param {name!r}", object=machine.id)
        return json(redact({name: found.value}, self._catalog.view)[name])

    async def put_param(self, request: web.Request) -> web.Response:
        """Set one param of the machine itself."""
        machine = machine_of(request, self._machines, "set params", itself=True)
        name = request.match_info["name"]
        require_param(principal(request), name, name in resolve(machine, self._catalog.view))
        await self._machines.set_param(machine.id, name, await body(request, Any), principal(request))
        return web.Response(status=204)

    async def delete_param(self, request: web.Request) -> web.Response:
        """Remove one param of the machine itself."""
        machine = machine_of(request, self._machines, "set params", itself=True)
        require_param(principal(request), request.match_info["name"], has_value=True)
        await self._machines.drop_param(machine.id, request.match_info["name"], principal(request))
        return web.Response(status=204)
