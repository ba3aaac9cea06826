"""What makes subnets and reservations refuse each other: no address is to be for two, and none for nobody."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network

from provisioner.conductor.ledger import Ledger
from provisioner.errors import Conflict, FieldError
from provisioner.model.addresses import Reservation, Subnet
from provisioner.network_fields import Address, Network, invalid, is_host


class NetworkChecks:
    """Compares with what there is; each check raises Conflict or Invalid. `addresses` tells which are this server's."""

    def __init__(self, ledger: Ledger, addresses: Callable[[], frozenset[str]]) -> None:
        self._ledger = ledger
        self._addresses = addresses

    def check_subnet(self, subnet: Subnet) -> None:
        """Refuse a subnet that overlaps another, or whose gateway or change takes addresses that are reserved."""
        network = ip_network(subnet.cidr)
        for other in self._ledger.all(Subnet):
            if other.name != subnet.name and _overlap(ip_network(other.cidr), network):
                message = f"{subnet.cidr} overlaps subnet {other.name!r} ({other.cidr})"
                raise Conflict(message, object=other.name, fields=(FieldError("cidr", message),))
        self._check_gateway(subnet)
        old = self._ledger.get(Subnet, subnet.name)
        if old is not None:
            self.check_removal(old, but_in=network)

    def _check_gateway(self, subnet: Subnet) -> None:
        """Two hosts would have the gateway's address when it is reserved."""
        gateway = str(ip_address(subnet.gateway)) if subnet.gateway else ""
        reserved = self._ledger.get(Reservation, gateway) if gateway else None
        if reserved is not None:
            message = f"{gateway} is reserved for {reserved.mac}"
            raise Conflict(
                f"gateway {message}",
                fields=(FieldError("gateway", message),),
                object=f"reservations/{gateway}",
                code="address-taken",
            )

    def check_removal(self, subnet: Subnet, but_in: Network | None = None) -> None:
        """Refuse to remove a subnet while addresses in there are reserved: who has them would not get them any more.

        Those that lie in the network `but_in`, which takes its place, do not count.
        """
        network = ip_network(subnet.cidr)
        addresses = ((each.address, ip_address(each.address)) for each in self._ledger.all(Reservation))
        reserved = [text for text, each in addresses if each in network and (but_in is None or each not in but_in)]
        if reserved:
            more = f" and {len(reserved) - 10} more" if len(reserved) > 10 else ""
            raise Conflict(
                f"subnet {subnet.name!r} is in use by reservations {', '.join(sorted(reserved)[:10])}{more}",
                object=f"subnets/{subnet.name}",
                code="in-use",
            )

    def check_reservation(self, reservation: Reservation) -> None:
        """Refuse a reservation of an address that its MAC cannot have, or that is its second where one is meant."""
        address = ip_address(reservation.address)
        self._check_host(address)
        if reservation.address in self._addresses():
            raise invalid("address", f"{address} is an address of this server: it is given to nobody else")
        self._check_second(reservation)

    def _check_host(self, address: Address) -> None:
        """No client can have these addresses in its subnet."""
        for subnet in self._ledger.all(Subnet):
            network = ip_network(subnet.cidr)
            if address not in network:
                continue
            if not is_host(address, network):
                raise invalid("address", f"{address} is not a host address inside {network}")
            if subnet.gateway and address == ip_address(subnet.gateway):
                raise invalid("address", f"{address} is the gateway of subnet {subnet.name!r}")

    def _check_second(self, reservation: Reservation) -> None:
        """Two reservations of one MAC would be meant at once."""
        address = ip_address(reservation.address)
        here = self._subnet_of(address)
        for other in self._ledger.reservations_by_mac(reservation.mac):
            its = ip_address(other.address)
            if its == address or its.version != address.version or other.scoped is not reservation.scoped:
                continue
            if reservation.scoped and (not here or self._subnet_of(its) != here):
                continue
            where = f"in subnet {here!r}" if reservation.scoped else "that is not scoped"
            message = f"{reservation.mac} has a reservation {where} already: {other.address}"
            raise Conflict(
                message,
                fields=(FieldError("mac", message),),
                object=f"reservations/{other.address}",
                code="mac-taken",
            )

    def _subnet_of(self, address: Address) -> str:
        covering = (each.name for each in self._ledger.all(Subnet) if address in ip_network(each.cidr))
        return next(covering, "")


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
