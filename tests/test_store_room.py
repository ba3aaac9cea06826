"""Room in the write-ahead log: the file is long, and nobody who reads or writes notices."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from shutil import disk_usage

import pytest

from provisioner.store.room import make_room

SIZE = 4 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def conn(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("CREATE TABLE words (word)")
        conn.execute("INSERT INTO words VALUES ('before')")
        yield conn


def log_of(path: Path) -> Path:
    return path.with_name("a.db-wal")


def room(conn: sqlite3.Connection, path: Path) -> None:
    conn.execute("BEGIN IMMEDIATE")
    make_room(conn, path, SIZE)


def words(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as other:
        return [word for (word,) in other.execute("SELECT word FROM words ORDER BY rowid")]


def test_the_log_is_as_long_as_was_wished(conn: sqlite3.Connection, path: Path) -> None:
    room(conn, path)
    assert SIZE <= log_of(path).stat().st_size < 2 * SIZE


def test_nothing_else_changes(conn: sqlite3.Connection, path: Path) -> None:
    before = path.read_bytes()
    room(conn, path)
    assert path.read_bytes() == before
    assert words(path) == ["before"]
    assert [name for (name,) in conn.execute("SELECT name FROM sqlite_schema")] == ["words"]


def test_commits_do_not_make_it_longer(conn: sqlite3.Connection, path: Path) -> None:
    room(conn, path)
    size = log_of(path).stat().st_size
    for number in range(100):
        conn.execute("INSERT INTO words VALUES (?)", (str(number) * 2000,))
    assert log_of(path).stat().st_size == size


def test_it_stays_when_the_log_is_merged(conn: sqlite3.Connection, path: Path) -> None:
    room(conn, path)
    size = log_of(path).stat().st_size
    conn.execute("INSERT INTO words VALUES ('after')")
    conn.execute("PRAGMA wal_checkpoint(PASSIVE)")
    conn.execute("INSERT INTO words VALUES ('later')")
    assert log_of(path).stat().st_size == size
    assert path.stat().st_size < SIZE
    assert words(path) == ["before", "after", "later"]


def test_what_is_in_the_log_survives_a_crash(conn: sqlite3.Connection, path: Path, tmp_path: Path) -> None:
    room(conn, path)
    conn.execute("INSERT INTO words VALUES ('after')")
    # As the files lie there when the process is killed.
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for each in (path, log_of(path)):
        (crashed / each.name).write_bytes(each.read_bytes())
    assert words(crashed / path.name) == ["before", "after"]
    with closing(sqlite3.connect(crashed / path.name)) as found:
        assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_when_there_is_no_room_nothing_is_begun(conn: sqlite3.Connection, path: Path) -> None:
    conn.execute(f"PRAGMA max_page_count = {conn.execute('PRAGMA page_count').fetchone()[0] + 10}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        room(conn, path)
    assert not conn.in_transaction
    conn.execute("INSERT INTO words VALUES ('after')")
    assert words(path) == ["before", "after"]


def test_the_last_of_a_disk_is_left_to_others(conn: sqlite3.Connection, path: Path) -> None:
    before = log_of(path).stat().st_size
    conn.execute("BEGIN IMMEDIATE")
    with pytest.raises(OSError) as refused:
        make_room(conn, path, disk_usage(path.parent).free // 2)
    assert refused.value.errno == errno.ENOSPC
    assert (log_of(path).stat().st_size, conn.in_transaction) == (before, False)
