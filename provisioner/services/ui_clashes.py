"""Newcomers that are held because they look like known machines, and the form that says who they are."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web
from msgspec import Struct

from provisioner.access import require_user
from provisioner.conductor.clashes import Clashes
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.registration import Registrations
from provisioner.model.machines import Clash, Machine
from provisioner.services.http import principal
from provisioner.services.ui_answers import Answers, posted, redirect, wrong
from provisioner.services.ui_pages import Page
from provisioner.services.ui_views import Views

_CLASHES = Page("clashes", "/", ("body",), "machine.clash,machine.resolve,machine.delete,object.delete,boot.held")


class ClashRow(Struct, frozen=True):
    """A clash, and the machines that it looks like."""

    clash: Clash
    machines: tuple[Machine, ...]


class ClashPages:
    """The routes of clashes."""

    def __init__(
        self, answers: Answers, ledger: Ledger, views: Views, clashes: Clashes, registrations: Registrations
    ) -> None:
        self._answers = answers
        self._ledger = ledger
        self._views = views
        self._clashes = clashes
        self._registrations = registrations

    def routes(self) -> list[web.RouteDef]:
        """The routes of this service."""
        return [web.get("/clashes", self.clashes), web.post("/clashes/{mac}", self.resolve)]

    async def clashes(self, request: web.Request) -> web.Response:
        """All that are held, the one that came last first."""
        require_user(principal(request), "use the web UI")
        last = await self._views.last_event()
        rows = [self._row(clash) for clash in sorted(self._ledger.read_all(Clash), key=_last_seen, reverse=True)]
        return self._answers.live(request, _CLASHES, {"clashes": rows}, last)

    def _row(self, clash: Clash) -> ClashRow:
        known = (self._ledger.read(Machine, machine) for machine in clash.machines)
        return ClashRow(clash, tuple(machine for machine in known if machine is not None))

    async def resolve(self, request: web.Request) -> web.Response:
        """Say who it is: `who` is a machine's id, `new`, `other` (then `name` is a machine's name), or `again`."""
        caller = principal(request)
        require_user(caller, "change clashes")
        form = await posted(request)
        mac, who = request.match_info["mac"], form.get("who", "")
        if who == "again":
            await self._clashes.forget(mac, caller)
            return redirect("/clashes")
        if who == "other":
            who = form.get("name", "").strip()
        if not who:
            raise wrong("who", "say which machine it is, or that it is a new one")
        machine = await self._registrations.resolve(mac, "" if who == "new" else who, caller)
        return redirect(f"/machines/{machine.name}")


def _last_seen(clash: Clash) -> datetime:
    return clash.last_seen_at
