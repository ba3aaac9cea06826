"""The SQLite database: one writer thread that commits in groups, and a reader thread for events.

Whatever has been handed over while a commit was under way shares the next one, so there is no timer and a lone write
waits for nobody (WAL, synchronous=FULL: an acknowledged batch survives a power cut).

A batch belongs to a generation. When a group cannot be written, everything of that generation fails, also what was
queued behind it, because it was decided on values that never reached the disk. The ledger then goes back to what is
durable and goes on with the next generation. A full disk is such a failure too: once there is room again, writing goes
on by itself.

Upkeep (removing old events) goes through the same thread, a bounded piece at a time between two groups.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import msgspec
from msgspec import Struct
from sqlite_utils import Database as Tables

from provisioner.errors import DiskFull, StoreError
from provisioner.events import Event
from provisioner.store.rows import delete, insert, put
from provisioner.store.schema import DOCUMENT_TABLES, migrate

# A group larger than this makes its first writer wait noticeably for its last.
GROUP_LIMIT = 512
# A batch that nobody waits for may wait so long for others: each commit costs as much as writing ten rows.
LAZY_SECONDS = 0.02
# Rows removed in one go: a few milliseconds during which no change is written.
PRUNE_LIMIT = 1000

_ENCODE = msgspec.json.Encoder().encode
_EVENT_COLUMNS = ("id", "time", "kind", "machine", "mac", "key", "by", "data")


class Write(Struct, frozen=True):
    """One document to be put, or deleted when `value` is None."""

    table: str
    key: str
    value: Any


class Batch(Struct):
    """What is written together or not at all; `settled` is called on the event loop with the error, if any."""

    generation: int
    writes: Sequence[Write]
    events: Sequence[Event]
    settled: Callable[[StoreError | None], None]


class Chore(Struct):
    """Upkeep in a transaction of its own; `done` is called on the event loop with its result or the error."""

    work: Callable[[sqlite3.Connection], int]
    done: Callable[[int, StoreError | None], None]


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

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: SimpleQueue[list[Batch] | Chore | None] = SimpleQueue()
        self._lazy: list[Batch] = []
        self._reads = ThreadPoolExecutor(1, thread_name_prefix="store-read")
        self._thread: Thread | None = None
        self._failed_generation = -1
        self._failure: StoreError | None = None

    def open(self) -> None:
        """Create or migrate the file; raises StoreError naming the file when that cannot be done."""
        try:
            # It holds what machines' BMCs are logged in with: for its owner only.
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write_conn = self._connect()
            self._write_conn.execute("PRAGMA journal_mode = WAL")
            self._write_conn.execute("PRAGMA synchronous = FULL")
            migrate(Tables(self._write_conn, execute_plugins=False), self.path)
            self._read_conn = self._connect()
        except (sqlite3.Error, OSError) as error:
            raise _translated(f"cannot open the database {self.path}", self.path, error) from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, check_same_thread=False, timeout=30)

    def start(self) -> None:
        """Start the writer thread; call it on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = Thread(target=self._write_for_ever, name="store-write")
        self._thread.start()

    async def close(self) -> None:
        """Write what was handed over, then close."""
        if self._thread is not None:
            self.hurry()
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
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
            raise _translated(f"cannot read {table} from the database {self.path}", self.path, error) from error

    def last_event_id(self) -> int:
        """The highest event number there has been, 0 when there was none; removing events takes no number back."""
        try:
            row = self._write_conn.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
        except sqlite3.Error as error:
            raise _translated(f"cannot read the database {self.path}", self.path, error) from error
        return int(row[0])

    def submit(self, batch: Batch, *, lazy: bool = False) -> None:
        """Hand over a batch; `batch.settled` tells when it is on disk or has failed.

        A `lazy` one goes with the next that is not, or when it has waited for LAZY_SECONDS. The order is kept.
        """
        self._lazy.append(batch)
        if not lazy:
            self.hurry()
        elif len(self._lazy) == 1:
            asyncio.get_running_loop().call_later(LAZY_SECONDS, self.hurry)

    def hurry(self) -> None:
        """Write the lazy batches now: somebody waits for them after all."""
        if self._lazy:
            self._queue.put(self._lazy)
            self._lazy = []

    async def prune_events(self, before: datetime) -> int:
        """Remove up to PRUNE_LIMIT of the events from before that time, and tell how many those were.

        The newest event stays in any case, so that the numbers go on after it.
        """
        return await self._chore(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE time < ?"
            " AND id < (SELECT max(id) FROM events) ORDER BY time LIMIT ?)",
            before.isoformat(),
            PRUNE_LIMIT,
        )

    async def removed_jobs(self, limit: int) -> list[str]:
        """Jobs that are gone and whose files may still be there."""
        rows = await self._read(
            lambda: self._read_conn.execute("SELECT job FROM removed_jobs LIMIT ?", (limit,)).fetchall()
        )
        return [row[0] for row in rows]

    async def forget_removed(self, jobs: Sequence[str]) -> int:
        """The files of these jobs are gone too."""
        return await self._chore(f"DELETE FROM removed_jobs WHERE job IN ({','.join('?' * len(jobs))})", *jobs)

    async def _chore(self, sql: str, *values: Any) -> int:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def done(result: int, error: StoreError | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self._queue.put(Chore(lambda conn: conn.execute(sql, values).rowcount, done))
        return await future

    # --- the writer thread ------------------------------------------------------------------------------------

    def _write_for_ever(self) -> None:
        item = self._queue.get()
        while item is not None:
            if isinstance(item, Chore):
                self._do(item)
                item = self._queue.get()
            else:
                item = self._write_group(item)

    def _write_group(self, group: list[Batch]) -> list[Batch] | Chore | None:
        """Write these batches with those that wait behind them; returns what comes after them."""
        while not self._queue.empty() and len(group) < GROUP_LIMIT:
            following = self._queue.get()
            if not isinstance(following, list):
                self._settle_group(group)
                return following
            group += following
        self._settle_group(group)
        return self._queue.get()

    def _settle_group(self, group: list[Batch]) -> None:
        stale = [batch for batch in group if batch.generation <= self._failed_generation]
        fresh = [batch for batch in group if batch.generation > self._failed_generation]
        error = self._try(lambda conn: _write_all(conn, fresh))[1] if fresh else None
        if error is not None:
            self._failed_generation, self._failure = fresh[-1].generation, error
        # What builds on a change that failed has failed for the same reason.
        outdated = self._failure
        self._loop.call_soon_threadsafe(_settle, [(b, error) for b in fresh] + [(b, outdated) for b in stale])

    def _do(self, chore: Chore) -> None:
        result, error = self._try(chore.work)
        self._loop.call_soon_threadsafe(chore.done, result, error)

    def _try(self, work: Callable[[sqlite3.Connection], int]) -> tuple[int, StoreError | None]:
        conn = self._write_conn
        try:
            with conn:
                return work(conn), None
        except Exception as error:
            # Whatever it is (a full disk, a value without JSON), it fails this work, not the only thread that writes.
            return 0, _translated(f"cannot write to {self.path}", self.path, error, "; nothing was changed")
        finally:
            if conn.in_transaction:
                conn.rollback()

    # --- the reader thread ------------------------------------------------------------------------------------

    async def events(self, query: EventQuery) -> list[Event]:
        """Events on disk that fit, oldest first unless asked otherwise."""
        found: list[Event] = await self._read(lambda: list(self._select_events(query)))
        return found

    async def count_events(self, query: EventQuery, highest: int) -> int:
        """How many events fit, at most `highest`: counting millions would keep others waiting."""
        where, values = _event_conditions(query)
        sql = f"SELECT count(*) FROM (SELECT 1 FROM events WHERE {' AND '.join(where) or '1'} LIMIT ?)"
        row = await self._read(lambda: self._read_conn.execute(sql, [*values, highest]).fetchone())
        return int(row[0])

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
            raise _translated(f"cannot read {self.path}", self.path, error) from error

    def _select_events(self, query: EventQuery) -> Iterator[Event]:
        where, values = _event_conditions(query)
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


def _settle(results: list[tuple[Batch, StoreError | None]]) -> None:
    for batch, error in results:
        batch.settled(error)


def _translated(what: str, path: Path, error: Exception, outcome: str = "") -> StoreError:
    """What SQLite or the system said, for those who have to mend it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) in DiskFull.ERRNOS:
        return DiskFull(f"{what}: {error}{outcome}; make room on the disk, nothing else is needed", object=str(path))
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreError(f"{what}: {error}{outcome}; stop the server and restore a backup", object=str(path))
    hint = "; can its folder be written to?" if code == sqlite3.SQLITE_CANTOPEN else ""
    return StoreError(f"{what}: {error}{hint}{outcome}", object=str(path))


def _write_all(conn: sqlite3.Connection, group: list[Batch]) -> int:
    """Write a group; of a document that it writes several times, only what that is in the end."""
    last = {(write.table, write.key): write.value for batch in group for write in batch.writes}
    documents: dict[str, list[tuple[str, str]]] = {}
    gone: dict[str, list[str]] = {}
    for (table, key), value in last.items():
        if value is None:
            gone.setdefault(table, []).append(key)
        else:
            documents.setdefault(table, []).append((key, _ENCODE(value).decode()))
    for table, rows in documents.items():
        put(conn, table, "job" if table == "job_actions" else "key", rows)
    for table, keys in gone.items():
        delete(conn, table, "key", keys)
    _forget_work_of(conn, gone.get("jobs", []))
    insert(conn, "events", _EVENT_COLUMNS, _event_rows(group))
    return len(group)


def _forget_work_of(conn: sqlite3.Connection, jobs: list[str]) -> None:
    """What belongs to jobs that are gone; their files are removed later, from this list."""
    delete(conn, "job_actions", "job", jobs)
    conn.executemany("INSERT OR IGNORE INTO removed_jobs (job) VALUES (?)", [(job,) for job in jobs])


def _event_rows(group: list[Batch]) -> list[tuple[Any, ...]]:
    rows = []
    time, text = None, ""
    for batch in group:
        for event in batch.events:
            # All events of a transaction have the same time.
            if event.time is not time:
                time, text = event.time, event.time.isoformat()
            data = _ENCODE(event.data).decode()
            rows.append((event.id, text, event.kind, event.machine, event.mac, event.key, event.by, data))
    return rows


def _event_conditions(query: EventQuery) -> tuple[list[str], list[Any]]:
    where: list[str] = []
    values: list[Any] = []
    whose = []
    if query.machine:
        whose.append("machine = ?")
        values.append(query.machine)
    if query.macs:
        whose.append(f"mac IN ({','.join('?' * len(query.macs))})")
        values.extend(query.macs)
    if whose:
        where.append(f"({' OR '.join(whose)})")
    if query.kinds:
        where.append("(" + " OR ".join(["kind = ? OR kind LIKE ? || '.%'"] * len(query.kinds)) + ")")
        values.extend(kind for name in query.kinds for kind in (name, name))
    plain = (
        ("key = ?", query.key),
        ("mac = ?", query.mac),
        ("by = ?", query.by),
        ("time >= ?", query.since and query.since.astimezone(UTC).isoformat()),
        ("time < ?", query.until and query.until.astimezone(UTC).isoformat()),
        ("id > ?", query.after),
        ("id < ?", query.before),
    )
    for condition, value in plain:
        if value:
            where.append(condition)
            values.append(value)
    return where, values
