"""All IPv6 addresses in memory, so that each question of the rules is answered without a search.

A pool may be a whole /64: it is never walked, only counted upwards from its start. Offers are kept here alone, for a
minute each; what has been given is in the ledger, which the book follows as an observer. It is told of a decision at
once, before the transaction that carries it is committed: the next message of the same drain must already see it. When
the disk fails, the ledger tells it the old values again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from heapq import heappop, heappush
from uuid import UUID

from provisioner.clients6 import Client6, Network6, address6_text, is_ipv6, network6, number6
from provisioner.conductor.ledger import Ledger
from provisioner.model.addresses import Lease, LeaseState, Picker, Reservation, Subnet
from provisioner.model.machines import Machine
from provisioner.wire.dhcp6_options import duid_uuid


class LeaseBook6:
    """The `AddressView6` of the rules in `provisioner.leases6`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._leases: dict[str, Lease] = {}
        self._offers: dict[str, Lease] = {}
        self._held: deque[Lease] = deque()
        self._by_mac: dict[str, dict[str, None]] = {}
        self._by_duid: dict[str, dict[str, None]] = {}
        self._macs_by_uuid: dict[str, str] = {}
        self._networks: list[Network6] = []
        self._pools: dict[str, _Pool] = {}
        self._stale = True
        self.generation = 0

    def follow(self) -> None:
        """Take in what the loaded ledger has, and every later change of it."""
        self._ledger.observe(Lease, self._lease_changed)
        self._ledger.observe(Reservation, self._reservation_changed)
        self._ledger.observe(Subnet, self._subnet_changed)
        self._ledger.observe(Machine, self._machine_changed)

    # --- what changes -----------------------------------------------------------------------------------------

    def _lease_changed(self, old: Lease | None, new: Lease | None) -> None:
        if new is not None:
            if ":" in new.address:
                self.put(new)
        elif old is not None and ":" in old.address:
            self._leases.pop(old.address, None)
            self._forget(old)

    def _reservation_changed(self, old: Reservation | None, new: Reservation | None) -> None:
        self.generation += 1
        if new is None and old is not None and ":" in old.address:
            self._give_back(old.address)

    def _subnet_changed(self, old: Subnet | None, new: Subnet | None) -> None:
        self.generation += 1
        self._stale = True

    def _machine_changed(self, old: Machine | None, new: Machine | None) -> None:
        if old is not None and new is not None and old.identity == new.identity and old.macs == new.macs:
            return
        for uuid in _uuids(old):
            self._macs_by_uuid.pop(uuid, None)
        for uuid in _uuids(new):
            if new is not None and new.macs:
                self._macs_by_uuid[uuid] = new.macs[0]

    def put(self, lease: Lease) -> None:
        """The lease as it has been decided; it takes the place of an offer."""
        old = self._leases.get(lease.address)
        if old is lease:
            return
        self._offers.pop(lease.address, None)
        self._leases[lease.address] = lease
        if old is not None and (old.mac, old.client_id) != (lease.mac, lease.client_id):
            self._forget(old)
        self._remember(lease)
        if not self._stale and (pool := self._pool_of(lease.address)) is not None:
            pool.used(lease)

    def hold(self, offer: Lease) -> None:
        """Nobody else is offered this address until the offer ends."""
        old = self._offers.get(offer.address)
        self._offers[offer.address] = offer
        if old is not None and (old.mac, old.client_id) != (offer.mac, offer.client_id):
            self._forget(old)
        self._remember(offer)
        self._held.append(offer)

    def withdraw(self, address: str) -> None:
        """The offer of this address ends."""
        offer = self._offers.pop(address, None)
        if offer is not None:
            self._forget(offer)

    def prune(self, now: datetime) -> None:
        """Forget offers that nobody took up."""
        while self._held and self._held[0].expires_at <= now:
            offer = self._held.popleft()
            if self._offers.get(offer.address) is offer:
                self.withdraw(offer.address)

    def _remember(self, lease: Lease) -> None:
        self._by_mac.setdefault(lease.mac, {})[lease.address] = None
        self._by_duid.setdefault(_duid(lease), {})[lease.address] = None

    def _forget(self, gone: Lease) -> None:
        """Take a lease or offer out of the indexes; the other of the two may be the same client's and stay."""
        left = [each for each in (self._leases.get(gone.address), self._offers.get(gone.address)) if each is not None]
        if all(each.mac != gone.mac for each in left):
            _drop(self._by_mac, gone.mac, gone.address)
        if all(_duid(each) != _duid(gone) for each in left):
            _drop(self._by_duid, _duid(gone), gone.address)
        self._give_back(gone.address)

    def _give_back(self, address: str) -> None:
        """An offer, lease or reservation of the address has ended; perhaps it is free now."""
        pool = None if self._stale or address in self._offers else self._pool_of(address)
        if pool is None:
            return
        lease = self._leases.get(address)
        if lease is not None:
            pool.used(lease)
        else:
            pool.give_back(address)

    def _pool_of(self, address: str) -> _Pool | None:
        found = next((each for each in self._networks if each.covers(address)), None)
        return self._pools[found.subnet.name] if found is not None else None

    def _refresh(self) -> None:
        """Begin the pools anew after a change of subnets; the one place that walks all leases."""
        self._networks = [network6(each) for each in self._ledger.all(Subnet) if each.enabled and is_ipv6(each)]
        self._pools = {each.subnet.name: _Pool(each) for each in self._networks}
        self._stale = False
        for lease in self._leases.values():
            pool = self._pool_of(lease.address)
            if pool is not None:
                pool.used(lease)

    # --- what the rules ask -----------------------------------------------------------------------------------

    def serves(self) -> bool:
        """Whether there is any IPv6 subnet."""
        if self._stale:
            self._refresh()
        return bool(self._networks)

    def networks(self, addresses: Sequence[str]) -> Sequence[Network6]:
        """The enabled subnets on the link where one of these addresses is: those that cover one, and their kin."""
        if self._stale:
            self._refresh()
        found = [each for each in self._networks if any(each.covers(address) for address in addresses)]
        shared = {each.subnet.shared_network for each in found} - {""}
        kin = (each for each in self._networks if each.subnet.shared_network in shared and each not in found)
        return (*found, *kin)

    def lease(self, address: str) -> Lease | None:
        """The running offer of the address, else its last lease, in any state."""
        return self._offers.get(address) or self._leases.get(address)

    def leases_of(self, client: Client6) -> Sequence[Lease]:
        """The leases and offers whose last holder is this client."""
        if client.mac:
            return self._every(self._by_mac.get(client.mac, ()), lambda each: each.mac == client.mac)
        duid = client.duid.hex()
        return self._every(self._by_duid.get(duid, ()), lambda each: _duid(each) == duid)

    def _every(self, addresses: Iterable[str], whose: Callable[[Lease], bool]) -> Sequence[Lease]:
        found = (self.lease(address) for address in addresses)
        return [each for each in found if each is not None and whose(each)]

    def reservation(self, address: str) -> Reservation | None:
        """For whom the address is reserved."""
        return self._ledger.get(Reservation, address)

    def reservations_of(self, mac: str) -> Sequence[Reservation]:
        """What is reserved for this MAC."""
        return self._ledger.reservations_by_mac(mac)

    def mac_of(self, duid: bytes) -> str:
        """The MAC that is known to belong to the DUID: by its last lease, or as a machine's SMBIOS UUID."""
        leases = (self.lease(address) for address in self._by_duid.get(duid.hex(), ()))
        known = [each for each in leases if each is not None and each.mac]
        if known:
            return max(known, key=lambda each: each.expires_at).mac
        return self._macs_by_uuid.get(duid_uuid(duid), "")

    def free_address(
        self, network: Network6, picker: Picker, now: datetime, without: Collection[str], client: Client6
    ) -> str:
        """A pool address that nobody holds or has reserved, by this picker; empty when there is none."""
        pool = self._pools[network.subnet.name]
        return pool.expired(self, now, without) if picker is Picker.MOST_EXPIRED else pool.next_free(self, without)

    def known_free(self, address: str) -> bool:
        """Whether nobody holds or ever held this address, nor has it reserved."""
        return address not in self._leases and address not in self._offers and self.reservation(address) is None


