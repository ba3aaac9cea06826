"""Time as an argument: whoever waits does it through a `Clock`, so that tests never do."""

from __future__ import annotations

import time
from threading import Event
from typing import Protocol

from .errors import Stopped
from .interrupt import Interrupt, readable


class Clock(Protocol):
    """Seconds that only go forward, and ways to let them pass."""

    def now(self) -> float:
        """Seconds since an arbitrary moment."""

    def sleep(self, seconds: float) -> None:
        """Let time pass; raises `Stopped` when the agent is told to stop meanwhile."""

    def wait(self, event: Event, seconds: float) -> bool:
        """Let time pass until the event is set; whether it is."""


class SystemClock:
    """Real time. `stop` is given when the agent is told to stop."""

    def __init__(self, stop: Interrupt) -> None:
        self._stop = stop

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        # On a descriptor and not on a threading.Event, which a signal handler must not set: it may deadlock.
        if readable([self._stop.fileno()], seconds):
            raise Stopped(self._stop.detail)

    def wait(self, event: Event, seconds: float) -> bool:
        return event.wait(max(0.0, seconds))
