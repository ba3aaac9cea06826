"""An `AddressView` that looks at everything each time: slow, and too simple to be wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from provisioner.dhcp_case import Offer
from provisioner.leases import Decision
from provisioner.links import Link, Network, Networks, address_text
from provisioner.model.addresses import Lease, Reservation, Subnet


class PlainView:
    """Leases, offers, reservations and subnets in plain lists."""

    def __init__(
        self, subnets: Iterable[Subnet], reservations: Iterable[Reservation] = (), leases: Iterable[Lease] = ()
    ) -> None:
        self.networks = Networks(subnets)
        self.reservations = list(reservations)
        self.leases = {lease.address: lease for lease in leases}
        self.offers: dict[str, Offer] = {}

    def save(self, decision: Decision, now: datetime) -> Decision:
        """What the conductor does with a decision."""
        self.leases |= {lease.address: lease for lease in decision.changes}
        self.offers |= {offer.address: offer for offer in decision.holds}
        self.lapse(now)
        return decision

    def lapse(self, now: datetime) -> None:
        self.offers = {address: offer for address, offer in self.offers.items() if offer.until > now}

    def link(self, address: str) -> Link | None:
        return self.networks.link(address)

    def lease(self, address: str) -> Lease | None:
        return self.leases.get(address)

    def leases_of(self, mac: str) -> Sequence[Lease]:
        return [lease for lease in self.leases.values() if lease.mac == mac]

    def offer(self, address: str) -> Offer | None:
        return self.offers.get(address)

    def offers_of(self, mac: str) -> Sequence[Offer]:
        return [offer for offer in self.offers.values() if offer.mac == mac]

    def reservation(self, address: str) -> Reservation | None:
        return next((r for r in self.reservations if r.address == address), None)

    def reservations_of(self, mac: str) -> Sequence[Reservation]:
        return [r for r in self.reservations if r.mac == mac]

    def _usable(self, network: Network, now: datetime, ours: tuple[str, ...]) -> list[str]:
        self.lapse(now)
        pool = [address_text(value) for value in range(network.pool_first, network.pool_last + 1)]
        usable = [a for a in pool if network.pools(a) and a not in ours and self.reservation(a) is None]
        return [a for a in usable if a not in self.offers]

    def next_free(self, network: Network, now: datetime, ours: tuple[str, ...]) -> str:
        return next((a for a in self._usable(network, now, ours) if a not in self.leases), "")

    def most_expired(self, network: Network, now: datetime, ours: tuple[str, ...]) -> str:
        used = [a for a in self._usable(network, now, ours) if a in self.leases]
        old = [a for a in used if self.leases[a].expires_at <= now]
        return min(old, key=lambda a: (self.leases[a].expires_at, a), default="")
