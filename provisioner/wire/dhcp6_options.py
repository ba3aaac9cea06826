"""What DHCPv6 options mean: identity associations, DUIDs, who the client is and what (RFC 8415, 5970, 6939)."""

from __future__ import annotations

from enum import IntEnum
from ipaddress import AddressValueError, IPv6Address
from struct import Struct as Layout
from uuid import UUID

from msgspec import Struct

from provisioner.wire.dhcp6 import Dhcp6Message, Option, address_text, decode_options, encode_options
from provisioner.wire.error import WireError

CLIENT_ID = 1
SERVER_ID = 2
IA_NA = 3
IA_TA = 4
IA_ADDRESS = 5
OPTION_REQUEST = 6
PREFERENCE = 7
ELAPSED_TIME = 8
STATUS_CODE = 13
RAPID_COMMIT = 14
USER_CLASS = 15
VENDOR_CLASS = 16
INTERFACE_ID = 18
RECONFIGURE_ACCEPT = 20
DNS_SERVERS = 23
DOMAIN_SEARCH = 24
IA_PD = 25
INFORMATION_REFRESH_TIME = 32
CLIENT_FQDN = 39
BOOT_FILE_URL = 59
BOOT_FILE_PARAMETERS = 60
CLIENT_ARCH = 61
NETWORK_INTERFACE = 62
CLIENT_LINK_LAYER = 79
RELAY_SOURCE_PORT = 135

# Intel's, under which UEFI firmware says PXEClient and HTTPClient in IPv6 and takes the answer from.
PXE_ENTERPRISE = 343

_ETHERNET = 1
_LONGEST_DUID = 130
_IA = Layout("!4sII")
_IA_ADDRESS = Layout("!16sII")


class Status(IntEnum):
    """RFC 8415 section 21.13."""

    SUCCESS = 0
    UNSPECIFIED = 1
    NO_ADDRESSES = 2
    NO_BINDING = 3
    NOT_ON_LINK = 4
    USE_MULTICAST = 5
    NO_PREFIX = 6


STATUSES = {int(each): each for each in Status}


class IaAddress(Struct, frozen=True):
    """An address with its lifetimes in seconds; both 0: not to be used any more."""

    address: str
    preferred: int = 0
    valid: int = 0


class IaNa(Struct, frozen=True):
    """An identity association: what one interface of a client has.

    `iaid` is four bytes in hex; `renew` and `rebind` are T1 and T2 in seconds.
    """

    iaid: str
    renew: int = 0
    rebind: int = 0
    addresses: tuple[IaAddress, ...] = ()
    status: Status | None = None
    reason: str = ""


def decode_ia(value: bytes) -> IaNa:
    """The value of an IA_NA; raises WireError."""
    if len(value) < _IA.size:
        raise WireError("IA_NA too short", value.hex())
    iaid, renew, rebind = _IA.unpack_from(value)
    addresses, status, reason = [], None, ""
    for code, inner in decode_options(value, _IA.size):
        if code == IA_ADDRESS:
            if len(inner) < _IA_ADDRESS.size:
                raise WireError("IA address too short", inner.hex())
            packed, preferred, valid = _IA_ADDRESS.unpack_from(inner)
            addresses.append(IaAddress(address_text(packed), preferred, valid))
        elif code == STATUS_CODE and len(inner) >= 2:
            status = STATUSES.get(int.from_bytes(inner[:2]), Status.UNSPECIFIED)
            reason = inner[2:].decode("utf-8", "replace")
    return IaNa(iaid.hex(), renew, rebind, tuple(addresses), status, reason)


def encode_ia(ia: IaNa) -> bytes:
    """The value of an IA_NA."""
    options: list[Option] = [
        (IA_ADDRESS, _IA_ADDRESS.pack(IPv6Address(each.address).packed, each.preferred, each.valid))
        for each in ia.addresses
    ]
    if ia.status is not None:
        options.append((STATUS_CODE, encode_status(ia.status, ia.reason)))
    return _IA.pack(bytes.fromhex(ia.iaid), ia.renew, ia.rebind) + encode_options(options)


def encode_status(status: Status, reason: str = "") -> bytes:
    """The value of a status code."""
    return status.to_bytes(2) + reason.encode()


# --- who the client is ----------------------------------------------------------------------------------------


class DuidType(IntEnum):
    """RFC 8415 section 11, RFC 6355."""

    LINK_LAYER_TIME = 1
    ENTERPRISE = 2
    LINK_LAYER = 3
    UUID = 4


