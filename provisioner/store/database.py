"""The SQLite database: what is read from it, and the one who writes to it.

Writing is `provisioner.store.writer`. Events are read by a thread of their own, with a connection of its own.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
from msgspec import Struct
from sqlite_utils import Database as Tables

from provisioner.errors import StoreError
from provisioner.events import Event
from provisioner.store.batches import Batch
from provisioner.store.schema import DOCUMENT_TABLES, migrate
from provisioner.store.spans import between, forget, renew
from provisioner.store.writer import Writer, translated

# Rows removed in one go: a few milliseconds during which no change is written.
PRUNE_LIMIT = 1000
# For so long opening waits for another program that has the file.
_BUSY_SECONDS = 30


class EventQuery(Struct, frozen=True, kw_only=True):
    """Which events: of a machine or any of these MACs, of these kinds, after or before an id.

    `since` and `until` are times; the second is not included.
    """

    machine: str = ""
    macs: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    key: str = ""
    mac: str = ""
    by: str = ""
    since: datetime | None = None
    until: datetime | None = None
    after: int = 0
    before: int = 0
    limit: int = 200
    newest_first: bool = False


class Database:
    """The store's file. `open` before use, on any thread; the rest is called from the event loop."""

    def __init__(self, path: Path, seconds: Callable[[], float] = perf_counter) -> None:
        self.path = path
        self._seconds = seconds
        self._reads = ThreadPoolExecutor(1, thread_name_prefix="store-read")

    def open(self) -> None:
        """Create or migrate the file; raises StoreError naming the file when that cannot be done."""
        try:
            # It holds what machines' BMCs are logged in with: for its owner only.
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write_conn = self._connect()
            self._write_conn.execute("PRAGMA journal_mode = WAL")
            self._write_conn.execute("PRAGMA synchronous = FULL")
            migrate(Tables(self._write_conn, execute_plugins=False), self.path)
            self._writer = Writer(self._write_conn, self.path, self._seconds)
            self._read_conn = self._connect()
        except (sqlite3.Error, OSError) as error:
            raise translated(f"cannot open the database {self.path}", self.path, error) from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, check_same_thread=False, timeout=_BUSY_SECONDS)

    def start(self) -> None:
        """Begin to write; call it on the running event loop."""
        self._writer.start()

    def make_room(self) -> None:
        """Make the write-ahead log long enough for a power-on storm, in a moment of a few tenths of a second."""
        self._writer.make_room()

    async def close(self) -> None:
        """Write what was handed over, then close."""
        await self._writer.close()
        self.discard()

    def discard(self) -> None:
        """Close a database whose writer was never started."""
        self._reads.shutdown()
        self._read_conn.close()
        self._write_conn.close()

    def load(self, table: str) -> Iterator[tuple[str, bytes]]:
        """All documents of a table, as (key, JSON); raises StoreError when the file is damaged."""
        if table not in DOCUMENT_TABLES:
            raise ValueError(table)
        try:
            for key, doc in self._write_conn.execute(f"SELECT key, doc FROM {table}"):
                yield key, doc.encode()
        except sqlite3.Error as error:
            raise translated(f"cannot read {table} from the database {self.path}", self.path, error) from error

    def last_event_id(self) -> int:
        """The highest event number there has been, 0 when there was none; removing events takes no number back."""
        try:
            row = self._write_conn.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
        except sqlite3.Error as error:
            raise translated(f"cannot read the database {self.path}", self.path, error) from error
        return int(row[0])

    def submit(self, batch: Batch, *, lazy: bool = False) -> None:
        """Hand over a batch; `batch.settled` tells, after this has returned, when it is on disk or has failed.

        A `lazy` one goes with the next that is not, or after a moment. The order is kept.
        """
        self._writer.submit(batch, lazy=lazy)

    def hurry(self) -> None:
        """Write the lazy batches now: somebody waits for them after all."""
        self._writer.hurry()

    async def prune_events(self, before: datetime) -> int:
        """Remove up to PRUNE_LIMIT of the events from before that time, and tell how many those were.

        The newest event stays in any case, so that the numbers go on after it.
        """
        time = before.astimezone(UTC).isoformat()
        return await self._chore(lambda conn: _prune(conn, time))

    async def removed_jobs(self, limit: int) -> list[str]:
        """Jobs that are gone and whose files may still be there."""
        rows = await self._read(
            lambda: self._read_conn.execute("SELECT job FROM removed_jobs LIMIT ?", (limit,)).fetchall()
        )
        return [row[0] for row in rows]

    async def forget_removed(self, jobs: Sequence[str]) -> int:
        """The files of these jobs are gone too."""
        sql = f"DELETE FROM removed_jobs WHERE job IN ({','.join('?' * len(jobs))})"
        return await self._chore(lambda conn: conn.execute(sql, jobs).rowcount)

    async def _chore(self, work: Callable[[sqlite3.Connection], int]) -> int:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def done(result: int, error: StoreError | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self._writer.chore(work, done)
        return await future

    # --- the reader thread ------------------------------------------------------------------------------------

    async def events(self, query: EventQuery) -> list[Event]:
        """Events on disk that fit, oldest first unless asked otherwise."""
        found: list[Event] = await self._read(lambda: list(self._select_events(query)))
        return found

    async def count_events(self, query: EventQuery, highest: int) -> int:
        """How many events fit, at most `highest`: counting millions would keep others waiting."""
        row = await self._read(lambda: self._counted(query, highest))
        return int(row[0])

    def _counted(self, query: EventQuery, highest: int) -> Any:
        where, values = _event_conditions(self._read_conn, query)
        sql = f"SELECT count(*) FROM (SELECT 1 FROM events WHERE {' AND '.join(where) or '1'} LIMIT ?)"
        return self._read_conn.execute(sql, [*values, highest]).fetchone()

    async def actions(self, job: str) -> bytes | None:
        """The rendered files of a job as JSON, None when it never reported any."""
        row = await self._read(
            lambda: self._read_conn.execute("SELECT doc FROM job_actions WHERE job = ?", (job,)).fetchone()
        )
        return row[0].encode() if row else None

    async def scrub(self) -> None:
        """Rewrite the files so that nothing is left in them of what was written over or deleted."""

        def work() -> None:
            self._read_conn.execute("VACUUM")
            self._read_conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        await self._read(work)

    async def _read(self, work: Callable[[], Any]) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reads, work)
        except sqlite3.Error as error:
            raise translated(f"cannot read {self.path}", self.path, error) from error

    def _select_events(self, query: EventQuery) -> Iterator[Event]:
        where, values = _event_conditions(self._read_conn, query)
        order = "DESC" if query.newest_first else "ASC"
        rows = self._read_conn.execute(
            "SELECT id, time, kind, machine, mac, key, by, data FROM events"
            f" WHERE {' AND '.join(where) or '1'} ORDER BY id {order} LIMIT ?",
            [*values, query.limit],
        )
        for id, time, kind, machine, mac, key, by, data in rows:
            yield Event(
                id=id,
                time=datetime.fromisoformat(time),
                kind=kind,
                machine=machine,
                mac=mac,
                key=key,
                by=by,
                data=msgspec.json.decode(data),
            )


