"""The event loop of the server: what is urgent comes first in every turn, and no turn is long.

asyncio takes all descriptors that are ready into one turn. When a thousand machines load at once, that is hundreds of
files to send from, a tenth of a second and more, in which every DHCP client waits. Here a turn has a few of them, in
their order, and only when nothing is ready of those that were preferred. Whoever floods these holds up the others, but
not for ever: after some turns of their own they share one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import ceil
from select import EPOLLIN, EPOLLOUT, epoll
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector, SelectorKey
from typing import Any, Protocol

# A file to send from is up to a millisecond of work; a turn costs some microseconds.
AT_ONCE = 16
# A thousand DHCP clients at once are as many turns of 64 datagrams and some milliseconds each.
ALONE = 16
_MOST_PREFERRED = 64


class HasFileno(Protocol):
    """A socket, a pipe."""

    def fileno(self) -> int:
        """Its descriptor."""


class FairSelector(BaseSelector):
    """A selector that tells at most `at_once` descriptors at a time, the others next; and preferred ones before.

    These come `alone` times at most before they come together with others.
    """

    def __init__(self, at_once: int = AT_ONCE, alone: int = ALONE) -> None:
        self._at_once = at_once
        self._alone = alone
        self._turns_alone = 0
        self._keys: dict[int, SelectorKey] = {}
        self._preferred: set[int] = set()
        self._ordinary = epoll()
        self._first = epoll()
        # Whoever waits for anything wakes up for these.
        self._ordinary.register(self._first, EPOLLIN)

    def prefer(self, fileobj: int | HasFileno) -> None:
        """Tell this one first from now on, until it is unregistered; it may be registered later."""
        descriptor = _descriptor(fileobj)
        if descriptor in self._preferred:
            return
        key = self._keys.get(descriptor)
        if key is not None:
            self._ordinary.unregister(descriptor)
            self._first.register(descriptor, _mask(key.events))
        self._preferred.add(descriptor)

    def register(self, fileobj: int | HasFileno, events: int, data: Any = None) -> SelectorKey:
        """See `selectors.BaseSelector`."""
        descriptor = _descriptor(fileobj)
        if descriptor in self._keys:
            raise KeyError(f"{fileobj!r} (descriptor {descriptor}) is already registered")
        self._epoll(descriptor).register(descriptor, _mask(events))
        key = self._keys[descriptor] = SelectorKey(fileobj, descriptor, events, data)
        return key

    def unregister(self, fileobj: int | HasFileno) -> SelectorKey:
        """See `selectors.BaseSelector`."""
        descriptor = self._known(fileobj)
        key = self._keys.pop(descriptor)
        # One that was closed before has left by itself.
        with suppress(OSError):
            self._epoll(descriptor).unregister(descriptor)
        self._preferred.discard(descriptor)
        return key

    def modify(self, fileobj: int | HasFileno, events: int, data: Any = None) -> SelectorKey:
        """See `selectors.BaseSelector`."""
        descriptor = self._known(fileobj)
        if self._keys[descriptor].events != events:
            self._epoll(descriptor).modify(descriptor, _mask(events))
        key = self._keys[descriptor] = SelectorKey(fileobj, descriptor, events, data)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """See `selectors.BaseSelector`."""
        first = self._first.poll(0, _MOST_PREFERRED)
        if first and self._turns_alone < self._alone:
            self._turns_alone += 1
            return self._told(first)
        self._turns_alone = 0
        # Milliseconds, rounded up: to wake too early is to wake twice.
        seconds = 0 if first else -1 if timeout is None else max(0.0, ceil(timeout * 1e3) * 1e-3)
        try:
            ordinary = self._ordinary.poll(seconds, self._at_once)
        except InterruptedError:
            return []
        return self._told([*(first or self._first.poll(0, _MOST_PREFERRED)), *ordinary])

    def _told(self, found: list[tuple[int, int]]) -> list[tuple[SelectorKey, int]]:
        ready = []
        for descriptor, mask in found:
            key = self._keys.get(descriptor)
            if key is not None:
                # An error or a hang-up is for whoever reads and for whoever writes.
                events = (EVENT_READ if mask & ~EPOLLOUT else 0) | (EVENT_WRITE if mask & ~EPOLLIN else 0)
                ready.append((key, events & key.events))
        return ready

    def close(self) -> None:
        """See `selectors.BaseSelector`."""
        self._ordinary.close()
        self._first.close()
        self._keys.clear()
        self._preferred.clear()

    def get_map(self) -> Mapping[Any, SelectorKey]:
        """See `selectors.BaseSelector`."""
        return _Map(self._keys)

    def _epoll(self, descriptor: int) -> epoll:
        return self._first if descriptor in self._preferred else self._ordinary

    def _known(self, fileobj: int | HasFileno) -> int:
        """The descriptor as it was registered, also of an object that was closed since."""
        descriptor = _found(self._keys, fileobj)
        if descriptor is None:
            raise KeyError(f"{fileobj!r} is not registered")
        return descriptor


class _Map(Mapping[Any, SelectorKey]):
    """Keys by descriptor or by whatever has one."""

    def __init__(self, keys: Mapping[int, SelectorKey]) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, fileobj: int | HasFileno) -> SelectorKey:
        descriptor = _found(self._keys, fileobj)
        if descriptor is None:
            raise KeyError(f"{fileobj!r} is not registered")
        return self._keys[descriptor]

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)


def _found(keys: Mapping[int, SelectorKey], fileobj: int | HasFileno) -> int | None:
    try:
        descriptor = _descriptor(fileobj)
    except ValueError:
        return next((each for each, key in keys.items() if key.fileobj is fileobj), None)
    return descriptor if descriptor in keys else None


def _descriptor(fileobj: int | HasFileno) -> int:
    descriptor = fileobj if isinstance(fileobj, int) else fileobj.fileno()
    if descriptor < 0:
        raise ValueError(f"{fileobj!r} has no descriptor")
    return descriptor


def _mask(events: int) -> int:
    if not events or events & ~(EVENT_READ | EVENT_WRITE):
        raise ValueError(f"events {events!r}: EVENT_READ, EVENT_WRITE or both")
    return (EPOLLIN if events & EVENT_READ else 0) | (EPOLLOUT if events & EVENT_WRITE else 0)


class FairLoop(asyncio.SelectorEventLoop):
    """The event loop with that selector."""

    def __init__(self) -> None:
        self._fair = FairSelector()
        super().__init__(self._fair)

    def prefer(self, fileobj: int | HasFileno) -> None:
        """What comes in here is handled first in each turn."""
        self._fair.prefer(fileobj)


def prefer(fileobj: int | HasFileno) -> None:
    """What comes in here is handled first in each turn of the running loop, if it is one that can."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, FairLoop):
        loop.prefer(fileobj)
