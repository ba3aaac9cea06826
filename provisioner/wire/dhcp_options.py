"""What DHCP options mean: one row per option with its name and type; text to bytes and bytes to text.

The rows are those an operator or a boot ROM uses. Every other option that scapy knows is encoded through scapy,
and any option at all can be given as bytes: `hex:01020a`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from ipaddress import IPv4Address
from typing import Any, Final

from provisioner.errors import Invalid
from provisioner.wire.dhcp import DhcpMessage
from provisioner.wire.option_types import HEX_PREFIX, OptionType, parse_hex, parse_text, show_address, split
from provisioner.wire.option_types import TYPES as BASIC_TYPES

# Option codes the rules speak of by name.
SUBNET_MASK: Final = 1
ROUTERS: Final = 3
DNS_SERVERS: Final = 6
HOST_NAME: Final = 12
DOMAIN_NAME: Final = 15
BROADCAST: Final = 28
VENDOR_OPTIONS: Final = 43
REQUESTED_ADDRESS: Final = 50
LEASE_TIME: Final = 51
MESSAGE_TYPE: Final = 53
SERVER_ID: Final = 54
PARAMETER_LIST: Final = 55
MESSAGE: Final = 56
RENEWAL_TIME: Final = 58
REBINDING_TIME: Final = 59
VENDOR_CLASS: Final = 60
CLIENT_ID: Final = 61
TFTP_SERVER_NAME: Final = 66
BOOT_FILE_NAME: Final = 67
USER_CLASS: Final = 77
RELAY_INFORMATION: Final = 82
SUBNET_SELECTION: Final = 118
CLIENT_ARCH: Final = 93
CLIENT_UUID: Final = 97
IPXE_OPTIONS: Final = 175

# Options that the server computes for each reply; a configured value would break the protocol.
COMPUTED: Final = frozenset(
    {1, 28, 50, 51, MESSAGE_TYPE, SERVER_ID, PARAMETER_LIST, 52, 57, 58, 59, CLIENT_ID, RELAY_INFORMATION, 0, 255}
)


def _parse_codes(text: str) -> bytes:
    return bytes(option_code(part) for part in split(text))


def _show_codes(value: bytes) -> str | None:
    return " ".join(str(code) for code in value)


TYPES: Final[dict[str, OptionType]] = BASIC_TYPES | {
    "codes": OptionType("option names or codes", _parse_codes, _show_codes),
}

# code: (name, type). RFC 2132 unless said; names as operators know them from ISC and Kea.
OPTIONS: Final[dict[int, tuple[str, str]]] = {
    SUBNET_MASK: ("subnet-mask", "address"),
    2: ("time-offset", "i32"),
    ROUTERS: ("routers", "addresses"),
    4: ("time-servers", "addresses"),
    5: ("name-servers", "addresses"),
    DNS_SERVERS: ("domain-name-servers", "addresses"),
    7: ("log-servers", "addresses"),
    8: ("cookie-servers", "addresses"),
    9: ("lpr-servers", "addresses"),
    10: ("impress-servers", "addresses"),
    11: ("resource-location-servers", "addresses"),
    HOST_NAME: ("host-name", "text"),
    13: ("boot-size", "u16"),
    14: ("merit-dump", "text"),
    DOMAIN_NAME: ("domain-name", "text"),
    16: ("swap-server", "address"),
    17: ("root-path", "text"),
    18: ("extensions-path", "text"),
    19: ("ip-forwarding", "flag"),
    20: ("non-local-source-routing", "flag"),
    21: ("policy-filter", "pairs"),
    22: ("max-dgram-reassembly", "u16"),
    23: ("default-ip-ttl", "u8"),
    24: ("path-mtu-aging-timeout", "u32"),
    25: ("path-mtu-plateau-table", "shorts"),
    26: ("interface-mtu", "u16"),
    27: ("all-subnets-local", "flag"),
    BROADCAST: ("broadcast-address", "address"),
    29: ("perform-mask-discovery", "flag"),
    30: ("mask-supplier", "flag"),
    31: ("router-discovery", "flag"),
    32: ("router-solicitation-address", "address"),
    33: ("static-routes", "pairs"),
    34: ("trailer-encapsulation", "flag"),
    35: ("arp-cache-timeout", "u32"),
    36: ("ieee802-3-encapsulation", "flag"),
    37: ("default-tcp-ttl", "u8"),
    38: ("tcp-keepalive-interval", "u32"),
    39: ("tcp-keepalive-garbage", "flag"),
    40: ("nis-domain", "text"),
    41: ("nis-servers", "addresses"),
    42: ("ntp-servers", "addresses"),
    VENDOR_OPTIONS: ("vendor-encapsulated-options", "hex"),
    44: ("netbios-name-servers", "addresses"),
    45: ("netbios-dd-server", "addresses"),
    46: ("netbios-node-type", "u8"),
    47: ("netbios-scope", "text"),
    48: ("font-servers", "addresses"),
    49: ("x-display-manager", "addresses"),
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
    64: ("nisplus-domain-name", "text"),
    65: ("nisplus-servers", "addresses"),
    TFTP_SERVER_NAME: ("tftp-server-name", "text"),
    BOOT_FILE_NAME: ("boot-file-name", "text"),
    68: ("mobile-ip-home-agent", "addresses"),
    69: ("smtp-servers", "addresses"),
    70: ("pop3-servers", "addresses"),
    71: ("nntp-servers", "addresses"),
    72: ("www-servers", "addresses"),
    73: ("finger-servers", "addresses"),
    74: ("irc-servers", "addresses"),
    USER_CLASS: ("user-class", "text"),
    RELAY_INFORMATION: ("relay-agent-information", "hex"),
    CLIENT_ARCH: ("client-architecture", "shorts"),  # RFC 4578
    94: ("client-network-interface", "hex"),  # RFC 4578
    CLIENT_UUID: ("client-uuid", "hex"),  # RFC 4578
    100: ("posix-timezone", "text"),  # RFC 4833
    101: ("tzdb-timezone", "text"),  # RFC 4833
    108: ("v6-only-preferred", "u32"),  # RFC 8925
    114: ("captive-portal", "text"),  # RFC 8910
    116: ("auto-config", "u8"),  # RFC 2563
    117: ("name-service-search", "shorts"),  # RFC 2937
    SUBNET_SELECTION: ("subnet-selection", "address"),  # RFC 3011
    119: ("domain-search", "domains"),  # RFC 3397
    121: ("classless-static-routes", "routes"),  # RFC 3442
    124: ("vendor-identifying-class", "hex"),  # RFC 3925
    125: ("vendor-identifying-options", "hex"),  # RFC 3925
    138: ("capwap-controllers", "addresses"),  # RFC 5417
    143: ("sztp-redirect", "hex"),  # RFC 8572
    150: ("tftp-server-addresses", "addresses"),  # RFC 5859
    161: ("mud-url", "text"),  # RFC 8520
    IPXE_OPTIONS: ("ipxe-encapsulated-options", "hex"),
    208: ("pxelinux-magic", "hex"),  # RFC 5071
    209: ("pxelinux-config-file", "text"),  # RFC 5071
    210: ("pxelinux-path-prefix", "text"),  # RFC 5071
    211: ("pxelinux-reboot-time", "u32"),  # RFC 5071
    249: ("ms-classless-static-routes", "routes"),
    252: ("wpad-url", "text"),
}

# What other servers call them.
_ALIASES: Final = {
    "router": ROUTERS,
    "dns-servers": DNS_SERVERS,
    "dns-server": DNS_SERVERS,
    "ntp-server": 42,
    "hostname": HOST_NAME,
    "bootfile-name": BOOT_FILE_NAME,
    "rfc3442-classless-static-routes": 121,
    "v4-captive-portal": 114,
    "mtu": 26,
}

_CODES: Final = _ALIASES | {name: code for code, (name, _) in OPTIONS.items()}


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
            return parse_hex(text)
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


def relay_option(information: bytes, suboption: int) -> bytes:
    """What a relay put into option 82 (RFC 3046) as this sub-option; empty when there is none."""
    at = 0
    while at + 2 <= len(information):
        end = at + 2 + information[at + 1]
        if information[at] == suboption:
            return information[at + 2 : end]
        at = end
    return b""


def relay_address(message: DhcpMessage, suboption: int) -> str:
    """An address that a relay put into option 82 (RFC 3046) as this sub-option; empty when there is none."""
    value = message.options.get(RELAY_INFORMATION)
    found = relay_option(value, suboption) if value is not None else b""
    return (show_address(found) or "") if found else ""


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
        return parse_text(text)
    values: list[Any] = [text]
    if isinstance(entry, scapy.IPField):
        values = [str(IPv4Address(part)) for part in split(text)]
    elif isinstance(entry, scapy.ByteField | scapy.ShortField | scapy.IntField):
        values = [int(part, 0) for part in split(text)]
    try:
        encoded: bytes = scapy.DHCPOptionsField("options", []).i2m(None, [(entry.name, *values)])
    except Exception as error:
        # scapy's fields raise what struct, socket and their own code raise.
        raise ValueError(str(error)) from error
    return encoded[2:]
