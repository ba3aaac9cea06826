"""What is wrong with the boot network, and the call for other DHCP servers."""

from __future__ import annotations

from aiohttp import web

from provisioner.conductor.doctor import Doctor, Examination
from provisioner.conductor.machines import Machines
from provisioner.services.callers import require
from provisioner.services.http import json
from provisioner.services.operations import Operation, Query

_WHOSE = (Query("machine", "only what concerns this machine, by id or name"),)


class DoctorRoutes:
    """The routes of the doctor."""

    def __init__(self, doctor: Doctor, machines: Machines) -> None:
        self._doctor = doctor
        self._machines = machines

    def operations(self) -> list[Operation]:
        """What the doctor can be asked."""
        return [
            Operation("GET", "/api/v1/doctor", self.examine, "doctor", {200: Examination}, _WHOSE),
            Operation("POST", "/api/v1/doctor/probe", self.probe, "doctor", {200: Examination}, errors=(409,)),
        ]

    async def examine(self, request: web.Request) -> web.Response:
        """Say what is wrong with the boot network, the worst first, from the timelines of the last day."""
        require(request, "read findings")
        name = request.query.get("machine", "")
        return json(await self._doctor.examine(self._machines.find(name) if name else None))

    async def probe(self, request: web.Request) -> web.Response:
        """Call for other DHCP servers on the networks we serve, wait three seconds for answers, then examine."""
        require(request, "probe networks")
        await self._doctor.probe()
        return json(await self._doctor.examine())
