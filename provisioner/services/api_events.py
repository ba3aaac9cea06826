"""Events: the stored ones as a list, and a stream of them as they happen (server-sent events).

A user sees all events, a machine only its own: those that name it, and those of its MACs from before it was known.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta, Struct
from msgspec.structs import replace

from provisioner.access import Who, require_machine, require_user
from provisioner.bus import Lagged, Subscription
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machines import Machines
from provisioner.errors import FieldError, Invalid, unknown
from provisioner.events import KINDS, Event
from provisioner.identity import maybe_mac
from provisioner.model.machines import Machine
from provisioner.services.http import json, number, principal, unless_closing
from provisioner.services.listing import Page, moment
from provisioner.services.operations import Operation, Query, Raw
from provisioner.store.database import Database
from provisioner.store.event_search import EventQuery

_HEARTBEAT_SECONDS = 15
# How long a browser waits before it connects again after the stream broke.
_RETRY_MS = 2000
_HIGHEST_LIMIT = 5000
# Totals are counted so far: more precisely nobody wants to know how many millions there are.
_COUNTED = 100_000
_NUMBER = Annotated[int, Meta(ge=0, le=1 << 53)]
_FAMILIES = frozenset(kind.partition(".")[0] for kind in KINDS)
_WHOSE = (
    Query("machine", "of this machine, by id or name, and of its MACs from before it was known"),
    Query("kind", "kinds by commas: `dhcp.ack`, or `dhcp` for all of that family"),
    Query("key", "of the object with this key"),
    Query("mac", "of this MAC"),
    Query("by", "caused by `user:NAME`, `machine:ID`, `server` or `clock`"),
    Query("after", "only events with a higher number", _NUMBER),
)
_LIST = (
    *_WHOSE,
    Query("since", "not before this time", datetime),
    Query("until", "before this time", datetime),
    Query("before", "only events with a lower number", _NUMBER),
    Query("limit", "at most so many, 200 unless told", Annotated[int, Meta(ge=1, le=_HIGHEST_LIMIT)]),
    Query("order", "`newest` for newest first, else `oldest`"),
    Query("cursor", "`next` of the page before"),
)


class Watch(Struct, frozen=True):
    """Which events somebody listens to."""

    machine: Machine | None = None
    kinds: tuple[str, ...] = ()
    key: str = ""
    mac: str = ""
    by: str = ""

    def concerns(self, event: Event) -> bool:
        """Whether the event is one of them."""
        if self.kinds and event.kind not in self.kinds and event.kind.partition(".")[0] not in self.kinds:
            return False
        wanted = ((self.key, event.key), (self.mac, event.mac), (self.by, event.by))
        if any(value and value != found for value, found in wanted):
            return False
        return self.machine is None or event.machine == self.machine.id or event.mac in self.machine.macs

    def query(self) -> EventQuery:
        """The stored ones of them."""
        machine = self.machine
        return EventQuery(
            machine=machine.id if machine else "",
            macs=machine.macs if machine else (),
            kinds=self.kinds,
            key=self.key,
            mac=self.mac,
            by=self.by,
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
            Operation("GET", "/api/v1/events", self.list_events, "events", {200: Page[Event]}, _LIST),
            Operation("GET", "/api/v1/events/stream", self.stream_events, "events", stream, _WHOSE),
        ]

    def _watch(self, request: web.Request) -> Watch:
        """What the caller asks to see, within what they may see."""
        caller = principal(request)
        name = request.query.get("machine", "")
        if caller.who is Who.MACHINE:
            name = name or caller.name
            require_machine(caller, name, "read events")
        else:
            require_user(caller, "read events")
        machine = self._machines.find(name) if name else None
        plain = {field: request.query.get(field, "") for field in ("key", "by")}
        return Watch(machine, _kinds(request.query), mac=maybe_mac(request.query.get("mac", "")), **plain)

    async def list_events(self, request: web.Request) -> web.Response:
        """List events; of a machine also those of its MACs from before it was known."""
        query = request.query
        newest_first = _choice(query, "order", ("oldest", "newest")) == "newest"
        asked = replace(
            self._watch(request).query(),
            since=moment(query, "since"),
            until=moment(query, "until"),
            after=number(request, "after", 0, 0, 1 << 53),
            before=number(request, "before", 0, 0, 1 << 53),
            limit=number(request, "limit", 200, 1, _HIGHEST_LIMIT),
            newest_first=newest_first,
        )
        total = await self._database.count_events(asked, _COUNTED)
        found = await self._database.events(_from_cursor(asked, query.get("cursor")))
        following = _cursor(found[-1].id) if len(found) == asked.limit else None
        return json(Page(found, total, following))

    async def stream_events(self, request: web.Request) -> web.StreamResponse:
        """Follow events as they happen (server-sent events), from after `Last-Event-ID` on when that is given."""
        watch = self._watch(request)
        last = request.headers.get("Last-Event-ID", request.query.get("after", ""))
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        with self._ledger.bus.subscribe() as subscription:
            begun = await self._seen(last)
            await response.write(b": listening\nretry: %d\n\n" % _RETRY_MS)
            seen = await self._catch_up(response, watch, begun) if begun is not None else 0
            await self._follow(request, response, subscription, watch, seen)
        return response

    async def _follow(
        self, request: web.Request, response: web.StreamResponse, subscription: Subscription, watch: Watch, seen: int
    ) -> None:
        """Write what is published until the server stops, or the listener has fallen behind: it will come back."""
        while True:
            try:
                async with asyncio.timeout(_HEARTBEAT_SECONDS):
                    if not await unless_closing(request, subscription.arrival()):
                        return
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            try:
                arrived = subscription.take()
            except Lagged:
                return
            for event in arrived:
                if (event.id == 0 or event.id > seen) and watch.concerns(event):
                    await response.write(_frame(event))

    async def _seen(self, last: str) -> int | None:
        """The number of the last event that the listener has seen; None for one who only wants what comes.

        Someone may have seen more than there is: the store was put back from a copy. They see all that comes.
        """
        if not (last.isascii() and last.isdigit()):
            return None
        newest = await self._database.events(EventQuery(limit=1, newest_first=True))
        return min(int(last[:18]), newest[0].id if newest else 0)

    async def _catch_up(self, response: web.StreamResponse, watch: Watch, seen: int) -> int:
        """Write what was missed; returns the number up to which everything was seen."""
        while True:
            query = replace(watch.query(), after=seen)
            missed = await self._database.events(query)
            for event in missed:
                await response.write(_frame(event))
                seen = event.id
            if len(missed) < query.limit:
                return seen


def _kinds(query: Mapping[str, str]) -> tuple[str, ...]:
    kinds = tuple(filter(None, query.get("kind", "").split(",")))
    wrong = [kind for kind in kinds if kind not in KINDS and kind not in _FAMILIES]
    if wrong:
        message = unknown("kind", wrong[0][:80], sorted(_FAMILIES))
        raise Invalid(f"kind: {message}", status=400, fields=(FieldError("kind", message),))
    return kinds


def _choice(query: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    text = query.get(name, choices[0])
    if text not in choices:
        message = f"{text[:40]!r} is not one of: {', '.join(choices)}"
        raise Invalid(f"{name}: {message}", status=400, fields=(FieldError(name, message),))
    return text


def _cursor(last: int) -> str:
    return urlsafe_b64encode(b"%d" % last).decode().rstrip("=")


def _from_cursor(query: EventQuery, cursor: str | None) -> EventQuery:
    if cursor is None:
        return query
    try:
        last = int(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[:18])
    except ValueError as error:
        message = "is not the `next` of a page of events"
        raise Invalid(f"cursor: {message}", status=400, fields=(FieldError("cursor", message),)) from error
    if query.newest_first:
        return replace(query, before=min(last, query.before) if query.before else last)
    return replace(query, after=max(last, query.after))


def _frame(event: Event) -> bytes:
    number = b"id: %d\n" % event.id if event.id else b""
    return number + b"data: " + msgspec.json.encode(event) + b"\n\n"
