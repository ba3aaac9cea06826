"""Which numbers events of a time can have, whatever the clock did."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database as Tables

from provisioner.store.schema import migrate
from provisioner.store.spans import SPAN, between, extend, forget, renew, sum_up


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    with closing(_made()) as conn:
        yield conn


def _made() -> sqlite3.Connection:
    conn = sqlite3.connect(":memory:")
    migrate(Tables(conn, execute_plugins=False), None)
    return conn


def text(time: int) -> str:
    return f"2026-01-01T00:00:00.{time:06}+00:00"


def tell(conn: sqlite3.Connection, times: list[int], first: int = 1) -> None:
    """Write events of these times, and extend the spans, in a group."""
    rows = [(number, text(time)) for number, time in enumerate(times, first)]
    conn.executemany("INSERT INTO events (id, time) VALUES (?, ?)", rows)
    extend(conn, [number for number, _ in rows])


def spans(conn: sqlite3.Connection) -> list[tuple[int, int]]:
    return conn.execute("SELECT first, last FROM event_spans ORDER BY first").fetchall()


def test_a_span_is_made_when_its_last_event_is_written(conn: sqlite3.Connection) -> None:
    tell(conn, [1] * (SPAN - 1))
    assert spans(conn) == []
    tell(conn, [1], SPAN)
    assert spans(conn) == [(1, SPAN)]
    tell(conn, [1] * 9, SPAN + 1)
    assert spans(conn) == [(1, SPAN)]


def test_a_group_that_goes_beyond_several_spans_makes_them_all(conn: sqlite3.Connection) -> None:
    tell(conn, [1] * (2 * SPAN + 5))
    assert spans(conn) == [(1, SPAN), (SPAN + 1, 2 * SPAN)]


def test_without_events_there_are_no_numbers(conn: sqlite3.Connection) -> None:
    extend(conn, [])
    sum_up(conn, 0)
    low, high = between(conn, until=text(5))
    assert low > high


def test_without_a_limit_all_numbers_to_come_count_too(conn: sqlite3.Connection) -> None:
    tell(conn, [5])
    low, high = between(conn, since=text(3))
    assert (low, high > 1 << 60) == (1, True)
    low, high = between(conn, since=text(7))
    assert low > 1 and high > 1 << 60


def test_a_span_goes_when_none_of_its_events_is_left(conn: sqlite3.Connection) -> None:
    tell(conn, [1] * (2 * SPAN + 5))
    conn.execute("DELETE FROM events WHERE id < ?", (SPAN,))
    forget(conn)
    assert len(spans(conn)) == 2
    conn.execute("DELETE FROM events WHERE id = ?", (SPAN,))
    forget(conn)
    assert spans(conn) == [(SPAN + 1, 2 * SPAN)]
    tell(conn, [2] * SPAN, 2 * SPAN + 6)
    assert spans(conn) == [(SPAN + 1, 2 * SPAN), (2 * SPAN + 1, 3 * SPAN)]


def test_what_has_been_removed_from_within_spans_is_not_looked_for_again(conn: sqlite3.Connection) -> None:
    # The clock had not been set yet at two starts, and the last span has nothing else.
    tell(conn, [1, *[9] * (3 * SPAN - 1), *[1] * SPAN, 9])
    assert between(conn, until=text(5)) == (1, 4 * SPAN)
    conn.execute("DELETE FROM events WHERE time < ?", (text(5),))
    renew(conn, text(5))
    low, high = between(conn, until=text(5))
    assert low > high
    assert between(conn, text(9), text(10)) == (1, 4 * SPAN + 1)


def test_numbers_far_from_a_time_are_left_out(conn: sqlite3.Connection) -> None:
    tell(conn, list(range(10 * SPAN + 7)))
    assert between(conn, text(3 * SPAN), text(3 * SPAN + 1)) == (3 * SPAN + 1, 4 * SPAN)
    assert between(conn, text(10 * SPAN + 2), text(10 * SPAN + 3)) == (10 * SPAN + 3, 10 * SPAN + 3)


_STRETCHES = st.lists(st.tuples(st.integers(0, 900_000), st.integers(1, 1500)), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None)
@given(stretches=_STRETCHES, since=st.integers(0, 910_000), length=st.integers(1, 300_000))
def test_every_event_of_a_time_is_between_the_numbers(
    stretches: list[tuple[int, int]], since: int, length: int
) -> None:
    until = min(since + length, 999_999)
    with closing(_made()) as conn:
        told: list[int] = []
        for start, count in stretches:
            # Each begins where the clock was set to.
            some = [start + number for number in range(count)]
            tell(conn, some, len(told) + 1)
            told += some
        wanted = [number for number, time in enumerate(told, 1) if since <= time < until]
        low, high = between(conn, text(since), text(until))
        assert all(low <= number <= high for number in wanted)
        if wanted:
            assert between(conn, since=text(since))[0] <= wanted[0]
            assert between(conn, until=text(until))[1] >= wanted[-1]
