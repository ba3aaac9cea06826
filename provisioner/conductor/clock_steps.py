"""Keeps a clock that is set from ending leases before their time.

Leases end by the clock on the wall, which may be wrong when the server starts and be set right an hour later. By a
clock that only ever counts on, such a step is seen before the next message is answered, and the leases are put right:

    set forward   what ran before runs on for as long as it had left
    set back      nothing runs for longer than it was given for

No lease is left longer than the one it was given for: its client cannot have it longer either. A step while the server
was down cannot be seen; there the probe before an address is offered has to do.

In memory the leases are right from then on, whatever the disk does (`Ledger.amend`): no later failure takes it back, so
nothing is ever decided by leases that are wrong. When they could not be saved, that is tried again at a slow pace, and
once in between as soon as anything else was saved: a disk that has room for a little takes that, and not all leases.
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
# All leases that ran are written each time: on a full disk that is not to be done with every packet.
RETRY_SECONDS = 5.0

# How far the clock was set, in seconds, and the addresses whose leases that moved.
_Step = tuple[float, list[str]]


def boot_seconds() -> float:
    """Seconds since the host booted, its sleep included."""
    return clock_gettime(CLOCK_BOOTTIME)


class ClockSteps:
    """Compares the ledger's clock with `steady`, which counts seconds from any start and is never set."""

    def __init__(self, ledger: Ledger, steady: Callable[[], float] = boot_seconds) -> None:
        self._ledger = ledger
        self._steady = steady
        # By the clock on the wall, and by the steady one.
        self._then: tuple[datetime, float] | None = None
        # Steps that could not be saved, oldest first; when that was tried last, and what had been saved by then.
        self._unsaved: list[_Step] = []
        self._tried_at = 0.0
        self._saved_then = 0
        # Whether it was tried before its time because something else was saved.
        self._hurried = False

    def follow(self) -> datetime:
        """Put leases right if the clock was set since the last time; call it before anything is decided by it.

        Returns the time by which they are right: read once more, the clock may have been set again.
        """
        now, steady = self._ledger.clock(), self._steady()
        then = self._then
        if then is None:
            self._then = now, steady
            return now
        step = now - then[0] - timedelta(seconds=steady - then[1])
        if abs(step) >= STEP:
            self._then = now, steady
            self._put_right(now, step)
            self._save(steady)
        elif self._unsaved and self._may_work(steady):
            self._save(steady)
        return now

    def _put_right(self, now: datetime, step: timedelta) -> None:
        log.warning("clock.set", seconds=step.total_seconds())
        changed = self._ledger.amend(Lease, lambda lease: _right(lease, now, step))
        self._unsaved.append((step.total_seconds(), changed))
        self._hurried = False

    def _may_work(self, steady: float) -> bool:
        """Whether it is time to try again what has failed: what is saved together with it fails too."""
        is_time = steady >= self._tried_at + RETRY_SECONDS
        if not is_time and (self._hurried or self._ledger.last_saved() == self._saved_then):
            return False
        self._hurried = not is_time
        return True

    def _save(self, steady: float) -> None:
        """Write the leases as they are by now, and tell of the steps."""
        self._tried_at, self._saved_then = steady, self._ledger.last_saved()
        steps, self._unsaved = self._unsaved, []
        tx = self._ledger.transaction(by="clock")
        for address in dict.fromkeys(address for _, addresses in steps for address in addresses):
            lease = self._ledger.get(Lease, address)
            # One that was deleted since is deleted on disk as well, or comes back, and this with it.
            if lease is not None:
                tx.put(lease)
        for seconds, addresses in steps:
            tx.event("server.clock", seconds=seconds, leases=len(addresses))
        tx.commit().add_done_callback(partial(self._tried, steps))

    def _tried(self, steps: list[_Step], saved: Future[None]) -> None:
        if not saved.cancelled() and saved.exception() is not None:
            self._unsaved += steps


def _right(lease: Lease, now: datetime, step: timedelta) -> Lease:
    """The lease as it is by the clock as it is now."""
    ends = _ends(lease, now, step)
    return lease if ends == lease.expires_at else replace(lease, expires_at=ends)


def _ends(lease: Lease, now: datetime, step: timedelta) -> datetime:
    """When the lease ends by the clock as it is now."""
    if lease.state is LeaseState.EXPIRED:
        return lease.expires_at
    ran = lease.expires_at > now - step
    ends = lease.expires_at + step if ran and step > timedelta() else lease.expires_at
    longest = QUARANTINE if lease.state is LeaseState.QUARANTINED else timedelta(seconds=lease.seconds)
    return min(ends, now + longest) if longest else ends
