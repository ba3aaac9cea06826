"""Router advertisements: scapy reads ours, and we tell its solicitations from nonsense."""

from __future__ import annotations

from ipaddress import IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet6 import (
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptPrefixInfo,
    ICMPv6NDOptRDNSS,
    ICMPv6NDOptSrcLLAddr,
)

from provisioner.wire.error import WireError
from provisioner.wire.router_advertisement import Advertisement, Prefix, check_solicitation, encode

MAC = "52:54:00:12:34:56"


def test_scapy_reads_what_we_advertise():
    prefixes = (Prefix(IPv6Network("fd00:77::/64"), 3600), Prefix(IPv6Network("fd00:9::/56"), 60))
    read = ICMPv6ND_RA(
        encode(Advertisement(prefixes=prefixes, router_seconds=600, dns=("fd00::1", "fd00::2"), mac=MAC))
    )
    assert (read.M, read.O, read.routerlifetime, read.chlim) == (1, 1, 600, 64)
    assert read[ICMPv6NDOptSrcLLAddr].lladdr == MAC
    first = read[ICMPv6NDOptPrefixInfo]
    second = first.payload[ICMPv6NDOptPrefixInfo]
    told = [(each.prefix, each.prefixlen, each.L, each.A, each.validlifetime) for each in (first, second)]
    assert told == [("fd00:77::", 64, 1, 0, 3600), ("fd00:9::", 56, 1, 0, 60)]
    assert (read[ICMPv6NDOptRDNSS].dns, read[ICMPv6NDOptRDNSS].lifetime) == (["fd00::1", "fd00::2"], 3600)


def test_an_advertisement_may_say_next_to_nothing():
    assert len(encode(Advertisement())) == 16


@pytest.mark.parametrize("options", [b"", bytes(ICMPv6NDOptSrcLLAddr(lladdr=MAC))])
def test_a_solicitation_is_one(options):
    check_solicitation(bytes(ICMPv6ND_RS()) + options, 255)


@pytest.mark.parametrize(
    ("data", "hops", "reason"),
    [
        (bytes(ICMPv6ND_RS()), 64, "from beyond the link"),
        (bytes(ICMPv6ND_RA()), 255, "no router solicitation"),
        (b"\x85\0", 255, "no router solicitation"),
        (b"\x85\1" + bytes(6), 255, "no router solicitation"),
        (bytes(ICMPv6ND_RS()) + b"\1", 255, "option without length"),
        (bytes(ICMPv6ND_RS()) + b"\1\0" + bytes(6), 255, "option without length"),
        (bytes(ICMPv6ND_RS()) + b"\1\2" + bytes(6), 255, "option runs past the end"),
    ],
)
def test_what_is_none_is_refused(data, hops, reason):
    with pytest.raises(WireError) as caught:
        check_solicitation(data, hops)
    assert caught.value.reason == reason


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_wire_error(data):
    try:
        check_solicitation(data, 255)
    except WireError:
        return
    assert data[0] == 133
