"""Subnets, reservations and leases."""

from __future__ import annotations

from functools import partial
from typing import Any

from provisioner.access import Principal
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.networks import Networks
from provisioner.model.addresses import Lease, Reservation, Subnet
from provisioner.services.operations import Operation
from provisioner.services.resources import Resource, Routes

_TAG = "addresses"


class NetworkRoutes:
    """The routes of what DHCP works with; leases are made by it alone, and can be taken away."""

    def __init__(self, ledger: Ledger, networks: Networks) -> None:
        self._ledger = ledger
        self._networks = networks

    def operations(self) -> list[Operation]:
        """What can be done with subnets, reservations and leases."""
        leases = self._resource(Lease, "address", delete=self._networks.free_lease)
        resources = (self._subnets(), self._reservations(), leases)
        return [each for resource in resources for each in Routes(resource).operations()]

    def _resource(self, cls: Any, key: str, **more: Any) -> Resource:
        ledger = self._ledger
        return Resource(
            cls=cls,
            plural=cls.kind,
            key=key,
            tag=_TAG,
            all=partial(ledger.read_all, cls),
            read=partial(ledger.read, cls),
            get=partial(ledger.get, cls),
            **more,
        )

    def _subnets(self) -> Resource:
        async def save(subnet: Subnet, by: Principal, new: bool) -> Subnet:
            return await self._networks.put_subnet(subnet, by, new=new)

        example = {
            "name": "rack-1",
            "cidr": "10.0.0.0/24",
            "pool_start": "10.0.0.100",
            "pool_end": "10.0.0.200",
            "gateway": "10.0.0.1",
            "dns_servers": ["10.0.0.1"],
        }
        return self._resource(Subnet, "name", save=save, delete=self._networks.delete_subnet, example=example)

    def _reservations(self) -> Resource:
        async def save(reservation: Reservation, by: Principal, new: bool) -> Reservation:
            return await self._networks.put_reservation(reservation, by, new=new)

        example = {"address": "10.0.0.20", "mac": "52:54:00:12:34:56", "hostname": "node-1"}
        delete = self._networks.delete_reservation
        return self._resource(Reservation, "address", save=save, delete=delete, example=example)