def _prune(conn: sqlite3.Connection, before: str) -> int:
    low, high = between(conn, until=before)
    removed = conn.execute(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id BETWEEN ? AND ? AND time < ?"
        " AND id < (SELECT max(id) FROM events) ORDER BY id LIMIT ?)",
        (low, high, before, PRUNE_LIMIT),
    ).rowcount
    forget(conn)
    if removed < PRUNE_LIMIT:
        renew(conn, before)
    return removed


def _event_conditions(conn: sqlite3.Connection, query: EventQuery) -> tuple[list[str], list[Any]]:
    where: list[str] = []
    values: list[Any] = []
    whose = []
    if query.machine:
        # Only so is it seen that the index will do, which has no events without a machine.
        whose.append("(machine = ? AND machine <> '')")
        values.append(query.machine)
    if query.macs:
        whose.append(f"mac IN ({','.join('?' * len(query.macs))})")
        values.extend(query.macs)
    if whose:
        where.append(f"({' OR '.join(whose)})")
    if query.kinds:
        where.append("(" + " OR ".join(["kind = ? OR kind LIKE ? || '.%'"] * len(query.kinds)) + ")")
        values.extend(kind for name in query.kinds for kind in (name, name))
    since = query.since.astimezone(UTC).isoformat() if query.since else ""
    until = query.until.astimezone(UTC).isoformat() if query.until else ""
    if since or until:
        where.append("id BETWEEN ? AND ?")
        values.extend(between(conn, since, until))
    plain = (
        ("key = ?", query.key),
        ("mac = ?", query.mac),
        ("by = ?", query.by),
        ("time >= ?", since),
        ("time < ?", until),
        ("id > ?", query.after),
        ("id < ?", query.before),
    )
    for condition, value in plain:
        if value:
            where.append(condition)
            values.append(value)
    return where, values
