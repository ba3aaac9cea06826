"""The clock: time is an event too.

Jobs whose agents fell silent are abandoned, tokens that have ended are dropped, and every hour what has outlived the
settings is removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import structlog

from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.retention import Retention
from provisioner.conductor.tokens import Tokens
from provisioner.errors import StoreError

log = structlog.get_logger(__name__)

TICK_SECONDS = 5.0
# Between two ticks; more means that the server stood still: its host was paused, its disk stuck, a debugger on it.
STALL_SECONDS = 3 * TICK_SECONDS
HOUSEKEEPING_SECONDS = 3600.0


class Clock:
    """Ticks for as long as the server runs."""

    def __init__(
        self,
        ledger: Ledger,
        jobs: Jobs,
        tokens: Tokens,
        retention: Retention,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._ledger = ledger
        self._jobs = jobs
        self._tokens = tokens
        self._retention = retention
        self._seconds = seconds
        self._ticked: float | None = None

    async def run(self) -> None:
        """Tick for ever; what could not be saved is made up for by the next tick."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_repeat(self.tick, TICK_SECONDS))
            group.create_task(_repeat(self._retention.keep_house, HOUSEKEEPING_SECONDS))

    async def tick(self) -> None:
        """What time brings about."""
        now = self._seconds()
        if self._ticked is not None and now - self._ticked > STALL_SECONDS:
            log.warning("clock.stalled", seconds=round(now - self._ticked, 1))
            self._jobs.hear_anew()
        self._ticked = now
        await self._jobs.drop_silent()
        await self._jobs.mend_pauses()
        tx = self._ledger.transaction(by="clock")
        self._tokens.drop_ended(tx)
        await tx.commit()
        await self._retention.follow()


async def _repeat(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    while True:
        try:
            await work()
        except (StoreError, OSError) as error:
            log.error("clock.tick_failed", error=str(error))
        await asyncio.sleep(seconds)
