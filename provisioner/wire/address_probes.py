"""Asking who has an address: ARP probes (RFC 5227 section 1.1, RFC 826) and ICMP echo (RFC 792).

scapy builds one packet of each kind, when the first is needed; each one sent is that with a few bytes changed.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from socket import IPPROTO_ICMP, inet_aton, inet_ntoa
from struct import Struct as Layout
from typing import Any

from provisioner.wire.ipv4 import checksum

# Of ARP for IPv4 on Ethernet: sizes and kinds, operation, then who speaks and who is spoken to.
_ARP = Layout("!HHBBH6s4s6s4s")
_ARP_ON_ETHERNET = (1, 0x0800, 6, 4)
_SENDER_MAC_AT, _SENDER_AT, _TARGET_AT = 8, 14, 24
_NO_ADDRESS = b"\0\0\0\0"
# Type, code, checksum, identifier, sequence.
_ECHO = Layout("!BBHHH")
_ECHO_REPLY = 0
_CHECKSUM_AT = 2
_SOURCE_AT, _PROTOCOL_AT = 12, 9


def _scapy(name: str) -> Any:
    # Loading it takes 0.2 s and 44 MB, which a server that asks for nothing never needs.
    return import_module(f"scapy.layers.{name}")


@cache
def arp_template() -> bytes:
    """An ARP request from nobody for nobody."""
    scapy = _scapy("l2")
    nobody = {"hwsrc": "00:00:00:00:00:00", "psrc": "0.0.0.0", "hwdst": "00:00:00:00:00:00", "pdst": "0.0.0.0"}
    return bytes(scapy.ARP(op="who-has", **nobody))


def arp_probe(mac: str, address: str) -> bytes:
    """Who has `address`? Asked from `mac` and from no address, so that nobody learns a wrong one."""
    template = arp_template()
    sender = bytes.fromhex(mac.replace(":", ""))
    return template[:_SENDER_MAC_AT] + sender + template[_SENDER_AT:_TARGET_AT] + inet_aton(address)


def read_arp(packet: bytes) -> tuple[str, str]:
    """The MAC and the address that the sender of an ARP packet says are its own; empty when it says nothing such."""
    if len(packet) < _ARP.size:
        return "", ""
    *kinds, _, mac, address, _, _ = _ARP.unpack_from(packet)
    if tuple(kinds) != _ARP_ON_ETHERNET or address == _NO_ADDRESS:
        return "", ""
    return mac.hex(":"), inet_ntoa(address)


@cache
def echo_template() -> bytes:
    """An echo request with identifier and sequence zero."""
    return bytes(_scapy("inet").ICMP(type="echo-request", id=0, seq=0))


def echo_request(identifier: int, sequence: int) -> bytes:
    """Are you there? The answer repeats `identifier` and `sequence`."""
    head = echo_template()[:_CHECKSUM_AT]
    rest = identifier.to_bytes(2) + sequence.to_bytes(2)
    return head + checksum(head + b"\0\0" + rest).to_bytes(2) + rest


def read_echo_reply(packet: bytes, identifier: int) -> str:
    """Who answered an echo request with this identifier, from a whole IPv4 packet; empty when it is something else."""
    if len(packet) < 20 or packet[_PROTOCOL_AT] != IPPROTO_ICMP:
        return ""
    at = 4 * (packet[0] & 0xF)
    if len(packet) < at + _ECHO.size:
        return ""
    kind, code, _, answered, _ = _ECHO.unpack_from(packet, at)
    if (kind, code, answered) != (_ECHO_REPLY, 0, identifier):
        return ""
    return inet_ntoa(packet[_SOURCE_AT : _SOURCE_AT + 4])
