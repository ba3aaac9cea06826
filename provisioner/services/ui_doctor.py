"""The pages of the boot network's health: what is wrong, and what each client said and was told."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from provisioner.access import require_user
from provisioner.conductor.doctor import Doctor
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machines import Machines
from provisioner.errors import Invalid, NotFound
from provisioner.identity import normal_mac
from provisioner.model.addresses import Subnet
from provisioner.model.machines import Machine
from provisioner.services.api_packets import ShownPacket, show
from provisioner.services.http import principal
from provisioner.services.ui_answers import Answers, posted, redirect
from provisioner.services.ui_pages import Page
from provisioner.store.recorder import FlightRecorder

_DOCTOR = Page("doctor", "/leases")
_PACKETS = Page("packets", "/leases")
# Of all clients together; one client never has more than the recorder keeps of each.
PACKETS_LIMIT = 200


class DoctorPages:
    """The routes of findings and packets."""

    def __init__(
        self, answers: Answers, ledger: Ledger, machines: Machines, doctor: Doctor, recorder: FlightRecorder | None
    ) -> None:
        self._answers = answers
        self._ledger = ledger
        self._machines = machines
        self._doctor = doctor
        self._recorder = recorder

    def routes(self) -> list[web.RouteDef]:
        """The routes of this service."""
        return [
            web.get("/doctor", self.examine),
            web.post("/doctor", self.probe),
            web.get("/packets", self.packets),
        ]

    async def examine(self, request: web.Request) -> web.Response:
        """What is wrong with the boot network, or with the boots of one `machine`."""
        require_user(principal(request), "use the web UI")
        name = request.query.get("machine", "")
        machine = self._machines.find(name) if name else None
        found = await self._doctor.examine(machine)
        answering = any(each.enabled for each in self._ledger.read_all(Subnet))
        values = {"found": found, "machine": machine, "names": self._names(), "answering": answering}
        return self._answers.page(request, _DOCTOR, values)

    async def probe(self, request: web.Request) -> web.Response:
        """Call for other DHCP servers, then show what is wrong."""
        require_user(principal(request), "probe networks")
        await posted(request)
        await self._doctor.probe()
        return redirect("/doctor")

    async def packets(self, request: web.Request) -> web.Response:
        """The last packets of `client`, a machine or a MAC, or of all clients."""
        require_user(principal(request), "use the web UI")
        client = request.query.get("client", "").strip()
        values: dict[str, Any] = {"client": client, "machine": None, "query": {}, "message": "", "packets": []}
        status = 200
        if self._recorder is None:
            values["message"] = "nothing is recorded: setting recorder.size_mb is 0"
        else:
            try:
                machine, macs = self._whose(client)
            except (NotFound, Invalid) as error:
                values["message"], status = error.message, error.status
            else:
                values["machine"] = machine
                values["query"] = _query(machine, macs)
                values["packets"] = await asyncio.to_thread(_read, self._recorder, macs)
        return self._answers.page(request, _PACKETS, values | {"names": self._names()}, status)

    def _whose(self, client: str) -> tuple[Machine | None, tuple[str, ...]]:
        """The machine and the MACs that are meant; an empty MAC stands for all."""
        if not client:
            return None, ("",)
        # A machine first: a MAC without anything between its digits may as well be a name.
        try:
            machine = self._machines.find(client)
        except NotFound:
            try:
                mac = normal_mac(client, "client")
            except Invalid:
                raise NotFound(f"{client!r} is neither a machine nor a MAC", object=client) from None
        else:
            return machine, machine.macs
        return self._ledger.machine_by_mac(mac), (mac,)

    def _names(self) -> dict[str, str]:
        """Machines' names by MAC."""
        return {mac: machine.name for machine in self._ledger.read_all(Machine) for mac in machine.macs}


def _query(machine: Machine | None, macs: tuple[str, ...]) -> dict[str, str]:
    """What asks the API for the same packets."""
    if macs == ("",):
        return {}
    return {"machine": machine.name} if machine is not None and macs == machine.macs else {"mac": macs[0]}


def _read(recorder: FlightRecorder, macs: tuple[str, ...]) -> list[ShownPacket]:
    """The newest first: who looks wants to see what happened just now."""
    found = sorted((each for mac in macs for each in recorder.packets(mac)), key=lambda packet: packet.time)
    return [show(each) for each in reversed(found[-PACKETS_LIMIT:])]
