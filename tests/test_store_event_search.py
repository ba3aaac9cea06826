"""Events are found the same way wherever their block is: in memory, on disk or just being written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from provisioner.events import Event
from provisioner.store.event_index import BLOCK, EventIndex
from provisioner.store.event_search import EventQuery, EventSearch
from tests.event_blocks import commit, empty_database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MACHINES, MACS = ("", "m1", "m2", "m3"), ("", "a", "b", "c")
KINDS = ("dhcp.ack", "dhcp.nak", "job.end")


@pytest.fixture
def conn() -> Iterator[sqlite3.Connection]:
    with empty_database() as conn:
        yield conn


def some_events(random: Random) -> list[Event]:
    """A few from each of a few blocks, with a clock that is set now and then."""
    numbers = sorted({block * BLOCK + random.randrange(1, 60) for block in range(5) for _ in range(25)})
    return [
        Event(
            id=number,
            time=NOW + timedelta(seconds=random.choice((number, number, random.randrange(5 * BLOCK)))),
            kind=random.choice(KINDS),
            machine=random.choice(MACHINES),
            mac=random.choice(MACS),
            key=random.choice("kl"),
            by=random.choice("xy"),
        )
        for number in numbers
    ]


def some_query(random: Random) -> EventQuery:
    wanted: dict[str, Any] = {
        "machine": random.choice(MACHINES[1:]),
        "macs": tuple(random.sample(MACS[1:], random.randrange(4))),
        "mac": random.choice(MACS[1:]),
        "kinds": random.choice((("dhcp",), ("job.end", "dhcp.nak"))),
        "key": "k",
        "by": "x",
        "since": NOW + timedelta(seconds=random.randrange(5 * BLOCK)),
        "until": NOW + timedelta(seconds=random.randrange(5 * BLOCK)),
        "after": random.randrange(5 * BLOCK),
        "before": random.randrange(1, 5 * BLOCK),
    }
    chosen = {name: value for name, value in wanted.items() if random.random() < 0.3}
    return EventQuery(**chosen, limit=random.choice((1, 5, 200)), newest_first=random.random() < 0.5)


def fits(event: Event, query: EventQuery) -> bool:
    is_theirs = not (query.machine or query.macs) or event.machine == query.machine != "" or event.mac in query.macs
    return (
        is_theirs
        and (not query.kinds or event.kind in query.kinds or event.kind.partition(".")[0] in query.kinds)
        and all(getattr(event, name) == getattr(query, name) for name in ("mac", "key", "by") if getattr(query, name))
        and (query.since is None or event.time >= query.since)
        and (query.until is None or event.time < query.until)
        and event.id > query.after
        and (not query.before or event.id < query.before)
    )


def search(index: EventIndex, query: EventQuery) -> EventSearch:
    return EventSearch(query, index.first_in_memory(), index.newest(query.names()))


@pytest.mark.parametrize("seed", range(40))
def test_what_is_found_is_what_fits(conn: sqlite3.Connection, seed: int) -> None:
    random = Random(seed)
    index = EventIndex()
    told: list[Event] = []
    left = some_events(random)
    while left:
        count = random.randrange(1, 20)
        commit(conn, index, left[:count])
        told, left = told + left[:count], left[count:]
        if random.random() < 0.1:
            index = EventIndex()
            index.load(conn)
        for _ in range(5):
            query = some_query(random)
            fitting = [event for event in told if fits(event, query)]
            wanted = (fitting[::-1] if query.newest_first else fitting)[: query.limit]
            assert list(search(index, query).events(conn)) == wanted
            assert search(index, query).count(conn, 1000) == len(fitting)
            assert search(index, query).count(conn, 2) == min(2, len(fitting))


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [100, 1000])
def test_an_event_of_a_machine_and_its_mac_is_found_once(
    conn: sqlite3.Connection, limit: int, newest_first: bool
) -> None:
    index = EventIndex()
    numbers = range(1, 2000)
    # The first ones are from before it registered.
    told = [Event(id=each, time=NOW, kind="a.b", machine="m" if each > 7 else "", mac="a") for each in numbers]
    commit(conn, index, told)
    commit(conn, index, [Event(id=BLOCK + each, time=NOW, kind="a.b", mac="b") for each in numbers])
    commit(conn, index, [Event(id=BLOCK + each, time=NOW, kind="a.b", mac="b") for each in range(2000, 4000)])
    commit(conn, index, [Event(id=2 * BLOCK + 1, time=NOW, kind="a.b", mac="b")])
    assert index.first_in_memory() == 1
    found: list[int] = []
    while len(found) < len(numbers):
        at = {"before" if newest_first else "after": found[-1]} if found else {}
        query = EventQuery(machine="m", macs=("a",), limit=limit, newest_first=newest_first, **at)
        found += [event.id for event in search(index, query).events(conn)]
    assert found == list(numbers)[:: -1 if newest_first else 1]
    assert search(index, EventQuery(machine="m", macs=("a",))).count(conn, 9999) == len(numbers)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (EventQuery(), ()),
        (EventQuery(mac="a"), ("a",)),
        (EventQuery(machine="m"), ("m",)),
        (EventQuery(machine="m", macs=("a", "b"), mac="c"), ("m", "a", "b")),
        (EventQuery(macs=("a",)), ("a",)),
    ],
)
def test_a_query_names_whose_events_it_is_about(query: EventQuery, names: tuple[str, ...]) -> None:
    assert query.names() == names


def test_somebody_s_events_are_read_by_their_numbers(conn: sqlite3.Connection) -> None:
    index = EventIndex()
    commit(conn, index, [Event(id=number, time=NOW, kind="dhcp.ack", mac="a") for number in range(1, 9)])
    statements: list[str] = []
    conn.set_trace_callback(statements.append)
    query = EventQuery(mac="a", after=2, before=7, kinds=("dhcp",), since=NOW, newest_first=True)
    assert [event.id for event in search(index, query).events(conn)] == [6, 5, 4, 3]
    conn.set_trace_callback(None)
    steps = [row[3] for row in conn.execute("EXPLAIN QUERY PLAN " + statements[-1])]
    assert "SEARCH events USING INTEGER PRIMARY KEY (rowid=?)" in steps
