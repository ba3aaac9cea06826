"""Notes: told at once, committed in groups, lost only with the disk."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from structlog.testing import capture_logs

from provisioner.bus import Bus
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.notes import Notes
from provisioner.errors import StoreError
from provisioner.store.database import Database
from tests.fakes.disk import SlowDisk
from tests.parts import MAC, START, opened


@pytest.fixture
def disk() -> SlowDisk:
    return SlowDisk()


def made(disk: SlowDisk, **options: int) -> Notes:
    ledger = Ledger(cast(Database, disk), Bus(), lambda: START)
    return Notes(ledger, **options)


async def test_what_is_told_reaches_the_disk_in_order(tmp_path) -> None:
    async with opened(tmp_path) as parts:
        for number in range(5):
            parts.notes.tell("http.read", by="address:10.0.0.9", mac=MAC, key=str(number), bytes=number)
        assert await parts.events("http.read") == [(str(number), {"bytes": number}) for number in range(5)]


async def test_what_is_told_while_a_commit_is_under_way_shares_the_next(disk: SlowDisk) -> None:
    notes = made(disk)
    for key in "ab":
        notes.tell("http.read", by="", key=key)
    await asyncio.sleep(0)
    for key in "cde":
        notes.tell("http.read", by="", key=key)
    waiting = asyncio.ensure_future(notes.settled())
    await asyncio.sleep(0)
    assert len(disk.batches) == 1 and not waiting.done()
    disk.settle()
    await asyncio.sleep(0)
    assert ["".join(event.key for event in batch.events) for batch in disk.batches] == ["ab", "cde"]
    disk.settle()
    await waiting


async def test_notes_are_in_no_hurry_until_somebody_waits(disk: SlowDisk) -> None:
    notes = made(disk)
    notes.tell("http.read", by="", key="a")
    await asyncio.sleep(0)
    notes.tell("http.read", by="", key="b")
    assert disk.hurried == 0
    waiting = asyncio.ensure_future(notes.settled())
    await asyncio.sleep(0)
    assert disk.hurried == 1
    for _ in range(2):
        disk.settle()
        await asyncio.sleep(0)
    assert disk.lazy == [True, False]
    await waiting


async def test_nobody_waits_when_nothing_was_told(disk: SlowDisk) -> None:
    await made(disk).settled()


async def test_a_kind_that_there_is_not_is_refused(disk: SlowDisk) -> None:
    with pytest.raises(ValueError, match=r"http\.nonsense"):
        made(disk).tell("http.nonsense", by="")


async def test_a_disk_that_stands_still_does_not_fill_the_memory(disk: SlowDisk) -> None:
    notes = made(disk, most_waiting=3)
    with capture_logs() as logs:
        for _ in range(5):
            notes.tell("http.read", by="")
        await asyncio.sleep(0)
        disk.settle()
        await notes.settled()
    assert len(disk.batches[0].events) == 3 and [entry["events"] for entry in logs] == [2]


async def test_a_disk_that_fails_loses_notes_and_nothing_else(disk: SlowDisk) -> None:
    notes = made(disk)
    notes.tell("http.read", by="")
    await asyncio.sleep(0)
    with capture_logs() as logs:
        disk.settle(StoreError("the disk is gone"))
        await notes.settled()
    assert [(entry["event"], entry["events"]) for entry in logs] == [("notes.lost", 1)]
    notes.tell("http.read", by="")
    await asyncio.sleep(0)
    assert len(disk.batches) == 2
