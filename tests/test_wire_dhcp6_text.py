"""DHCPv6 for people: options as operators write them, messages as lines."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.errors import Invalid
from provisioner.wire.dhcp6 import decode
from provisioner.wire.dhcp6_text import (
    COMPUTED,
    OPTIONS,
    describe,
    encode_configured,
    option_code,
    parse_option,
    show_option,
)
from provisioner.wire.error import WireError
from tests.dhcp6_messages import firmware, ia, relayed, solicit


@pytest.mark.parametrize(
    ("code", "text", "value"),
    [
        (23, "fd00::1 fd00::2", "fd00" + "00" * 13 + "01" + "fd00" + "00" * 13 + "02"),
        (24, "lab.example", "036c6162076578616d706c6500"),
        (7, "255", "ff"),
        (59, "http://[fd00::1]/x", "687474703a2f2f5b666430303a3a315d2f78"),
        (32, "600", "00000258"),
        (61, "7 9", "00070009"),
        (4711, "hex:0102", "0102"),
    ],
)
def test_an_option_is_written_and_shown(code, text, value):
    assert parse_option(code, text).hex() == value
    assert parse_option(code, show_option(code, bytes.fromhex(value))).hex() == value


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*OPTIONS, 4711]), st.binary(max_size=40))
def test_whatever_an_option_holds_is_shown_and_read_back(code, value):
    shown = show_option(code, value)
    assert isinstance(shown, str)
    if shown.startswith("hex:"):
        assert parse_option(code, shown) == value


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dns-servers": "10.0.0.1"}, "IPv6 addresses"),
        ({"preference": "256"}, "a whole number from 0 to 255"),
        ({"nonsense": "1"}, "unknown DHCPv6 option 'nonsense'"),
        ({"4711": "text"}, "hex:0a0b"),
        ({"ia-na": "hex:00"}, "computed by the server"),
        ({"0": "hex:00"}, "unknown DHCPv6 option"),
        ({"domain-search": "a" * 70}, "domain names"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(options, said):
    with pytest.raises(Invalid) as caught:
        encode_configured(options)
    assert said in caught.value.message


def test_an_empty_value_leaves_the_option_out():
    assert encode_configured({"dns-servers": "", "Preference": "0", "option-103": "http://x"}) == {
        7: b"\0",
        103: b"http://x",
    }


def test_names_and_codes_agree():
    assert {option_code(name) for name, _ in OPTIONS.values()} == set(OPTIONS)
    assert 23 not in COMPUTED


def test_a_message_is_described_with_its_relays():
    told = relayed(solicit(1, ia(1, "fd00::5"), *firmware()), "fd00:9::1", 1, (18, b"p"))
    assert describe(told).splitlines() == [
        "RELAY_FORWARD hops 0 link fd00:9::1 peer fe80::5054:ff:fe00:1",
        "  option 18 interface-id = hex:70",
        "SOLICIT xid 000001",
        "option 1 client-id = hex:000400000000000000000000000000000001 (uuid 00000000-0000-0000-0000-000000000001)",
        "option 3 ia-na = iaid 00000001 renew 0 rebind 0; fd00::5 preferred 0 valid 0",
        "option 6 option-request = 59 60 23 16",
        "option 62 client-network-interface = hex:010300",
        "option 61 client-architecture = 16",
        "option 16 vendor-class = hex:00000157002148545450436c69656e743a417263683a30303031363a554e44493a303033303030",
    ]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120))
def test_whatever_can_be_read_can_be_described(data):
    try:
        message = decode(b"\1\0\0\1" + data)
    except WireError:
        return
    assert describe(message).startswith("SOLICIT")
