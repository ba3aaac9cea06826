"""Who writes: the event loop while the disk is quick, the thread else; and that both together lose and swap nothing."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlite_utils import Database as Tables

from provisioner.errors import StoreError
from provisioner.store.batches import Batch, Write
from provisioner.store.event_index import EventIndex
from provisioner.store.schema import migrate
from provisioner.store.writer import LAZY_SECONDS, LOOP_ROWS, ROOM_BYTES, Writer
from tests.test_services_dhcp import until

ROOT = Path(__file__).resolve().parent.parent
MERGE_PAGES = 100


class Clock:
    """Makes every commit take as long as wanted, for those who look at the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Site:
    """A writer, and which thread wrote each document."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.conn = sqlite3.connect(path, check_same_thread=False, timeout=5)
        self.conn.execute("PRAGMA journal_mode = WAL")
        self.conn.execute("PRAGMA synchronous = FULL")
        migrate(Tables(self.conn, execute_plugins=False), path)
        self.writers: list[tuple[str, str]] = []
        self.conn.create_function("note", 1, self._note)
        # For this connection only: others do not know the function.
        self.conn.execute("CREATE TEMP TRIGGER seen BEFORE INSERT ON users BEGIN SELECT note(new.key); END")
        self.writer = Writer(self.conn, path, EventIndex(), self.clock, merge_pages=MERGE_PAGES)
        self.told: list[str] = []
        self._loop = threading.get_ident()

    def _note(self, key: str) -> None:
        if key.startswith("bad"):
            raise ValueError(key)
        self.writers.append((key, "loop" if threading.get_ident() == self._loop else "thread"))

    def give(self, *keys: str, generation: int = 0, lazy: bool = False) -> asyncio.Future[StoreError | None]:
        future: asyncio.Future[StoreError | None] = asyncio.get_running_loop().create_future()

        def settled(error: StoreError | None) -> None:
            self.told.append(keys[0])
            future.set_result(error)

        self.writer.submit(Batch(generation, [Write("users", key, 1) for key in keys], (), settled), lazy=lazy)
        return future

    def upkeep(self, work: Callable[[sqlite3.Connection], int] = lambda conn: 0) -> asyncio.Future[StoreError | None]:
        future: asyncio.Future[StoreError | None] = asyncio.get_running_loop().create_future()
        self.writer.chore(work, lambda result, error: future.set_result(error))
        return future

    def stored(self) -> list[str]:
        with closing(sqlite3.connect(self.path)) as other:
            return [row[0] for row in other.execute("SELECT key FROM users ORDER BY rowid")]


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Site]:
    site = Site(path)
    site.writer.start()
    yield site
    await site.writer.close()
    site.conn.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened(tmp_path / "a.db") as site:
        yield site


async def test_a_lone_commit_on_a_quick_disk_is_made_by_the_loop(site: Site) -> None:
    assert await site.give("ann") is None
    assert site.writers == [("ann", "loop")]
    assert site.stored() == ["ann"]


async def test_nothing_is_told_before_handing_over_has_returned(site: Site) -> None:
    given = site.give("ann")
    assert not given.done() and site.stored() == []
    await given


async def test_all_that_is_decided_in_one_turn_of_the_loop_is_one_commit(site: Site) -> None:
    given = [site.give("ann"), site.give("bad"), site.give("cid")]
    assert all(isinstance(error, StoreError) for error in await asyncio.gather(*given))
    assert site.stored() == []


async def test_a_large_group_goes_to_the_thread(site: Site) -> None:
    await site.give(*(f"u{number:03}" for number in range(LOOP_ROWS)))
    await site.give(*(f"v{number:03}" for number in range(LOOP_ROWS + 1)))
    assert {(key[0], who) for key, who in site.writers} == {("u", "loop"), ("v", "thread")}


async def test_what_comes_while_the_thread_is_at_work_goes_to_the_thread_and_stays_behind(site: Site) -> None:
    go_on = threading.Event()
    busy = site.upkeep(lambda conn: int(go_on.wait(10)))
    given = [site.give("ann"), site.give("bob")]
    await asyncio.sleep(0)
    assert site.told == []
    go_on.set()
    assert [await busy, *await asyncio.gather(*given)] == [None, None, None]
    assert site.writers == [("ann", "thread"), ("bob", "thread")]


async def test_a_slow_disk_moves_commits_to_the_thread_and_a_quick_one_back_after_a_while(site: Site) -> None:
    site.clock.step = 0.3
    await site.give("stalls")
    site.clock.step = 0.0
    await site.give("away")
    site.clock.now += 1.0
    await site.give("back")
    assert site.writers == [("stalls", "loop"), ("away", "thread"), ("back", "loop")]


async def test_a_disk_that_goes_on_stalling_holds_the_loop_ever_more_seldom(site: Site) -> None:
    site.clock.step = 0.3
    for number in range(200):
        await site.give(f"u{number:03}")
    held = [who for _, who in site.writers].count("loop")
    assert 2 <= held <= 8


async def test_while_another_program_writes_the_loop_does_not_wait(site: Site) -> None:
    with closing(sqlite3.connect(site.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        given = site.give("ann")
        for _ in range(3):
            await asyncio.sleep(0)
        assert site.writers == []
        other.execute("ROLLBACK")
        assert await given is None
    assert site.writers == [("ann", "thread")]
    await site.give("bob")
    assert site.writers[-1] == ("bob", "loop")


async def test_the_order_holds_whoever_writes(site: Site) -> None:
    random = Random(7)
    given = []
    keys = [f"u{number:03}" for number in range(400)]
    for key in keys:
        site.clock.step = 0.3 if random.random() < 0.02 else 0.0
        site.clock.now += 0.1
        given.append(site.give(key, lazy=random.random() < 0.3))
        if random.random() < 0.05:
            site.upkeep()
        if random.random() < 0.5:
            await asyncio.sleep(0)
        if random.random() < 0.2:
            site.writer.hurry()
            await given[-1]
    site.writer.hurry()
    assert not any(await asyncio.gather(*given))
    assert site.told == site.stored() == [key for key, _ in site.writers] == keys
    assert {who for _, who in site.writers} == {"loop", "thread"}


async def test_a_commit_in_the_loop_that_fails_takes_its_generation_with_it_and_the_next_goes_on(site: Site) -> None:
    lazy = site.give("before", lazy=True)
    failed = site.give("bad")
    assert isinstance(await failed, StoreError) and isinstance(await lazy, StoreError)
    assert isinstance(await site.give("late"), StoreError)
    assert await site.give("ann", generation=1) is None
    assert site.stored() == ["ann"]


async def test_what_waits_behind_a_failure_of_the_thread_fails_with_it(site: Site) -> None:
    site.upkeep()
    failed = site.give("bad")
    behind = site.give("ann", lazy=True)
    assert isinstance(await failed, StoreError)
    site.writer.hurry()
    assert isinstance(await behind, StoreError)
    assert site.stored() == []


async def test_lazy_batches_ride_with_the_next_commit_and_else_wait_a_moment(site: Site) -> None:
    lazy = site.give("ann", lazy=True)
    await site.give("bob")
    assert lazy.done() and site.told == ["ann", "bob"]
    assert await site.give("cid", lazy=True) is None


async def test_one_that_has_only_begun_to_wait_is_not_hurried_for_the_sake_of_one_that_has_gone(site: Site) -> None:
    loop = asyncio.get_running_loop()
    site.give("first", lazy=True)
    await site.give("eager")
    began = loop.time()
    await site.give("second", lazy=True)
    # The other's time was up that much earlier as its commit took. A late timer proves nothing and hurts nobody.
    assert loop.time() - began >= LAZY_SECONDS - 0.0001


def merged(site: Site) -> int:
    """How many users there are without the log: none while it is being merged, or before it ever was."""
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(f"file:{site.path}?immutable=1", uri=True)) as conn:
        return int(conn.execute("SELECT count(*) FROM users").fetchone()[0])
    return 0


async def test_the_log_of_writes_is_merged_now_and_then(site: Site) -> None:
    for number in range(400):
        await site.give(f"u{number}")
    # Each has written three pages or four; where all is merged, the log begins anew.
    assert site.path.with_name("a.db-wal").stat().st_size < 5 * MERGE_PAGES * 4096
    assert merged(site) > 200


async def test_the_log_of_writes_is_merged_when_nothing_is_written_any_more(site: Site) -> None:
    count = 0
    while site.path.with_name("a.db-wal").stat().st_size < 1.5 * MERGE_PAGES * 4096:
        await site.give(f"u{count}")
        count += 1
    await until(lambda: merged(site) == count)


async def test_the_log_of_writes_is_merged_also_when_there_is_nothing_but_upkeep(site: Site) -> None:
    await site.give(*(f"u{number}" for number in range(10)))
    assert merged(site) == 0
    for _ in range(MERGE_PAGES // 10):
        await site.upkeep(lambda conn: conn.execute("UPDATE users SET doc = doc").rowcount)
    await until(lambda: merged(site) == 10)


async def test_a_batch_that_cannot_be_told_keeps_nothing_from_the_others(site: Site) -> None:
    def fails(error: StoreError | None) -> None:
        raise ValueError("ours")

    site.writer.submit(Batch(0, [Write("users", "first", {})], [], fails))
    after = site.give("second")
    assert await asyncio.wait_for(after, 30) is None
    assert site.told == ["second"]


async def test_room_is_made_in_the_log_before_what_is_given_next_is_written(site: Site) -> None:
    site.writer.make_room()
    await site.give("u1")
    assert site.path.with_name("a.db-wal").stat().st_size > ROOM_BYTES
    assert site.path.stat().st_size < ROOM_BYTES


async def test_where_no_room_can_be_made_all_is_written_as_before(site: Site) -> None:
    pages = site.conn.execute("PRAGMA page_count").fetchone()[0]
    site.conn.execute(f"PRAGMA max_page_count = {pages + 100}")
    site.writer.make_room()
    await site.give("u1")
    assert site.path.with_name("a.db-wal").stat().st_size < ROOM_BYTES


async def test_closing_writes_what_waits(tmp_path: Path) -> None:
    async with opened(tmp_path / "a.db") as site:
        site.give("lazy", lazy=True)
        site.give("eager")
    assert site.told == ["lazy", "eager"] == site.stored()


# --- killed ---------------------------------------------------------------------------------------------------

_VICTIM = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.test_store_writer import Site

async def main(path, fatal):
    site = Site(Path(path))
    site.conn.create_function("die", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
    site.conn.execute(
        "CREATE TEMP TRIGGER fatal AFTER INSERT ON users WHEN new.key = 'u%s' BEGIN SELECT die(); END" % fatal
    )
    site.writer.start()
    for number in range(100_000):
        assert await site.give(f"u{number}") is None
        os.write(1, f"{site.writers[-1][1]} u{number}\\n".encode())

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Callable[..., tuple[list[str], list[str]]]]:
    def run(fatal: int, acknowledged: int = 0) -> tuple[list[str], list[str]]:
        """Kill it inside the commit of this document, or after so many; returns what it acknowledged, what is there."""
        path = tmp_path / f"{fatal}-{acknowledged}.db"
        command = [sys.executable, "-c", _VICTIM, str(path), str(fatal)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
            assert process.stdout is not None
            said: list[str] = []
            for line in process.stdout:
                said.append(line.strip())
                if len(said) == acknowledged:
                    process.kill()
            assert process.wait(60) == -signal.SIGKILL
        with closing(sqlite3.connect(path)) as conn:
            assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return said, [row[0] for row in conn.execute("SELECT key FROM users ORDER BY rowid")]

    yield run


def test_killed_inside_a_commit_in_the_loop_it_has_all_that_was_acknowledged_and_nothing_of_that_commit(
    victim: Any,
) -> None:
    said, there = victim(fatal=40)
    assert [line.split()[1] for line in said] == there == [f"u{number}" for number in range(40)]
    assert "loop" in {line.split()[0] for line in said}


@pytest.mark.parametrize("acknowledged", [1, 150])
def test_killed_at_any_moment_it_has_all_that_was_acknowledged(victim: Any, acknowledged: int) -> None:
    said, there = victim(fatal=-1, acknowledged=acknowledged)
    promised = [line.split()[1] for line in said]
    assert len(promised) >= acknowledged
    assert there[: len(promised)] == promised
    assert len(there) <= len(promised) + 1
