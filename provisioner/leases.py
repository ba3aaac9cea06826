"""Who gets which address: the rules of DHCP (RFC 2131) as one pure function, `decide`.

A client is its MAC and nothing else: firmware, iPXE, installer and installed system of one machine send different
client identifiers and must all get the same address.

What `decide` does with each message, on the network where the client is (`client_link`):

    nothing covers the client     silence, whatever it asks: this is someone else's network
    DISCOVER                      the address reserved for it, else its last one, else the one it asks for, else the
                                  next that was never used, else the one that expired longest ago; held for 60 s
    REQUEST, names our server id  (SELECTING) what we offered, held for it: ACK
    REQUEST, another server id    silence; our own offer is taken back
    REQUEST, no server id         (INIT-REBOOT, RENEWING, REBINDING) an address that it has or may have: ACK, else NAK
    DECLINE                       its address is quarantined for ten minutes
    RELEASE                       its address is free at once, and remembered as its last
    INFORM                        options without an address

An address is free for a client when no one else's offer or lease on it runs, it is not in quarantine, and it is not
reserved for another MAC. An INIT-REBOOT for a free address that we have no record of is acknowledged: the record was
lost with a disk, the client was not.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from socket import inet_aton, inet_ntoa
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from provisioner.model import Lease, LeaseState, Reservation, Subnet
from provisioner.wire.dhcp import BOOTREQUEST, DhcpMessage, MessageType
from provisioner.wire.dhcp_options import (
    CLIENT_ID,
    HOST_NAME,
    REQUESTED_ADDRESS,
    SERVER_ID,
    relay_address,
)

# Longer than any firmware takes from OFFER to REQUEST, its retries included.
OFFER_HOLD = timedelta(seconds=60)
QUARANTINE = timedelta(minutes=10)

# RFC 3527, RFC 5107: what a relay says about the client's network and the address it wants us to be known by.
_LINK_SELECTION, _SERVER_OVERRIDE = 5, 11


class Network(Struct, frozen=True):
    """A subnet with its addresses as numbers. `barred` are pool addresses that belong to routers and servers."""

    subnet: Subnet
    first: int
    last: int
    pool_first: int
    pool_last: int
    barred: frozenset[int]

    def covers(self, address: str) -> bool:
        """Whether the address lies in the subnet."""
        return self.first <= number(address) <= self.last

    def pools(self, address: str) -> bool:
        """Whether the address is one of those handed out to anybody."""
        value = number(address)
        return self.pool_first <= value <= self.pool_last and value not in self.barred


class Networks:
    """The enabled subnets, found by address in O(log n)."""

    def __init__(self, subnets: Iterable[Subnet]) -> None:
        self._all = sorted((network(s) for s in subnets if s.enabled), key=lambda n: n.first)
        self._firsts = [each.first for each in self._all]

    def __iter__(self) -> Iterator[Network]:
        return iter(self._all)

    def covering(self, address: str) -> Network | None:
        """The subnet that the address lies in."""
        place = bisect_right(self._firsts, number(address)) - 1
        if place < 0:
            return None
        found = self._all[place]
        return found if found.covers(address) else None


def number(address: str) -> int:
    """An IPv4 address as a number."""
    return int.from_bytes(inet_aton(address))


def address_text(value: int) -> str:
    """A number as an IPv4 address."""
    return inet_ntoa(value.to_bytes(4))


def network(subnet: Subnet) -> Network:
    """The subnet with its addresses as numbers; ValueError when they are none."""
    cidr = IPv4Network(subnet.cidr)
    first, last = int(cidr.network_address), int(cidr.broadcast_address)
    pool_first, pool_last = 1, 0
    if subnet.pool_start and subnet.pool_end:
        pool_first, pool_last = int(IPv4Address(subnet.pool_start)), int(IPv4Address(subnet.pool_end))
    servers = (subnet.gateway, subnet.next_server, *subnet.dns_servers)
    barred = {first, last} if cidr.prefixlen < 31 else set()
    return Network(
        subnet, first, last, pool_first, pool_last, frozenset(barred | {int(IPv4Address(a)) for a in servers if a})
    )


class Arrival(Struct, frozen=True):
    """How a message reached us: our address there, the interface, and whether it was sent to everybody."""

    address: str
    interface: str = ""
    broadcast: bool = True


class AddressView(Protocol):
    """What is known of addresses at the moment of a decision."""

    def network(self, address: str) -> Network | None:
        """The enabled subnet that covers the address."""

    def lease(self, address: str) -> Lease | None:
        """The last lease of the address, in any state."""

    def leases_of(self, mac: str) -> Sequence[Lease]:
        """The leases whose last holder is this MAC."""

    def reservation(self, address: str) -> Reservation | None:
        """For whom the address is reserved."""

    def reservations_of(self, mac: str) -> Sequence[Reservation]:
        """What is reserved for this MAC."""

    def free_address(self, network: Network, now: datetime, ours: str) -> str:
        """A pool address that nobody holds or has reserved and that is not `ours`, never used ones first,
        then the longest expired; empty when there is none."""


class Decision(Struct, frozen=True, kw_only=True):
    """What to do with a message. `reply` None is silence; `reason` is one of few texts, `detail` names the thing.

    `changes` are leases to save; nothing may be sent before they are.
    """

    reply: MessageType | None = None
    reason: str = ""
    detail: str = ""
    address: str = ""
    network: Network | None = None
    reservation: Reservation | None = None
    lease_seconds: int = 0
    selecting: bool = False
    changes: tuple[Lease, ...] = ()


def client_link(message: DhcpMessage, arrival: Arrival) -> str:
    """An address on the client's network: its relay's, or its own when it renews by unicast, or ours."""
    if message.giaddr:
        return relay_address(message, _LINK_SELECTION) or message.giaddr
    if message.ciaddr and not arrival.broadcast:
        return message.ciaddr
    return arrival.address


def server_id(message: DhcpMessage, arrival: Arrival) -> str:
    """The address by which this client shall know us."""
    return (relay_address(message, _SERVER_OVERRIDE) if message.giaddr else "") or arrival.address


def decide(message: DhcpMessage, arrival: Arrival, view: AddressView, now: datetime) -> Decision:
    """What to do with `message`; changes nothing."""
    kind = message.message_type
    if kind is None:
        return Decision(reason="plain BOOTP is not served")
    rule = _RULES.get(kind)
    if rule is None or message.op != BOOTREQUEST:
        return Decision(reason="a reply of another DHCP server", detail=message.address_option(SERVER_ID))
    if not message.mac.strip("0:"):
        return Decision(reason="no hardware address")
    link = client_link(message, arrival)
    found = view.network(link)
    if found is None:
        return Decision(reason="no enabled subnet covers the client", detail=link)
    return rule(_Case(message, arrival, view, now, found))


def runs(lease: Lease, now: datetime) -> bool:
    """Whether somebody holds the address by this lease."""
    return lease.expires_at > now and lease.state in (LeaseState.OFFERED, LeaseState.ACKED)


class _Case:
    """One message on one of our networks, and the questions that the rules ask about it."""

    def __init__(
        self, message: DhcpMessage, arrival: Arrival, view: AddressView, now: datetime, network: Network
    ) -> None:
        self.message = message
        self.arrival = arrival
        self.view = view
        self.now = now
        self.network = network
        self.mac = message.mac

    def silence(self, reason: str, detail: str = "", changes: tuple[Lease, ...] = ()) -> Decision:
        return Decision(reason=reason, detail=detail, network=self.network, changes=changes)

    def free_for_client(self, address: str) -> bool:
        """Whether nobody else's claim on the address runs."""
        lease = self.view.lease(address)
        if lease is None or lease.state is LeaseState.EXPIRED or lease.expires_at <= self.now:
            return True
        return lease.mac == self.mac and lease.state is not LeaseState.QUARANTINED

    def may_have(self, address: str) -> bool:
        """Whether the client can be given this address of the pool."""
        if not self.network.pools(address) or address == self.arrival.address:
            return False
        reservation = self.view.reservation(address)
        return (reservation is None or reservation.mac == self.mac) and self.free_for_client(address)

    def reservation(self) -> Reservation | None:
        """What is reserved for the client on this network and can be had now."""
        for reservation in self.view.reservations_of(self.mac):
            if self.network.covers(reservation.address) and self.free_for_client(reservation.address):
                return reservation
        return None

    def running(self, address: str) -> Lease | None:
        """The client's own offer or lease on this address, if it still runs."""
        lease = self.view.lease(address)
        return lease if lease is not None and lease.mac == self.mac and runs(lease, self.now) else None

    def last_address(self) -> str:
        """The address that the client had last on this network and may have again."""
        mine = [lease for lease in self.view.leases_of(self.mac) if self.may_have(lease.address)]
        return max(mine, key=lambda lease: lease.expires_at).address if mine else ""

    def lease(self, address: str, state: LeaseState, seconds: float) -> Lease:
        return Lease(
            address=address,
            mac=self.mac,
            state=state,
            expires_at=self.now + timedelta(seconds=seconds),
            subnet=self.network.subnet.name,
            hostname=self.message.text_option(HOST_NAME),
            via=self.message.giaddr,
            client_id=self.message.options.get(CLIENT_ID, b"").hex(),
        )

    def ended(self, lease: Lease) -> Lease:
        return replace(lease, state=LeaseState.EXPIRED, expires_at=self.now)

    def seconds(self, reservation: Reservation | None) -> int:
        subnet = self.network.subnet
        return subnet.reserved_lease_seconds if reservation else subnet.lease_seconds


