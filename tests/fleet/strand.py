"""Lets blocking code wait for coroutines: it runs on a stack of its own, which is set aside while the event loop works.

The agent is written for threads. Ten thousand threads are too many; ten thousand stacks that switch by themselves are
not, and its code runs unchanged on them.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from threading import Event
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

T = TypeVar("T")


async def run(function: Callable[..., T], *arguments: Any) -> T:
    """The result of blocking code that waits by `wait_for`. Cancelling the task raises inside that code."""
    strand = greenlet(function)
    strand.gr_context = getcurrent().gr_context
    result = strand.switch(*arguments)
    while not strand.dead:
        try:
            value = await result
        except BaseException:
            result = strand.throw(*sys.exc_info())
        else:
            result = strand.switch(value)
    done: T = result
    return done


def wait_for(awaitable: Awaitable[T]) -> T:
    """Inside of `run`: the awaitable's result, as soon as it has one."""
    loop = getcurrent().parent
    assert loop is not None, "not on a strand"
    value: T = loop.switch(awaitable)
    return value


class StrandClock:
    """The agent's clock on a strand. `pace` makes its pauses shorter or longer than real ones."""

    def __init__(self, now: Callable[[], float], sleep: Callable[[float], Awaitable[None]], pace: float = 1.0) -> None:
        self._now = now
        self._sleep = sleep
        self._pace = pace

    def now(self) -> float:
        """Seconds as the agent counts them."""
        return self._now() / self._pace

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        if seconds > 0:
            wait_for(self._sleep(seconds * self._pace))

    def wait(self, event: Event, seconds: float) -> bool:
        """Let time pass; whoever sets the event on this strand has done so before."""
        if not event.is_set():
            self.sleep(seconds)
        return event.is_set()
