"""Keeps a clock that is set from ending leases before their time.

Leases end by the clock on the wall, which may be wrong when the server starts and be set right an hour later. By a
clock that only ever counts on, such a step is seen before the next message is answered, and the leases are put right:

    set forward   what ran before runs on for as long as it had left
    set back      nothing runs for longer than it was given for

No lease is left longer than the one it was given for: its client cannot have it longer either. A step while the server
was down cannot be seen; there the probe before an address is offered has to do.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from time import CLOCK_BOOTTIME, clock_gettime

import structlog
from msgspec.structs import replace

from provisioner.conductor.ledger import Ledger
from provisioner.leases import QUARANTINE
from provisioner.model.addresses import Lease, LeaseState

log = structlog.get_logger(__name__)

# A clock that is put right little by little takes the steady one with it; what is left is how late we look.
STEP = timedelta(seconds=1)

# By the clock on the wall, and by the steady one.
_Moment = tuple[datetime, float]


def boot_seconds() -> float:
    """Seconds since the host booted, its sleep included."""
    return clock_gettime(CLOCK_BOOTTIME)


class ClockSteps:
    """Compares the ledger's clock with `steady`, which counts seconds from any start and is never set."""

    def __init__(self, ledger: Ledger, steady: Callable[[], float] = boot_seconds) -> None:
        self._ledger = ledger
        self._steady = steady
        self._then: _Moment | None = None
        # From when on steps are to be seen anew should the ledger go back to what is on disk; None when all are on it.
        self._before: _Moment | None = None
        self._generation = 0

    def follow(self) -> None:
        """Put leases right if the clock was set since the last time; call it before anything is decided by it."""
        now, steady = self._ledger.clock(), self._steady()
        if self._before is not None and self._generation != self._ledger.generation:
            self._then, self._before = self._before, None
        then = self._then
        if then is None:
            self._then = now, steady
            return
        step = now - then[0] - timedelta(seconds=steady - then[1])
        if abs(step) >= STEP:
            self._then = now, steady
            self._generation = self._ledger.generation
            self._before = self._before or then
            self._put_right(now, step, self._then)

    def _put_right(self, now: datetime, step: timedelta, reached: _Moment) -> None:
        log.warning("clock.set", seconds=step.total_seconds())
        tx = self._ledger.transaction(by="clock")
        changed = 0
        for lease in list(self._ledger.all(Lease)):
            right = _ends(lease, now, step)
            if right != lease.expires_at:
                changed += 1
                tx.put(replace(lease, expires_at=right))
        tx.event("server.clock", seconds=step.total_seconds(), leases=changed)
        tx.commit().add_done_callback(partial(self._saved, reached))

    def _saved(self, reached: _Moment, saved: Future[None]) -> None:
        if not saved.cancelled() and saved.exception() is None:
            self._before = None if self._then is reached else reached


def _ends(lease: Lease, now: datetime, step: timedelta) -> datetime:
    """When the lease ends by the clock as it is now."""
    if lease.state is LeaseState.EXPIRED:
        return lease.expires_at
    ran = lease.expires_at > now - step
    ends = lease.expires_at + step if ran and step > timedelta() else lease.expires_at
    longest = QUARANTINE if lease.state is LeaseState.QUARANTINED else timedelta(seconds=lease.seconds)
    return min(ends, now + longest) if longest else ends
