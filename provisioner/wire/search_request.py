"""Requests that make every DHCP server on a network show itself; scapy builds them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

# What a client asks for; a ROM also asks for vendor options, class, server and file.
_ASKED = [1, 3, 6, 51, 54]
_ROM = [
    ("vendor_class_id", b"PXEClient:Arch:00007:UNDI:003016"),
    (93, b"\0\7"),
    (94, b"\1\3\x10"),
    (97, b"\0" * 17),
]
_ROM_ASKED = [*_ASKED, 43, 60, 66, 67, 97]
_BROADCAST = 0x8000


def search_requests(mac: str, numbers: Sequence[int]) -> list[bytes]:
    """Two DHCPDISCOVERs as IPv4 packets, one of a plain client and one of a boot ROM, with these transaction ids.

    Both ask to be answered by broadcast, which reaches us although we do not take what is offered.
    """
    asked: list[list[Any]] = [
        [("param_req_list", _ASKED)],
        [("param_req_list", _ROM_ASKED), *_ROM],
    ]
    return [_discover(mac, number, options) for number, options in zip(numbers, asked, strict=True)]


def _discover(mac: str, number: int, options: list[Any]) -> bytes:
    # Loading scapy takes a while, and a search is rare.
    inet, dhcp = import_module("scapy.layers.inet"), import_module("scapy.layers.dhcp")
    hardware = bytes.fromhex(mac.replace(":", ""))
    packet = (
        inet.IP(src="0.0.0.0", dst="255.255.255.255")
        / inet.UDP(sport=68, dport=67)
        / dhcp.BOOTP(chaddr=hardware, xid=number, flags=_BROADCAST)
        / dhcp.DHCP(options=[("message-type", "discover"), *options, "end"])
    )
    return bytes(packet)
