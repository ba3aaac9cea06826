"""The clock's tick: tokens that have ended go, and a disk that fails does not end it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from provisioner.bus import Bus
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.retention import Retention
from provisioner.conductor.tokens import Tokens
from provisioner.errors import StoreError
from provisioner.model.access import Token, TokenPurpose
from provisioner.model.machines import Job
from provisioner.services.clock import STALL_SECONDS, Clock
from provisioner.store.assets import Assets
from provisioner.store.database import Database
from provisioner.store.logs import JobLogs
from provisioner.tickets import Tickets

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


class NoJobs(Jobs):
    """Nothing runs."""

    def __init__(self) -> None:
        self.asked = 0
        self.heard_anew = 0

    def hear_anew(self) -> None:
        self.heard_anew += 1

    async def drop_silent(self) -> None:
        self.asked += 1

    async def mend_pauses(self) -> None:
        self.asked += 1


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    database = Database(tmp_path / "db")
    database.open()
    ledger = Ledger(database, Bus(), lambda: _NOW)
    database.start()
    yield ledger
    await database.close()


async def test_a_tick_drops_ended_tokens_looks_for_silent_jobs_and_removes_files_of_removed_ones(
    ledger: Ledger, tmp_path: Path
) -> None:
    tx = ledger.transaction()
    for name, minutes in (("old", -1), ("young", 1)):
        expires = _NOW + timedelta(minutes=minutes)
        tx.put(Token(digest=name, purpose=TokenPurpose.API, subject="a", created_at=_NOW, expires_at=expires))
    await tx.commit()
    tokens, jobs = Tokens(ledger, Tickets([b"key"])), NoJobs()
    logs, assets = JobLogs(tmp_path / "logs"), Assets(tmp_path / "assets", 1)
    await logs.append("gone", 0, b"x")
    tx = ledger.transaction()
    tx.delete(Job, "gone")
    await tx.commit()
    await Clock(ledger, jobs, tokens, Retention(ledger, logs, assets)).tick()
    assert await logs.size("gone") == 0
    for part in (tokens, logs, assets):
        part.close()
    assert [token.digest for token in ledger.read_all(Token)] == ["young"]
    assert jobs.asked == 2


async def test_a_server_that_stood_still_gives_agents_their_time_anew(ledger: Ledger, tmp_path: Path) -> None:
    logs, assets, jobs = JobLogs(tmp_path / "logs"), Assets(tmp_path / "assets", 1), NoJobs()
    tokens = Tokens(ledger, Tickets([b"key"]))
    moments = iter([100.0, 105.0, 105.0 + STALL_SECONDS, 106.0 + 2 * STALL_SECONDS])
    clock = Clock(ledger, jobs, tokens, Retention(ledger, logs, assets), lambda: next(moments))
    seen = []
    for _ in range(4):
        await clock.tick()
        seen.append(jobs.heard_anew)
    assert seen == [0, 0, 0, 1]
    for part in (tokens, logs, assets):
        part.close()


async def test_a_disk_that_fails_does_not_end_the_clock(ledger: Ledger, tmp_path: Path) -> None:
    logs, assets, jobs = JobLogs(tmp_path / "logs"), Assets(tmp_path / "assets", 1), NoJobs()
    tokens = Tokens(ledger, Tickets([b"key"]))
    ticked = asyncio.Event()

    class Failing(Retention):
        """A store that fails every time."""

        async def keep_house(self) -> None:
            raise PermissionError(13, "Permission denied", "assets")

        async def follow(self) -> None:
            ticked.set()
            raise StoreError("the disk is full")

    clock = asyncio.create_task(Clock(ledger, jobs, tokens, Failing(ledger, logs, assets)).run())
    await ticked.wait()
    await asyncio.sleep(0)
    assert not clock.done()
    clock.cancel()
    with pytest.raises(asyncio.CancelledError):
        await clock
    for part in (tokens, logs, assets):
        part.close()
