"""Groups of batches as statements, on a database in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlite_utils import Database as Tables

from provisioner.events import Event
from provisioner.store.batches import Batch, Write, write_all
from provisioner.store.schema import migrate

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as conn:
        migrate(Tables(conn, execute_plugins=False), None)
        yield conn


def batch(*writes: Write, events: tuple[Event, ...] = ()) -> Batch:
    return Batch(0, writes, events, lambda error: None)


def found(conn: sqlite3.Connection, sql: str) -> list[Any]:
    return conn.execute(sql).fetchall()


def test_of_a_document_that_is_written_several_times_the_last_counts(conn: sqlite3.Connection) -> None:
    again = [Write("users", "ann", 1), Write("users", "bob", 1), Write("users", "bob", None), Write("users", "ann", 2)]
    write_all(conn, [batch(*again[:2]), batch(*again[2:])])
    assert found(conn, "SELECT key, doc FROM users") == [("ann", "2")]


def test_what_was_deleted_and_comes_again_is_there(conn: sqlite3.Connection) -> None:
    write_all(conn, [batch(Write("users", "ann", 1))])
    write_all(conn, [batch(Write("users", "ann", None)), batch(Write("users", "ann", 3))])
    assert found(conn, "SELECT key, doc FROM users") == [("ann", "3")]


def test_what_a_job_rendered_goes_with_it_and_its_files_are_remembered(conn: sqlite3.Connection) -> None:
    write_all(conn, [batch(Write("jobs", "j1", 1), Write("job_actions", "j1", []))])
    assert found(conn, "SELECT job FROM job_actions") == [("j1",)]
    write_all(conn, [batch(Write("jobs", "j1", None))])
    assert found(conn, "SELECT job FROM job_actions") == []
    assert found(conn, "SELECT job FROM removed_jobs") == [("j1",)]


def test_events_of_all_batches_are_written_in_order_with_their_own_times(conn: sqlite3.Connection) -> None:
    told = [
        Event(id=number, time=NOW + timedelta(seconds=number // 2), kind="dhcp.ack", mac="m", data={"n": number})
        for number in range(1, 8)
    ]
    write_all(conn, [batch(events=tuple(told[:3])), batch(events=tuple(told[3:]))])
    rows = found(conn, "SELECT id, time, data FROM events ORDER BY id")
    assert rows == [(each.id, each.time.isoformat(), f'{{"n":{each.id}}}') for each in told]


def test_the_pages_written_are_told_rather_too_many_than_too_few(conn: sqlite3.Connection) -> None:
    few = write_all(conn, [batch(Write("users", "ann", 1))])
    many = write_all(conn, [batch(*(Write("users", f"user-{number}", 1) for number in range(100)))])
    large = write_all(conn, [batch(Write("users", "bob", "x" * 1_000_000))])
    assert 3 <= few <= 6
    assert many >= 102
    assert large >= 244


def test_a_batch_tells_how_many_rows_it_has() -> None:
    told = Event(id=1, time=NOW, kind="dhcp.ack")
    assert batch(Write("users", "ann", 1), Write("users", "bob", None), events=(told,)).rows() == 3
