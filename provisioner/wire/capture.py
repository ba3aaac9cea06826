"""Recorded datagrams as a capture file that Wireshark and tcpdump read, and back (pcapng, draft-ietf-opsawg-pcapng).

We record what UDP carries; the IP and UDP headers around it are made again from the addresses, without an Ethernet
header. scapy makes them, and is loaded when somebody wants a capture: it takes half a second.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from io import BytesIO
from struct import Struct as Layout
from types import SimpleNamespace
from typing import Any

from provisioner.recording import Packet
from provisioner.wire.error import WireError

_DHCP6_PORTS = (546, 547)
_PROXY_PORT = 4011
_LONGEST_HARDWARE_ADDRESS = 16

# Blocks and options of pcapng, all little-endian.
_BLOCK, _OPTION = Layout("<II"), Layout("<HH")
_SECTION, _INTERFACE, _ENHANCED = Layout("<IHHq"), Layout("<HHI"), Layout("<IIIII")
_COMMENT, _FLAGS, _INTERFACE_NAME = 1, 2, 2
_INBOUND, _OUTBOUND = 1, 2
# Packets begin with an IP header.
_LINKTYPE_RAW = 101


@cache
def _scapy() -> Any:
    inet, inet6 = import_module("scapy.layers.inet"), import_module("scapy.layers.inet6")
    packet, utils = import_module("scapy.packet"), import_module("scapy.utils")
    return SimpleNamespace(
        IP=inet.IP,
        UDP=inet.UDP,
        IPv6=inet6.IPv6,
        Raw=packet.Raw,
        PcapReader=utils.PcapReader,
        Scapy_Exception=import_module("scapy.error").Scapy_Exception,
    )


def capture(packets: Iterable[Packet]) -> bytes:
    """A pcapng file: interface, direction, and the protocol and MAC as a comment on each packet."""
    scapy = _scapy()
    # Section header: byte order, version 1.0, length not said.
    blocks = [_block(0x0A0D0D0A, _SECTION.pack(0x1A2B3C4D, 1, 0, -1))]
    interfaces: dict[str, int] = {}
    for packet in packets:
        number = interfaces.get(packet.interface)
        if number is None:
            number = interfaces[packet.interface] = len(interfaces)
            # Interface description: snapshot length 0 is no limit; times are in microseconds when nothing is said.
            name = _option(_INTERFACE_NAME, packet.interface.encode()) if packet.interface else b""
            blocks.append(_block(1, _INTERFACE.pack(_LINKTYPE_RAW, 0, 0) + name))
        blocks.append(_enhanced_packet(number, packet, _datagram(scapy, packet)))
    return b"".join(blocks)


def _datagram(scapy: Any, packet: Packet) -> bytes:
    header = scapy.IPv6 if ":" in packet.source else scapy.IP
    udp = scapy.UDP(sport=packet.source_port, dport=packet.destination_port)
    return bytes(header(src=packet.source, dst=packet.destination) / udp / scapy.Raw(packet.data))


def _enhanced_packet(interface: int, packet: Packet, datagram: bytes) -> bytes:
    microseconds = round(packet.time * 1_000_000)
    head = _ENHANCED.pack(interface, microseconds >> 32, microseconds & 0xFFFF_FFFF, len(datagram), len(datagram))
    direction = _OUTBOUND if packet.outgoing else _INBOUND
    options = _option(_FLAGS, direction.to_bytes(4, "little")) + _option(
        _COMMENT, f"{packet.protocol} {packet.mac}".encode()
    )
    return _block(6, head + _padded(datagram) + options)


def _block(kind: int, body: bytes) -> bytes:
    size = _BLOCK.pack(kind, len(body) + 12)
    return size + body + size[4:]


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + _padded(value)


def _padded(value: bytes) -> bytes:
    return value.ljust(-(-len(value) // 4) * 4, b"\0")


def read_capture(content: bytes) -> list[Packet]:
    """The UDP datagrams of a capture file (pcap or pcapng), ours or another's; raises WireError when it is none."""
    scapy = _scapy()
    found = []
    try:
        for each in scapy.PcapReader(BytesIO(content)):
            packet = _read(scapy, each)
            if packet is not None:
                found.append(packet)
    except (scapy.Scapy_Exception, EOFError, ValueError) as error:
        raise WireError("not a capture file", str(error)) from error
    return found


def _read(scapy: Any, packet: Any) -> Packet | None:
    header = packet.getlayer(scapy.IP) or packet.getlayer(scapy.IPv6)
    if header is None or scapy.UDP not in packet:
        return None
    udp = packet[scapy.UDP]
    ports = (int(udp.sport), int(udp.dport))
    data = bytes(udp.payload)
    protocol, mac = _told(packet) or (_protocol(ports), _mac(ports, data))
    return Packet(
        time=float(packet.time),
        protocol=protocol,
        mac=mac,
        outgoing=packet.direction == _OUTBOUND if packet.direction is not None else data[:1] == b"\2",
        interface=_text(packet.sniffed_on),
        source=str(header.src),
        source_port=ports[0],
        destination=str(header.dst),
        destination_port=ports[1],
        data=data,
    )


def _told(packet: Any) -> tuple[str, str] | None:
    """Protocol and MAC out of the comment that `capture` makes."""
    for comment in packet.comments or ():
        protocol, _, mac = _text(comment).partition(" ")
        if mac:
            return protocol, mac
    return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _protocol(ports: tuple[int, int]) -> str:
    if ports[0] in _DHCP6_PORTS or ports[1] in _DHCP6_PORTS:
        return "dhcp6"
    return "proxy" if _PROXY_PORT in ports else "dhcp"


def _mac(ports: tuple[int, int], data: bytes) -> str:
    """The client's MAC from a DHCPv4 header (RFC 2131 section 2: hlen at 2, chaddr at 28)."""
    if _protocol(ports) == "dhcp6" or len(data) < 44:
        return ""
    return data[28 : 28 + min(data[2], _LONGEST_HARDWARE_ADDRESS)].hex(":")
