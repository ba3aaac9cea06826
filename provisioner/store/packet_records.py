"""Recorded packets as bytes: how they stand in the files of the flight recorder, and which of them are kept.

Two kinds of records, little-endian, each begun by a byte that says which:

    P  size u32, route u16, time f64, MAC as text in 20 bytes; then `size` bytes of datagram
    R  size u32, route u16; then JSON: protocol, outgoing, interface, source and destination. The packets that follow
       mean this route by its number, until the number is given anew

This goes through megabytes in a thread beside the event loop, hence it is none of the modules that are compiled:
machine code would not let the loop have its turns meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct as Layout

import msgspec

from provisioner.recording import Packet, Route

MOST_ROUTES = 4096
_DATAGRAM_LIMIT = 65_535

# What stands before a datagram, and before a route.
PACKET = Layout("<cIHd20s")
ROUTE = Layout("<cIH")


def route_record(route: Route, number: int) -> bytes:
    """The record that gives a route its number."""
    described = msgspec.json.encode(route)
    return ROUTE.pack(b"R", len(described), number) + described


def whole_length(content: bytes) -> int:
    """How much of the content are whole records."""
    at = 0
    while True:
        end = _end_of_record(content, at)
        if end is None:
            return at
        at = end


def _end_of_record(content: bytes, at: int) -> int | None:
    layout = {b"P": PACKET, b"R": ROUTE}.get(content[at : at + 1])
    if layout is None or at + layout.size > len(content):
        return None
    size = int.from_bytes(content[at + 1 : at + 5], "little")
    end = at + layout.size + size
    return end if size <= _DATAGRAM_LIMIT and end <= len(content) else None


def packets_in(content: bytes, mac: str) -> Iterator[Packet]:
    """The whole packets in there, of one client or of all."""
    routes: dict[int, Route] = {}
    wanted = mac.encode().ljust(20, b"\0") if mac else b""
    at = 0
    while (end := _end_of_record(content, at)) is not None:
        if content[at] == ord("R"):
            _, _, number = ROUTE.unpack_from(content, at)
            try:
                routes[number] = msgspec.json.decode(content[at + ROUTE.size : end], type=Route)
            except (msgspec.DecodeError, UnicodeDecodeError):
                # The disk has spoilt it: it costs the packets that came this way, and not all others.
                routes.pop(number, None)
        else:
            _, _, number, time, whose = PACKET.unpack_from(content, at)
            route = routes.get(number)
            if route is not None and (not wanted or whose == wanted):
                data = content[at + PACKET.size : end]
                yield _packet(time, whose.rstrip(b"\0").decode("ascii", "replace"), route, data)
        at = end


def _packet(time: float, mac: str, route: Route, data: bytes) -> Packet:
    return Packet(
        time=time,
        protocol=route.protocol,
        mac=mac,
        outgoing=route.outgoing,
        interface=route.interface,
        source=route.source[0],
        source_port=route.source[1],
        destination=route.destination[0],
        destination_port=route.destination[1],
        data=data,
    )


def read(path: Path) -> Iterator[Packet]:
    """The packets of a file; none when there is none."""
    return packets_in(path.read_bytes(), "") if path.exists() else iter(())


def newest_since(contents: Sequence[bytes], mac: str, since: float, per_client: int) -> list[Packet]:
    """Of each client (of one when `mac` is not empty) the newest packets from these contents on, not before `since`."""
    by_client: dict[str, deque[Packet]] = {}
    for content in contents:
        for packet in packets_in(content, mac):
            if packet.time >= since:
                by_client.setdefault(packet.mac, deque(maxlen=per_client)).append(packet)
    return sorted((packet for each in by_client.values() for packet in each), key=lambda packet: packet.time)


def newest_of_each(packets: list[Packet], per_client: int, total: int) -> list[Packet]:
    """The newest packets of each client; when these are too many, of the clients heard last."""
    by_client: dict[str, deque[Packet]] = {}
    for packet in packets:
        # Put last who was heard last.
        queue = by_client.pop(packet.mac, None)
        if queue is None:
            queue = deque(maxlen=per_client)
        queue.append(packet)
        by_client[packet.mac] = queue
    kept: list[Packet] = []
    for queue in reversed(by_client.values()):
        total -= sum(len(packet.data) + PACKET.size for packet in queue)
        if total < 0:
            break
        kept += queue
    return sorted(kept, key=lambda packet: packet.time)


def encoded(packets: list[Packet]) -> bytes:
    """The records of these packets, with those of their routes."""
    parts: list[bytes] = []
    routes: dict[Route, int] = {}
    for packet in packets:
        route = Route(
            packet.protocol,
            packet.outgoing,
            packet.interface,
            (packet.source, packet.source_port),
            (packet.destination, packet.destination_port),
        )
        number = routes.get(route)
        if number is None:
            if len(routes) >= MOST_ROUTES:
                routes.clear()
            number = routes[route] = len(routes)
            parts.append(route_record(route, number))
        parts.append(PACKET.pack(b"P", len(packet.data), number, packet.time, packet.mac.encode()) + packet.data)
    return b"".join(parts)