def _discover(case: _Case) -> Decision:
    reservation = case.reservation()
    hint = case.message.address_option(REQUESTED_ADDRESS)
    address = reservation.address if reservation else case.last_address()
    if not address and hint and case.may_have(hint):
        address = hint
    if not address:
        address = case.view.free_address(case.network, case.now, case.arrival.address)
    if not address:
        return case.silence("no free address", f"subnet {case.network.subnet.name}")
    return Decision(
        reply=MessageType.OFFER,
        address=address,
        network=case.network,
        reservation=reservation,
        lease_seconds=case.seconds(reservation),
        selecting=True,
        changes=_held(case, address),
    )


def _held(case: _Case, address: str) -> tuple[Lease, ...]:
    """What to save so that nobody else is offered the address for a while."""
    running = case.running(address)
    if running is None or running.state is LeaseState.OFFERED:
        return (case.lease(address, LeaseState.OFFERED, OFFER_HOLD.total_seconds()),)
    until = case.now + OFFER_HOLD
    return (replace(running, expires_at=until),) if running.expires_at < until else ()


def _request(case: _Case) -> Decision:
    message = case.message
    server = message.address_option(SERVER_ID)
    requested = message.address_option(REQUESTED_ADDRESS)
    if not server:
        address = message.ciaddr or requested
        if not address:
            return case.silence("request without an address")
        return _confirm(case, address)
    if server != server_id(message, case.arrival):
        offers = (lease for lease in case.view.leases_of(case.mac) if case.network.covers(lease.address))
        withdrawn = tuple(case.ended(lease) for lease in offers if lease.state is LeaseState.OFFERED)
        return case.silence("the client chose another server", server, withdrawn)
    if not requested:
        return case.silence("request without an address")
    running = case.running(requested)
    if running is not None and running.state is LeaseState.OFFERED and case.network.covers(requested):
        return _acknowledge(case, requested, selecting=True)
    return _confirm(case, requested, selecting=True)


