"""The network as operators see it: subnets and how much of their pools is in use, leases, reservations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

from msgspec import Struct

from provisioner.conductor.ledger import Ledger
from provisioner.dhcp_case import was_declined
from provisioner.identity import maybe_mac
from provisioner.leases import is_endless
from provisioner.model.addresses import Lease, LeaseState, Reservation, Subnet

LEASES_LIMIT = 500
# Below this there is no half of a network that would make a pool.
_SMALLEST_POOL = 8
# What tells the networks that this host is on, each with its interface.
Here = Callable[[], Iterable[tuple[str, IPv4Network]]]


def nowhere() -> Iterable[tuple[str, IPv4Network]]:
    """The networks of a host that is on none."""
    return ()


class SubnetRow(Struct, frozen=True):
    """A subnet with how many of its pool's addresses are taken, and what is out of the ordinary there in words."""

    subnet: Subnet
    taken: int
    quarantined: int
    total: int
    remarks: tuple[str, ...]


class LeaseRow(Struct, frozen=True):
    """A lease, and the machine that has its MAC. `why` tells of a quarantine; an `endless` one was given to BOOTP."""

    lease: Lease
    machine: str
    state: str
    why: str
    endless: bool
    reserved: bool


class ReservationRow(Struct, frozen=True):
    """A reservation, the machine that has its MAC, and whether its address lies in any subnet."""

    reservation: Reservation
    machine: str
    covered: bool


class NetworkViews:
    """Gathers what the pages of the network show."""

    def __init__(self, ledger: Ledger, here: Here = nowhere) -> None:
        self._ledger = ledger
        self._here = here

    def here(self) -> list[tuple[str, IPv4Network]]:
        """The networks that this server is on and no subnet covers, each with its interface."""
        covered = [ip_network(each.cidr) for each in self._ledger.read_all(Subnet)]
        found = {network: interface for interface, network in self._here() if not network.is_loopback}
        return [
            (interface, network)
            for network, interface in found.items()
            if not any(isinstance(each, IPv4Network) and each.overlaps(network) for each in covered)
        ]

    def leases(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Subnets, leases and reservations, the leases narrowed by `q` (words)."""
        now = self._ledger.clock()
        rows = [self._row(lease, now) for lease in sorted(self._ledger.read_all(Lease), key=_by_address)]
        reservations = sorted(self._ledger.read_all(Reservation), key=_by_address)
        words = query.get("q", "").lower().split()
        fitting = [each for each in rows if _fits(each, words)]
        subnets = sorted(self._ledger.read_all(Subnet), key=lambda each: each.name)
        return {
            "subnets": [_subnet_row(subnet, rows) for subnet in subnets],
            "leases": fitting[:LEASES_LIMIT],
            "total": len(fitting),
            "filter": query.get("q", ""),
            "reservations": [self._reservation_row(each, subnets) for each in reservations],
            "here": [] if subnets else self.here(),
        }

    def _reservation_row(self, reservation: Reservation, subnets: Iterable[Subnet]) -> ReservationRow:
        address = ip_address(reservation.address)
        covered = any(address in ip_network(each.cidr) for each in subnets)
        return ReservationRow(reservation, self._machine_with(reservation.mac), covered)

    def _row(self, lease: Lease, now: datetime) -> LeaseRow:
        state = _state(lease, now)
        return LeaseRow(
            lease,
            self._machine_with(lease.mac),
            state,
            quarantine_words(lease) if state == LeaseState.QUARANTINED.value else "",
            is_endless(lease.expires_at, now),
            self._ledger.read(Reservation, lease.address) is not None,
        )

    def _machine_with(self, mac: str) -> str:
        found = self._ledger.machine_by_mac(mac) if mac else None
        return found.name if found is not None else ""


def suggested(network: str, here: Iterable[tuple[str, IPv4Network]]) -> Subnet:
    """A subnet to begin with for that network of ours: its upper half is the pool. An empty one for any other."""
    for interface, each in here:
        if str(each) != network:
            continue
        if each.num_addresses < _SMALLEST_POOL:
            return Subnet(name=interface, cidr=network)
        half = each.network_address + each.num_addresses // 2
        last = each.broadcast_address - 1
        return Subnet(name=interface, cidr=network, pool_start=str(half), pool_end=str(last))
    return Subnet(name="", cidr="")


def quarantine_words(lease: Lease) -> str:
    """Why nobody gets the address."""
    if was_declined(lease):
        return "declined: its client found the address in use"
    return "somebody answered there when it was asked for"


def _by_address(each: Lease | Reservation) -> tuple[int, int]:
    return _in_order(each.address)


def _in_order(address: str) -> tuple[int, int]:
    """Addresses of IPv4 before those of IPv6, each by number."""
    found = ip_address(address)
    return found.version, int(found)


def _fits(each: LeaseRow, words: Iterable[str]) -> bool:
    lease = each.lease
    text = f"{lease.address} {lease.mac} {lease.hostname} {lease.subnet} {each.machine} {each.state}".lower()
    return all(word in text or maybe_mac(word) in text for word in words)


def _state(lease: Lease, now: datetime) -> str:
    """The state as it is by now: an offer or lease whose time is over has expired, whoever has yet to write it down."""
    over = lease.expires_at <= now and lease.state is not LeaseState.EXPIRED
    return LeaseState.EXPIRED.value if over else lease.state.value


def _subnet_row(subnet: Subnet, leases: Iterable[LeaseRow]) -> SubnetRow:
    if not subnet.pool_start:
        return SubnetRow(subnet, 0, 0, 0, _remarks(subnet))
    first, last = _in_order(subnet.pool_start), _in_order(subnet.pool_end)
    its = [each for each in leases if first <= _in_order(each.lease.address) <= last]
    taken = sum(each.state != LeaseState.EXPIRED.value for each in its)
    quarantined = sum(each.state == LeaseState.QUARANTINED.value for each in its)
    return SubnetRow(subnet, taken, quarantined, last[1] - first[1] + 1, _remarks(subnet))


def _remarks(subnet: Subnet) -> tuple[str, ...]:
    said = (
        (not subnet.enabled, "not answered"),
        (subnet.proxy, "boot information only"),
        (subnet.only_reservations, "reservations only"),
        (bool(subnet.shared_network), f"on link {subnet.shared_network}"),
        (subnet.router_advertisements, "router advertisements"),
    )
    return tuple(words for holds, words in said if holds)
