"""What DHCP options mean: one row per option with its name and type; text to bytes and bytes to text.

The rows are those an operator or a boot ROM uses. Every other option that scapy knows is encoded through scapy,
and any option at all can be given as bytes: `hex:01020a`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from msgspec import Struct

from provisioner.errors import Invalid
from provisioner.wire.dhcp import DhcpMessage, MessageType

# Option codes the rules speak of by name.
SUBNET_MASK = 1
ROUTERS = 3
DNS_SERVERS = 6
HOST_NAME = 12
DOMAIN_NAME = 15
BROADCAST = 28
VENDOR_OPTIONS = 43
REQUESTED_ADDRESS = 50
LEASE_TIME = 51
MESSAGE_TYPE = 53
SERVER_ID = 54
PARAMETER_LIST = 55
MESSAGE = 56
RENEWAL_TIME = 58
REBINDING_TIME = 59
VENDOR_CLASS = 60
CLIENT_ID = 61
TFTP_SERVER_NAME = 66
BOOT_FILE_NAME = 67
USER_CLASS = 77
RELAY_INFORMATION = 82
SUBNET_SELECTION = 118
CLIENT_ARCH = 93
CLIENT_UUID = 97
IPXE_OPTIONS = 175

# Options that the server computes for each reply; a configured value would break the protocol.
COMPUTED = frozenset(
    {1, 28, 50, 51, MESSAGE_TYPE, SERVER_ID, PARAMETER_LIST, 52, 57, 58, 59, CLIENT_ID, RELAY_INFORMATION, 0, 255}
)

HEX_PREFIX = "hex:"


class OptionType(Struct, frozen=True):
    """One type of value: `parse` text to bytes (ValueError when wrong), `show` bytes to text (None when not such)."""

    expects: str
    parse: Callable[[str], bytes]
    show: Callable[[bytes], str | None]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.replace(",", " ").split()]


def _parse_address(text: str) -> bytes:
    return IPv4Address(text.strip()).packed


def _show_address(value: bytes) -> str | None:
    return str(IPv4Address(value)) if len(value) == 4 else None


def _parse_addresses(text: str) -> bytes:
    packed = b"".join(IPv4Address(part).packed for part in _split(text))
    if not packed:
        raise ValueError("no address")
    return packed


def _show_addresses(value: bytes) -> str | None:
    if not value or len(value) % 4:
        return None
    return ", ".join(str(IPv4Address(value[at : at + 4])) for at in range(0, len(value), 4))


def _parse_text(text: str) -> bytes:
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


def _parse_codes(text: str) -> bytes:
    return bytes(option_code(part) for part in _split(text))


def _show_codes(value: bytes) -> str | None:
    return " ".join(str(code) for code in value)


def _parse_type(text: str) -> bytes:
    return bytes([MessageType[text.strip().upper()]])


def _show_type(value: bytes) -> str | None:
    return MessageType(value[0]).name if len(value) == 1 and value[0] in set(MessageType) else None


def _parse_shorts(text: str) -> bytes:
    return b"".join(int(part, 0).to_bytes(2) for part in _split(text))


def _show_shorts(value: bytes) -> str | None:
    if not value or len(value) % 2:
        return None
    return ", ".join(str(int.from_bytes(value[at : at + 2])) for at in range(0, len(value), 2))


def _parse_hex(text: str) -> bytes:
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
    for domain in _split(text):
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


TYPES: dict[str, OptionType] = {
    "address": OptionType("an IPv4 address", _parse_address, _show_address),
    "addresses": OptionType("IPv4 addresses, with commas between", _parse_addresses, _show_addresses),
    "text": OptionType("text", _parse_text, _show_text),
    "u8": _integer(1),
    "u16": _integer(2),
    "u32": _integer(4),
    "flag": OptionType("true or false", _parse_flag, _show_flag),
    "codes": OptionType("option names or codes", _parse_codes, _show_codes),
    "type": OptionType("a message type: " + ", ".join(t.name for t in MessageType), _parse_type, _show_type),
    "shorts": OptionType("numbers from 0 to 65535, with commas between", _parse_shorts, _show_shorts),
    "hex": OptionType("bytes as hex:0a0b", _parse_hex, _show_hex),
    "routes": OptionType("routes like '10.0.0.0/8 via 10.1.0.1', with commas between", _parse_routes, _show_routes),
    "domains": OptionType("domain names, with commas between", _parse_domains, _show_domains),
}

# code: (name, type). RFC 2132 unless said; names as operators know them from ISC and Kea.
OPTIONS: dict[int, tuple[str, str]] = {
    SUBNET_MASK: ("subnet-mask", "address"),
    2: ("time-offset", "u32"),
    ROUTERS: ("routers", "addresses"),
    4: ("time-servers", "addresses"),
    DNS_SERVERS: ("domain-name-servers", "addresses"),
    7: ("log-servers", "addresses"),
    HOST_NAME: ("host-name", "text"),
    13: ("boot-size", "u16"),
    DOMAIN_NAME: ("domain-name", "text"),
    17: ("root-path", "text"),
    18: ("extensions-path", "text"),
    19: ("ip-forwarding", "flag"),
    26: ("interface-mtu", "u16"),
    BROADCAST: ("broadcast-address", "address"),
    40: ("nis-domain", "text"),
    41: ("nis-servers", "addresses"),
    42: ("ntp-servers", "addresses"),
    VENDOR_OPTIONS: ("vendor-encapsulated-options", "hex"),
    44: ("netbios-name-servers", "addresses"),
    REQUESTED_ADDRESS: ("requested-address", "address"),
    LEASE_TIME: ("lease-time", "u32"),
    52: ("option-overload", "u8"),
    MESSAGE_TYPE: ("message-type", "type"),
    SERVER_ID: ("server-identifier", "address"),
    PARAMETER_LIST: ("parameter-request-list", "codes"),
    MESSAGE: ("message", "text"),
    57: ("max-message-size", "u16"),
    RENEWAL_TIME: ("renewal-time", "u32"),
    REBINDING_TIME: ("rebinding-time", "u32"),
    VENDOR_CLASS: ("vendor-class-identifier", "text"),
    CLIENT_ID: ("client-identifier", "hex"),
    TFTP_SERVER_NAME: ("tftp-server-name", "text"),
    BOOT_FILE_NAME: ("boot-file-name", "text"),
    69: ("smtp-servers", "addresses"),
    72: ("www-servers", "addresses"),
    USER_CLASS: ("user-class", "text"),
    RELAY_INFORMATION: ("relay-agent-information", "hex"),
    CLIENT_ARCH: ("client-architecture", "shorts"),  # RFC 4578
    94: ("client-network-interface", "hex"),  # RFC 4578
    CLIENT_UUID: ("client-uuid", "hex"),  # RFC 4578
    100: ("posix-timezone", "text"),  # RFC 4833
    101: ("tzdb-timezone", "text"),  # RFC 4833
    114: ("captive-portal", "text"),  # RFC 8910
    SUBNET_SELECTION: ("subnet-selection", "address"),  # RFC 3011
    119: ("domain-search", "domains"),  # RFC 3397
    121: ("classless-static-routes", "routes"),  # RFC 3442
    150: ("tftp-server-addresses", "addresses"),  # RFC 5859
    IPXE_OPTIONS: ("ipxe-encapsulated-options", "hex"),
    209: ("pxelinux-config-file", "text"),  # RFC 5071
    210: ("pxelinux-path-prefix", "text"),  # RFC 5071
    211: ("pxelinux-reboot-time", "u32"),  # RFC 5071
    249: ("ms-classless-static-routes", "routes"),
    252: ("wpad-url", "text"),
}

_CODES = {name: code for code, (name, _) in OPTIONS.items()}


def option_name(code: int) -> str:
    """The option's name, or `option-N` for one without a row."""
    row = OPTIONS.get(code)
    return row[0] if row else f"option-{code}"


