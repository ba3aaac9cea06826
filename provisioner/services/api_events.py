"""Events: the stored ones as a list, and a stream of them as they happen (server-sent events)."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from provisioner.bus import Lagged
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machines import Machines
from provisioner.events import Event
from provisioner.model import Machine
from provisioner.services.callers import require
from provisioner.services.http import json, number
from provisioner.services.operations import Operation, Query, Raw
from provisioner.store.database import Database, EventQuery

_KEEPALIVE_SECONDS = 15
_NUMBER = Annotated[int, Meta(ge=0, le=1 << 53)]
_WHOSE = (
    Query("machine", "of this machine, by id or name, and of its MACs before it was known"),
    Query("kind", "kinds by commas: `dhcp.ack`, or `dhcp` for all of that family"),
    Query("after", "only events with a higher number", _NUMBER),
)
_LIST = (
    *_WHOSE,
    Query("key", "of the object with this key"),
    Query("before", "only events with a lower number", _NUMBER),
    Query("limit", "at most so many", Annotated[int, Meta(ge=1, le=5000)]),
    Query("order", "`newest` for newest first"),
)


class EventRoutes:
    """The routes of events."""

    def __init__(self, ledger: Ledger, machines: Machines, database: Database) -> None:
        self._ledger = ledger
        self._machines = machines
        self._database = database

    def operations(self) -> list[Operation]:
        """What can be done with events."""
        stream = {200: Raw("text/event-stream")}
        return [
            Operation("GET", "/api/v1/events", self.list_events, "events", {200: dict[str, Any]}, _LIST),
            Operation("GET", "/api/v1/events/stream", self.stream_events, "events", stream, _WHOSE),
        ]

    def _query(self, request: web.Request, machine: Machine | None) -> EventQuery:
        return EventQuery(
            machine=machine.id if machine else "",
            macs=machine.macs if machine else (),
            kinds=tuple(filter(None, request.query.get("kind", "").split(","))),
            key=request.query.get("key", ""),
            after=number(request, "after", 0, 0, 1 << 53),
            before=number(request, "before", 0, 0, 1 << 53),
            limit=number(request, "limit", 200, 1, 5000),
            newest_first=request.query.get("order") == "newest",
        )

    def _asked_machine(self, request: web.Request) -> Machine | None:
        name = request.query.get("machine", "")
        return self._machines.find(name) if name else None

    async def list_events(self, request: web.Request) -> web.Response:
        """Events; of a machine also those of its MACs from before it was known."""
        require(request, "read events")
        found = await self._database.events(self._query(request, self._asked_machine(request)))
        return json({"items": found, "total": len(found), "next": str(found[-1].id) if found else None})

    async def stream_events(self, request: web.Request) -> web.StreamResponse:
        """Events as they are published (server-sent events), from after `Last-Event-ID` on when that is given."""
        require(request, "read events")
        machine = self._asked_machine(request)
        kinds = tuple(filter(None, request.query.get("kind", "").split(",")))
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        with self._ledger.bus.subscribe() as subscription:
            seen = await self._catch_up(request, response, machine, kinds)
            await response.write(b": listening\n\n")
            while True:
                try:
                    async with asyncio.timeout(_KEEPALIVE_SECONDS):
                        event = await subscription.next()
                except TimeoutError:
                    await response.write(b": still here\n\n")
                    continue
                except Lagged:
                    # The browser reconnects with the last id it saw and catches up from the store.
                    return response
                if (event.id == 0 or event.id > seen) and _concerns(event, machine, kinds):
                    await response.write(_frame(event))

    async def _catch_up(
        self, request: web.Request, response: web.StreamResponse, machine: Machine | None, kinds: tuple[str, ...]
    ) -> int:
        text = request.headers.get("Last-Event-ID", request.query.get("after", ""))
        if not (text.isascii() and text.isdigit()):
            return 0
        seen = int(text[:18])
        while True:
            query = EventQuery(
                machine=machine.id if machine else "", macs=machine.macs if machine else (), kinds=kinds, after=seen
            )
            missed = await self._database.events(query)
            for event in missed:
                await response.write(_frame(event))
                seen = event.id
            if len(missed) < query.limit:
                return seen


def _concerns(event: Event, machine: Machine | None, kinds: tuple[str, ...]) -> bool:
    if kinds and event.kind not in kinds and event.kind.partition(".")[0] not in kinds:
        return False
    return machine is None or event.machine == machine.id or event.mac in machine.macs


def _frame(event: Event) -> bytes:
    number = b"id: %d\n" % event.id if event.id else b""
    return number + b"data: " + msgspec.json.encode(event) + b"\n\n"
