"""Whose events are whose: in memory, in blocks on disk, and in between while a block is written along."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from provisioner.events import Event
from provisioner.store.event_index import BLOCK, EventIndex, block_of, events_of, forget
from tests.event_blocks import commit, empty_database

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    with empty_database() as conn:
        yield conn


def told(*numbers: int, machine: str = "", mac: str = "") -> list[Event]:
    return [Event(id=number, time=NOW, kind="dhcp.ack", machine=machine, mac=mac) for number in numbers]


class History:
    """Writes events as the writer does, and knows them all."""

    def __init__(self, conn: sqlite3.Connection, index: EventIndex) -> None:
        self.conn = conn
        self.index = index

    def commit(self, events: list[Event], *, failing: bool = False) -> None:
        commit(self.conn, self.index, events, failing=failing)

    def found(self, *names: str) -> list[int]:
        blocks = range(self.index.first_in_memory())
        older = events_of(self.conn, names, blocks, newest_first=False)
        return [event for block in (*older, self.index.newest(names)) for event in sorted(set(block))]

    def blocks(self) -> list[int]:
        return [row[0] for row in self.conn.execute("SELECT block FROM event_blocks ORDER BY block")]

    def places(self) -> int:
        count: int = self.conn.execute("SELECT count(*) FROM event_places").fetchone()[0]
        return count


@pytest.fixture
def history(conn: sqlite3.Connection) -> History:
    return History(conn, EventIndex())


def reopened(history: History) -> History:
    index = EventIndex()
    index.load(history.conn)
    return History(history.conn, index)


def test_an_event_is_in_the_block_of_its_number() -> None:
    assert [block_of(number) for number in (1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1)] == [0, 0, 1, 1, 2]


def test_the_newest_events_are_found_by_machine_and_by_mac_each_once_and_in_order(history: History) -> None:
    history.commit(told(1, 4, machine="m", mac="a") + told(5, mac="a") + told(6, mac="b") + told(7))
    assert history.found("m", "a") == [1, 4, 5]
    assert history.found("m") == [1, 4]
    assert history.found("b", "a") == [1, 4, 5, 6]
    assert history.found("nobody") == history.found() == []
    assert history.places() == 0


def test_a_full_block_is_written_along_with_the_events_of_the_next(history: History) -> None:
    for number in range(1, 101):
        history.commit(told(number, machine=f"m{number % 7}", mac="a"))
    first = BLOCK + 1
    history.commit(told(first, mac="b"))
    assert (history.places(), history.blocks()) == (0, [])
    number = first
    while not history.blocks():
        number += 1
        history.commit(told(number, mac="b"))
        assert history.found("m3", "b") == [*range(3, 101, 7), *range(first, number + 1)]
    assert history.places() == 200
    # A commit takes no more along than a few rows for each of its events.
    assert 60 <= number - first <= 70


def test_how_many_rows_are_due_is_told_beforehand(history: History) -> None:
    history.commit(told(*range(1, 41), mac="a"))
    assert history.index.due(10) == 0
    history.commit(told(BLOCK + 1, mac="b"))
    before = history.places()
    due = history.index.due(5)
    history.commit(told(*range(BLOCK + 2, BLOCK + 7), mac="b"))
    assert history.places() - before == due == 15


def test_what_a_failed_transaction_took_along_is_written_with_the_next(history: History) -> None:
    history.commit(told(*range(1, 41), mac="a"))
    history.commit(told(BLOCK + 1, mac="b"))
    for number in range(BLOCK + 2, BLOCK + 20):
        for _ in range(3):
            history.commit(told(number, mac="b"), failing=True)
        history.commit(told(number, mac="b"))
    assert (history.blocks(), history.places()) == ([0], 40)
    history.commit(told(2 * BLOCK + 1, mac="a"))
    assert history.index.first_in_memory() == 1
    assert history.found("a") == [*range(1, 41), 2 * BLOCK + 1]


@pytest.mark.parametrize("commits", range(14))
def test_whenever_the_server_ended_everything_is_found_after_it_starts_again(history: History, commits: int) -> None:
    history.commit(told(*range(1, 41), mac="a"))
    numbers = [*range(BLOCK + 1, BLOCK + 8), 2 * BLOCK + 1, *range(2 * BLOCK + 2, 2 * BLOCK + 40)]
    for number in numbers[:commits]:
        history.commit(told(number, mac="a"))
    again = reopened(history)
    assert again.found("a") == [*range(1, 41), *numbers[:commits]]
    for number in numbers[commits:]:
        again.commit(told(number, mac="a"))
        assert again.found("a") == [*range(1, 41), *numbers[: numbers.index(number) + 1]]
    assert again.blocks() == [0, 1]
    assert reopened(again).found("a") == [*range(1, 41), *numbers]


def test_a_busy_disk_leaves_blocks_in_memory_until_they_are_written(history: History) -> None:
    for block in range(4):
        history.index.tell(told(*range(block * BLOCK + 1, block * BLOCK + 5), mac="a"))
    assert history.index.first_in_memory() == 0
    assert len(history.found("a")) == 16
    for number in range(4 * BLOCK + 1, 4 * BLOCK + 10):
        history.commit(told(number, mac="b"))
    assert history.blocks() == [0, 1, 2, 3]
    assert len(history.found("a")) == 16


def test_blocks_are_looked_into_in_the_order_asked_for(history: History) -> None:
    for block in range(4):
        history.commit(told(*range(block * BLOCK + 1, block * BLOCK + 9), mac="a"))
        history.commit(told(*range(block * BLOCK + 9, block * BLOCK + 20), mac="b"))
    order = [
        [block_of(events[0]) for events in events_of(history.conn, ["a", "b"], range(1, 3), newest_first=newest_first)]
        for newest_first in (False, True)
    ]
    assert order == [[1, 2], [2, 1]]


def test_looking_for_somebody_reads_no_more_than_their_rows(conn: sqlite3.Connection) -> None:
    statements: list[str] = []
    conn.set_trace_callback(statements.append)
    list(events_of(conn, ["a", "b"], range(9), newest_first=True))
    conn.set_trace_callback(None)
    steps = [row[3] for row in conn.execute("EXPLAIN QUERY PLAN " + statements[0])]
    assert "SEARCH event_places USING PRIMARY KEY (block=? AND who=?)" in steps
    assert not [step for step in steps if "TEMP" in step or "SCAN event_places" in step]


def test_blocks_of_removed_events_go_a_bounded_number_of_rows_at_a_time(history: History) -> None:
    for block in range(3):
        history.commit(told(*range(block * BLOCK + 1, block * BLOCK + 31), mac="a"))
    for number in range(3 * BLOCK + 1, 3 * BLOCK + 40):
        history.commit(told(number, mac="a"))
    assert history.blocks() == [0, 1, 2]
    history.conn.execute("DELETE FROM events WHERE id < ?", (BLOCK + 5,))
    left = []
    for _ in range(4):
        forget(history.conn, 20)
        left.append((history.places(), history.blocks()))
    assert left == [(70, [0, 1, 2]), (60, [1, 2]), (60, [1, 2]), (60, [1, 2])]
    assert reopened(history).index.first_in_memory() == 3


def test_an_event_of_the_future_keeps_no_other_block_than_its_own(history: History) -> None:
    for block in range(4):
        history.commit(told(*range(block * BLOCK + 1, block * BLOCK + 31), mac="a"))
    for number in range(4 * BLOCK + 1, 4 * BLOCK + 40):
        history.commit(told(number, mac="a"))
    history.conn.execute("DELETE FROM events WHERE id BETWEEN 2 AND ?", (3 * BLOCK,))
    for _ in range(9):
        forget(history.conn, 20)
    assert (history.blocks(), history.places()) == ([0, 3], 60)
    assert reopened(history).index.first_in_memory() == 4


def test_events_taken_out_by_hand_take_nothing_from_those_that_get_their_numbers(history: History) -> None:
    for block in range(3):
        history.commit(told(*range(block * BLOCK + 1, block * BLOCK + 31), mac="a"))
    history.commit(told(*range(3 * BLOCK + 1, 3 * BLOCK + 40), mac="a"))
    history.conn.execute("DELETE FROM events WHERE id > ?", (BLOCK + 5,))
    again = reopened(history)
    assert again.found("a") == [*range(1, 31), *range(BLOCK + 1, BLOCK + 6)]
    again.commit(told(BLOCK + 6, mac="a"))
    assert reopened(again).found("a") == [*range(1, 31), *range(BLOCK + 1, BLOCK + 7)]


def test_when_all_events_are_gone_the_next_start_knows_where_it_was(history: History) -> None:
    history.commit(told(*range(1, 5), mac="a"))
    history.commit(told(*range(BLOCK + 1, BLOCK + 9), mac="a"))
    history.conn.execute("DELETE FROM events")
    again = reopened(history)
    assert again.found("a") == []
    again.commit(told(BLOCK + 9, mac="a"))
    assert again.found("a") == [BLOCK + 9]