def option_code(name: str) -> int:
    """The code for a code or name; raises Invalid for one that nobody knows."""
    text = name.strip().lower().removeprefix("option-")
    if text.isdecimal() and int(text) <= 255:
        return int(text)
    code = _CODES.get(text)
    if code is None:
        code = _scapy_codes().get(text.replace("_", "-"))
    if code is None:
        raise Invalid(f"unknown DHCP option {name!r}; give its code (1 to 254) or a name such as ntp-servers")
    return code


def parse_option(code: int, text: str) -> bytes:
    """The option's bytes for a value as an operator writes it; raises Invalid saying what the option expects."""
    row = OPTIONS.get(code)
    try:
        if text.startswith(HEX_PREFIX):
            return _parse_hex(text)
        return TYPES[row[1]].parse(text) if row else _scapy_option(code, text)
    except (ValueError, KeyError, OverflowError) as error:
        expects = TYPES[row[1]].expects if row else "a value of its type"
        raise Invalid(
            f"DHCP option {option_name(code)} ({code}) cannot be {text!r}: it takes {expects}, or bytes as hex:0a0b"
        ) from error


def show_option(code: int, value: bytes) -> str:
    """The option's value for people; as `hex:..` when it is not of its type."""
    row = OPTIONS.get(code)
    shown = TYPES[row[1]].show(value) if row else None
    return shown if shown is not None else HEX_PREFIX + value.hex()