class _Pool:
    """Which address of one pool is next.

    `_next` is the first that was never offered. Those below it that are free again although they never had a lease
    (an offer that nobody took up, a lease or reservation that an operator deleted) are in `_returned`, a heap.
    `_expiring` is a heap of (expiry, address) with one valid entry an address, the earliest known (`_queued`); an
    entry found to be too early is put back later, so a renewal costs nothing.
    """

    def __init__(self, network: Network6) -> None:
        self._network = network
        self._next = network.pool_first
        self._returned: list[int] = []
        self._expiring: list[tuple[datetime, str]] = []
        self._queued: dict[str, datetime] = {}

    def used(self, lease: Lease) -> None:
        """This address of the network has a lease now."""
        queued = self._queued.get(lease.address)
        if (queued is None or lease.expires_at < queued) and self._network.pools(lease.address):
            self._queued[lease.address] = lease.expires_at
            heappush(self._expiring, (lease.expires_at, lease.address))

    def give_back(self, address: str) -> None:
        """Nobody has a lease, an offer or a reservation of this address any more."""
        if self._network.pools(address) and number6(address) < self._next:
            heappush(self._returned, number6(address))

    def next_free(self, book: LeaseBook6, without: Collection[str]) -> str:
        """The lowest address that nobody ever had. Looking does not take it: saving an offer or a lease does."""
        while self._returned:
            address = address6_text(self._returned[0])
            if book.known_free(address) and address not in without:
                return address
            heappop(self._returned)
        value = self._next
        while value <= self._network.pool_last:
            address = address6_text(value)
            free = value not in self._network.barred and book.known_free(address)
            if free and address not in without:
                return address
            if not free and value == self._next:
                self._next += 1
            value += 1
        return ""

    def expired(self, book: LeaseBook6, now: datetime, without: Collection[str]) -> str:
        """The address whose lease ended longest ago."""
        passed: list[tuple[datetime, str]] = []
        found = ""
        while self._expiring and self._expiring[0][0] <= now and not found:
            expiry, address = heappop(self._expiring)
            if self._queued.get(address) != expiry:
                continue
            del self._queued[address]
            lease = book.lease(address)
            # One that is on offer or reserved comes back when that ends.
            if lease is None or lease.state is LeaseState.OFFERED or book.reservation(address) is not None:
                continue
            if lease.expires_at > expiry:
                self.used(lease)
                continue
            passed.append((expiry, address))
            found = "" if address in without else address
        for expiry, address in passed:
            self._queued[address] = expiry
            heappush(self._expiring, (expiry, address))
        return found


def _duid(lease: Lease) -> str:
    return lease.client_id.partition("/")[0]


def _drop(index: dict[str, dict[str, None]], key: str, address: str) -> None:
    held = index.get(key)
    if held is not None:
        held.pop(address, None)
        if not held:
            del index[key]


def _uuids(machine: Machine | None) -> tuple[str, ...]:
    """The machine's SMBIOS UUID both ways round: firmware sends it as it stands, with little-endian fields first."""
    text = machine.identity.dmi_uuid if machine is not None else ""
    try:
        uuid = UUID(text)
    except ValueError:
        return ()
    return str(uuid), str(UUID(bytes_le=uuid.bytes))
