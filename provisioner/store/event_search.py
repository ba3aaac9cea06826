"""Finding events: which ones are wanted, and the statements that read them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

from msgspec import Struct
from msgspec.json import decode

from provisioner.events import Event
from provisioner.store.event_index import block_of, events_of
from provisioner.store.spans import LARGEST, between

_COLUMNS = "id, time, kind, machine, mac, key, by, data"
# So many are read by one statement at least: who looks for a few of a kind need not ask for each block.
_SOME = 256


class EventQuery(Struct, frozen=True, kw_only=True):
    """Which events: of a machine or any of these MACs, of these kinds, after or before an id.

    `since` and `until` are times; the second is not included.
    """

    machine: str = ""
    macs: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    key: str = ""
    mac: str = ""
    by: str = ""
    since: datetime | None = None
    until: datetime | None = None
    after: int = 0
    before: int = 0
    limit: int = 200
    newest_first: bool = False

    def names(self) -> tuple[str, ...]:
        """Whose events these are, machines and MACs; all others may be left aside, unless there are no names."""
        whose = (self.machine, *self.macs) if self.machine else self.macs
        return whose or ((self.mac,) if self.mac else ())


class EventSearch:
    """A query, with what the index has in memory of its names: all from block `first_in_memory` on."""

    def __init__(self, query: EventQuery, first_in_memory: int, newest: list[int]) -> None:
        self._query = query
        self._first_in_memory = first_in_memory
        self._newest = newest

    def events(self, conn: sqlite3.Connection) -> Iterator[Event]:
        """Those that fit, in order."""
        order = "DESC" if self._query.newest_first else "ASC"
        missing = self._query.limit
        for where, values in self._parts(conn):
            sql = f"SELECT {_COLUMNS} FROM events WHERE {where} ORDER BY id {order} LIMIT ?"
            for row in conn.execute(sql, [*values, missing]):
                missing -= 1
                yield _event(*row)
            if missing <= 0:
                return

    def count(self, conn: sqlite3.Connection, highest: int) -> int:
        """How many fit, at most `highest`."""
        found = 0
        for where, values in self._parts(conn):
            sql = f"SELECT count(*) FROM (SELECT 1 FROM events WHERE {where} LIMIT ?)"
            found += conn.execute(sql, [*values, highest - found]).fetchone()[0]
            if found >= highest:
                break
        return found

    def _parts(self, conn: sqlite3.Connection) -> Iterator[tuple[str, list[Any]]]:
        """Conditions of events, all of which come before those of the next ones."""
        where, values = _conditions(self._query)
        low, high = _bounds(conn, self._query)
        if not self._query.names():
            yield " AND ".join(["id BETWEEN ? AND ?", *where]), [low, high, *values]
            return
        whole = " AND ".join(["id IN (SELECT value FROM json_each(?))", *where])
        numbers = self._numbers(conn, low, high)
        while some := list(islice(numbers, max(self._query.limit, _SOME))):
            yield whole, [json.dumps(some), *values]

    def _numbers(self, conn: sqlite3.Connection, low: int, high: int) -> Iterator[int]:
        """The numbers from the lowest to the highest of events of these names, in the order asked for."""
        newest_first = self._query.newest_first
        blocks = range(block_of(low), min(block_of(high) + 1, self._first_in_memory))
        on_disk = events_of(conn, self._query.names(), blocks, newest_first=newest_first) if blocks else iter(())
        newest = iter([self._newest])
        for events in chain(newest, on_disk) if newest_first else chain(on_disk, newest):
            fitting = {event for event in events if low <= event <= high}
            yield from sorted(fitting, reverse=newest_first)


def _bounds(conn: sqlite3.Connection, query: EventQuery) -> tuple[int, int]:
    """The lowest and the highest number that an event which fits can have."""
    low, high = query.after + 1, query.before - 1 if query.before else LARGEST
    if query.since or query.until:
        first, last = between(conn, _text(query.since), _text(query.until))
        low, high = max(low, first), min(high, last)
    return low, high


def _conditions(query: EventQuery) -> tuple[list[str], list[Any]]:
    where: list[str] = []
    values: list[Any] = []
    whose = []
    if query.machine:
        whose.append("machine = ?")
        values.append(query.machine)
    if query.macs:
        whose.append(f"mac IN ({','.join('?' * len(query.macs))})")
        values.extend(query.macs)
    if whose:
        where.append(f"({' OR '.join(whose)})")
    if query.kinds:
        where.append("(" + " OR ".join(["kind = ? OR kind LIKE ? || '.%'"] * len(query.kinds)) + ")")
        values.extend(kind for name in query.kinds for kind in (name, name))
    plain = (
        ("key = ?", query.key),
        ("mac = ?", query.mac),
        ("by = ?", query.by),
        ("time >= ?", _text(query.since)),
        ("time < ?", _text(query.until)),
    )
    for condition, value in plain:
        if value:
            where.append(condition)
            values.append(value)
    return where, values


def _text(time: datetime | None) -> str:
    return time.astimezone(UTC).isoformat() if time else ""


def _event(id: int, time: str, kind: str, machine: str, mac: str, key: str, by: str, data: str) -> Event:
    return Event(
        id=id,
        time=datetime.fromisoformat(time),
        kind=kind,
        machine=machine,
        mac=mac,
        key=key,
        by=by,
        data=decode(data),
    )
