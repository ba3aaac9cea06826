"""One DHCP message on one of our links, and what its client can have there: the questions that the rules ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, Protocol

from msgspec.structs import replace

from provisioner.links import Arrival, Link, Network
from provisioner.model.addresses import Lease, LeaseState, Picker, Reservation
from provisioner.native import Native
from provisioner.wire.dhcp import DhcpMessage
from provisioner.wire.dhcp_options import CLIENT_ID, HOST_NAME, REQUESTED_ADDRESS

# An enum's member costs a call each time it is named.
_EXPIRED: Final = LeaseState.EXPIRED
_QUARANTINED: Final = LeaseState.QUARANTINED
_OFFERED: Final = LeaseState.OFFERED
_ACKED: Final = LeaseState.ACKED
_HINT: Final = Picker.HINT
_NEXT_FREE: Final = Picker.NEXT_FREE

# Who has an address that is our own.
US: Final = "this server"


class Offer(Native):
    """An address held for a client until it requests it; one whose time is up has been taken back."""

    __match_args__ = ("address", "mac", "until")

    def __init__(self, address: str, mac: str, until: datetime) -> None:
        self.address: Final = address
        self.mac: Final = mac
        self.until: Final = until


class AddressView(Protocol):
    """What is known of addresses at the moment of a decision."""

    def link(self, address: str, /) -> Link | None:
        """The link that the address is on, if an enabled subnet covers it."""

    def lease(self, address: str, /) -> Lease | None:
        """The last lease of the address, in any state."""

    def leases_of(self, mac: str, /) -> Sequence[Lease]:
        """The leases whose last holder is this MAC."""

    def offer(self, address: str, /) -> Offer | None:
        """The last offer of the address, if it is remembered still."""

    def offers_of(self, mac: str, /) -> Sequence[Offer]:
        """What is on offer to this MAC."""

    def reservation(self, address: str, /) -> Reservation | None:
        """For whom the address is reserved."""

    def reservations_of(self, mac: str, /) -> Sequence[Reservation]:
        """What is reserved for this MAC."""

    def next_free(self, network: Network, now: datetime, ours: tuple[str, ...]) -> str:
        """A pool address that nobody ever had, has on offer or reserved, and that is none of `ours`; or empty."""

    def most_expired(self, network: Network, now: datetime, ours: tuple[str, ...]) -> str:
        """The pool address that nobody holds, has on offer or reserved for longest, none of `ours`; or empty."""


def runs(lease: Lease, now: datetime) -> bool:
    """Whether somebody holds the address by this lease."""
    return lease.expires_at > now and lease.state in (_OFFERED, _ACKED)


def was_declined(lease: Lease) -> bool:
    """Whether it is in quarantine because its client declined it; else somebody answered there when it was probed.

    Only what was declined had been given to anybody for a time.
    """
    return lease.state is _QUARANTINED and lease.seconds > 0


class Case:
    """One message on one of our links, and the questions that the rules ask about it."""

    __slots__ = ("arrival", "link", "mac", "message", "now", "reserved", "view")

    def __init__(self, message: DhcpMessage, arrival: Arrival, view: AddressView, now: datetime, link: Link) -> None:
        self.message = message
        self.arrival = arrival
        self.view = view
        self.now = now
        self.link = link
        self.mac = mac = message.mac
        reserved = view.reservations_of(mac)
        # One MAC may have addresses of both families reserved.
        self.reserved = [each for each in reserved if ":" not in each.address] if reserved else ()

    def taken_by(self, address: str) -> str | None:
        """The MAC of whoever keeps the client from having this address, or `US`; None when nobody does."""
        arrival = self.arrival
        if address == arrival.address or address in arrival.also or address in arrival.elsewhere:
            return US
        offer = self.view.offer(address)
        if offer is not None and offer.mac != self.mac and offer.until > self.now:
            return offer.mac
        lease = self.view.lease(address)
        if lease is None or lease.state is _EXPIRED or lease.expires_at <= self.now:
            return None
        return None if lease.mac == self.mac and lease.state is not _QUARANTINED else lease.mac

    def may_have(self, address: str, network: Network | None) -> bool:
        """Whether the client can be given this address of the pool, though it has not been reserved for it."""
        if network is None or not network.pools(address):
            return False
        if not network.pickers and not self.had(address, network):
            return False
        reservation = self.view.reservation(address)
        return (reservation is None or reservation.mac == self.mac) and self.taken_by(address) is None

    def keeps(self, address: str) -> bool:
        """Whether the client can be given what it was offered, as things are set now.

        That another address has been reserved for it since does not matter: it gets that one when it renews. A refusal
        now would stop firmware that gives up at the first.
        """
        network = self.link.covering(address)
        reservation = self.view.reservation(address)
        if reservation is None or network is None:
            return self.may_have(address, network)
        return reservation.mac == self.mac and self.taken_by(address) is None

    def had(self, address: str, network: Network) -> bool:
        """Whether a pool that takes no newcomers knows the client from before."""
        lease = self.view.lease(address)
        return lease is not None and lease.mac == self.mac and not network.subnet.only_reservations

    def reservation(self) -> Reservation | None:
        """The address reserved for the client that it can have now: the one it asks for, else one of the subnet that
        it asks from, else one of another subnet on its link.
        """
        if not self.reserved:
            return None
        asked = self.message.ciaddr or self.message.address_option(REQUESTED_ADDRESS)
        can_have = [each for each in self.on_link() if self.taken_by(each.address) is None]
        here = self.link.here
        ranked = sorted(can_have, key=lambda each: (each.address != asked, not here.covers(each.address)))
        return ranked[0] if ranked else None

    def on_link(self) -> Iterator[Reservation]:
        """What is reserved for the client on its link, whether it can be had or not."""
        return (each for each in self.reserved if self.link.covering(each.address) is not None)

    def settings(self, address: str) -> Reservation | None:
        """The reservation whose settings are for this client: of its address, else of its link, else of no link."""
        if not self.reserved:
            return None
        by_address = (each for each in self.reserved if each.address == address)
        anywhere = (each for each in self.reserved if not each.scoped)
        for each in (by_address, self.on_link(), anywhere):
            found = next(each, None)
            if found is not None:
                return found
        return None

    def running(self, address: str) -> Lease | None:
        """The client's own lease on this address, if it still runs."""
        lease = self.view.lease(address)
        return lease if lease is not None and lease.mac == self.mac and runs(lease, self.now) else None

    def declined(self) -> Sequence[Lease]:
        """What is in quarantine because the client declined it."""
        leases = self.view.leases_of(self.mac)
        return [each for each in leases if each.expires_at > self.now and was_declined(each)]

    def offered(self) -> Sequence[Offer]:
        """What is on offer to the client on its link."""
        offers = self.view.offers_of(self.mac)
        if not offers:
            return ()
        now, link = self.now, self.link
        return [each for each in offers if each.until > now and link.covering(each.address) is not None]

    def withdrawn(self, but: str = "") -> tuple[Offer, ...]:
        """Its offers taken back."""
        offers = self.offered()
        if not offers:
            return ()
        return tuple([Offer(each.address, self.mac, self.now) for each in offers if each.address != but])

    def last_address(self) -> str:
        """The address on offer to the client, or that it had last on this link, and may have."""
        for offer in self.offered():
            if self.may_have(offer.address, self.link.covering(offer.address)):
                return offer.address
        leases = self.view.leases_of(self.mac)
        if not leases:
            return ""
        mine = [each for each in leases if self.may_have(each.address, self.link.covering(each.address))]
        return max(mine, key=lambda each: each.expires_at).address if mine else ""

    def pick(self) -> tuple[str, Picker | None]:
        """An address for a newcomer, and how it was found: one picker after the other, on all subnets of the link."""
        for picker in self.link.pickers:
            for network in self.link.networks:
                found = self.found_by(picker, network) if picker in network.pickers else ""
                if found:
                    return found, picker
        return "", None

    def found_by(self, picker: Picker, network: Network) -> str:
        """What this picker finds in this subnet, or empty."""
        if picker is _HINT:
            hint = self.message.address_option(REQUESTED_ADDRESS)
            return hint if hint and network.covers(hint) and self.may_have(hint, network) else ""
        find = self.view.next_free if picker is _NEXT_FREE else self.view.most_expired
        return find(network, self.now, self.arrival.ours)

    def network_of(self, address: str) -> Network:
        """The subnet of the link that the address lies in, else the one that the request came from."""
        return self.link.covering(address) or self.link.here

    def lease(self, address: str, seconds: int, network: Network) -> Lease:
        """The address as the client's from now on."""
        message = self.message
        options = message.options
        return Lease(
            address=address,
            mac=self.mac,
            state=_ACKED,
            expires_at=self.now + _span(seconds),
            seconds=seconds,
            subnet=network.subnet.name,
            hostname=message.text_option(HOST_NAME) if HOST_NAME in options else "",
            via=message.giaddr,
            client_id=options[CLIENT_ID].hex() if CLIENT_ID in options else "",
        )

    def ended(self, lease: Lease) -> Lease:
        """The lease as it is when it ends now."""
        return replace(lease, state=_EXPIRED, expires_at=self.now)

    def seconds(self, address: str, settings: Reservation | None, network: Network) -> int:
        """For how long the client gets the address, which is of this subnet."""
        reserved = settings is not None and settings.address == address
        return network.subnet.reserved_lease_seconds if reserved else network.subnet.lease_seconds


# A site has a handful of lease times.
@lru_cache(maxsize=256)
def _span(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)
