"""What is written together or not at all, and the statements that write it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from provisioner.errors import StoreError
from provisioner.events import Event
from provisioner.frozen import Frozen
from provisioner.store.rows import delete, insert, put
from provisioner.store.spans import extend

_ENCODE = msgspec.json.Encoder().encode
_EVENT_COLUMNS = ("id", "time", "kind", "machine", "mac", "key", "by", "data")
_PAGE_CHARACTERS = 4096
# A document is on a page of its table and on one of its index of keys, when it is alone there.
_PAGES_OF_A_ROW = 2
# Events are written one after the other, and each takes so much besides its data.
_CHARACTERS_OF_AN_EVENT = 160
# Of a commit, whatever it writes.
_PAGES_OF_A_GROUP = 2


class Write(Frozen, frozen=True):
    """One document to be put, or deleted when `value` is None."""

    table: str
    key: str
    value: Any


class Batch(Struct):
    """What is written together or not at all; `settled` is called on the event loop with the error, if any."""

    generation: int
    writes: Sequence[Write]
    events: Sequence[Event]
    settled: Callable[[StoreError | None], None]

    def rows(self) -> int:
        """How many rows it writes at most."""
        return len(self.writes) + len(self.events)


def write_all(conn: sqlite3.Connection, group: Sequence[Batch]) -> int:
    """Write a group; of a document that it writes several times, only what that is in the end.

    Returns about how many pages that was, rather too many than too few.
    """
    last: dict[tuple[str, str], Any] = {}
    for batch in group:
        for write in batch.writes:
            last[write.table, write.key] = write.value
    documents: dict[str, list[str]] = {}
    gone: dict[str, list[str]] = {}
    characters = 0
    for (table, key), value in last.items():
        if value is None:
            gone.setdefault(table, []).append(key)
        else:
            text = _ENCODE(value).decode()
            characters += len(text)
            documents.setdefault(table, []).extend((key, text))
    for table, values in documents.items():
        put(conn, table, "job" if table == "job_actions" else "key", values)
    for table, keys in gone.items():
        delete(conn, table, "key", keys)
    if "jobs" in gone:
        _forget_work_of(conn, gone["jobs"])
    told = _event_values(group)
    width = len(_EVENT_COLUMNS)
    insert(conn, "events", _EVENT_COLUMNS, told)
    extend(conn, told[::width])
    characters += sum(map(len, told[width - 1 :: width])) + len(told) // width * _CHARACTERS_OF_AN_EVENT
    return pages_of(len(last), characters)


def pages_of(rows: int, characters: int = 0) -> int:
    """About how many pages a group writes that changes so many rows here and there, rather too many than too few."""
    return _PAGES_OF_A_GROUP + _PAGES_OF_A_ROW * rows + characters // _PAGE_CHARACTERS


def _forget_work_of(conn: sqlite3.Connection, jobs: list[str]) -> None:
    """What belongs to jobs that are gone; their files are removed later, from this list."""
    delete(conn, "job_actions", "job", jobs)
    conn.executemany("INSERT OR IGNORE INTO removed_jobs (job) VALUES (?)", [(job,) for job in jobs])


def _event_values(group: Sequence[Batch]) -> list[Any]:
    """The rows of all events, one after the other."""
    values: list[Any] = []
    time, text = None, ""
    for batch in group:
        for event in batch.events:
            # All events of a transaction have the same time.
            if event.time is not time:
                time, text = event.time, event.time.isoformat()
            data = _ENCODE(event.data).decode()
            values += (event.id, text, event.kind, event.machine, event.mac, event.key, event.by, data)
    return values
