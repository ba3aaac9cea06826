"""What is known of addresses, arranged so that the rules get each answer in constant or logarithmic time.

Leases, reservations and subnets come from the ledger. Offers are here only: they last a minute, and one that a crash
takes with it costs its client a second DISCOVER at worst.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from heapq import heappop, heappush
from itertools import chain, islice
from typing import Final, TypeVar

import structlog

from provisioner.conductor.by_mac import ByMac
from provisioner.conductor.ledger import Ledger
from provisioner.dhcp_case import Offer
from provisioner.leases import OFFER_HOLD
from provisioner.links import Link, Network, Networks, address_text, number
from provisioner.model.addresses import Lease, Picker, Reservation, Subnet

log = structlog.get_logger(__name__)

# Of offers at one time: a hall that powers on has some thousands; more are a flood of invented addresses.
MOST_OFFERS: Final = 100_000

_Item = TypeVar("_Item", int, tuple[datetime, str])


class LeaseBook:
    """The `AddressView` of the rules in `provisioner.leases`."""

    def __init__(self, ledger: Ledger, most_offers: int = MOST_OFFERS) -> None:
        self._ledger = ledger
        # By address; only to be looked at. Reservations are those of IPv4.
        self.leases: dict[str, Lease] = {}
        self.offers: dict[str, Offer] = {}
        self.reserved: dict[str, Reservation] = {}
        self._by_mac: ByMac[Lease] = ByMac()
        self._offers_by_mac: ByMac[Offer] = ByMac()
        self._reserved_by_mac: ByMac[Reservation] = ByMac()
        # What the rules ask a dozen times for each message: these save a call each.
        self.lease: Callable[[str], Lease | None] = self.leases.get
        self.offer: Callable[[str], Offer | None] = self.offers.get
        self.reservation: Callable[[str], Reservation | None] = self.reserved.get
        self.leases_of: Callable[[str], Sequence[Lease]] = self._by_mac.of
        self.offers_of: Callable[[str], Sequence[Offer]] = self._offers_by_mac.of
        self.reservations_of: Callable[[str], Sequence[Reservation]] = self._reserved_by_mac.of
        self._lapsing: deque[Offer] = deque()
        self._lapsed_at: datetime | None = None
        self._most_offers = most_offers
        self._networks = Networks(())
        self._pools: dict[str, _Pool] = {}
        self._nearest: _Pool | None = None
        self._stale = True
        self.generation = 0

    def follow(self) -> None:
        """Take in what the loaded ledger has, and every later change of it."""
        self._ledger.observe(Lease, self._lease_changed)
        self._ledger.observe(Reservation, self._reservation_changed)
        self._ledger.observe(Subnet, self._subnet_changed)

    def _lease_changed(self, old: Lease | None, new: Lease | None) -> None:
        lease = new or old
        if lease is None or ":" in lease.address:
            return
        if new is not None:
            self.put(new)
        else:
            self._forget(lease.address)

    def _reservation_changed(self, old: Reservation | None, new: Reservation | None) -> None:
        self.generation += 1
        if new is not None and _counts(new):
            if old is not None and old.mac != new.mac:
                self._reserved_by_mac.remove(old)
            self.reserved[new.address] = new
            self._reserved_by_mac.put(new)
        elif new is None and old is not None and old.address in self.reserved:
            del self.reserved[old.address]
            self._reserved_by_mac.remove(old)
            self._give_back(old.address)

    def _subnet_changed(self, old: Subnet | None, new: Subnet | None) -> None:
        self.generation += 1
        self._stale = True

    def put(self, lease: Lease) -> None:
        """The lease as it has been decided."""
        address = lease.address
        old = self.leases.get(address)
        if old is lease:
            return
        if old is not None and old.mac != lease.mac:
            self._by_mac.remove(old)
        self.leases[address] = lease
        self._by_mac.put(lease)
        if not self._stale:
            pool = self._pool_of(address)
            if pool is not None:
                pool.used(lease)

    def put_back(self, lease: Lease, before: Lease | None) -> None:
        """Undo `put(lease)`: the address has the lease that it had before."""
        if before is not None:
            self.put(before)
        else:
            self._forget(lease.address)

    def _forget(self, address: str) -> None:
        lease = self.leases.pop(address, None)
        if lease is not None:
            self._by_mac.remove(lease)
            self._give_back(address)

    def _give_back(self, address: str) -> None:
        pool = None if self._stale else self._pool_of(address)
        if pool is not None:
            pool.give_back(address, self.leases.get(address))

    def _pool_of(self, address: str) -> _Pool | None:
        pool = self._nearest
        if pool is None or not pool.network.covers(address):
            found = self._networks.covering(address)
            pool = self._nearest = self._pools[found.subnet.name] if found is not None else None
        return pool

    def _refresh(self) -> None:
        """Count the pools anew after a change of subnets; the one place that walks all leases."""
        self._networks = Networks(self._ledger.all(Subnet))
        for each in self._networks.unusable:
            log.error("dhcp.subnet-unusable", subnet=each.name, cidr=each.cidr)
        self._pools = {each.subnet.name: _Pool(each) for each in self._networks}
        self._nearest = None
        self._stale = False
        for lease in self.leases.values():
            pool = self._pool_of(lease.address)
            if pool is not None:
                pool.used(lease)

    # --- offers -----------------------------------------------------------------------------------------------

    def hold(self, offers: Sequence[Offer], now: datetime) -> None:
        """Remember offers as they have been decided; one whose time is up is forgotten. All last equally long."""
        if offers:
            self.lapse(now)
        for offer in offers:
            old = self.offers.pop(offer.address, None)
            if old is not None:
                self._offers_by_mac.remove(old)
            if offer.until > now:
                self.offers[offer.address] = offer
                self._offers_by_mac.put(offer)
                self._lapsing.append(offer)
            elif old is not None:
                self._give_back(offer.address)

    def lapse(self, now: datetime) -> None:
        """Forget the offers that nobody took up in time, and the oldest ones when there are too many."""
        if now is self._lapsed_at and len(self._lapsing) <= self._most_offers:
            # All messages of a drain are decided at the same moment.
            return
        self._lapsed_at = now
        while self._lapsing:
            offer = self._lapsing[0]
            # One that would last longer than any was made before the clock was set back.
            runs = now < offer.until <= now + OFFER_HOLD
            if runs and len(self._lapsing) <= self._most_offers:
                return
            self._lapsing.popleft()
            if self.offers.get(offer.address) is offer:
                del self.offers[offer.address]
                self._offers_by_mac.remove(offer)
                self._give_back(offer.address)

    # --- what the rules ask -----------------------------------------------------------------------------------

    def link(self, address: str) -> Link | None:
        """The link that the address is on, if an enabled subnet covers it."""
        if self._stale:
            self._refresh()
        return self._networks.link(address)

    def next_free(self, network: Network, now: datetime, ours: tuple[str, ...]) -> str:
        """A pool address that nobody ever had, has on offer or reserved, and that is none of `ours`; or empty."""
        self.lapse(now)
        return self._pools[network.subnet.name].next_free(self, ours)

    def most_expired(self, network: Network, now: datetime, ours: tuple[str, ...]) -> str:
        """The pool address that nobody holds, has on offer or reserved for longest, none of `ours`; or empty."""
        self.lapse(now)
        return self._pools[network.subnet.name].most_expired(self, now, ours)

    def upcoming(self, subnet: str, now: datetime, ours: tuple[str, ...], count: int) -> list[str]:
        """The addresses of this subnet's pool that are given out next, as far as no client wishes for others."""
        pool = self._pools.get(subnet)
        return list(islice(pool.upcoming(self, now, ours), count)) if pool is not None else []

    def unclaimed(self, address: str, ours: tuple[str, ...]) -> bool:
        """Whether nobody has this address on offer or reserved, and it is none of ours."""
        return address not in self.offers and address not in ours and address not in self.reserved


