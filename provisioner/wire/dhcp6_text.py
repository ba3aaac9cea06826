"""DHCPv6 for people: options as operators write them and as texts show them, whole messages as lines.

Options that an operator may set have a row in OPTIONS; any other can be given as bytes: `hex:01020a`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv6Address

from msgspec import Struct

from provisioner.errors import Invalid
from provisioner.wire.dhcp6 import Relayed, address_text
from provisioner.wire.dhcp6_options import (
    BOOT_FILE_PARAMETERS,
    BOOT_FILE_URL,
    CLIENT_ARCH,
    CLIENT_FQDN,
    CLIENT_ID,
    CLIENT_LINK_LAYER,
    DNS_SERVERS,
    DOMAIN_SEARCH,
    ELAPSED_TIME,
    IA_ADDRESS,
    IA_NA,
    IA_PD,
    IA_TA,
    INFORMATION_REFRESH_TIME,
    INTERFACE_ID,
    NETWORK_INTERFACE,
    OPTION_REQUEST,
    PREFERENCE,
    RAPID_COMMIT,
    RECONFIGURE_ACCEPT,
    SERVER_ID,
    STATUS_CODE,
    STATUSES,
    USER_CLASS,
    VENDOR_CLASS,
    IaNa,
    decode_ia,
    duid_text,
    encode_domains,
    shorts,
)
from provisioner.wire.error import WireError

# Options that the server computes for each reply; a configured value would break the protocol.
COMPUTED = frozenset(range(1, 23)) - {PREFERENCE} | {
    IA_PD,
    26,
    CLIENT_FQDN,
    CLIENT_ARCH,
    NETWORK_INTERFACE,
    CLIENT_LINK_LAYER,
}

HEX_PREFIX = "hex:"


class _Type(Struct, frozen=True):
    expects: str
    parse: Callable[[str], bytes]
    show: Callable[[bytes], str | None]


def _split(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _parse_addresses(text: str) -> bytes:
    packed = b"".join(IPv6Address(part).packed for part in _split(text))
    if not packed:
        raise ValueError("no address")
    return packed


def _show_addresses(value: bytes) -> str | None:
    if not value or len(value) % 16:
        return None
    return ", ".join(address_text(value[at : at + 16]) for at in range(0, len(value), 16))


def _show_domains(value: bytes) -> str | None:
    names: list[str] = []
    labels: list[str] = []
    at = 0
    while at < len(value):
        size = value[at]
        if size == 0:
            names.append(".".join(labels))
            labels = []
        elif size > 63 or at + 1 + size > len(value):
            return None
        else:
            labels.append(value[at + 1 : at + 1 + size].decode("ascii", "backslashreplace"))
        at += 1 + size
    return " ".join(names) if names and not labels and all(names) else None


def _parse_text(text: str) -> bytes:
    if not text:
        raise ValueError("empty")
    return text.encode()


def _show_text(value: bytes) -> str | None:
    text = value.decode("utf-8", "replace")
    return text if text.isprintable() and text.encode() == value else None


def _number(size: int) -> _Type:
    def parse(text: str) -> bytes:
        return int(text, 0).to_bytes(size)

    def show(value: bytes) -> str | None:
        return str(int.from_bytes(value)) if len(value) == size else None

    return _Type(f"a whole number from 0 to {256**size - 1}", parse, show)


def _parse_shorts(text: str) -> bytes:
    return b"".join(int(part, 0).to_bytes(2) for part in _split(text))


def _show_shorts(value: bytes) -> str | None:
    return " ".join(map(str, shorts(value))) if value and not len(value) % 2 else None


def _parse_hex(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix(HEX_PREFIX))


def _show_hex(value: bytes) -> str | None:
    return HEX_PREFIX + value.hex()


_TYPES = {
    "addresses": _Type("IPv6 addresses, separated by blanks", _parse_addresses, _show_addresses),
    "domains": _Type("domain names, separated by blanks", lambda text: encode_domains(_split(text)), _show_domains),
    "text": _Type("text", _parse_text, _show_text),
    "u8": _number(1),
    "u16": _number(2),
    "u32": _number(4),
    "shorts": _Type("numbers, separated by blanks", _parse_shorts, _show_shorts),
    "hex": _Type("bytes as hex:0a0b", _parse_hex, _show_hex),
}

OPTIONS: dict[int, tuple[str, str]] = {
    CLIENT_ID: ("client-id", "hex"),
    SERVER_ID: ("server-id", "hex"),
    IA_NA: ("ia-na", "hex"),
    IA_TA: ("ia-ta", "hex"),
    IA_ADDRESS: ("ia-address", "hex"),
    OPTION_REQUEST: ("option-request", "shorts"),
    PREFERENCE: ("preference", "u8"),
    ELAPSED_TIME: ("elapsed-time", "u16"),
    STATUS_CODE: ("status-code", "hex"),
    RAPID_COMMIT: ("rapid-commit", "hex"),
    USER_CLASS: ("user-class", "hex"),
    VENDOR_CLASS: ("vendor-class", "hex"),
    17: ("vendor-options", "hex"),
    INTERFACE_ID: ("interface-id", "hex"),
    RECONFIGURE_ACCEPT: ("reconfigure-accept", "hex"),
    DNS_SERVERS: ("dns-servers", "addresses"),  # RFC 3646
    DOMAIN_SEARCH: ("domain-search", "domains"),  # RFC 3646
    IA_PD: ("ia-pd", "hex"),
    31: ("sntp-servers", "addresses"),  # RFC 4075
    INFORMATION_REFRESH_TIME: ("information-refresh-time", "u32"),  # RFC 8415 section 21.23
    CLIENT_FQDN: ("client-fqdn", "hex"),
    41: ("posix-timezone", "text"),  # RFC 4833
    42: ("tzdb-timezone", "text"),  # RFC 4833
    56: ("ntp-server", "hex"),  # RFC 5908
    BOOT_FILE_URL: ("boot-file-url", "text"),
    BOOT_FILE_PARAMETERS: ("boot-file-parameters", "hex"),
    CLIENT_ARCH: ("client-architecture", "shorts"),
    NETWORK_INTERFACE: ("client-network-interface", "hex"),
    CLIENT_LINK_LAYER: ("client-link-layer-address", "hex"),
    82: ("sol-max-rt", "u32"),
    83: ("inf-max-rt", "u32"),
    103: ("captive-portal", "text"),  # RFC 8910
}
_CODES = {name: code for code, (name, _) in OPTIONS.items()}


def option_name(code: int) -> str:
    """The option's name, or `option-N` for one without a row."""
    row = OPTIONS.get(code)
    return row[0] if row else f"option-{code}"


