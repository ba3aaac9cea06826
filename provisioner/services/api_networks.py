"""Subnets, reservations and leases."""

from __future__ import annotations

from aiohttp import web

from provisioner.conductor.ledger import Ledger
from provisioner.conductor.networks import Networks
from provisioner.model import Lease, Reservation, Subnet
from provisioner.services.callers import found, named_body, require
from provisioner.services.http import json, principal
from provisioner.services.listing import page
from provisioner.services.operations import Operation

_SUBNETS = "/api/v1/subnets"
_SUBNET = _SUBNETS + "/{name}"
_RESERVATIONS = "/api/v1/reservations"
_RESERVATION = _RESERVATIONS + "/{address}"


class NetworkRoutes:
    """The routes of what DHCP works with."""

    def __init__(self, ledger: Ledger, networks: Networks) -> None:
        self._ledger = ledger
        self._networks = networks

    def operations(self) -> list[Operation]:
        """What can be done with subnets and reservations; leases are only read."""
        tag, made = "addresses", {201: Subnet, 200: Subnet}
        reserved = {201: Reservation, 200: Reservation}
        return [
            Operation("GET", "/api/v1/leases", self.list_leases, tag, lists=Lease),
            Operation("GET", _SUBNETS, self.list_subnets, tag, lists=Subnet),
            Operation("POST", _SUBNETS, self.put_subnet, tag, {201: Subnet}, body=Subnet),
            Operation("GET", _SUBNET, self.get_subnet, tag, {200: Subnet}),
            Operation("PUT", _SUBNET, self.put_subnet, tag, made, body=Subnet),
            Operation("DELETE", _SUBNET, self.delete_subnet, tag, {200: Subnet}),
            Operation("GET", _RESERVATIONS, self.list_reservations, tag, lists=Reservation),
            Operation("POST", _RESERVATIONS, self.put_reservation, tag, {201: Reservation}, body=Reservation),
            Operation("GET", _RESERVATION, self.get_reservation, tag, {200: Reservation}),
            Operation("PUT", _RESERVATION, self.put_reservation, tag, reserved, body=Reservation),
            Operation("DELETE", _RESERVATION, self.delete_reservation, tag, {200: Reservation}),
        ]

    async def list_leases(self, request: web.Request) -> web.Response:
        """Leases."""
        require(request, "list leases")
        return json(page(self._ledger.read_all(Lease), Lease, request.query, lambda each: each))

    async def list_subnets(self, request: web.Request) -> web.Response:
        """Subnets."""
        require(request, "list subnets")
        return json(page(self._ledger.read_all(Subnet), Subnet, request.query, lambda each: each))

    async def get_subnet(self, request: web.Request) -> web.Response:
        """One subnet."""
        require(request, "read subnets")
        return json(found(self._ledger.read(Subnet, request.match_info["name"]), "subnet", request.match_info["name"]))

    async def put_subnet(self, request: web.Request) -> web.Response:
        """Make or save a subnet."""
        require(request, "change subnets")
        subnet = await named_body(request, Subnet, "name")
        made = self._ledger.read(Subnet, subnet.name) is None
        saved = await self._networks.put_subnet(subnet, principal(request), new=request.method == "POST")
        return json(saved, status=201 if made else 200)

    async def delete_subnet(self, request: web.Request) -> web.Response:
        """Remove a subnet; its leases are kept until they end."""
        require(request, "change subnets")
        return json(await self._networks.delete_subnet(request.match_info["name"], principal(request)))

    async def list_reservations(self, request: web.Request) -> web.Response:
        """Reservations."""
        require(request, "list reservations")
        return json(page(self._ledger.read_all(Reservation), Reservation, request.query, lambda each: each))

    async def get_reservation(self, request: web.Request) -> web.Response:
        """One reservation."""
        require(request, "read reservations")
        address = request.match_info["address"]
        return json(found(self._ledger.read(Reservation, address), "reservation", address))

    async def put_reservation(self, request: web.Request) -> web.Response:
        """Make or save a reservation."""
        require(request, "change reservations")
        reservation = await named_body(request, Reservation, "address")
        made = self._ledger.read(Reservation, reservation.address) is None
        saved = await self._networks.put_reservation(reservation, principal(request), new=request.method == "POST")
        return json(saved, status=201 if made else 200)

    async def delete_reservation(self, request: web.Request) -> web.Response:
        """Remove a reservation."""
        require(request, "change reservations")
        return json(await self._networks.delete_reservation(request.match_info["address"], principal(request)))
