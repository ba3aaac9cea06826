"""The clock: time is an event too. Jobs whose agents fell silent are abandoned, tokens that have ended are dropped."""

from __future__ import annotations

import asyncio

import structlog

from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.tokens import Tokens
from provisioner.errors import StoreError

log = structlog.get_logger(__name__)

TICK_SECONDS = 5.0


class Clock:
    """Ticks for as long as the server runs."""

    def __init__(self, ledger: Ledger, jobs: Jobs, tokens: Tokens) -> None:
        self._ledger = ledger
        self._jobs = jobs
        self._tokens = tokens

    async def run(self) -> None:
        """Tick for ever; a tick that could not be saved is made up for by the next."""
        while True:
            try:
                await self.tick()
            except StoreError as error:
                log.error("clock.tick_failed", error=error.message)
            await asyncio.sleep(TICK_SECONDS)

    async def tick(self) -> None:
        """What time brings about."""
        await self._jobs.drop_silent()
        tx = self._ledger.transaction(by="clock")
        self._tokens.drop_ended(tx)
        await tx.commit()