def check_duid(duid: bytes) -> None:
    """Raise WireError for what cannot identify anybody (RFC 8415 section 11.1)."""
    if not 3 <= len(duid) <= _LONGEST_DUID:
        raise WireError("DUID of impossible length", f"{len(duid)} bytes")


def duid_mac(duid: bytes) -> str:
    """The MAC in a DUID-LLT or DUID-LL of Ethernet, '' when there is none."""
    kind, hardware = int.from_bytes(duid[:2]), int.from_bytes(duid[2:4])
    at = {DuidType.LINK_LAYER_TIME: 8, DuidType.LINK_LAYER: 4}.get(kind)  # type: ignore[call-overload]
    if at is None or hardware != _ETHERNET or len(duid) != at + 6:
        return ""
    return duid[at:].hex(":")


def duid_uuid(duid: bytes) -> str:
    """The UUID in a DUID-UUID, which firmware takes from SMBIOS; '' when there is none."""
    if int.from_bytes(duid[:2]) != DuidType.UUID or len(duid) != 18:
        return ""
    return str(UUID(bytes=duid[2:]))


def duid_text(duid: bytes) -> str:
    """A DUID for people: its type and what it holds."""
    uuid, mac, kind = duid_uuid(duid), duid_mac(duid), int.from_bytes(duid[:2])
    if uuid:
        return f"uuid {uuid}"
    if mac:
        return f"{'llt' if kind == DuidType.LINK_LAYER_TIME else 'll'} {mac}"
    if kind == DuidType.ENTERPRISE and len(duid) >= 6:
        return f"en {int.from_bytes(duid[2:6])} {duid[6:].hex()}"
    return duid.hex()


def link_layer_mac(value: bytes) -> str:
    """The MAC that a relay tells of (option 79, RFC 6939), '' when it is not of Ethernet."""
    return value[2:].hex(":") if len(value) == 8 and int.from_bytes(value[:2]) == _ETHERNET else ""


def eui64_mac(address: str) -> str:
    """The MAC that an address was made of (RFC 4291 appendix A), '' when it was made otherwise."""
    try:
        packed = IPv6Address(address.partition("%")[0]).packed
    except AddressValueError:
        return ""
    if packed[11:13] != b"\xff\xfe":
        return ""
    return bytes((packed[8] ^ 2, *packed[9:11], *packed[13:])).hex(":")


def link_local(mac: str) -> str:
    """The link-local address that is made of a MAC."""
    raw = bytes.fromhex(mac.replace(":", ""))
    return address_text(b"\xfe\x80" + bytes(6) + bytes((raw[0] ^ 2,)) + raw[1:3] + b"\xff\xfe" + raw[3:])


# --- what the client is ---------------------------------------------------------------------------------------


def classes(value: bytes) -> list[bytes]:
    """The parts of a user class (RFC 8415 section 21.15), each with its length before it; stops where one lies."""
    found, at = [], 0
    while at + 2 <= len(value):
        end = at + 2 + int.from_bytes(value[at : at + 2])
        if end > len(value):
            break
        found.append(value[at + 2 : end])
        at = end
    return found


def vendor_classes(value: bytes) -> tuple[int, list[bytes]]:
    """Enterprise number and parts of a vendor class (RFC 8415 section 21.16)."""
    return int.from_bytes(value[:4]), classes(value[4:])


def encode_vendor_class(enterprise: int, text: bytes) -> bytes:
    """A vendor class of one part."""
    return enterprise.to_bytes(4) + len(text).to_bytes(2) + text


def shorts(value: bytes) -> tuple[int, ...]:
    """16-bit numbers: an option request, client architectures; an odd byte at the end counts for nothing."""
    return tuple(int.from_bytes(value[at : at + 2]) for at in range(0, len(value) - 1, 2))


def hostname_of(message: Dhcp6Message) -> str:
    """The first label of the name that the client says it has (option 39, RFC 4704)."""
    value = message.option(CLIENT_FQDN) or b""
    size = value[1] if len(value) > 1 else 0
    return value[2 : 2 + size].decode("ascii", "backslashreplace") if 0 < size < 64 else ""


def encode_domains(names: list[str]) -> bytes:
    """Domain names as labels (RFC 1035 section 3.1), not compressed; ValueError for what is none."""
    packed = b""
    for name in names:
        for label in name.strip(".").split("."):
            raw = label.encode("idna")
            if not 0 < len(raw) < 64:
                raise ValueError(f"{name!r} is no domain name")
            packed += bytes((len(raw),)) + raw
        packed += b"\0"
    return packed
