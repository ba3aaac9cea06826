"""The params of a machine: its own, and what it has from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from provisioner.access import Who, require_param
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.machine_changes import MachineChange
from provisioner.conductor.machines import Machines
from provisioner.errors import Denied
from provisioner.model.machines import Machine
from provisioner.params import has_template, redact
from provisioner.services.callers import machine_of, require
from provisioner.services.http import body, json, principal
from provisioner.services.operations import Operation, Query
from provisioner.services.work import where

_PARAMS = "/api/v1/machines/{machine}/params"
_PARAM = _PARAMS + "/{name:.+}"
_AGGREGATE = Query("aggregate", "all params that it has from anywhere, not only its own", bool)
_WHY_ALL = Query("why", "for every param it has: value, layer, pack, and the layers below", bool)
_WHY = Query("why", "value, layer and pack it comes from, and the layers below", bool)
_REVEAL = Query("reveal", "show a secure value; an event tells of it", bool)


class ParamRoutes:
    """The routes of machines' params."""

    def __init__(self, catalog: Catalog, machines: Machines) -> None:
        self._catalog = catalog
        self._machines = machines

    def operations(self) -> list[Operation]:
        """What can be done with the params of a machine."""
        return [
            Operation("GET", _PARAMS, self.get_params, "params", {200: dict[str, Any]}, (_AGGREGATE, _WHY_ALL)),
            Operation("PATCH", _PARAMS, self.change_params, "params", {200: dict[str, Any]}, body=dict[str, Any]),
            Operation("GET", _PARAM, self.get_param, "params", query=(_WHY, _REVEAL), errors=(409,)),
            Operation("PUT", _PARAM, self.put_param, "params", {204: None}, body=Any),
            Operation("DELETE", _PARAM, self.delete_param, "params", {204: None}),
        ]

    async def get_params(self, request: web.Request) -> web.Response:
        """The machine's own params, or with `aggregate=true` all that it has from anywhere; secure ones hidden."""
        machine = machine_of(request, self._machines, "read params", itself=True)
        server = where(request).as_context
        if request.query.get("why") == "true":
            return json(self._catalog.values.why(machine, server))
        if request.query.get("aggregate") == "true":
            return json(self._catalog.values.shown(machine, server))
        return json(redact(machine.params, self._catalog.view))

    async def change_params(self, request: web.Request) -> web.Response:
        """Set several params of the machine itself, all or none (merge-patch: null takes one off)."""
        machine = machine_of(request, self._machines, "set params", itself=True)
        values = await body(request, dict[str, Any])
        self._check_caller(request, machine, values)
        changed = await self._machines.change(machine.id, MachineChange(params=values), principal(request))
        return json(redact(changed.params, self._catalog.view))

    async def get_param(self, request: web.Request) -> web.Response:
        """The value the machine has for one param."""
        machine = machine_of(request, self._machines, "read params", itself=True)
        name, server = request.match_info["name"], where(request).as_context
        if request.query.get("reveal") == "true":
            require(request, "reveal secure params")
            return json(await self._machines.reveal_param(machine.id, name, server, principal(request)))
        if request.query.get("why") == "true":
            return json(self._catalog.values.why_one(machine, name, server))
        return json(self._catalog.values.one(machine, name, server))

    async def put_param(self, request: web.Request) -> web.Response:
        """Set one param of the machine itself."""
        machine = machine_of(request, self._machines, "set params", itself=True)
        name = request.match_info["name"]
        value = await body(request, Any)
        self._check_caller(request, machine, {name: value})
        await self._machines.set_param(machine.id, name, value, principal(request))
        return web.Response(status=204)

    def _check_caller(self, request: web.Request, machine: Machine, values: Mapping[str, Any]) -> None:
        """A machine may set its own params, but those of its power only once, and no templates at all.

        A template is rendered with the secrets of the machine, and here, not there.
        """
        caller, known = principal(request), self._catalog.values.params.resolve(machine)
        declared = self._catalog.view["params"]
        for name, value in values.items():
            require_param(caller, name, value is None or name in known)
            expands = name in declared and declared[name].expand and has_template(value)
            if expands and caller.who is Who.MACHINE:
                message = f"a machine may not set a template in param {name!r}; an operator may"
                raise Denied(message, code="param-refused")

    async def delete_param(self, request: web.Request) -> web.Response:
        """Remove one param of the machine itself."""
        machine = machine_of(request, self._machines, "set params", itself=True)
        require_param(principal(request), request.match_info["name"], has_value=True)
        await self._machines.drop_param(machine.id, request.match_info["name"], principal(request))
        return web.Response(status=204)
