"""The clock's tick: tokens that have ended go, and a disk that fails does not end it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from provisioner.bus import Bus
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.tokens import Tokens
from provisioner.model import Token, TokenPurpose
from provisioner.services.clock import Clock
from provisioner.store.database import Database

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


class NoJobs(Jobs):
    """Nothing runs."""

    def __init__(self) -> None:
        self.asked = 0

    async def drop_silent(self) -> None:
        self.asked += 1


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    database = Database(tmp_path / "db")
    database.open()
    ledger = Ledger(database, Bus(), lambda: _NOW)
    database.start()
    yield ledger
    await database.close()


async def test_a_tick_drops_ended_tokens_and_looks_for_silent_jobs(ledger: Ledger) -> None:
    tx = ledger.transaction()
    for name, minutes in (("old", -1), ("young", 1)):
        expires = _NOW + timedelta(minutes=minutes)
        tx.put(Token(digest=name, purpose=TokenPurpose.API, subject="a", created_at=_NOW, expires_at=expires))
    await tx.commit()
    tokens, jobs = Tokens(ledger), NoJobs()
    await Clock(ledger, jobs, tokens).tick()
    tokens.close()
    assert [token.digest for token in ledger.read_all(Token)] == ["young"]
    assert jobs.asked == 1
