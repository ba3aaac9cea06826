"""Who a DHCPv6 client is and where: by what its relay, its address and its DUID say."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from provisioner.clients6 import (
    Arrival6,
    Client6,
    address6_text,
    identify,
    is_ipv6,
    link_addresses,
    network6,
    number6,
)
from provisioner.model.addresses import Subnet
from provisioner.wire.dhcp6_options import CLIENT_LINK_LAYER
from tests.dhcp6_messages import PRIVATE, arrival, llt_duid, mac, relayed, solicit, uuid_duid

TOLD = (CLIENT_LINK_LAYER, b"\0\1" + bytes.fromhex("525400aabbcc"))
SUBNET = Subnet(
    name="six", cidr="fd00:1::/64", pool_start="fd00:1::10", pool_end="fd00:1::ff", gateway="fd00:1::11",
    dns_servers=("fd00:1::12",),
)  # fmt: skip


def nobody(duid):
    return ""


@pytest.mark.parametrize(
    ("packet", "at", "expected"),
    [
        (relayed(solicit(1), "fd00::1", 1, TOLD), arrival(1), ("52:54:00:aa:bb:cc", True)),
        (relayed(solicit(1), "fd00::1", 1), arrival(9), (mac(1), True)),
        (solicit(1), arrival(1), (mac(1), True)),
        (solicit(1, duid=llt_duid(7)), arrival(1), (mac(1), True)),
        (solicit(1, duid=llt_duid(7)), PRIVATE, (mac(7), False)),
        (solicit(1), PRIVATE, ("", False)),
        (relayed(relayed(solicit(1), "fd00::1", 1), "fd00::2", 1, TOLD, peer="fe80::1"), PRIVATE, (mac(1), True)),
    ],
)
def test_the_mac_is_found_where_it_is_surest(packet, at, expected):
    found = identify(packet, at, nobody)
    assert (found.mac, found.exact) == expected


def test_a_duid_that_is_known_stands_for_its_mac():
    assert identify(solicit(1), PRIVATE, {uuid_duid(1): mac(5)}.get) == Client6(uuid_duid(1), mac(5))


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (solicit(1), ("fd00:77::1",)),
        (relayed(solicit(1), "fd00:9::1", 1), ("fd00:9::1",)),
        (relayed(relayed(solicit(1), "::", 1), "fd00:9::1", 1), ("fd00:9::1",)),
        (relayed(relayed(solicit(1), "fd00:8::1", 1), "fd00:9::1", 1), ("fd00:8::1",)),
        (relayed(solicit(1), "::", 1), ("fd00:77::1",)),
        (relayed(solicit(1), "fe80::1", 1), ("fd00:77::1",)),
    ],
)
def test_the_link_is_that_of_the_relay_nearest_to_the_client_that_has_an_address(packet, expected):
    assert link_addresses(packet, arrival(1)) == expected


def test_a_network_covers_its_addresses_and_gives_those_of_its_pool():
    network = network6(SUBNET)
    assert network.covers("fd00:1::ffff") and not network.covers("fd00:2::1")
    pooled = ("fd00:1::10", "fd00:1::ff", "fd00:1::100", "fd00:1::11", "fd00:1::12")
    assert [network.pools(each) for each in pooled] == [True, True, False, False, False]
    assert not network6(replace(SUBNET, only_reservations=True)).pools("fd00:1::10")
    assert not network6(replace(SUBNET, pool_start="", pool_end="")).pools("fd00:1::10")


def test_addresses_are_numbers_and_back():
    assert address6_text(number6("fd00::abc") + 1) == "fd00::abd"


def test_a_subnet_is_of_ipv6_by_its_cidr():
    assert is_ipv6(SUBNET) and not is_ipv6(replace(SUBNET, cidr="10.0.0.0/24"))


def test_an_arrival_by_multicast_has_no_address_of_ours():
    assert Arrival6("fe80::1").address == ""