def encode_configured(options: dict[str, str]) -> dict[int, bytes]:
    """Options as configured (name or code to text) as bytes by code; empty values leave the option out.

    Raises Invalid for an unknown option, a wrong value, or an option that the server itself computes.
    """
    encoded = {}
    for name, text in options.items():
        code = option_code(name)
        if code in COMPUTED:
            raise Invalid(f"DHCP option {option_name(code)} ({code}) is computed by the server and cannot be set")
        if text:
            encoded[code] = parse_option(code, text)
    return encoded


def relay_address(message: DhcpMessage, suboption: int) -> str:
    """An address that a relay put into option 82 (RFC 3046) as this sub-option; empty when there is none."""
    value = message.options.get(RELAY_INFORMATION, b"")
    at = 0
    while at + 2 <= len(value):
        end = at + 2 + value[at + 1]
        if value[at] == suboption:
            return _show_address(value[at + 2 : end]) or ""
        at = end
    return ""


def describe(message: DhcpMessage) -> str:
    """A message for people, one field or option a line; what is empty is left out."""
    kind = message.message_type
    lines = [f"{kind.name if kind else 'BOOTP'} xid {message.xid:08x}"]
    for name in ("htype", "hops", "secs", "flags"):
        value = getattr(message, name)
        if value != (1 if name == "htype" else 0):
            lines.append(f"{name} {value}")
    for name in ("ciaddr", "yiaddr", "siaddr", "giaddr", "mac", "sname", "file"):
        if getattr(message, name):
            lines.append(f"{name} {getattr(message, name)}")
    shown = (
        f"option {code} {option_name(code)} = {show_option(code, value)}"
        for code, value in message.options.items()
        if code != MESSAGE_TYPE
    )
    return "\n".join([*lines, *shown])


# --- scapy, for options without a row of ours -----------------------------------------------------------------


@cache
def _scapy() -> Any:
    # Loading it takes 0.2 s and 44 MB, which most configurations never need.
    return import_module("scapy.layers.dhcp")


@cache
def _scapy_codes() -> dict[str, int]:
    entries = _scapy().DHCPOptions.items()
    names = {code: entry if isinstance(entry, str) else entry.name for code, entry in entries}
    return {name.replace("_", "-").lower(): code for code, name in names.items()}


def _scapy_option(code: int, text: str) -> bytes:
    """Encode by the type scapy has for the option; ValueError when it has none or the text does not fit it."""
    scapy = _scapy()
    entry = scapy.DHCPOptions.get(code)
    if entry is None or isinstance(entry, str):
        return _parse_text(text)
    values: list[Any] = [text]
    if isinstance(entry, scapy.IPField):
        values = [str(IPv4Address(part)) for part in _split(text)]
    elif isinstance(entry, scapy.ByteField | scapy.ShortField | scapy.IntField):
        values = [int(part, 0) for part in _split(text)]
    try:
        encoded: bytes = scapy.DHCPOptionsField("options", []).i2m(None, [(entry.name, *values)])
    except Exception as error:
        # scapy's fields raise what struct, socket and their own code raise.
        raise ValueError(str(error)) from error
    return encoded[2:]
