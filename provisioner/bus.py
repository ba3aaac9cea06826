"""The bus: hands published events to whoever listens now. Durable history is in the store, not here.

An event with number 0 is a passing notice (a log grew): it is never stored and cannot be asked for again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager

from provisioner.events import Event

# A listener this far behind is cut off and resumes from the store by event number.
BACKLOG_LIMIT = 4096


class Lagged(Exception):
    """The listener fell too far behind; it should resume from the last event it saw."""


class Subscription:
    """What one listener has not read yet."""

    def __init__(self) -> None:
        self._waiting: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._lagged = False

    def push(self, event: Event) -> None:
        """Give the listener an event."""
        if len(self._waiting) >= BACKLOG_LIMIT:
            self._lagged = True
            self._waiting.clear()
        if not self._lagged:
            self._waiting.append(event)
        self._arrived.set()

    async def arrival(self) -> bool:
        """True as soon as there is something to take. Giving up the wait at any moment loses nothing."""
        while not (self._waiting or self._lagged):
            self._arrived.clear()
            await self._arrived.wait()
        return True

    def take(self) -> list[Event]:
        """All that has arrived; raises Lagged once when some were dropped."""
        self._tell_of_lag()
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    async def next(self) -> Event:
        """The next event; raises Lagged once when some were dropped."""
        await self.arrival()
        self._tell_of_lag()
        return self._waiting.popleft()

    def _tell_of_lag(self) -> None:
        if self._lagged:
            self._lagged = False
            raise Lagged

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            yield await self.next()


class Bus:
    """Publishes to all present subscribers; never blocks and never fails because of one of them."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def publish(self, event: Event) -> None:
        """Hand an event to everyone who listens."""
        for subscription in self._subscriptions:
            subscription.push(event)

    def publish_all(self, events: Iterable[Event]) -> None:
        """Hand events to everyone who listens, in order; costs nothing when nobody does."""
        if self._subscriptions:
            for event in events:
                self.publish(event)

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Listen for as long as the context lasts."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