def _counts(reservation: Reservation) -> bool:
    """Whether it is one of IPv4. One with an address that is none disables only itself."""
    if ":" in reservation.address:
        return False
    try:
        number(reservation.address)
    except OSError:
        log.error("dhcp.reservation-unusable", address=reservation.address, mac=reservation.mac)
        return False
    return True


class _Pool:
    """Which address of one pool is next.

    `_next` is the first address never handed out: all below it have a lease or an offer, or are reserved or barred.
    Addresses whose lease or reservation an operator deleted, or whose offer nobody took, are in the heap `_returned`,
    each once. `_expiring` is a heap of (expiry, address) with one valid entry an address, the earliest known
    (`_queued`); an entry found to be too early is put back later, so a renewal costs nothing. What was passed over only
    because it was an address of ours is in `_ours` until it is not: nothing else would tell.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._next = network.pool_first
        self._returned: list[int] = []
        self._in_returned: set[int] = set()
        self._ours: set[str] = set()
        self._expiring: list[tuple[datetime, str]] = []
        self._queued: dict[str, datetime] = {}

    def used(self, lease: Lease) -> None:
        """This address of the network has a lease now."""
        address, ends = lease.address, lease.expires_at
        queued = self._queued.get(address)
        if queued is None or ends < queued:
            if not self.network.pools(address):
                return
            self._queued[address] = ends
            heappush(self._expiring, (ends, address))

    def give_back(self, address: str, lease: Lease | None) -> None:
        """The address' lease, offer or reservation is gone; `lease` is what is left of the former."""
        if lease is not None:
            self.used(lease)
            return
        self._queued.pop(address, None)
        value = number(address)
        if value < self._next and value not in self._in_returned and self.network.pools(address):
            self._in_returned.add(value)
            heappush(self._returned, value)

    def next_free(self, book: LeaseBook, ours: tuple[str, ...]) -> str:
        """The next address that was never used. Looking does not take it: an offer or a lease does."""
        leases, offers, reserved = book.leases, book.offers, book.reserved
        if self._ours:
            self._ours_no_more(book, ours)
        while self._returned:
            address = address_text(self._returned[0])
            if address not in leases and book.unclaimed(address, ours):
                return address
            self._in_returned.discard(heappop(self._returned))
            if address in ours:
                self._ours.add(address)
        barred = self.network.barred
        for value in range(self._next, self.network.pool_last + 1):
            address = address_text(value)
            if address in leases or address in offers or address in reserved or value in barred:
                continue
            if address in ours:
                self._ours.add(address)
                continue
            self._next = value
            return address
        self._next = max(self._next, self.network.pool_last + 1)
        return ""

    def most_expired(self, book: LeaseBook, now: datetime, ours: tuple[str, ...]) -> str:
        """The address whose lease ended longest ago. Looking does not take it: an offer or a lease does."""
        if self._ours:
            self._ours_no_more(book, ours)
        while self._expiring:
            expiry, address = self._expiring[0]
            if self._queued.get(address) == expiry:
                lease = book.lease(address)
                if expiry > now:
                    return ""
                renewed = lease is not None and lease.expires_at > expiry
                if lease is not None and not renewed and book.unclaimed(address, ours):
                    return address
                del self._queued[address]
                if address in ours:
                    self._ours.add(address)
                if lease is not None and renewed:
                    self.used(lease)
            heappop(self._expiring)
        return ""

    def _ours_no_more(self, book: LeaseBook, ours: tuple[str, ...]) -> None:
        """Take up again what was one of our addresses."""
        for address in self._ours.difference(ours):
            self._ours.discard(address)
            if book.unclaimed(address, ours):
                self.give_back(address, book.lease(address))

    def upcoming(self, book: LeaseBook, now: datetime, ours: tuple[str, ...]) -> Iterator[str]:
        """What the pickers would find one after the other, without taking anything."""
        if self._ours:
            self._ours_no_more(book, ours)
        for picker in self.network.pickers:
            if picker is Picker.NEXT_FREE:
                yield from self._unused(book, ours)
            elif picker is Picker.MOST_EXPIRED:
                yield from self._expired(book, now, ours)

    def _unused(self, book: LeaseBook, ours: tuple[str, ...]) -> Iterator[str]:
        for value in chain(_in_order(self._returned), range(self._next, self.network.pool_last + 1)):
            address = address_text(value)
            if value not in self.network.barred and book.lease(address) is None and book.unclaimed(address, ours):
                yield address

    def _expired(self, book: LeaseBook, now: datetime, ours: tuple[str, ...]) -> Iterator[str]:
        renewed: list[tuple[datetime, str]] = []
        for expiry, address in _in_order(self._expiring):
            if expiry > now:
                break
            while renewed and renewed[0] < (expiry, address):
                yield heappop(renewed)[1]
            lease = book.lease(address)
            if (
                lease is None
                or lease.expires_at > now
                or self._queued.get(address) != expiry
                or not book.unclaimed(address, ours)
            ):
                continue
            if lease.expires_at > expiry:
                heappush(renewed, (lease.expires_at, address))
            else:
                yield address
        yield from (address for _, address in sorted(renewed))


def _in_order(heap: Sequence[_Item]) -> Iterator[_Item]:
    """The items of a heap from the smallest on, without taking any out."""
    front = [(heap[0], 0)] if heap else []
    while front:
        item, place = heappop(front)
        yield item
        for child in (2 * place + 1, 2 * place + 2):
            if child < len(heap):
                heappush(front, (heap[child], child))
