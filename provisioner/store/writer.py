"""Writes to the database, in groups: in the event loop while that is quick, else in a thread.

Whatever is handed over in one turn of the loop is one commit. A small one is made by the loop itself right after that
turn, when the thread has nothing to do and the disk has been quick of late (`Pace`): handing it over would take longer
than writing it. Otherwise the thread writes, and all that comes while it is at a commit shares the next, so that there
is no timer and a lone write waits for nobody (WAL, synchronous=FULL: an acknowledged batch survives a power cut).

Whose the connection is: the thread's from when something is put into its queue until all of that has been told to the
loop, and the loop's at any other time (`_owed` counts what has not been told). So the two are never at it at once, and
batches reach the disk, and are told, in the order in which they were handed over, whoever writes them.

A batch belongs to a generation. When a group cannot be written, everything of that generation fails, also what was
queued behind it, because it was decided on values that never reached the disk. The ledger then goes back to what is
durable and goes on with the next generation. A full disk is such a failure too: once there is room again, writing goes
on by itself.

Upkeep (removing old events, merging the write-ahead log) goes through the thread, a bounded piece at a time.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import structlog
from msgspec import Struct

from provisioner.errors import DiskFull, StoreError
from provisioner.store.batches import Batch, pages_of, write_all
from provisioner.store.event_index import EventIndex
from provisioner.store.pace import Pace
from provisioner.store.room import make_room

log = structlog.get_logger(__name__)

# A group larger than this makes its first writer wait noticeably for its last.
GROUP_LIMIT = 512
# A larger group keeps the loop for two milliseconds even when the disk takes no time; the thread would take longer and
# fight for the interpreter with a loop that has its hands full.
LOOP_ROWS = 512
# A batch that nobody waits for may wait so long for others: each commit costs as much as writing ten rows.
LAZY_SECONDS = 0.02
# The write-ahead log is merged into the database when about so many pages are in it: 16 MB.
MERGE_PAGES = 4000
# Not while one commit follows the other, for that takes as long as ten of them and all clients of a storm would wait:
# when nothing was written for so long, or the log has become so many times as large.
QUIET_SECONDS = 0.2
_LARGE = 3
# As long the log is made ahead of time.
ROOM_BYTES = 16 << 20
# For so long the thread waits for another program that writes; the loop does not wait.
BUSY_SECONDS = 30.0
_BUSY_STEP_SECONDS = 0.01


class Chore(Struct):
    """Upkeep; `done` is called on the event loop with its result or the error."""

    work: Callable[[], int]
    done: Callable[[int, StoreError | None], None]


class Writer:
    """The one who writes to an opened database. All is called on the event loop but what the thread does.

    `index` is written along with events; `seconds` is a clock that is never set; the log is merged after `merge_pages`.
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        path: Path,
        index: EventIndex,
        seconds: Callable[[], float] = time.perf_counter,
        *,
        merge_pages: int = MERGE_PAGES,
    ) -> None:
        self._conn = conn
        self._path = path
        self._index = index
        self._seconds = seconds
        self._merge_pages = merge_pages
        self._pace = Pace()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: Thread | None = None
        self._queue: SimpleQueue[list[Batch] | Chore | None] = SimpleQueue()
        self._waiting: list[Batch] = []
        self._called = False
        self._lazy_until = 0.0
        self._timed = False
        self._owed = 0
        self._unmerged = 0
        self._merging: asyncio.TimerHandle | None = None
        # Of whoever has the connection.
        self._failed_generation = -1
        self._failure: StoreError | None = None

    def start(self) -> None:
        """Start the thread; call it on the running event loop."""
        # Transactions are begun in so many words, and nobody sleeps inside SQLite: see `_begin`.
        self._conn.isolation_level = None
        self._conn.execute("PRAGMA busy_timeout = 0")
        self._conn.execute("PRAGMA wal_autocheckpoint = 0")
        self._loop = asyncio.get_running_loop()
        self._worker = Thread(target=self._write_for_ever, name="store-write")
        self._worker.start()
        self.hurry()

    async def close(self) -> None:
        """Write what was handed over, then end the thread."""
        if self._merging is not None:
            self._merging.cancel()
            self._merging = None
        if self._worker is not None:
            self._hand_over()
            self._queue.put(None)
            await asyncio.to_thread(self._worker.join)
            self._worker = None

    # --- on the event loop ------------------------------------------------------------------------------------

    def submit(self, batch: Batch, *, lazy: bool = False) -> None:
        """Hand over a batch; `batch.settled` tells, never before this returns, when it is on disk or has failed.

        A `lazy` one goes with the next that is not, or when it has waited for LAZY_SECONDS. The order is kept.
        """
        self._waiting.append(batch)
        if not lazy:
            self.hurry()
        elif len(self._waiting) == 1:
            self._remind()

    def hurry(self) -> None:
        """Write the lazy batches now: somebody waits for them after all."""
        if self._called or not self._waiting or self._loop is None:
            return
        if self._owed or not self._pace.quick(self._seconds()):
            self._hand_over()
        else:
            # What else is decided in this turn of the loop shares the commit.
            self._called = True
            self._loop.call_soon(self._write_waiting)

    def chore(self, work: Callable[[sqlite3.Connection], int], done: Callable[[int, StoreError | None], None]) -> None:
        """Let the thread do this in a transaction of its own, after all that was handed over before.

        `work` returns how many rows it has changed.
        """

        def told(rows: int, error: StoreError | None) -> None:
            self._wrote(pages_of(rows))
            done(rows, error)

        self._hand_over()
        self._put(Chore(lambda: self._whole(work, BUSY_SECONDS), told))

    def make_room(self) -> None:
        """Make the write-ahead log long enough for what comes, so that no commit has to; see `store.room`."""
        self._hand_over()
        self._put(Chore(self._make_room, _made))

    def _remind(self) -> None:
        """See to it that the lazy batch that is the first to wait is not forgotten."""
        loop = asyncio.get_running_loop()
        self._lazy_until = loop.time() + LAZY_SECONDS
        if not self._timed:
            self._timed = True
            loop.call_at(self._lazy_until, self._reminded)

    def _reminded(self) -> None:
        loop = asyncio.get_running_loop()
        self._timed = bool(self._waiting) and loop.time() < self._lazy_until
        if self._timed:
            # Those that waited when the timer was set have gone with others; these came later.
            loop.call_at(self._lazy_until, self._reminded)
        else:
            self.hurry()

    def _hand_over(self) -> None:
        if self._waiting:
            group, self._waiting = self._waiting, []
            self._owed += len(group)
            self._queue.put(group)

    def _put(self, chore: Chore) -> None:
        self._owed += 1
        self._queue.put(chore)

    def _write_waiting(self) -> None:
        self._called = False
        if not self._waiting:
            return
        rows = sum(batch.rows() for batch in self._waiting) + self._index.due(_events(self._waiting))
        if self._owed or rows > LOOP_ROWS or not self._write_here(self._waiting, rows):
            self._hand_over()

    def _write_here(self, group: list[Batch], rows: int) -> bool:
        """Commit in the loop; False when the connection is not to be had, and nothing was done."""
        began = self._seconds()
        try:
            results, pages = self._write(group, 0.0)
        except _Busy:
            return False
        ended = self._seconds()
        self._pace.took(ended - began, ended, rows)
        self._waiting = []
        self._tell(results, pages)
        return True

    def _written(self, results: list[tuple[Batch, StoreError | None]], pages: int) -> None:
        self._owed -= len(results)
        self._tell(results, pages)

    def _tell(self, results: list[tuple[Batch, StoreError | None]], pages: int) -> None:
        self._wrote(pages)
        for batch, error in results:
            if error is None and batch.events:
                self._index.tell(batch.events)
            try:
                batch.settled(error)
            except Exception:
                # A fault of ours with one batch: whoever waits for another would wait for ever.
                log.exception("store.not_settled", generation=batch.generation)

    def _wrote(self, pages: int) -> None:
        """There is so much more in the log."""
        self._unmerged += pages
        if self._unmerged >= self._merge_pages:
            self._merge_soon()

    def _merge_soon(self) -> None:
        assert self._loop is not None
        if self._merging is not None:
            self._merging.cancel()
            self._merging = None
        if self._unmerged >= _LARGE * self._merge_pages:
            self._merge_now()
        else:
            self._merging = self._loop.call_later(QUIET_SECONDS, self._merge_now)

    def _merge_now(self) -> None:
        self._merging, self._unmerged = None, 0
        self._put(Chore(self._merge, _merged))

    def _done(self, chore: Chore, result: int, error: StoreError | None) -> None:
        self._owed -= 1
        chore.done(result, error)

    # --- the thread -------------------------------------------------------------------------------------------

    def _write_for_ever(self) -> None:
        item = self._queue.get()
        while item is not None:
            if isinstance(item, Chore):
                self._do(item)
                item = self._queue.get()
            else:
                item = self._write_queued(item)

    def _write_queued(self, group: list[Batch]) -> list[Batch] | Chore | None:
        """Write these batches with those that wait behind them; returns what comes after them."""
        while not self._queue.empty() and len(group) < GROUP_LIMIT:
            following = self._queue.get()
            if not isinstance(following, list):
                self._write_in_thread(group)
                return following
            group += following
        self._write_in_thread(group)
        return self._queue.get()

    def _write_in_thread(self, group: list[Batch]) -> None:
        assert self._loop is not None
        results, pages = self._write(group, BUSY_SECONDS)
        self._loop.call_soon_threadsafe(self._written, results, pages)

    def _do(self, chore: Chore) -> None:
        assert self._loop is not None
        result = 0
        error: StoreError | None = None
        try:
            result = chore.work()
        except Exception as failure:
            error = self._translated(failure)
        self._loop.call_soon_threadsafe(self._done, chore, result, error)

    def _merge(self) -> int:
        # Those who read are not disturbed; what they still need stays for the next time.
        return int(self._conn.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])

    def _make_room(self) -> int:
        self._begin(BUSY_SECONDS)
        make_room(self._conn, self._path, ROOM_BYTES)
        return 0

    # --- whoever has the connection ---------------------------------------------------------------------------

    def _write(self, group: list[Batch], patience: float) -> tuple[list[tuple[Batch, StoreError | None]], int]:
        """Write a group; returns what became of each batch and the pages written. Raises _Busy without patience."""
        stale = [batch for batch in group if batch.generation <= self._failed_generation]
        fresh = [batch for batch in group if batch.generation > self._failed_generation] if stale else group
        # What builds on a change that failed has failed for the same reason.
        results = [(batch, self._failure) for batch in stale]
        pages = 0
        error: StoreError | None = None
        if fresh:
            try:
                pages = self._write_fresh(fresh, patience)
            except _Busy:
                raise
            except Exception as failure:
                # Whatever it is (a full disk, a value without JSON), it fails this work, not those who write.
                error = self._translated(failure)
                self._failed_generation, self._failure = fresh[-1].generation, error
        return results + [(batch, error) for batch in fresh], pages

    def _write_fresh(self, group: list[Batch], patience: float) -> int:
        events = _events(group)

        def work(conn: sqlite3.Connection) -> int:
            return write_all(conn, group) + (self._index.write(conn, events) if events else 0)

        pages = self._whole(work, patience)
        if events:
            self._index.wrote()
        return pages

    def _whole(self, work: Callable[[sqlite3.Connection], int], patience: float) -> int:
        """Do it in a transaction, whole or not at all."""
        self._begin(patience)
        try:
            result = work(self._conn)
            self._conn.execute("COMMIT")
            return result
        finally:
            if self._conn.in_transaction:
                self._conn.rollback()

    def _begin(self, patience: float) -> None:
        """Begin to write, once no other program does; raises _Busy at once without patience."""
        until = self._seconds() + patience
        while True:
            try:
                self._conn.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if not patience:
                    raise _Busy from error
                if self._seconds() > until:
                    raise
            time.sleep(_BUSY_STEP_SECONDS)

    def _translated(self, error: Exception) -> StoreError:
        return translated(f"cannot write to {self._path}", self._path, error, "; nothing was changed")


def _events(group: list[Batch]) -> int:
    return sum(len(batch.events) for batch in group)


class _Busy(Exception):
    """Another program writes to the database."""


def _merged(pages: int, error: StoreError | None) -> None:
    if error is not None:
        log.error("store.not_merged", error=error.message)


def _made(_: int, error: StoreError | None) -> None:
    if error is not None:
        log.warning("store.no_room", error=error.message)


def translated(what: str, path: Path, error: Exception, outcome: str = "") -> StoreError:
    """What SQLite or the system said, for those who have to mend it."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) in DiskFull.ERRNOS:
        return DiskFull(f"{what}: {error}{outcome}; make room on the disk, nothing else is needed", object=str(path))
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreError(f"{what}: {error}{outcome}; stop the server and restore a backup", object=str(path))
    hint = "; can its folder be written to?" if code == sqlite3.SQLITE_CANTOPEN else ""
    return StoreError(f"{what}: {error}{hint}{outcome}", object=str(path))
