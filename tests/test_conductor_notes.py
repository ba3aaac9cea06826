"""Notes: told at once, committed in groups, lost only with the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import cast

import pytest
from structlog.testing import capture_logs

from provisioner.conductor.ledger import Ledger
from provisioner.conductor.notes import Notes
from provisioner.errors import StoreError
from provisioner.events import Event
from tests.parts import MAC, opened


class SlowLedger:
    """Commits when it is told to."""

    def __init__(self) -> None:
        self.groups: list[list[Event]] = []
        self.futures: list[asyncio.Future[None]] = []
        self.lazy: list[bool] = []
        self.hurried = 0

    @property
    def database(self) -> SlowLedger:
        return self

    def hurry(self) -> None:
        self.hurried += 1

    def clock(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def commit(
        self, changes: object, actions: object, events: Callable[[int], list[Event]], *, lazy: bool
    ) -> asyncio.Future[None]:
        self.lazy.append(lazy)
        self.groups.append(events(1))
        self.futures.append(asyncio.get_running_loop().create_future())
        return self.futures[-1]


@pytest.fixture
def ledger() -> SlowLedger:
    return SlowLedger()


async def test_what_is_told_reaches_the_disk_in_order(tmp_path) -> None:
    async with opened(tmp_path) as parts:
        for number in range(5):
            parts.notes.tell("http.read", by="address:10.0.0.9", mac=MAC, key=str(number), bytes=number)
        assert await parts.events("http.read") == [(str(number), {"bytes": number}) for number in range(5)]


async def test_what_is_told_while_a_commit_is_under_way_shares_the_next(ledger: SlowLedger) -> None:
    notes = Notes(cast(Ledger, ledger))
    for key in "ab":
        notes.tell("http.read", by="", key=key)
    await asyncio.sleep(0)
    for key in "cde":
        notes.tell("http.read", by="", key=key)
    waiting = asyncio.ensure_future(notes.settled())
    await asyncio.sleep(0)
    assert len(ledger.groups) == 1 and not waiting.done()
    ledger.futures[0].set_result(None)
    await asyncio.sleep(0)
    assert ["".join(event.key for event in group) for group in ledger.groups] == ["ab", "cde"]
    ledger.futures[1].set_result(None)
    await waiting


async def test_notes_are_in_no_hurry_until_somebody_waits(ledger: SlowLedger) -> None:
    notes = Notes(cast(Ledger, ledger))
    notes.tell("http.read", by="", key="a")
    await asyncio.sleep(0)
    notes.tell("http.read", by="", key="b")
    assert ledger.hurried == 0
    waiting = asyncio.ensure_future(notes.settled())
    await asyncio.sleep(0)
    assert ledger.hurried == 1
    for future in ledger.futures:
        future.set_result(None)
        await asyncio.sleep(0)
    assert ledger.lazy == [True, False]
    await waiting


async def test_nobody_waits_when_nothing_was_told(ledger: SlowLedger) -> None:
    await Notes(cast(Ledger, ledger)).settled()


async def test_a_kind_that_there_is_not_is_refused(ledger: SlowLedger) -> None:
    with pytest.raises(ValueError, match=r"http\.nonsense"):
        Notes(cast(Ledger, ledger)).tell("http.nonsense", by="")


async def test_a_disk_that_stands_still_does_not_fill_the_memory(ledger: SlowLedger) -> None:
    notes = Notes(cast(Ledger, ledger), most_waiting=3)
    with capture_logs() as logs:
        for _ in range(5):
            notes.tell("http.read", by="")
        await asyncio.sleep(0)
        ledger.futures[0].set_result(None)
        await notes.settled()
    assert len(ledger.groups[0]) == 3 and [entry["events"] for entry in logs] == [2]


async def test_a_disk_that_fails_loses_notes_and_nothing_else(ledger: SlowLedger) -> None:
    notes = Notes(cast(Ledger, ledger))
    notes.tell("http.read", by="")
    await asyncio.sleep(0)
    with capture_logs() as logs:
        ledger.futures[0].set_exception(StoreError("the disk is gone"))
        await notes.settled()
    assert [(entry["event"], entry["events"]) for entry in logs] == [("notes.lost", 1)]
    notes.tell("http.read", by="")
    await asyncio.sleep(0)
    assert len(ledger.groups) == 2
