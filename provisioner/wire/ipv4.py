"""UDP inside IPv4 (RFC 791, RFC 768) as bytes, for datagrams that the kernel's own UDP cannot send or hear.

That is a reply to a client that has no address yet: the kernel would ask by ARP for the address that is only now being
given, and nobody answers.
"""

from __future__ import annotations

from socket import IPPROTO_UDP, inet_aton, inet_ntoa
from struct import Struct as Layout

_VERSION_AND_LENGTH = 0x45  # version 4, five words of header
_DONT_FRAGMENT = 0x4000
_TTL = 64
_HEADER_BYTES, _UDP_BYTES = 20, 8

# Version, service, total length, identification, flags, TTL, protocol, checksum, source, destination.
_HEADER = Layout("!BBHHHBBH4s4s")
_UDP = Layout("!HHHH")
_PSEUDO = Layout("!4s4sBBH")


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of data that is not all zero.

    The ones' complement sum of 16-bit words is the number that they spell, modulo 65535: one division does it.
    """
    if len(data) % 2:
        data += b"\0"
    return -int.from_bytes(data) % 0xFFFF


def udp_packet(source: str, destination: str, source_port: int, destination_port: int, payload: bytes) -> bytes:
    """An IPv4 packet with one UDP datagram, never to be fragmented (RFC 6864: its identification means nothing)."""
    from_address, to_address = inet_aton(source), inet_aton(destination)
    udp_length = _UDP_BYTES + len(payload)
    pseudo = _PSEUDO.pack(from_address, to_address, 0, IPPROTO_UDP, udp_length)
    ports = _UDP.pack(source_port, destination_port, udp_length, 0)
    # Zero would say that there is no checksum (RFC 768).
    udp_sum = checksum(pseudo + ports + payload) or 0xFFFF
    fields = (_VERSION_AND_LENGTH, 0, _HEADER_BYTES + udp_length, 0, _DONT_FRAGMENT, _TTL, IPPROTO_UDP)
    header_sum = checksum(_HEADER.pack(*fields, 0, from_address, to_address))
    header = _HEADER.pack(*fields, header_sum, from_address, to_address)
    return header + _UDP.pack(source_port, destination_port, udp_length, udp_sum) + payload


def read_udp(packet: bytes) -> tuple[str, int, bytes]:
    """Source address, destination port and payload of a UDP datagram; nothing and port 0 when it is none."""
    if len(packet) < _HEADER_BYTES:
        return "", 0, b""
    first, _, total, _, _, _, protocol, _, source, _ = _HEADER.unpack_from(packet)
    at = 4 * (first & 0xF)
    if first >> 4 != 4 or protocol != IPPROTO_UDP or at < _HEADER_BYTES or not at + _UDP_BYTES <= total <= len(packet):
        return "", 0, b""
    _, port, length, _ = _UDP.unpack_from(packet, at)
    if not _UDP_BYTES <= length <= total - at:
        return "", 0, b""
    return inet_ntoa(source), port, packet[at + _UDP_BYTES : at + length]
