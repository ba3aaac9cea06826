"""Who a DHCPv6 client is, on which link it is, and which subnets there are.

A client is its MAC, as in DHCPv4: firmware (DUID-UUID), installer and installed system (DUID-LLT) of one machine must
all get the same address. DHCPv6 has no field for the MAC, so it is looked for, in this order (`identify`):

    option 79                 the relay nearest to the client says it (RFC 6939)
    the client's address      its link-local address is made of its MAC (EUI-64): so do firmware, iPXE and most systems
    DUID-LLT, DUID-LL         a MAC of the host, though perhaps of another of its cards: a host has one DUID for all
    a DUID known already      by an earlier lease, or because DUID-UUID is a known machine's SMBIOS UUID

The first two tell the very card that asks. What the others tell is weaker: there, identity associations (IAIDs) of one
DUID are kept apart, for they may be two cards. A client of whom no MAC is found is its DUID. The kernel's neighbour
table is not asked: it holds a new client only after we have answered it, and an identity must not change in between.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network
from socket import AF_INET6, inet_ntop, inet_pton

from msgspec import Struct

from provisioner.model.addresses import Subnet
from provisioner.wire.dhcp6 import Relayed
from provisioner.wire.dhcp6_options import CLIENT_ID, CLIENT_LINK_LAYER, duid_mac, eui64_mac, link_layer_mac


class Network6(Struct, frozen=True):
    """An IPv6 subnet with its addresses as numbers. `barred` are pool addresses that belong to routers and servers."""

    subnet: Subnet
    first: int
    last: int
    pool_first: int
    pool_last: int
    barred: frozenset[int]

    def covers(self, address: str) -> bool:
        """Whether the address lies in the subnet."""
        return self.first <= number6(address) <= self.last

    def pools(self, address: str) -> bool:
        """Whether the address is one of those handed out to anybody."""
        value = number6(address)
        return (
            not self.subnet.only_reservations
            and self.pool_first <= value <= self.pool_last
            and value not in self.barred
        )


def number6(address: str) -> int:
    """An IPv6 address as a number."""
    return int.from_bytes(inet_pton(AF_INET6, address))


def address6_text(value: int) -> str:
    """A number as an IPv6 address."""
    return inet_ntop(AF_INET6, value.to_bytes(16))


def network6(subnet: Subnet) -> Network6:
    """The subnet with its addresses as numbers; ValueError when they are none."""
    cidr = IPv6Network(subnet.cidr)
    pool_first, pool_last = 1, 0
    if subnet.pool_start and subnet.pool_end:
        pool_first, pool_last = int(IPv6Address(subnet.pool_start)), int(IPv6Address(subnet.pool_end))
    servers = {int(IPv6Address(each)) for each in (subnet.gateway, *subnet.dns_servers) if ":" in each}
    # The first address of a subnet is every router's (RFC 4291 section 2.6.1).
    barred = servers if cidr.prefixlen > 126 else servers | {int(cidr.network_address)}
    return Network6(
        subnet, int(cidr.network_address), int(cidr.broadcast_address), pool_first, pool_last, frozenset(barred)
    )


def is_ipv6(subnet: Subnet) -> bool:
    """Whether the subnet is one of IPv6."""
    return ":" in subnet.cidr


class Arrival6(Struct, frozen=True):
    """How a datagram reached us: from whom, on which interface, and our addresses there (link-local ones left out).

    `address` is the one it was sent to, empty when it was sent to a multicast group; `port` the one it came from.
    """

    source: str
    addresses: tuple[str, ...] = ()
    interface: str = ""
    index: int = 0
    address: str = ""
    port: int = 0


class Client6(Struct, frozen=True):
    """Who asks. `exact`: the MAC is that of the very card. Without `mac` the client is its DUID."""

    duid: bytes
    mac: str = ""
    exact: bool = False


def identify(relayed: Relayed, arrival: Arrival6, mac_of: Callable[[bytes], str]) -> Client6:
    """Who sent the message, as the head of this module says."""
    duid = relayed.message.option(CLIENT_ID) or b""
    nearest = relayed.relays[-1] if relayed.relays else None
    told = link_layer_mac(nearest.option(CLIENT_LINK_LAYER) or b"") if nearest is not None else ""
    mac = told or eui64_mac(nearest.peer if nearest is not None else arrival.source)
    if mac:
        return Client6(duid, mac, exact=True)
    return Client6(duid, duid_mac(duid) or (mac_of(duid) if duid else ""))


def link_addresses(relayed: Relayed, arrival: Arrival6) -> tuple[str, ...]:
    """Addresses on the client's link: that of its relay, or ours.

    A relay that is a switch (RFC 6221) has none; then the next relay's counts, and on our own link ours.
    """
    for relay in reversed(relayed.relays):
        if relay.link != "::" and not relay.link.startswith("fe80:"):
            return (relay.link,)
    return arrival.addresses
