"""The database on a real file: groups, failures, queries and reopening."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from provisioner.errors import DiskFull, StoreError
from provisioner.events import Event
from provisioner.model.access import User
from provisioner.model.machines import RenderedFile
from provisioner.store.batches import Batch, Write
from provisioner.store.database import PRUNE_LIMIT, Database
from provisioner.store.event_search import EventQuery
from provisioner.store.schema import MIGRATIONS
from tests.small_disk import small_disk

NOW = datetime(2026, 1, 1, tzinfo=UTC)
# Fails when a document says so, as a full disk would fail any.
TRAP = (
    "CREATE TRIGGER trap BEFORE INSERT ON users WHEN new.key = 'bad'"
    " BEGIN SELECT raise(ABORT, 'database or disk is full'); END"
)


def user(name):
    return User(name=name, password_hash="x", created_at=NOW)


def event(id, kind="machine.update", seconds=0, **fields):
    return Event(id=id, time=NOW + timedelta(seconds=seconds), kind=kind, **fields)


class Store:
    """A database with a thread, and what became of the batches given to it."""

    def __init__(self, database):
        self.database = database
        self.settled = []

    def give(self, *writes, events=(), generation=0, lazy=False):
        """Hand a batch over; the future holds the error or None."""
        future = asyncio.get_running_loop().create_future()

        def settled(error):
            self.settled.append(error)
            future.set_result(error)

        self.database.submit(Batch(generation, writes, events, settled), lazy=lazy)
        return future

    def users(self):
        return sorted(key for key, _ in self.database.load("users"))

    async def ids(self, **query):
        return [each.id for each in await self.database.events(EventQuery(**query))]


@asynccontextmanager
async def opened(path, start=True, sql=""):
    database = Database(path)
    database.open()
    if sql:
        with sqlite3.connect(path) as conn:
            conn.execute(sql)
        conn.close()
    if start:
        database.start()
    yield Store(database)
    await database.close()


def put(name):
    return Write("users", name, user(name))


@pytest.fixture
async def store(tmp_path):
    async with opened(tmp_path / "state" / "provisioner.db", sql=TRAP) as store:
        yield store


async def test_what_was_settled_is_there_after_reopening(tmp_path):
    async with opened(tmp_path / "a.db") as store:
        assert await store.give(put("ann"), events=[event(7, key="users/ann")]) is None
    async with opened(tmp_path / "a.db") as store:
        loaded = [msgspec.json.decode(doc, type=User) for _, doc in store.database.load("users")]
        assert loaded == [user("ann")]
        assert store.database.last_event_id() == 7


async def test_closing_writes_what_was_handed_over(tmp_path):
    async with opened(tmp_path / "a.db") as store:
        given = [store.give(put(f"u{number}")) for number in range(700)]
    assert [error for error in await asyncio.gather(*given) if error] == []
    async with opened(tmp_path / "a.db") as store:
        assert len(store.users()) == 700


async def test_batches_that_wait_are_committed_together(tmp_path):
    path = tmp_path / "a.db"
    async with opened(path, start=False, sql=TRAP) as store:
        given = [store.give(put("ann")), store.give(put("bad")), store.give(put("cid"))]
        store.database.start()
        errors = await asyncio.gather(*given)
        assert all(isinstance(error, StoreError) for error in errors)
        assert store.users() == []


async def test_batches_settle_in_the_order_they_were_given(store):
    order = []
    for number in range(50):
        store.give(put(f"u{number}")).add_done_callback(lambda _, number=number: order.append(number))
    await store.give(put("last"))
    await asyncio.sleep(0)
    assert order == list(range(50))


async def test_a_document_is_replaced_and_deleted(store):
    await store.give(put("ann"))
    await store.give(Write("users", "ann", replace_hash(user("ann"))), put("bob"))
    assert [doc for key, doc in store.database.load("users") if b'"new"' in doc]
    await store.give(Write("users", "ann", None))
    assert store.users() == ["bob"]


def replace_hash(value):
    return msgspec.structs.replace(value, password_hash="new")


async def test_a_failed_batch_leaves_nothing_and_names_the_file_and_the_reason(store):
    error = await store.give(put("ann"), put("bad"), events=[event(1)])
    assert isinstance(error, StoreError)
    assert "provisioner.db: database or disk is full; nothing was changed" in error.message
    assert (store.users(), store.database.last_event_id()) == ([], 0)


async def test_what_was_decided_on_a_failed_generation_fails_too(store):
    failed = [store.give(put("bad")), store.give(put("ann"))]
    first, *_ = await asyncio.gather(*failed)
    late = await store.give(put("bob"))
    assert (type(late), late.message) == (type(first), first.message)
    assert store.users() == []


async def test_the_next_generation_is_written_again(store):
    await store.give(put("bad"))
    assert await store.give(put("ann"), generation=1) is None
    assert store.users() == ["ann"]


async def test_a_generation_before_the_failure_stays_written(store):
    await store.give(put("ann"))
    await store.give(put("bad"))
    assert store.users() == ["ann"]


async def test_an_event_number_that_is_taken_fails_its_batch(store):
    await store.give(events=[event(1)])
    assert isinstance(await store.give(put("ann"), events=[event(1)]), StoreError)
    assert store.users() == []


@pytest.mark.parametrize("value", [object(), "\ud800"])
async def test_a_value_that_cannot_be_written_fails_its_batch_and_not_the_thread(store, value):
    error = await store.give(put("ann"), events=[event(1, data={"value": value})])
    assert isinstance(error, StoreError)
    assert await store.give(put("bob"), generation=1) is None
    assert store.users() == ["bob"]


async def test_rendered_files_of_a_job_are_kept_and_replaced(store):
    assert await store.database.actions("j1") is None
    for content in ("first", "second"):
        await store.give(Write("job_actions", "j1", (RenderedFile("run", content),)))
    assert b"second" in await store.database.actions("j1")


async def test_a_table_that_does_not_exist_cannot_be_loaded(store):
    with pytest.raises(ValueError, match="nowhere"):
        list(store.database.load("nowhere"))


# --- events ---------------------------------------------------------------------------------------------------

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"


@pytest.fixture
async def history(store):
    await store.give(
        events=[
            event(1, "dhcp.discover", mac=MAC, key="10.0.0.1"),
            event(2, "dhcp.ack", mac=MAC, data={"address": "10.0.0.1"}),
            event(3, "machine.create", machine="m1", mac=MAC, by="address:10.0.0.1"),
            event(4, "dhcp.discover", mac=OTHER),
            event(5, "job.create", machine="m1", key="j1"),
            event(6, "job.end", machine="m2", key="j2"),
        ]
    )
    return store


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"newest_first": True}, [6, 5, 4, 3, 2, 1]),
        ({"limit": 2}, [1, 2]),
        ({"limit": 2, "newest_first": True}, [6, 5]),
        ({"after": 4}, [5, 6]),
        ({"before": 3}, [1, 2]),
        ({"after": 2, "before": 5}, [3, 4]),
        ({"machine": "m1"}, [3, 5]),
        ({"macs": (OTHER,)}, [4]),
        ({"macs": (MAC, OTHER)}, [1, 2, 3, 4]),
        ({"machine": "m1", "macs": (MAC,)}, [1, 2, 3, 5]),
        ({"kinds": ("dhcp",)}, [1, 2, 4]),
        ({"kinds": ("dhcp.ack", "job")}, [2, 5, 6]),
        ({"kinds": ("dh",)}, []),
        ({"key": "j2"}, [6]),
        ({"machine": "m1", "kinds": ("job",), "key": "j1"}, [5]),
    ],
)
async def test_events_are_found_by(history, query, ids):
    assert await history.ids(**query) == ids


async def test_an_event_comes_back_as_it_was(history):
    found = await history.database.events(EventQuery(before=4, after=1))
    assert found == [
        event(2, "dhcp.ack", mac=MAC, data={"address": "10.0.0.1"}),
        event(3, "machine.create", machine="m1", mac=MAC, by="address:10.0.0.1"),
    ]


async def test_events_are_found_by_time_though_the_clock_was_set_back_and_forth(store):
    days = [*range(20), *range(5, 15), *range(12, 40)]
    told = [
        event(number, seconds=day * 86400) for number, day in enumerate((day for day in days for _ in range(60)), 1)
    ]
    for start in range(0, len(told), 500):
        await store.give(events=told[start : start + 500])
    for first, last in ((0, 1), (7, 9), (12, 13), (30, 50), (39, 40), (45, 50)):
        since, until = NOW + timedelta(days=first), NOW + timedelta(days=last)
        wanted = [each.id for each in told if since <= each.time < until]
        assert await store.ids(since=since, until=until, limit=5000) == wanted
        assert await store.ids(since=since, until=until, limit=5000, newest_first=True) == wanted[::-1]
        assert await store.ids(since=since, limit=5000) == [each.id for each in told if each.time >= since]
        assert await store.ids(until=until, limit=5000) == [each.id for each in told if each.time < until]
        query = EventQuery(since=since, until=until)
        assert await store.database.count_events(query, 9999) == len(wanted)


async def test_old_events_are_removed_though_newer_ones_stand_before_them(store):
    await store.give(events=old(*[9] * 1500, *[0] * 1500, *[9] * 10))
    assert [await store.database.prune_events(NOW + timedelta(days=1)) for _ in range(3)] == [PRUNE_LIMIT, 500, 0]
    assert await store.ids(limit=5000) == [*range(1, 1501), *range(3001, 3011)]


# --- opening --------------------------------------------------------------------------------------------------


def test_a_database_of_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as conn:
        conn.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    conn.close()
    with pytest.raises(StoreError, match="written by a newer provisioner"):
        Database(path).open()


@pytest.mark.parametrize("content", [b"this is not a database" * 100])
def test_a_file_that_is_no_database_is_named(tmp_path, content):
    path = tmp_path / "a.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"cannot open the database .*a\.db: file is not a database"):
        Database(path).open()


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot open the database"):
        Database(tmp_path / "file" / "a.db").open()


async def test_the_file_has_a_write_ahead_log(store):
    with sqlite3.connect(store.database.path) as conn:
        assert conn.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    conn.close()


# --- old events -----------------------------------------------------------------------------------------------


def old(*days):
    return [event(number, seconds=day * 86400) for number, day in enumerate(days, 1)]


async def test_events_from_before_a_time_are_removed(store):
    await store.give(events=old(0, 1, 2, 3))
    assert await store.database.prune_events(NOW + timedelta(days=2)) == 2
    assert await store.ids() == [3, 4]


async def test_the_newest_event_stays_however_old_so_that_no_number_is_given_twice(store):
    await store.give(events=old(0, 1))
    assert await store.database.prune_events(NOW + timedelta(days=9)) == 1
    assert await store.ids() == [2]


async def test_events_are_removed_a_bounded_number_at_a_time(store):
    await store.give(events=old(*[0] * (PRUNE_LIMIT + 5)))
    removed = [await store.database.prune_events(NOW + timedelta(days=1)) for _ in range(3)]
    assert removed == [PRUNE_LIMIT, 4, 0]


async def test_changes_and_upkeep_are_done_in_the_order_they_were_given(store):
    first = store.give(put("ann"), events=old(0, 0))
    removed = asyncio.ensure_future(store.database.prune_events(NOW + timedelta(days=1)))
    await asyncio.sleep(0)
    last = store.give(put("bob"), events=[event(3, seconds=86400)])
    assert [await first, await removed, await last] == [None, 1, None]
    assert await store.ids() == [2, 3]


async def test_rendered_files_go_with_their_job(store):
    await store.give(Write("jobs", "j1", "job"), Write("job_actions", "j1", (RenderedFile("run", "x"),)))
    await store.give(Write("jobs", "j1", None))
    assert await store.database.actions("j1") is None


async def test_jobs_that_are_gone_are_remembered_until_their_files_are_gone_too(store):
    await store.give(Write("jobs", "j1", "job"), Write("jobs", "j2", "job"))
    await store.give(Write("jobs", "j1", None), Write("jobs", "j2", None))
    assert await store.database.removed_jobs(1) == ["j1"]
    await store.database.forget_removed(["j1", "other"])
    assert await store.database.removed_jobs(9) == ["j2"]


async def test_upkeep_that_cannot_be_written_is_a_store_error(store):
    await store.give(events=old(0, 1))
    with sqlite3.connect(store.database.path) as conn:
        conn.execute("CREATE TRIGGER keep BEFORE DELETE ON events BEGIN SELECT raise(ABORT, 'no'); END")
    conn.close()
    with pytest.raises(StoreError, match="cannot write"):
        await store.database.prune_events(NOW + timedelta(days=1))
    assert await store.give(put("ann")) is None


# --- disks ----------------------------------------------------------------------------------------------------


async def test_a_full_disk_is_told_changes_nothing_and_writing_goes_on_once_there_is_room(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        async with opened(disk.folder / "a.db") as store:
            await store.give(put("ann"))
            disk.fill()
            error = await store.give(events=[event(1, data={"text": "x" * 300_000})])
            assert isinstance(error, DiskFull)
            assert "a.db: database or disk is full; nothing was changed; make room on the disk" in error.message
            assert store.users() == ["ann"]
            disk.free()
            assert await store.give(put("bob"), generation=1) is None
        async with opened(disk.folder / "a.db") as store:
            assert store.users() == ["ann", "bob"]
            assert store.database.last_event_id() == 0


async def test_old_events_can_be_removed_from_a_disk_that_is_nearly_full(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        async with opened(disk.folder / "a.db") as store:
            await store.give(events=old(*[0] * 100))
            disk.fill(leave_bytes=64 << 10)
            assert await store.database.prune_events(NOW + timedelta(days=1)) == 99


async def test_a_database_cannot_be_made_on_a_full_disk_and_can_be_once_there_is_room(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        disk.fill()
        with pytest.raises(DiskFull, match="cannot open the database"):
            Database(disk.folder / "a.db").open()
        disk.free()
        async with opened(disk.folder / "a.db") as store:
            assert await store.give(put("ann")) is None


async def test_a_read_only_disk_is_told_at_the_start(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        async with opened(disk.folder / "a.db") as store:
            await store.give(put("ann"))
        disk.read_only(True)
        with pytest.raises(StoreError, match=r"cannot open the database .*a\.db: unable to open .*be written to"):
            Database(disk.folder / "a.db").open()


async def test_a_database_that_becomes_read_only_is_told_and_writing_goes_on_afterwards(tmp_path):
    async with opened(tmp_path / "a.db") as store:
        store.database._write_conn.execute("PRAGMA query_only = ON")
        error = await store.give(put("ann"))
        assert "attempt to write a readonly database; nothing was changed" in error.message
        store.database._write_conn.execute("PRAGMA query_only = OFF")
        assert await store.give(put("bob"), generation=1) is None
        assert store.users() == ["bob"]


async def test_a_damaged_page_is_told_when_it_is_read(tmp_path):
    path = tmp_path / "a.db"
    async with opened(path) as store:
        await store.give(*(put(f"user-{number}-{'x' * 200}") for number in range(200)))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    database = Database(path)
    with pytest.raises(StoreError, match=r"malformed.*stop the server and restore a backup"):
        database.open()
        list(database.load("users"))


async def test_after_scrubbing_nothing_is_left_of_what_was_written_over(tmp_path):
    path = tmp_path / "a.db"
    async with opened(path) as store:
        await store.give(*(put(f"user-{number}") for number in range(50)), put("bob"))
        await store.give(Write("users", "bob", User(name="bob", password_hash="SESAME", created_at=NOW)))
        await store.give(Write("users", "bob", user("bob")))
        await store.database.scrub()
        held = [file.name for file in tmp_path.iterdir() if b"SESAME" in file.read_bytes()]
        assert held == [] and len(store.users()) == 51
        assert await store.give(put("eve")) is None


async def test_a_lazy_batch_goes_with_the_next_that_is_not_and_before_it(tmp_path):
    async with opened(tmp_path / "db", start=False) as store:
        lazy = store.give(put("ann"), events=[event(1)], lazy=True)
        eager = store.give(put("bob"), events=[event(2)])
        store.database.start()
        assert [await lazy, await eager] == [None, None]
        assert await store.ids() == [1, 2]


async def test_a_lazy_batch_waits_for_others_only_a_moment(tmp_path):
    async with opened(tmp_path / "db") as store:
        assert await store.give(put("ann"), lazy=True) is None


async def test_a_lazy_batch_is_written_when_somebody_cannot_wait(tmp_path):
    async with opened(tmp_path / "db") as store:
        written = store.give(put("ann"), lazy=True)
        store.database.hurry()
        assert await written is None


async def test_closing_writes_what_is_lazy(tmp_path):
    async with opened(tmp_path / "db") as store:
        store.give(put("ann"), lazy=True)
    assert store.settled == [None]
