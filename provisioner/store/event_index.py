"""Which events are whose: in memory for the newest, and on disk in blocks of so many, each sorted by whose they are.

An index of the usual kind would cost every event of a storm two pages of the disk, each somewhere else, written whole
and summed at a commit, and more the longer the history is. Here a block is written once and from its first page to its
last: while the next one fills, each commit takes some of its rows along. Whoever looks for somebody's events looks into
each block once.

As with the connection (`store.writer`), a part belongs to the event loop and a part to whoever writes.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop
from itertools import groupby, islice
from operator import itemgetter

from provisioner.events import Event
from provisioner.store.rows import insert_missing

# Numbers of a block: ten million events are 600 blocks to look into.
BLOCK = 16384
# As many rows go along with each event. It has two at most, of its machine and of its MAC: so a block is on disk before
# the next one is full, and what was left behind is caught up with.
_ROWS_WITH_AN_EVENT = 3
_PAGES, _ROWS_OF_A_PAGE = 2, 64
_COLUMNS = ("block", "who", "event")


def block_of(event: int) -> int:
    """The block that an event of this number is in; the first event has number 1."""
    return (event - 1) // BLOCK


class EventIndex:
    """The blocks that are not whole on disk yet."""

    def __init__(self) -> None:
        # The loop's.
        self._number = 0
        self._events: dict[str, list[int]] = {}
        self._full: dict[int, dict[str, list[int]]] = {}
        # The loop puts in, whoever writes takes out.
        self._to_write: deque[tuple[int, dict[str, list[int]]]] = deque()
        # Of whoever writes.
        self._rows: Iterator[tuple[int, str, int]] | None = None
        self._taken: list[tuple[int, str, int]] = []
        self._whole = False
        self._written = -1

    def load(self, conn: sqlite3.Connection) -> None:
        """Learn of the events that are in no block on disk; call it before anything is told or written."""
        last = conn.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0]
        if conn.execute("SELECT 1 FROM event_blocks WHERE block >= ? LIMIT 1", (block_of(last + 1),)).fetchone():
            # Somebody took events out of the file by hand, and their numbers are given again.
            with conn:
                conn.execute("DELETE FROM event_blocks WHERE block >= ?", (block_of(last + 1),))
        self._written = conn.execute("SELECT coalesce(max(block), -1) FROM event_blocks").fetchone()[0]
        self._number = self._written + 1
        for event, machine, mac in conn.execute(
            "SELECT id, machine, mac FROM events WHERE id > ? ORDER BY id", (self._number * BLOCK,)
        ):
            self._tell(event, machine, mac)

    # --- on the event loop ------------------------------------------------------------------------------------

    def tell(self, events: Sequence[Event]) -> None:
        """These are on disk."""
        for event in events:
            self._tell(event.id, event.machine, event.mac)

    def _tell(self, event: int, machine: str, mac: str) -> None:
        number = block_of(event)
        if number != self._number:
            self._begin(number)
        for who in (machine, mac):
            if not who:
                continue
            known = self._events.get(who)
            if known is None:
                self._events[who] = [event]
            else:
                known.append(event)

    def _begin(self, number: int) -> None:
        if self._events:
            self._full[self._number] = self._events
            self._to_write.append((self._number, self._events))
        self._number, self._events = number, {}
        written = self._written
        for old in [block for block in self._full if block <= written]:
            del self._full[old]

    def first_in_memory(self) -> int:
        """The first block that is not looked for on disk."""
        return min(self._full, default=self._number)

    def newest(self, names: Iterable[str]) -> list[int]:
        """The numbers of the events of any of these from the first block in memory on, as `events_of` has them."""
        found: list[int] = []
        for who in names:
            for block in (*self._full.values(), self._events):
                found += block.get(who, ())
        return found

    # --- whoever has the connection ---------------------------------------------------------------------------

    def due(self, events: int) -> int:
        """About how many rows `write` will write with so many events. Anybody may ask."""
        return _ROWS_WITH_AN_EVENT * events if self._to_write else 0

    def write(self, conn: sqlite3.Connection, events: int) -> int:
        """Write some of what is due, in the transaction of so many events; call `wrote` once that is on disk.

        Returns about how many pages that was.
        """
        if self._rows is None:
            if not self._to_write:
                return 0
            self._rows = _rows(*self._to_write[0])
        wanted = max(0, _ROWS_WITH_AN_EVENT * events - len(self._taken))
        more = list(islice(self._rows, wanted))
        # What a transaction that failed had taken comes first.
        self._taken += more
        insert_missing(conn, "event_places", _COLUMNS, [value for row in self._taken for value in row])
        self._whole = len(more) < wanted
        if self._whole:
            conn.execute("INSERT OR IGNORE INTO event_blocks (block) VALUES (?)", (self._to_write[0][0],))
        return _PAGES + len(self._taken) // _ROWS_OF_A_PAGE

    def wrote(self) -> None:
        """The transaction is on disk."""
        self._taken = []
        if self._whole:
            self._whole, self._rows = False, None
            self._written = self._to_write.popleft()[0]


def _rows(block: int, events: dict[str, list[int]]) -> Iterator[tuple[int, str, int]]:
    # To sort all names at once would keep everybody waiting for 10 ms.
    names = list(events)
    heapify(names)
    while names:
        who = heappop(names)
        for event in events[who]:
            yield block, who, event


def sum_up(conn: sqlite3.Connection, highest: int) -> None:
    """Make the blocks of a history that has none, up to the event of this number."""
    lowest = conn.execute("SELECT min(id) FROM events").fetchone()[0]
    for block in range(block_of(lowest or 1), block_of(highest + 1)):
        conn.execute(
            "INSERT INTO event_places (block, who, event)"
            " SELECT ?1, machine, id FROM events WHERE id BETWEEN ?2 AND ?3 AND machine <> ''"
            " UNION SELECT ?1, mac, id FROM events WHERE id BETWEEN ?2 AND ?3 AND mac <> '' ORDER BY 1, 2, 3",
            (block, block * BLOCK + 1, (block + 1) * BLOCK),
        )
        conn.execute("INSERT INTO event_blocks (block) VALUES (?)", (block,))


def events_of(
    conn: sqlite3.Connection, names: Sequence[str], blocks: range, *, newest_first: bool
) -> Iterator[list[int]]:
    """The numbers of the events of any of these in these blocks: a list for each block that has some.

    They are in no order, and twice where an event is of two of these.
    """
    marks = ",".join("?" * len(names))
    rows = conn.execute(
        "SELECT event_blocks.block, event FROM event_blocks CROSS JOIN event_places"
        " ON event_places.block = event_blocks.block"
        f" WHERE event_blocks.block BETWEEN ? AND ? AND who IN ({marks})"
        f" ORDER BY event_blocks.block {'DESC' if newest_first else 'ASC'}",
        (blocks.start, blocks.stop - 1, *names),
    )
    for _, found in groupby(rows, itemgetter(0)):
        yield [event for _, event in found]


def forget(conn: sqlite3.Connection, most: int) -> None:
    """Events have been removed: so are up to so many rows of blocks of which none is left."""
    # Not only the first blocks: what was told while the clock was ahead is kept longer than all after it.
    empty = conn.execute(
        "SELECT block FROM event_blocks WHERE NOT EXISTS"
        " (SELECT 1 FROM events WHERE id BETWEEN block * ?1 + 1 AND (block + 1) * ?1) LIMIT 1",
        (BLOCK,),
    ).fetchone()
    if empty is None:
        return
    gone = conn.execute(
        "DELETE FROM event_places WHERE (block, who, event) IN"
        " (SELECT block, who, event FROM event_places WHERE block = ? ORDER BY block, who, event LIMIT ?)",
        (*empty, most),
    ).rowcount
    if gone < most:
        conn.execute("DELETE FROM event_blocks WHERE block = ?", empty)
