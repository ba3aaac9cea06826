"""Real time, which passes only as far as it must."""

from threading import Event

import pytest

from agent.clock import SystemClock
from agent.errors import Stopped
from agent.interrupt import STOPPED, Interrupt


def test_told_to_stop_a_sleep_ends_at_once() -> None:
    stop = Interrupt()
    stop.give(STOPPED, "SIGTERM")
    with pytest.raises(Stopped, match="SIGTERM"):
        SystemClock(stop).sleep(3600)


def test_a_sleep_of_no_time_only_asks_whether_to_stop() -> None:
    SystemClock(Interrupt()).sleep(0)
    SystemClock(Interrupt()).sleep(-1)


def test_waiting_ends_when_the_event_is_set() -> None:
    event = Event()
    assert not SystemClock(Interrupt()).wait(event, 0)
    event.set()
    assert SystemClock(Interrupt()).wait(event, 3600)


def test_time_goes_forward() -> None:
    clock = SystemClock(Interrupt())
    before = clock.now()
    assert clock.now() >= before
