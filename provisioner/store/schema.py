"""The tables of the embedded store, as numbered migrations applied through sqlite-utils.

A migration is never edited once released: a database of any age is brought forward step by step, after a copy of it
has been put beside it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlite_utils import Database as Tables

from provisioner.errors import StoreError
from provisioner.store import event_index, spans

# What the first version had; it never changes again.
_FIRST = (
    "machines",
    "jobs",
    "subnets",
    "reservations",
    "leases",
    "users",
    "tokens",
    "params",
    "profiles",
    "templates",
    "tasks",
    "stages",
    "workflows",
    "bootenvs",
)
# One table of JSON documents by key for each kind of object that the server itself changes. A new kind gets its name
# here and a migration `_documents("name")` at the end of MIGRATIONS.
_CLASHES_AND_OPERATIONS = ("clashes", "operations")
DOCUMENT_TABLES = (*_FIRST, *_CLASHES_AND_OPERATIONS, "replies")


Migration = Callable[[Tables], None]


def _documents(*names: str) -> Migration:
    def create(tables: Tables) -> None:
        for name in names:
            tables.table(name).create({"key": str, "doc": str}, pk="key")

    return create


def _documents_and_events(tables: Tables) -> None:
    _documents(*_FIRST)(tables)
    tables.table("job_actions").create({"job": str, "doc": str}, pk="job")
    events = tables.table("events").create(
        {"id": int, "time": str, "kind": str, "machine": str, "mac": str, "key": str, "by": str, "data": str},
        pk="id",
    )
    events.create_index(["machine", "id"])
    events.create_index(["mac", "id"])


def _retention(tables: Tables) -> None:
    """Old events are found by their time; jobs that are gone are remembered until their files are gone too."""
    tables.table("events").create_index(["time"])
    tables.table("removed_jobs").create({"job": str}, pk="job")


def _fewer_pages(tables: Tables) -> None:
    """What every DHCP exchange writes touches as few pages as can be: each is written whole, and summed, at a commit.

    Leases lie in the order of their addresses, without a second tree for their keys. Most events of a storm have no
    machine yet, so they are in no index of machines. Times are found by spans instead of an index.
    """
    tables.execute("CREATE TABLE leases_by_key (key TEXT PRIMARY KEY, doc TEXT) WITHOUT ROWID")
    tables.execute("INSERT INTO leases_by_key (key, doc) SELECT key, doc FROM leases ORDER BY key")
    tables.execute("DROP TABLE leases")
    tables.execute("ALTER TABLE leases_by_key RENAME TO leases")
    tables.execute("DROP INDEX idx_events_machine_id")
    tables.execute("CREATE INDEX idx_events_machine_id ON events (machine, id) WHERE machine <> ''")
    tables.execute("DROP INDEX idx_events_time")
    tables.execute("CREATE TABLE event_spans (first INTEGER PRIMARY KEY, last INTEGER, earliest TEXT, latest TEXT)")
    spans.sum_up(tables.conn, tables.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0])


def _events_in_blocks(tables: Tables) -> None:
    """Events of a machine or a MAC are found by blocks; an index costs each event pages all over the file."""
    tables.execute(
        "CREATE TABLE event_places (block INTEGER, who TEXT, event INTEGER, PRIMARY KEY (block, who, event))"
        " WITHOUT ROWID"
    )
    tables.execute("CREATE TABLE event_blocks (block INTEGER PRIMARY KEY)")
    event_index.sum_up(tables.conn, tables.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0])
    tables.execute("DROP INDEX idx_events_machine_id")
    tables.execute("DROP INDEX idx_events_mac_id")


MIGRATIONS: tuple[Migration, ...] = (
    _documents_and_events,
    _retention,
    _documents(*_CLASHES_AND_OPERATIONS),
    _documents("replies"),
    _fewer_pages,
    _events_in_blocks,
)


def version(tables: Tables) -> int:
    """How many migrations this database has seen."""
    return int(tables.execute("PRAGMA user_version").fetchone()[0])


def migrate(tables: Tables, path: Path | None, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the database up to date; an older one is first copied to `<path>.v<version>`.

    Each migration is done whole or not at all, so one that was cut short is simply done again.

    Raises StoreError for a database written by a newer version of the product.
    """
    at = version(tables)
    if at > len(migrations):
        raise StoreError(
            f"the database {path} has schema {at}, this version knows up to {len(migrations)}: it was written by a"
            " newer provisioner; run that one, or restore a copy from before the upgrade"
        )
    if at == len(migrations):
        return
    if at and path is not None:
        tables.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy2(path, path.with_name(f"{path.name}.v{at}"))
    for number, step in enumerate(migrations[at:], at + 1):
        with tables.conn:
            # By itself sqlite3 begins a transaction only before rows change, not before a table is made.
            tables.execute("BEGIN IMMEDIATE")
            step(tables)
            tables.execute(f"PRAGMA user_version = {number}")
