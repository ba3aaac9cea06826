"""Changes subnets and reservations for operators, each in one transaction, and frees leases."""

from __future__ import annotations

from collections.abc import Callable

from provisioner.access import Principal
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.conductor.network_checks import NetworkChecks
from provisioner.dhcp_case import runs
from provisioner.errors import Conflict, FieldError, NotFound
from provisioner.leases import FOREVER
from provisioner.model.addresses import Lease, Reservation, Subnet
from provisioner.network_fields import check_name, checked_reservation, checked_subnet
from provisioner.sockets import local_addresses


class Networks:
    """Changes subnets and reservations; `addresses` tells which are this server's own."""

    def __init__(self, ledger: Ledger, addresses: Callable[[], frozenset[str]] = local_addresses) -> None:
        self._ledger = ledger
        self._checks = NetworkChecks(ledger, addresses)

    async def put_subnet(self, subnet: Subnet, by: Principal, *, new: bool = False) -> Subnet:
        """Save a subnet; raises Invalid naming each wrong field, Conflict when it overlaps another."""
        subnet = checked_subnet(subnet)
        if self._ledger.get(Subnet, subnet.name) is None:
            check_name(subnet.name)
        elif new:
            message = f"there is a subnet {subnet.name!r} already"
            fields = (FieldError("name", message),)
            raise Conflict(message, object=subnet.name, fields=fields, code="name-taken")
        self._checks.check_subnet(subnet)
        tx = self._ledger.transaction(by=str(by))
        tx.put(subnet)
        tx.event("object.put", key=f"subnets/{subnet.name}")
        await tx.commit()
        return subnet

    async def delete_subnet(self, name: str, by: Principal) -> Subnet:
        """Stop answering DHCP there; refused while addresses of it are reserved."""
        subnet = self._ledger.get(Subnet, name)
        if subnet is None:
            raise NotFound(f"there is no subnet {name!r}", object=name)
        self._checks.check_removal(subnet)
        tx = self._ledger.transaction(by=str(by))
        tx.delete(Subnet, name)
        tx.event("object.delete", key=f"subnets/{name}")
        await tx.commit()
        return subnet

    async def put_reservation(self, reservation: Reservation, by: Principal, *, new: bool = False) -> Reservation:
        """Keep an address for one MAC; one that is kept already may pass to another MAC, by whoever names it."""
        reservation = checked_reservation(reservation)
        old = self._ledger.get(Reservation, reservation.address)
        if old is not None and new:
            message = f"{old.address} is reserved for {old.mac} already"
            fields = (FieldError("address", message),)
            raise Conflict(message, object=old.address, fields=fields, code="address-taken")
        self._checks.check_reservation(reservation)
        tx = self._ledger.transaction(by=str(by))
        tx.put(reservation)
        moved: dict[str, str] = {}
        if old is not None and old.mac != reservation.mac:
            moved["before"] = old.mac
            self._free_endless(tx, old)
        tx.event("object.put", mac=reservation.mac, key=f"reservations/{reservation.address}", **moved)
        await tx.commit()
        return reservation

    async def free_lease(self, address: str, by: Principal) -> Lease:
        """Let an address go, also one in quarantine. Its client is not told: who renews in time has it again."""
        lease = self._ledger.get(Lease, address)
        if lease is None:
            raise NotFound(f"there is no lease of {address!r}", object=f"leases/{address}")
        tx = self._ledger.transaction(by=str(by))
        _free(tx, lease)
        await tx.commit()
        return lease

    async def delete_reservation(self, address: str, by: Principal) -> Reservation:
        """Let an address go. Its lease runs on until its time is up.

        A lease without an end, as BOOTP clients have, ends with its reservation: nothing else would ever end it.
        """
        reservation = self._ledger.get(Reservation, address)
        if reservation is None:
            raise NotFound(f"there is no reservation of {address!r}", object=address)
        tx = self._ledger.transaction(by=str(by))
        tx.delete(Reservation, address)
        tx.event("object.delete", mac=reservation.mac, key=f"reservations/{address}")
        self._free_endless(tx, reservation)
        await tx.commit()
        return reservation

    def _free_endless(self, tx: Transaction, reservation: Reservation) -> None:
        """End the lease that was for ever by this reservation, which is no more."""
        lease = self._ledger.get(Lease, reservation.address)
        if lease is not None and lease.mac == reservation.mac and lease.seconds == FOREVER and runs(lease, tx.now):
            _free(tx, lease)


def _free(tx: Transaction, lease: Lease) -> None:
    tx.delete(Lease, lease.address)
    tx.event("object.delete", mac=lease.mac, key=f"leases/{lease.address}", state=lease.state.value)
