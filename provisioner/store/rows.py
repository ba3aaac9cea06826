"""Many rows in few statements.

Each statement gives the interpreter away while SQLite works and has to get it back from a busy event loop, so that a
group of a hundred rows takes many times as long in a hundred statements as in a handful.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

# Rows a statement: few different sizes, so that each is prepared once. The largest stays below 999 values, which is
# what SQLite took before 3.32.
_SIZES = (64, 16, 4, 1)


def insert(conn: sqlite3.Connection, table: str, columns: tuple[str, ...], values: Sequence[Any]) -> None:
    """Add rows, whose values come one after the other; raises sqlite3.IntegrityError when one is there already."""
    width = len(columns)
    for start, count in pieces(len(values) // width):
        conn.execute(_insert(table, columns, count), values[start * width : (start + count) * width])


def insert_missing(conn: sqlite3.Connection, table: str, columns: tuple[str, ...], values: Sequence[Any]) -> None:
    """Add rows as `insert` does, but for those that are there already."""
    width = len(columns)
    for start, count in pieces(len(values) // width):
        sql = _insert(table, columns, count) + " ON CONFLICT DO NOTHING"
        conn.execute(sql, values[start * width : (start + count) * width])


def put(conn: sqlite3.Connection, table: str, key: str, values: Sequence[str]) -> None:
    """Add documents, each with its key before it, in the place of those that are there."""
    for start, count in pieces(len(values) // 2):
        conn.execute(_put(table, key, count), values[2 * start : 2 * (start + count)])


def delete(conn: sqlite3.Connection, table: str, key: str, keys: Sequence[str]) -> None:
    """Remove the rows with these keys, as far as there are any."""
    for start, count in pieces(len(keys)):
        sql = f"DELETE FROM {table} WHERE {key} IN ({','.join('?' * count)})"
        conn.execute(sql, keys[start : start + count])


def pieces(rows: int) -> Iterator[tuple[int, int]]:
    """The first row and the number of rows of each piece, in the sizes that statements are made for."""
    place = 0
    for size in _SIZES:
        while place + size <= rows:
            yield place, size
            place += size


@cache
def _insert(table: str, columns: tuple[str, ...], count: int) -> str:
    row = f"({','.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {','.join([row] * count)}"


@cache
def _put(table: str, key: str, count: int) -> str:
    return _insert(table, (key, "doc"), count) + f" ON CONFLICT ({key}) DO UPDATE SET doc = excluded.doc"
