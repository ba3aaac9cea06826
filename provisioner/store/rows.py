"""Many rows in few statements.

Each statement gives the interpreter away while SQLite works and has to get it back from a busy event loop, so that a
group of a hundred rows takes many times as long in a hundred statements as in a handful.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
# Rows a statement: few different sizes, so that each is prepared once. The largest stays below 999 values, which is
# what SQLite took before 3.32.
_SIZES = (64, 16, 4, 1)


def insert(conn: sqlite3.Connection, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Add rows; raises sqlite3.IntegrityError when one is there already."""
    for some in pieces(rows):
        conn.execute(_insert(table, columns, len(some)), _values(some))


def put(conn: sqlite3.Connection, table: str, key: str, rows: Sequence[tuple[str, str]]) -> None:
    """Add documents by key, in the place of those that are there."""
    for some in pieces(rows):
        sql = _insert(table, (key, "doc"), len(some)) + f" ON CONFLICT ({key}) DO UPDATE SET doc = excluded.doc"
        conn.execute(sql, _values(some))


def delete(conn: sqlite3.Connection, table: str, key: str, keys: Sequence[str]) -> None:
    """Remove the rows with these keys, as far as there are any."""
    for some in pieces(keys):
        conn.execute(f"DELETE FROM {table} WHERE {key} IN ({','.join('?' * len(some))})", some)


def pieces(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """All rows, in order, in pieces of the sizes that statements are made for."""
    place = 0
    for size in _SIZES:
        while place + size <= len(rows):
            yield rows[place : place + size]
            place += size


def _insert(table: str, columns: Sequence[str], count: int) -> str:
    row = f"({','.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {','.join([row] * count)}"


def _values(rows: Iterable[Sequence[Any]]) -> list[Any]:
    return [value for row in rows for value in row]
