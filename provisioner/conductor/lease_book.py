"""All addresses in memory, so that each question of the rules is answered without a search through the leases.

The book follows the ledger as an observer, and is told of a decision at once, before the transaction that carries it
is committed: the next message of the same drain must already see it. Being told twice changes nothing. When the disk
fails, the ledger tells it the old values again.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from datetime import datetime
from heapq import heappop, heappush

from provisioner.conductor.ledger import Ledger
from provisioner.leases import Network, Networks, address_text, number
from provisioner.model import Lease, Reservation, Subnet


class LeaseBook:
    """The `AddressView` of the rules in `provisioner.leases`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._leases: dict[str, Lease] = {}
        self._by_mac: dict[str, dict[str, Lease]] = {}
        self._networks = Networks(())
        self._pools: dict[str, _Pool] = {}
        self._stale = True
        self.generation = 0

    def follow(self) -> None:
        """Take in what the loaded ledger has, and every later change of it."""
        self._ledger.observe(Lease, self._lease_changed)
        self._ledger.observe(Reservation, self._reservation_changed)
        self._ledger.observe(Subnet, self._subnet_changed)

    def _lease_changed(self, old: Lease | None, new: Lease | None) -> None:
        if new is not None:
            self.put(new)
        elif old is not None:
            self._forget(old.address)

    def _reservation_changed(self, old: Reservation | None, new: Reservation | None) -> None:
        self.generation += 1
        if new is None and old is not None:
            self._give_back(old.address)

    def _subnet_changed(self, old: Subnet | None, new: Subnet | None) -> None:
        self.generation += 1
        self._stale = True

    def put(self, lease: Lease) -> None:
        """The lease as it has been decided."""
        old = self._leases.get(lease.address)
        if old is lease:
            return
        if old is not None and old.mac != lease.mac:
            self._detach(old)
        self._leases[lease.address] = lease
        self._by_mac.setdefault(lease.mac, {})[lease.address] = lease
        if not self._stale:
            pool = self._pool_of(lease.address)
            if pool is not None:
                pool.used(lease)

    def _detach(self, lease: Lease) -> None:
        held = self._by_mac[lease.mac]
        del held[lease.address]
        if not held:
            del self._by_mac[lease.mac]

    def _forget(self, address: str) -> None:
        lease = self._leases.pop(address, None)
        if lease is not None:
            self._detach(lease)
            self._give_back(address)

    def _give_back(self, address: str) -> None:
        pool = None if self._stale else self._pool_of(address)
        if pool is not None:
            pool.give_back(address, self._leases.get(address))

    def _pool_of(self, address: str) -> _Pool | None:
        found = self._networks.covering(address)
        return self._pools[found.subnet.name] if found is not None else None

    def _refresh(self) -> None:
        """Count the pools anew after a change of subnets; the one place that walks all leases."""
        self._networks = Networks(self._ledger.all(Subnet))
        self._pools = {each.subnet.name: _Pool(each) for each in self._networks}
        self._stale = False
        for lease in self._leases.values():
            pool = self._pool_of(lease.address)
            if pool is not None:
                pool.used(lease)

    # --- what the rules ask -----------------------------------------------------------------------------------

    def network(self, address: str) -> Network | None:
        """The enabled subnet that covers the address."""
        if self._stale:
            self._refresh()
        return self._networks.covering(address)

    def lease(self, address: str) -> Lease | None:
        """The last lease of the address, in any state."""
        return self._leases.get(address)

    def leases_of(self, mac: str) -> Sequence[Lease]:
        """The leases whose last holder is this MAC."""
        return tuple(self._by_mac.get(mac, {}).values())

    def reservation(self, address: str) -> Reservation | None:
        """For whom the address is reserved."""
        return self._ledger.get(Reservation, address)

    def reservations_of(self, mac: str) -> Sequence[Reservation]:
        """What is reserved for this MAC."""
        return self._ledger.reservations_by_mac(mac)

    def free_address(self, network: Network, now: datetime, ours: str) -> str:
        """A pool address that nobody holds or has reserved: never used ones in order, then the longest expired."""
        return self._pools[network.subnet.name].free(self, now, ours)

    def known_free(self, address: str, ours: str) -> bool:
        """Whether nobody ever held this address, nor has it reserved, nor is it ours."""
        return address not in self._leases and address != ours and self.reservation(address) is None


class _Pool:
    """Which address of one pool is next.

    `_next` is the first address never handed out: all below it have a lease or are reserved or barred. Addresses
    whose lease or reservation an operator deleted are in `_returned`. `_expiring` is a heap of (expiry, address) with
    one valid entry an address, the earliest known (`_queued`); an entry found to be too early is put back later, so a
    renewal costs nothing.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._next = network.pool_first
        self._returned: list[int] = []
        self._expiring: list[tuple[datetime, str]] = []
        self._queued: dict[str, datetime] = {}

    def used(self, lease: Lease) -> None:
        """This address of the network has a lease now."""
        queued = self._queued.get(lease.address)
        if queued is None or lease.expires_at < queued:
            if not self._network.pools(lease.address):
                return
            self._queued[lease.address] = lease.expires_at
            heappush(self._expiring, (lease.expires_at, lease.address))

    def give_back(self, address: str, lease: Lease | None) -> None:
        """The address' lease or reservation was deleted; `lease` is what is left of the former."""
        if lease is not None:
            self.used(lease)
            return
        self._queued.pop(address, None)
        value = number(address)
        place = bisect_left(self._returned, value)
        if self._network.pools(address) and self._returned[place : place + 1] != [value]:
            insort(self._returned, value)

    def free(self, book: LeaseBook, now: datetime, ours: str) -> str:
        """The next address to hand out, empty when there is none. Looking does not take it: saving a lease does."""
        return self._never_used(book, ours) or self._given_back(book, ours) or self._expired(book, now, ours)

    def _never_used(self, book: LeaseBook, ours: str) -> str:
        while self._next <= self._network.pool_last:
            address = address_text(self._next)
            if self._next not in self._network.barred and book.known_free(address, ours):
                return address
            self._next += 1
        return ""

    def _given_back(self, book: LeaseBook, ours: str) -> str:
        while self._returned:
            address = address_text(self._returned[0])
            if book.known_free(address, ours):
                return address
            self._returned.pop(0)
        return ""

    def _expired(self, book: LeaseBook, now: datetime, ours: str) -> str:
        while self._expiring:
            expiry, address = self._expiring[0]
            if self._queued.get(address) == expiry:
                lease = book.lease(address)
                if expiry > now:
                    return ""
                if lease is not None and lease.expires_at <= now and self._may_be_reused(book, address, ours):
                    return address
                del self._queued[address]
                if lease is not None and lease.expires_at > now:
                    self.used(lease)
            heappop(self._expiring)
        return ""

    def _may_be_reused(self, book: LeaseBook, address: str, ours: str) -> bool:
        return address != ours and book.reservation(address) is None
