"""Migrations: step by step, whole or not at all, with a copy put aside."""

from __future__ import annotations

import sqlite3

import pytest
from sqlite_utils import Database as Tables

from provisioner.errors import StoreError
from provisioner.model.access import Token, User
from provisioner.model.addresses import Lease, Reservation, Subnet
from provisioner.model.content import CONTENT_KINDS
from provisioner.model.machines import Clash, Job, Machine
from provisioner.model.operations import Operation, Reply
from provisioner.store.event_index import BLOCK, EventIndex, events_of
from provisioner.store.schema import DOCUMENT_TABLES, MIGRATIONS, migrate, version
from provisioner.store.spans import between


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
def tables(path):
    conn = sqlite3.connect(path)
    yield Tables(conn)
    conn.close()


def _add_a_table(tables):
    tables.table("later").create({"key": str}, pk="key")


def _add_a_table_and_fail(tables):
    _add_a_table(tables)
    tables.execute("INSERT INTO nowhere VALUES (1)")


def test_every_kind_of_object_has_a_table():
    stored = (Machine, Job, Subnet, Reservation, Lease, User, Token, Clash, Operation, Reply, *CONTENT_KINDS.values())
    assert sorted(cls.kind for cls in stored) == sorted(DOCUMENT_TABLES)


def test_a_new_database_gets_all_tables_and_the_newest_version(tables, path):
    migrate(tables, path)
    assert {*DOCUMENT_TABLES, "job_actions", "events"} <= set(tables.table_names())
    assert version(tables) == len(MIGRATIONS)


def test_a_new_database_is_not_copied(tables, path):
    migrate(tables, path)
    assert not list(path.parent.glob("*.v*"))


def test_migrating_twice_changes_nothing(tables, path):
    migrate(tables, path)
    before = tables.schema
    migrate(tables, path)
    assert tables.schema == before


def test_an_older_database_is_brought_forward_after_a_copy_was_put_beside_it(tables, path):
    migrate(tables, path)
    tables.table("users").insert({"key": "admin", "doc": "{}"})
    migrate(tables, path, (*MIGRATIONS, _add_a_table))
    assert "later" in tables.table_names()
    copy = sqlite3.connect(path.with_name(f"state.db.v{len(MIGRATIONS)}"))
    assert copy.execute("SELECT key FROM users").fetchall() == [("admin",)]
    assert copy.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    copy.close()


def test_leases_and_events_of_an_older_version_are_all_there_afterwards(tables, path):
    migrate(tables, path, MIGRATIONS[:4])
    leases = {f"10.0.0.{number}": f'{{"address": "10.0.0.{number}"}}' for number in (9, 10, 2)}
    tables.table("leases").insert_all({"key": key, "doc": doc} for key, doc in leases.items())
    # The clock was set back in the middle.
    times = [f"2026-01-{2 + number % 1500 // 100:02}T00:00:00+00:00" for number in range(3000)]
    rows = [
        {"id": number, "time": time, "kind": "dhcp.ack", "machine": "m1" if number % 7 == 0 else ""}
        | {"mac": f"m{number % 3}", "key": "", "by": "", "data": "{}"}
        for number, time in enumerate(times, 1)
    ]
    tables.table("events").insert_all(rows)
    tables.conn.commit()
    migrate(tables, path)
    assert dict(tables.execute("SELECT key, doc FROM leases").fetchall()) == leases
    assert tables.execute("SELECT * FROM events ORDER BY id").fetchall() == [tuple(row.values()) for row in rows]
    assert tables.execute("SELECT first, last FROM event_spans").fetchall() == [(1, 1024), (1025, 2048)]
    assert between(tables.conn, until="2026-01-03") == (1, 2048)
    tables.execute("INSERT INTO leases VALUES ('10.0.0.2', 'new') ON CONFLICT (key) DO UPDATE SET doc = excluded.doc")
    assert tables.execute("SELECT count(*) FROM leases").fetchone() == (3,)


@pytest.mark.parametrize("last", [3 * BLOCK - 1, 3 * BLOCK, 3 * BLOCK + 1])
def test_events_of_an_older_version_are_found_by_whose_they_are(tables, path, last):
    migrate(tables, path, MIGRATIONS[:5])
    rows = [
        {"id": number, "time": "", "machine": f"m{number % 3}" if number % 2 else "", "mac": str(number % 5)}
        for number in range(BLOCK - 50, last + 1)
    ]
    tables.table("events").insert_all(rows)
    tables.conn.commit()
    migrate(tables, path)
    whole = last // BLOCK
    assert tables.execute("SELECT block FROM event_blocks").fetchall() == [(block,) for block in range(whole)]
    index = EventIndex()
    index.load(tables.conn)
    assert index.first_in_memory() == whole
    for name in ("m0", "m2", "4"):
        older = [event for block in events_of(tables.conn, [name], range(whole), newest_first=False) for event in block]
        assert older + index.newest([name]) == [row["id"] for row in rows if name in (row["machine"], row["mac"])]


def test_a_migration_that_fails_half_way_leaves_the_database_as_it_was(tables, path):
    migrate(tables, path)
    with pytest.raises(sqlite3.OperationalError):
        migrate(tables, path, (*MIGRATIONS, _add_a_table_and_fail))
    assert "later" not in tables.table_names()
    assert version(tables) == len(MIGRATIONS)


def test_a_first_migration_that_was_cut_short_can_be_done_again(tables, path):
    tables.execute("CREATE TABLE events (id INTEGER)")
    with pytest.raises(sqlite3.OperationalError):
        migrate(tables, path)
    assert tables.table_names() == ["events"]
    tables.execute("DROP TABLE events")
    migrate(tables, path)
    assert version(tables) == len(MIGRATIONS)


def test_a_database_of_a_newer_version_is_refused(tables, path):
    tables.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(
        StoreError, match=rf"has schema {len(MIGRATIONS) + 1}, this version knows up to {len(MIGRATIONS)}"
    ):
        migrate(tables, path)
    assert tables.table_names() == []
