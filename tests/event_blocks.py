"""Events and their index on a database in memory, written as the writer does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from sqlite_utils import Database as Tables

from provisioner.events import Event
from provisioner.store.batches import Batch, write_all
from provisioner.store.event_index import EventIndex
from provisioner.store.schema import migrate


@contextmanager
def empty_database() -> Iterator[sqlite3.Connection]:
    """One that begins transactions in so many words."""
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.isolation_level = None
        migrate(Tables(conn, execute_plugins=False), None)
        yield conn


def commit(conn: sqlite3.Connection, index: EventIndex, events: Sequence[Event], *, failing: bool = False) -> None:
    """Write these, or fail at the very end."""
    conn.execute("BEGIN IMMEDIATE")
    write_all(conn, [Batch(0, (), events, lambda error: None)])
    index.write(conn, len(events))
    if failing:
        conn.execute("ROLLBACK")
        return
    conn.execute("COMMIT")
    index.wrote()
    index.tell(events)
