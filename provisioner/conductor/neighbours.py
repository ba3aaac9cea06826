"""Who has an address that another server gave: where we are a proxy there is no lease of ours to look it up in.

Clients say it themselves, when they ask that other server to use an address, and when they ask us for the boot file;
and for those on our own link the kernel knows it, as soon as they have fetched anything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from provisioner.conductor.ledger import Ledger
from provisioner.dhcp_case import runs
from provisioner.model.addresses import Lease

# A hall full of machines, each heard of a few times.
MOST_KNOWN = 65_536
# The kernel's table is read as a whole; a machine that boots fetches many files.
_BELIEVED = timedelta(seconds=5)
# Who is not in it may be a moment later: a client is often known only by its first answer.
_LOOK_AGAIN = timedelta(milliseconds=20)


class Neighbours:
    """Addresses by MAC as they were heard of; `look` gives the kernel's table."""

    def __init__(
        self, look: Callable[[], Mapping[str, str]], clock: Callable[[], datetime], most: int = MOST_KNOWN
    ) -> None:
        self._look = look
        self._clock = clock
        self._most = most
        self._heard: OrderedDict[str, str] = OrderedDict()
        self._table: Mapping[str, str] = {}
        self._looked_at: datetime | None = None

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
        if "." not in address:
            return ""
        now = self._clock()
        believed = _BELIEVED if address in self._table else _LOOK_AGAIN
        if self._looked_at is None or not timedelta() <= now - self._looked_at < believed:
            self._table, self._looked_at = self._look(), now
        return self._table.get(address, "")


def holder(ledger: Ledger, address: str, neighbour: Callable[[str], str]) -> str:
    """The MAC that has this address: by a lease of ours that runs, else as a neighbour, else who had it last; or ''."""
    lease = ledger.get(Lease, address)
    if lease is not None and runs(lease, ledger.clock()):
        return lease.mac
    # It may be one of a network where another server gives the addresses by now.
    return neighbour(address) or (lease.mac if lease is not None else "")
