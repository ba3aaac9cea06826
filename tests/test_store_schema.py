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
from provisioner.store.schema import DOCUMENT_TABLES, MIGRATIONS, migrate, version


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
