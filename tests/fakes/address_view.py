"""An `AddressView` that looks at everything each time: slow, and too simple to be wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from provisioner.leases import Decision, Network, Networks, address_text
from provisioner.model import Lease, Reservation, Subnet


class PlainView:
    """Leases, reservations and subnets in plain lists."""

    def __init__(
        self, subnets: Iterable[Subnet], reservations: Iterable[Reservation] = (), leases: Iterable[Lease] = ()
    ) -> None:
        self.networks = Networks(subnets)
        self.reservations = list(reservations)
        self.leases = {lease.address: lease for lease in leases}

    def save(self, decision: Decision) -> Decision:
        """What the conductor does with a decision."""
        self.leases |= {lease.address: lease for lease in decision.changes}
        return decision

    def network(self, address: str) -> Network | None:
        return self.networks.covering(address)

    def lease(self, address: str) -> Lease | None:
        return self.leases.get(address)

    def leases_of(self, mac: str) -> Sequence[Lease]:
        return [lease for lease in self.leases.values() if lease.mac == mac]

    def reservation(self, address: str) -> Reservation | None:
        return next((r for r in self.reservations if r.address == address), None)

    def reservations_of(self, mac: str) -> Sequence[Reservation]:
        return [r for r in self.reservations if r.mac == mac]

    def free_address(self, network: Network, now: datetime, ours: str) -> str:
        pool = [address_text(value) for value in range(network.pool_first, network.pool_last + 1)]
        usable = [a for a in pool if network.pools(a) and a != ours and self.reservation(a) is None]
        fresh = [a for a in usable if a not in self.leases]
        if fresh:
            return fresh[0]
        old = [a for a in usable if self.leases[a].expires_at <= now]
        return min(old, key=lambda a: (self.leases[a].expires_at, a), default="")
