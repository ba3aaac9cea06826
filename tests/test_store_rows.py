"""Rows written by the handful: all of them, in order, whatever their number."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from provisioner.store.rows import delete, insert, pieces, put

COUNTS = (0, 1, 3, 4, 5, 16, 21, 64, 65, 150, 300)


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.execute("CREATE TABLE things (key TEXT PRIMARY KEY, doc TEXT)")
        yield conn


def rows(count: int, doc: str = "new") -> list[tuple[str, str]]:
    return [(f"{number:04}", doc) for number in range(count)]


def found(conn: sqlite3.Connection) -> list[tuple[str, str]]:
    return conn.execute("SELECT key, doc FROM things ORDER BY key").fetchall()


def values(count: int, doc: str = "new") -> list[str]:
    return [value for row in rows(count, doc) for value in row]


@pytest.mark.parametrize("count", COUNTS)
def test_pieces_are_all_rows_in_order(count: int) -> None:
    assert [row for start, some in pieces(count) for row in range(start, start + some)] == list(range(count))


def test_a_hundred_and_fifty_rows_are_six_pieces() -> None:
    assert [some for _, some in pieces(150)] == [64, 64, 16, 4, 1, 1]


@pytest.mark.parametrize("count", COUNTS)
def test_all_rows_are_inserted(conn: sqlite3.Connection, count: int) -> None:
    insert(conn, "things", ("key", "doc"), values(count))
    assert found(conn) == rows(count)


def test_inserting_what_is_there_is_refused(conn: sqlite3.Connection) -> None:
    insert(conn, "things", ("key", "doc"), values(2))
    with pytest.raises(sqlite3.IntegrityError):
        insert(conn, "things", ("key", "doc"), values(1))


@pytest.mark.parametrize("count", COUNTS)
def test_all_rows_are_put_in_the_place_of_old_ones(conn: sqlite3.Connection, count: int) -> None:
    insert(conn, "things", ("key", "doc"), values(50, "old"))
    put(conn, "things", "key", values(count))
    assert found(conn) == rows(count) + rows(50, "old")[count:]


@pytest.mark.parametrize("count", COUNTS)
def test_only_rows_with_these_keys_are_deleted(conn: sqlite3.Connection, count: int) -> None:
    insert(conn, "things", ("key", "doc"), values(301))
    delete(conn, "things", "key", [key for key, _ in rows(count)])
    assert found(conn) == rows(301)[count:]