def _confirm(case: _Case, address: str, selecting: bool = False) -> Decision:
    """Whether the client can have (or keep) the address it names."""
    if not case.network.covers(address):
        return _refuse(case, address, "the address is on another network", f"subnet {case.network.subnet.name}")
    reserved = case.reservation()
    if reserved is not None and reserved.address != address:
        return _refuse(case, address, "another address is reserved for it", reserved.address)
    other = case.view.reservation(address)
    if other is not None and other.mac != case.mac:
        return _refuse(case, address, "the address is reserved for another", other.mac)
    if not case.free_for_client(address):
        holder = case.view.lease(address)
        return _refuse(case, address, "the address is in use by another", holder.mac if holder else "")
    if reserved is None and not case.may_have(address):
        return _refuse(case, address, "the address is not in the pool", f"subnet {case.network.subnet.name}")
    return _acknowledge(case, address, selecting)


def _acknowledge(case: _Case, address: str, selecting: bool) -> Decision:
    reservation = case.view.reservation(address)
    if reservation is not None and reservation.mac != case.mac:
        reservation = None
    seconds = case.seconds(reservation)
    others = (
        case.ended(lease)
        for lease in case.view.leases_of(case.mac)
        if lease.address != address and case.network.covers(lease.address) and case.running(lease.address)
    )
    return Decision(
        reply=MessageType.ACK,
        address=address,
        network=case.network,
        reservation=reservation,
        lease_seconds=seconds,
        selecting=selecting or not case.message.ciaddr,
        changes=(case.lease(address, LeaseState.ACKED, seconds), *others),
    )


def _refuse(case: _Case, address: str, reason: str, detail: str) -> Decision:
    mine = case.running(address)
    return Decision(
        reply=MessageType.NAK,
        reason=reason,
        detail=detail,
        address=address,
        network=case.network,
        changes=(case.ended(mine),) if mine else (),
    )


def _decline(case: _Case) -> Decision:
    address = case.message.address_option(REQUESTED_ADDRESS)
    lease = case.running(address) if address else None
    if lease is None:
        return case.silence("declined an address that it does not have", address)
    quarantined = replace(lease, state=LeaseState.QUARANTINED, expires_at=case.now + QUARANTINE)
    return Decision(address=address, network=case.network, changes=(quarantined,))


def _release(case: _Case) -> Decision:
    address = case.message.ciaddr
    lease = case.running(address) if address else None
    if lease is None:
        return case.silence("released an address that it does not have", address)
    return Decision(address=address, network=case.network, changes=(case.ended(lease),))


def _inform(case: _Case) -> Decision:
    if not case.message.ciaddr:
        return case.silence("inform without an address")
    return Decision(reply=MessageType.ACK, network=case.network)


_RULES: dict[MessageType, Callable[[_Case], Decision]] = {
    MessageType.DISCOVER: _discover,
    MessageType.REQUEST: _request,
    MessageType.DECLINE: _decline,
    MessageType.RELEASE: _release,
    MessageType.INFORM: _inform,
}
