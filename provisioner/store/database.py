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

from sqlite_utils import Database as Tables

from provisioner.errors import StoreError
from provisioner.events import Event
from provisioner.store import event_index, spans
from provisioner.store.batches import Batch
from provisioner.store.event_index import EventIndex
from provisioner.store.event_search import EventQuery, EventSearch
from provisioner.store.schema import DOCUMENT_TABLES, migrate
from provisioner.store.writer import Writer, translated

# Rows removed in one go: a few milliseconds during which no change is written.
PRUNE_LIMIT = 1000
# For so long opening waits for another program that has the file.
_BUSY_SECONDS = 30


class Database:
    """The store's file. `open` before use, on any thread; the rest is called from the event loop."""

    def __init__(self, path: Path, seconds: Callable[[], float] = perf_counter) -> None:
        self.path = path
        self._seconds = seconds
        self._reads = ThreadPoolExecutor(1, thread_name_prefix="store-read")
        self._index = EventIndex()

    def open(self) -> None:
        """Create or migrate the file; raises StoreError naming the file when that cannot be done."""
        try:
            # It holds what machines' BMCs are logged in with: for its owner only.
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write_conn = self._connect()
            self._write_conn.execute("PRAGMA journal_mode = WAL")
            self._write_conn.execute("PRAGMA synchronous = FULL")
            migrate(Tables(self._write_conn, execute_plugins=False), self.path)
            self._index.load(self._write_conn)
            self._writer = Writer(self._write_conn, self.path, self._index, self._seconds)
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
        """All documents of a table, as (key, JSON), in the order in which they came; raises StoreError for a bad file.

        That is no order of their times, for clocks are set back. Leases come as they lie.
        """
        if table not in DOCUMENT_TABLES:
            raise ValueError(table)
        try:
            order = "" if table == "leases" else " ORDER BY rowid"
            for key, doc in self._write_conn.execute(f"SELECT key, doc FROM {table}{order}"):
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
        """Events on disk that fit, oldest first unless asked otherwise.

        Whatever was settled before is among them; of a machine or a MAC nothing that is being settled just now.
        """
        search = self._search(query)
        found: list[Event] = await self._read(lambda: list(search.events(self._read_conn)))
        return found

    async def count_events(self, query: EventQuery, highest: int) -> int:
        """How many events fit, at most `highest`: counting millions would keep others waiting."""
        search = self._search(query)
        count: int = await self._read(lambda: search.count(self._read_conn, highest))
        return count

    def _search(self, query: EventQuery) -> EventSearch:
        return EventSearch(query, self._index.first_in_memory(), self._index.newest(query.names()))

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


def _prune(conn: sqlite3.Connection, before: str) -> int:
    low, high = spans.between(conn, until=before)
    removed = conn.execute(
        "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id BETWEEN ? AND ? AND time < ?"
        " AND id < (SELECT max(id) FROM events) ORDER BY id LIMIT ?)",
        (low, high, before, PRUNE_LIMIT),
    ).rowcount
    spans.forget(conn)
    event_index.forget(conn, 2 * PRUNE_LIMIT)
    if removed < PRUNE_LIMIT:
        spans.renew(conn, before)
    return removed
