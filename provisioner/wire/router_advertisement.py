"""Router advertisements and solicitations (RFC 4861 sections 4.1 and 4.2), as ICMPv6 messages without their checksum.

The kernel computes the checksum, for it covers addresses that only it knows.
"""

from __future__ import annotations

from ipaddress import IPv6Network
from struct import Struct as Layout

from msgspec import Struct

from provisioner.wire.dhcp6 import address_bytes
from provisioner.wire.error import WireError

ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = 133, 134
ALL_NODES = "ff02::1"
ALL_ROUTERS = "ff02::2"

# M: addresses come by DHCPv6; O: so does all else.
_MANAGED, _OTHER = 0x80, 0x40
_ON_LINK = 0x80
_SOURCE_LINK_LAYER, _PREFIX, _MTU, _DNS = 1, 3, 5, 25

_ADVERTISEMENT = Layout("!BBHBBHII")
_PREFIX_OPTION = Layout("!BBBBIII16s")
_SOLICITATION_BYTES = 8


class Prefix(Struct, frozen=True):
    """A network that is on the link: hosts reach its addresses without a router, and make up none of their own."""

    network: IPv6Network
    valid_seconds: int


class Advertisement(Struct, frozen=True, kw_only=True):
    """What is told to the link. `router_seconds` 0: we are no router for it; `dns` are name servers (RFC 8106)."""

    prefixes: tuple[Prefix, ...] = ()
    router_seconds: int = 0
    dns: tuple[str, ...] = ()
    mac: str = ""


def encode(said: Advertisement) -> bytes:
    """The ICMPv6 message."""
    data = _ADVERTISEMENT.pack(ROUTER_ADVERTISEMENT, 0, 0, 64, _MANAGED | _OTHER, said.router_seconds, 0, 0)
    if said.mac:
        data += bytes((_SOURCE_LINK_LAYER, 1)) + bytes.fromhex(said.mac.replace(":", ""))
    for each in said.prefixes:
        seconds = each.valid_seconds
        data += _PREFIX_OPTION.pack(
            _PREFIX, 4, each.network.prefixlen, _ON_LINK, seconds, seconds, 0, each.network.network_address.packed
        )
    if said.dns:
        seconds = max((each.valid_seconds for each in said.prefixes), default=0)
        data += bytes((_DNS, 1 + 2 * len(said.dns), 0, 0)) + seconds.to_bytes(4)
        data += b"".join(map(address_bytes, said.dns))
    return data


def check_solicitation(data: bytes, hop_limit: int) -> None:
    """Raise WireError for what is no router solicitation of this link (RFC 4861 section 6.1.1)."""
    if hop_limit != 255:
        raise WireError("from beyond the link", f"hop limit {hop_limit}")
    if len(data) < _SOLICITATION_BYTES or data[0] != ROUTER_SOLICITATION or data[1] != 0:
        raise WireError("no router solicitation", data[:8].hex())
    at = _SOLICITATION_BYTES
    while at < len(data):
        if at + 1 >= len(data) or data[at + 1] == 0:
            raise WireError("option without length", data[at:].hex())
        at += data[at + 1] * 8
    if at != len(data):
        raise WireError("option runs past the end", data.hex())
