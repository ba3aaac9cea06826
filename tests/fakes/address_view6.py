"""What is known of IPv6 addresses, in plain dictionaries: slow and obviously right."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from provisioner.bindings6 import Decision6
from provisioner.clients6 import Client6, Network6, address6_text, network6
from provisioner.model.addresses import Lease, Picker, Reservation, Subnet


class View6:
    """An `AddressView6`; `apply` does what a decision says."""

    def __init__(self, *subnets: Subnet, reservations: Sequence[Reservation] = ()) -> None:
        self._networks = [network6(each) for each in subnets]
        self.leases: dict[str, Lease] = {}
        self.offers: dict[str, Lease] = {}
        self._reservations = {each.address: each for each in reservations}

    def apply(self, decision: Decision6) -> None:
        """Take over what was decided."""
        for address in decision.withdrawn:
            self.offers.pop(address, None)
        self.offers |= {each.address: each for each in decision.held}
        for lease in decision.changes:
            self.offers.pop(lease.address, None)
            self.leases[lease.address] = lease

    def networks(self, addresses: Sequence[str]) -> Sequence[Network6]:
        return [each for each in self._networks if any(each.covers(address) for address in addresses)]

    def lease(self, address: str) -> Lease | None:
        return self.offers.get(address) or self.leases.get(address)

    def leases_of(self, client: Client6) -> Sequence[Lease]:
        every = [self.lease(address) for address in {*self.leases, *self.offers}]
        mine = (each for each in every if each is not None and each.mac == client.mac)
        return [each for each in mine if client.mac or each.client_id.startswith(client.duid.hex())]

    def reservation(self, address: str) -> Reservation | None:
        return self._reservations.get(address)

    def reservations_of(self, mac: str) -> Sequence[Reservation]:
        return [each for each in self._reservations.values() if each.mac == mac]

    def mac_of(self, duid: bytes) -> str:
        return ""

    def free_address(
        self, network: Network6, picker: Picker, now: datetime, without: Collection[str], client: Client6
    ) -> str:
        for value in range(network.pool_first, network.pool_last + 1):
            address = address6_text(value)
            lease = self.lease(address)
            barred = address in without or address in self._reservations or not network.pools(address)
            if not barred and (lease is None or lease.expires_at <= now):
                return address
        return ""