def option_code(name: str) -> int:
    """The code for a code or name; raises Invalid for one that nobody knows."""
    text = name.strip().lower()
    if text in _CODES:
        return _CODES[text]
    text = text.removeprefix("option-")
    if text.isascii() and text.isdecimal() and 0 < int(text) <= 0xFFFF:
        return int(text)
    names = ", ".join(each for each, code in sorted(_CODES.items()) if code not in COMPUTED)
    raise Invalid(f"unknown DHCPv6 option {name!r}; give its code (1 to 65535) or one of: {names}")


def parse_option(code: int, text: str) -> bytes:
    """The option's bytes for a value as an operator writes it; raises Invalid saying what the option expects."""
    kind = _TYPES[OPTIONS[code][1]] if code in OPTIONS else _TYPES["hex"]
    try:
        if text.startswith(HEX_PREFIX):
            return _parse_hex(text)
        if code not in OPTIONS:
            raise ValueError("unknown type")
        return kind.parse(text)
    except (ValueError, OverflowError) as error:
        raise Invalid(
            f"DHCPv6 option {option_name(code)} ({code}) cannot be {text!r}: it takes {kind.expects},"
            " or bytes as hex:0a0b"
        ) from error


def show_option(code: int, value: bytes) -> str:
    """The option's value for people; as `hex:..` when it is not of its type."""
    shown = _TYPES[OPTIONS[code][1]].show(value) if code in OPTIONS else None
    return shown if shown is not None else HEX_PREFIX + value.hex()


def encode_configured(options: Mapping[str, str]) -> dict[int, bytes]:
    """Options as configured (name or code to text) as bytes by code; empty values leave the option out.

    Raises Invalid for an unknown option, a wrong value, or an option that the server itself computes.
    """
    encoded = {}
    for name, text in options.items():
        code = option_code(name)
        if code in COMPUTED:
            raise Invalid(f"DHCPv6 option {option_name(code)} ({code}) is computed by the server and cannot be set")
        if text:
            encoded[code] = parse_option(code, text)
    return encoded


# --- for people -----------------------------------------------------------------------------------------------


def describe(relayed: Relayed) -> str:
    """A message for people, one option a line, the relays before it."""
    lines = []
    for relay in relayed.relays:
        lines.append(f"{relay.kind.name} hops {relay.hops} link {relay.link} peer {relay.peer}")
        lines += [f"  {_shown(code, value)}" for code, value in relay.options]
    message = relayed.message
    lines.append(f"{message.kind.name} xid {message.xid:06x}")
    return "\n".join(lines + [_shown(code, value) for code, value in message.options])


def _shown(code: int, value: bytes) -> str:
    said = f"option {code} {option_name(code)} = "
    if code in (CLIENT_ID, SERVER_ID):
        return f"{said}{HEX_PREFIX}{value.hex()} ({duid_text(value)})"
    if code == IA_NA:
        try:
            return said + _shown_ia(decode_ia(value))
        except WireError:
            return f"{said}{HEX_PREFIX}{value.hex()}"
    if code == STATUS_CODE and len(value) >= 2:
        return f"{said}{_status_name(int.from_bytes(value[:2]))} {value[2:].decode('utf-8', 'replace')}".rstrip()
    return said + show_option(code, value)


def _shown_ia(ia: IaNa) -> str:
    words = [f"iaid {ia.iaid} renew {ia.renew} rebind {ia.rebind}"]
    words += [f"{each.address} preferred {each.preferred} valid {each.valid}" for each in ia.addresses]
    if ia.status is not None:
        words.append(f"{_status_name(ia.status)} {ia.reason}".rstrip())
    return "; ".join(words)


def _status_name(number: int) -> str:
    status = STATUSES.get(number)
    return status.name if status is not None else f"status-{number}"
