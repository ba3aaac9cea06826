"""Who has an address that another server gave: where we are a proxy there is no lease of ours to look it up in.

Clients say it themselves, when they ask that other server to use an address, and when they ask us for the boot file;
and for those on our own link the kernel knows it, as soon as they have fetched anything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta

# A hall full of machines, each heard of a few times.
MOST_KNOWN = 65_536
# The kernel's table is read as a whole; a machine that boots fetches many files.
_LOOK_AGAIN = timedelta(seconds=5)


class Neighbours:
    """Addresses by MAC as they were heard of; `look` asks the kernel."""

    def __init__(self, look: Callable[[str], str], clock: Callable[[], datetime], most: int = MOST_KNOWN) -> None:
        self._look = look
        self._clock = clock
        self._most = most
        self._heard: OrderedDict[str, str] = OrderedDict()
        self._looked: OrderedDict[str, tuple[datetime, str]] = OrderedDict()

    def heard(self, address: str, mac: str) -> None:
        """A client said that it uses this address, or is about to."""
        if not address:
            return
        self._heard[address] = mac
        self._heard.move_to_end(address)
        while len(self._heard) > self._most:
            self._heard.popitem(last=False)

    def mac_of(self, address: str) -> str:
        """The MAC that has this address, '' when nobody knows. What the kernel sees goes before what was said."""
        return self._seen(address) or self._heard.get(address, "")

    def _seen(self, address: str) -> str:
        now = self._clock()
        known = self._looked.get(address)
        if known is not None and timedelta() <= now - known[0] < _LOOK_AGAIN:
            return known[1]
        mac = self._look(address) if "." in address else ""
        self._looked[address] = now, mac
        self._looked.move_to_end(address)
        while len(self._looked) > self._most:
            self._looked.popitem(last=False)
        return mac
