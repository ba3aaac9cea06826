"""The flight recorder's packets: decoded for people and programs, or as a capture file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from aiohttp import web
from msgspec import Struct

from provisioner.conductor.machines import Machines
from provisioner.errors import Refused
from provisioner.identity import normal_mac
from provisioner.recording import Packet
from provisioner.services.callers import require
from provisioner.services.http import json
from provisioner.services.listing import moment
from provisioner.services.operations import Operation, Query, Raw
from provisioner.store.recorder import FlightRecorder
from provisioner.wire.capture import capture
from provisioner.wire.dhcp import decode
from provisioner.wire.dhcp6 import decode as decode6
from provisioner.wire.dhcp6_text import describe as describe6
from provisioner.wire.dhcp_options import describe
from provisioner.wire.error import WireError

T = TypeVar("T")

_CAPTURE = "application/x-pcapng"
_WHOSE = (
    Query("machine", "of this machine, by id or name"),
    Query("mac", "of this MAC, known or not"),
    Query("since", "not before this time", datetime),
)


class ShownPacket(Struct, frozen=True):
    """A datagram: when, which way, from where to where, and what it says. `hex` is what UDP carried."""

    time: datetime
    protocol: str
    mac: str
    outgoing: bool
    interface: str
    source: str
    destination: str
    title: str
    text: str
    hex: str


class PacketList(Struct, frozen=True):
    """Datagrams, oldest first."""

    items: list[ShownPacket]


class PacketRoutes:
    """The routes of the flight recorder; without one there are no packets."""

    def __init__(self, recorder: FlightRecorder | None, machines: Machines) -> None:
        self._recorder = recorder
        self._machines = machines

    def operations(self) -> list[Operation]:
        """What can be asked of the recorder."""
        return [
            Operation(
                "GET", "/api/v1/packets", self.read, "packets", {200: PacketList}, _WHOSE, errors=(409, 422, 503)
            ),
            Operation(
                "GET",
                "/api/v1/packets/capture",
                self.download,
                "packets",
                {200: Raw(_CAPTURE)},
                _WHOSE,
                errors=(409, 422, 503),
            ),
        ]

    async def read(self, request: web.Request) -> web.Response:
        """List the last datagrams of a client, decoded; without `machine` or `mac` those of all clients."""
        require(request, "read packets")
        return json(await self._made(request, _listed))

    async def download(self, request: web.Request) -> web.Response:
        """Fetch the last datagrams of a client as a capture that Wireshark and tcpdump read (pcapng)."""
        require(request, "read packets")
        content = await self._made(request, capture)
        name = f"{_stem(request)}.pcapng"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
        return web.Response(body=content, content_type=_CAPTURE, headers=headers)

    async def _made(self, request: web.Request, make: Callable[[list[Packet]], T]) -> T:
        recorder = self._recorder
        if recorder is None:
            raise Refused("nothing is recorded: setting recorder.size_mb is 0", object="recorder.size_mb", code="off")
        macs, since = self._macs(request), moment(request.query, "since")

        def made() -> T:
            found = [packet for mac in macs for packet in recorder.packets(mac, since.timestamp() if since else 0.0)]
            return make(sorted(found, key=lambda packet: packet.time))

        return await asyncio.to_thread(made)

    def _macs(self, request: web.Request) -> tuple[str, ...]:
        """Whose packets are asked for; one empty MAC stands for all."""
        name, mac = request.query.get("machine", ""), request.query.get("mac", "")
        macs = self._machines.find(name).macs if name else ()
        if mac:
            macs = (*macs, normal_mac(mac, "mac"))
        return macs if name or mac else ("",)


def show(packet: Packet) -> ShownPacket:
    """A packet for people; one that cannot be decoded says why."""
    try:
        text = _DESCRIBE[packet.protocol](packet.data)
    except WireError as error:
        text = f"cannot be decoded: {error.message}"
    return ShownPacket(
        time=datetime.fromtimestamp(packet.time, UTC),
        protocol=packet.protocol,
        mac=packet.mac,
        outgoing=packet.outgoing,
        interface=packet.interface,
        source=_place(packet.source, packet.source_port),
        destination=_place(packet.destination, packet.destination_port),
        title=text.partition("\n")[0],
        text=text,
        hex=packet.data.hex(),
    )


def _describe(data: bytes) -> str:
    return describe(decode(data))


def _describe6(data: bytes) -> str:
    return describe6(decode6(data))


_DESCRIBE: dict[str, Callable[[bytes], str]] = {"dhcp": _describe, "proxy": _describe, "dhcp6": _describe6}


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _listed(packets: list[Packet]) -> PacketList:
    return PacketList([show(packet) for packet in packets])


def _stem(request: web.Request) -> str:
    """What the capture file is called: header text, hence ASCII without quotes."""
    whose = request.query.get("machine", "") or request.query.get("mac", "") or "packets"
    return "".join(each if each.isascii() and (each.isalnum() or each in "._-") else "-" for each in whose)
