"""Which switch and port a card is plugged into, as the switch itself says by LLDP (IEEE 802.1AB).

Switches speak every 30 seconds; who wants to hear has to listen so long, as root.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from struct import pack, unpack_from
from typing import Optional

from .clock import Clock
from .interrupt import readable

ETHERTYPE = 0x88CC
_HEADER_BYTES = 14
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_MR_MULTICAST = 0
_NEAREST_BRIDGE = bytes.fromhex("0180c200000e")
_MAC_SUBTYPES = {1: 4, 2: 3}  # TLV type -> the subtype of its id that is a MAC address
_ADDRESS_SUBTYPES = {1: 5, 2: 4}
_NAMES = {4: "port_description", 5: "system_name", 6: "system_description"}


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each TLV (section 8.4) up to the end, or to where it breaks off."""
    position = 0
    while position + 2 <= len(data):
        head = unpack_from(">H", data, position)[0]
        kind, length = head >> 9, head & 0x1FF
        value = data[position + 2 : position + 2 + length]
        if kind == 0 or len(value) < length:
            return
        yield kind, value
        position += 2 + length


def _identifier(kind: int, value: bytes) -> str:
    """A chassis or port id in readable form."""
    subtype, rest = value[0], value[1:]
    if subtype == _MAC_SUBTYPES[kind] and len(rest) == 6:
        return ":".join(f"{octet:02x}" for octet in rest)
    if subtype == _ADDRESS_SUBTYPES[kind] and rest[:1] == b"\x01" and len(rest) == 5:
        return socket.inet_ntoa(rest[1:])
    return rest.decode("utf-8", "replace")


def parse(frame: bytes) -> Optional[dict[str, str]]:
    """The neighbour that sent an Ethernet frame; None when the frame is not LLDP."""
    if len(frame) < _HEADER_BYTES or unpack_from(">H", frame, 12)[0] != ETHERTYPE:
        return None
    found: dict[str, str] = {}
    for kind, value in _elements(frame[_HEADER_BYTES:]):
        if kind in (1, 2) and value:
            found["chassis" if kind == 1 else "port"] = _identifier(kind, value)
        elif kind in _NAMES:
            found[_NAMES[kind]] = value.decode("utf-8", "replace").strip("\0 \r\n")
    return found if "chassis" in found and "port" in found else None


def listen(names: Iterable[str], seconds: float, clock: Clock) -> Mapping[str, dict[str, str]]:
    """Interface -> neighbour, of those heard within the time; without the right to listen, none."""
    found: dict[str, dict[str, str]] = {}
    with ExitStack() as stack:
        ears = {}
        for name in names:
            with suppress(OSError):
                ear = stack.enter_context(_ear(name))
                ears[ear.fileno()] = name, ear
        deadline = clock.now() + seconds
        while ears and clock.now() < deadline:
            for descriptor in readable(list(ears), deadline - clock.now()):
                name, ear = ears[descriptor]
                neighbour = _hear(ear)
                if neighbour:
                    found[name] = neighbour
                    del ears[descriptor]
    return found


def _ear(name: str) -> socket.socket:
    """A socket that hears LLDP on one interface. Raises OSError, for others than root for one."""
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
    try:
        ear.bind((name, ETHERTYPE))
        membership = pack("iHH8s", socket.if_nametoindex(name), _PACKET_MR_MULTICAST, 6, _NEAREST_BRIDGE)
        ear.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
        ear.setblocking(False)
    except BaseException:
        ear.close()
        raise
    return ear


def _hear(ear: socket.socket) -> Optional[dict[str, str]]:
    with suppress(OSError):
        return parse(ear.recv(2048))
    return None
