"""Types of DHCP options: text as operators write it to bytes, and bytes to text (RFC 2132, 3397, 3442)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

from msgspec import Struct

from provisioner.wire.dhcp import MessageType

HEX_PREFIX = "hex:"


class OptionType(Struct, frozen=True):
    """One type of value: `parse` text to bytes (ValueError when wrong), `show` bytes to text (None when not such)."""

    expects: str
    parse: Callable[[str], bytes]
    show: Callable[[bytes], str | None]


def split(text: str) -> list[str]:
    return [part.strip() for part in text.replace(",", " ").split()]


def _parse_address(text: str) -> bytes:
    return IPv4Address(text.strip()).packed


def show_address(value: bytes) -> str | None:
    return str(IPv4Address(value)) if len(value) == 4 else None


def _parse_addresses(text: str) -> bytes:
    packed = b"".join(IPv4Address(part).packed for part in split(text))
    if not packed:
        raise ValueError("no address")
    return packed


def _show_addresses(value: bytes) -> str | None:
    if not value or len(value) % 4:
        return None
    return ", ".join(str(IPv4Address(value[at : at + 4])) for at in range(0, len(value), 4))


def parse_text(text: str) -> bytes:
    if not text:
        raise ValueError("empty")
    return text.encode()


def _show_text(value: bytes) -> str | None:
    text = value.rstrip(b"\0").decode("utf-8", "replace")
    return text if text.isprintable() else None


def _integer(size: int) -> OptionType:
    def parse(text: str) -> bytes:
        return int(text, 0).to_bytes(size)

    def show(value: bytes) -> str | None:
        return str(int.from_bytes(value)) if len(value) == size else None

    return OptionType(f"a whole number from 0 to {256**size - 1}", parse, show)


def _parse_flag(text: str) -> bytes:
    return {"true": b"\1", "1": b"\1", "false": b"\0", "0": b"\0"}[text.strip().lower()]


def _show_flag(value: bytes) -> str | None:
    return {b"\0": "false", b"\1": "true"}.get(value)


def _parse_type(text: str) -> bytes:
    return bytes([MessageType[text.strip().upper()]])


def _show_type(value: bytes) -> str | None:
    return MessageType(value[0]).name if len(value) == 1 and value[0] in set(MessageType) else None


def _parse_shorts(text: str) -> bytes:
    return b"".join(int(part, 0).to_bytes(2) for part in split(text))


def _show_shorts(value: bytes) -> str | None:
    if not value or len(value) % 2:
        return None
    return ", ".join(str(int.from_bytes(value[at : at + 2])) for at in range(0, len(value), 2))


def parse_hex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix(HEX_PREFIX).replace(":", " "))


def _show_hex(value: bytes) -> str | None:
    return HEX_PREFIX + value.hex()


def _parse_routes(text: str) -> bytes:
    """RFC 3442: prefix length, the significant bytes of the network, the router."""
    packed = b""
    for route in text.split(","):
        network_text, _, router = route.strip().partition(" via ")
        network = IPv4Network(network_text.strip())
        packed += bytes([network.prefixlen]) + network.network_address.packed[: -(-network.prefixlen // 8)]
        packed += IPv4Address(router.strip()).packed
    return packed


def _show_routes(value: bytes) -> str | None:
    routes, at = [], 0
    while at < len(value):
        prefix = value[at]
        end = at + 1 + -(-prefix // 8)
        if prefix > 32 or end + 4 > len(value):
            return None
        network = IPv4Network((value[at + 1 : end].ljust(4, b"\0"), prefix), strict=False)
        routes.append(f"{network} via {IPv4Address(value[end : end + 4])}")
        at = end + 4
    return ", ".join(routes) or None


def _parse_domains(text: str) -> bytes:
    """RFC 3397, without compression, which a receiver must not insist on."""
    packed = b""
    for domain in split(text):
        for label in domain.strip(".").split("."):
            raw = label.encode("idna")
            packed += bytes([len(raw)]) + raw
        packed += b"\0"
    if not packed:
        raise ValueError("no domain")
    return packed


def _show_domains(value: bytes) -> str | None:
    domains, labels, at = [], [], 0
    while at < len(value):
        size = value[at]
        label = value[at + 1 : at + 1 + size]
        # A compression pointer, or a label cut short: shown as bytes, nobody configured us to read these.
        if size > 63 or len(label) != size or not label.isascii():
            return None
        at += 1 + size
        if size:
            labels.append(label.decode())
        else:
            domains.append(".".join(labels))
            labels = []
    return ", ".join(domains) if domains and not labels else None


def _integer_signed(text: str) -> bytes:
    return int(text, 0).to_bytes(4, signed=True)


def _show_signed(value: bytes) -> str | None:
    return str(int.from_bytes(value, signed=True)) if len(value) == 4 else None


def _parse_pairs(text: str) -> bytes:
    """Pairs of addresses, each pair with a blank inside."""
    packed = b""
    for pair in text.split(","):
        one, other = pair.split()
        packed += IPv4Address(one).packed + IPv4Address(other).packed
    return packed


def _show_pairs(value: bytes) -> str | None:
    if not value or len(value) % 8:
        return None
    pairs = (value[at : at + 8] for at in range(0, len(value), 8))
    return ", ".join(f"{IPv4Address(pair[:4])} {IPv4Address(pair[4:])}" for pair in pairs)


TYPES: dict[str, OptionType] = {
    "address": OptionType("an IPv4 address", _parse_address, show_address),
    "addresses": OptionType("IPv4 addresses, with commas between", _parse_addresses, _show_addresses),
    "text": OptionType("text", parse_text, _show_text),
    "u8": _integer(1),
    "u16": _integer(2),
    "u32": _integer(4),
    "i32": OptionType("a whole number of 32 bits", _integer_signed, _show_signed),
    "flag": OptionType("true or false", _parse_flag, _show_flag),
    "type": OptionType("a message type: " + ", ".join(t.name for t in MessageType), _parse_type, _show_type),
    "shorts": OptionType("numbers from 0 to 65535, with commas between", _parse_shorts, _show_shorts),
    "hex": OptionType("bytes as hex:0a0b", parse_hex, _show_hex),
    "pairs": OptionType(
        "pairs of IPv4 addresses like '10.0.0.0 10.1.0.1', with commas between", _parse_pairs, _show_pairs
    ),
    "routes": OptionType("routes like '10.0.0.0/8 via 10.1.0.1', with commas between", _parse_routes, _show_routes),
    "domains": OptionType("domain names, with commas between", _parse_domains, _show_domains),
}
