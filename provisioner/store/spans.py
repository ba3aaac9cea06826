"""Which events can be of a time: for each thousand of them, the earliest and the latest time among them.

Times mostly rise with the numbers, but clocks are set back too, so a number cannot be found by halving; and an index of
all times costs every commit a page. A span costs one row for each thousand events and is right whatever the clock did.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

# Numbers of a span: it ends with a multiple of this. Events after the last span are in none yet.
SPAN = 1024
# No number is higher.
LARGEST = (1 << 63) - 1
# No time is later than this text.
_NEVER = "~"


def extend(conn: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Events with these numbers, in order, have been written: sum up the span that they complete, if they do."""
    if ids and (ids[0] % SPAN == 0 or ids[0] // SPAN != ids[-1] // SPAN):
        sum_up(conn, ids[-1])


def sum_up(conn: sqlite3.Connection, highest: int) -> None:
    """Make the spans that are whole up to this number and are not there yet."""
    conn.execute(
        "INSERT INTO event_spans (first, last, earliest, latest)"
        " SELECT min(id), max(id), min(time), max(time) FROM events"
        f" WHERE id > (SELECT coalesce(max(last), 0) FROM event_spans) AND id <= ? GROUP BY (id - 1) / {SPAN}",
        (highest // SPAN * SPAN,),
    )


def between(conn: sqlite3.Connection, since: str = "", until: str = "") -> tuple[int, int]:
    """The lowest and the highest number that an event from `since` on and before `until` can have (empty: no limit).

    There are others between them. When there can be none, the lowest is above the highest.
    """
    summed_up = conn.execute("SELECT coalesce(max(last), 0) FROM event_spans").fetchone()[0]
    times = (since, until or _NEVER)
    spans = conn.execute(
        "SELECT min(first), max(last) FROM event_spans WHERE latest >= ? AND earliest < ?", times
    ).fetchone()
    rest = conn.execute(
        "SELECT min(id), max(id) FROM events WHERE id > ? AND time >= ? AND time < ?", (summed_up, *times)
    ).fetchone()
    found = [each for each in (*spans, *rest) if each is not None]
    if not until:
        # Also those that come while this is asked.
        found.append(LARGEST)
    return (min(found), max(found)) if found else (LARGEST, 0)


def renew(conn: sqlite3.Connection, before: str) -> None:
    """All events from before that time have been removed: sum up the spans anew that had some.

    Otherwise two that a clock without a battery gave times of 1970 would have all between them looked at for ever.
    """
    conn.execute(
        "UPDATE event_spans SET (earliest, latest) ="
        " (SELECT coalesce(min(time), ?), coalesce(max(time), '') FROM events WHERE id BETWEEN first AND last)"
        " WHERE earliest < ?",
        (_NEVER, before),
    )


def forget(conn: sqlite3.Connection) -> None:
    """Events have been removed: so are the spans of which none is left."""
    conn.execute("DELETE FROM event_spans WHERE last < (SELECT coalesce(min(id), 0) FROM events)")
