"""The table of options: values as operators write them, the same as scapy encodes them, and their errors."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.dhcp import DHCP, DHCPRevOptions

from provisioner.errors import Invalid
from provisioner.wire.dhcp_options import (
    OPTIONS,
    describe,
    encode_configured,
    option_code,
    option_name,
    parse_option,
    relay_address,
    show_option,
)
from tests.dhcp_messages import IPXE, OVMF, discover, read_description


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("subnet-mask", "255.255.0.0", b"\xff\xff\0\0"),
        ("routers", "10.0.0.1, 10.0.0.2", b"\x0a\0\0\1\x0a\0\0\2"),
        ("host-name", "node1", b"node1"),
        ("interface-mtu", "9000", b"\x23\x28"),
        ("lease-time", "3600", b"\0\0\x0e\x10"),
        ("ip-forwarding", "true", b"\1"),
        ("parameter-request-list", "1 3 domain-name-servers", b"\1\3\6"),
        ("message-type", "offer", b"\2"),
        ("client-architecture", "7, 9", b"\0\7\0\x09"),
        ("vendor-encapsulated-options", "hex:0601 08ff", b"\6\1\x08\xff"),
        ("classless-static-routes", "10.0.0.0/8 via 10.77.0.1, 0.0.0.0/0 via 10.77.0.1",
         b"\x08\x0a\x0a\x4d\0\1\0\x0a\x4d\0\1"),
        ("domain-search", "lab.example, example", b"\3lab\7example\0\7example\0"),
        ("150", "10.0.0.1", b"\x0a\0\0\1"),
        ("option-224", "hex:01", b"\1"),
        ("host-name", "hex:ff", b"\xff"),
        ("time-offset", "-3600", b"\xff\xff\xf1\xf0"),
        ("static-routes", "10.1.0.0 10.0.0.1, 10.2.0.9 10.0.0.2", b"\x0a\1\0\0\x0a\0\0\1\x0a\2\0\x09\x0a\0\0\2"),
        ("captive-portal", "https://portal.example/", b"https://portal.example/"),
        ("tftp-server-addresses", "10.0.0.1 10.0.0.2", b"\x0a\0\0\1\x0a\0\0\2"),
        ("v6-only-preferred", "1800", b"\0\0\x07\x08"),
        ("bootfile-name", "a.efi", b"a.efi"),
    ],
)  # fmt: skip
def test_values_are_written_as_operators_write_them(name, text, value):
    assert parse_option(option_code(name), text) == value


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("subnet_mask", "255.255.0.0"), ("router", "10.0.0.1"), ("name_server", "10.0.0.1"), ("hostname", "node1"),
        ("domain", "lab.test"), ("broadcast_address", "10.0.0.255"), ("NTP_server", "10.0.0.3"),
        ("lease_time", "3600"), ("renewal_time", "1800"), ("server_id", "10.0.0.1"), ("interface-mtu", "9000"),
        ("root_disk_path", "/srv"), ("boot-file-name", "a.efi"), ("tftp_server_name", "a"), ("ip-forwarding", "1"),
    ],
)  # fmt: skip
def test_our_rows_encode_as_scapy_does(option, text):
    code = DHCPRevOptions[option][0]
    value = int(text) if text.isdecimal() else text
    raw = bytes(DHCP(options=[(option, value)]))
    assert raw[:1] == bytes([code]) and parse_option(code, text) == raw[2 : 2 + raw[1]]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("client-last-transaction-time", "64", b"\0\0\0\x40"),
        ("client_last_transaction_time", "0x40", b"\0\0\0\x40"),
        ("streettalk-server", "10.0.0.1 10.0.0.2", b"\x0a\0\0\1\x0a\0\0\2"),
        ("nds-tree-name", "tree", b"tree"),
        ("112", "10.0.0.1", b"\x0a\0\0\1"),
    ],
)
def test_options_without_a_row_are_encoded_by_scapy(name, text, value):
    code = option_code(name)
    assert code not in OPTIONS
    assert parse_option(code, text) == value


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1, "255.255.0"), (3, ""), (12, ""), (26, "65536"), (26, "-1"), (51, "soon"), (19, "perhaps"), (53, "HELLO"),
        (121, "10.0.0.0/8"), (121, "10.0.0.1/8 via 10.0.0.1"), (93, "70000"), (43, "hex:0"), (23, "999"),
        (119, ""), (55, "nonsense"), (48, "here"), (33, "10.0.0.1"), (33, "10.0.0.1 10.0.0.2 10.0.0.3"),
        (2, "3000000000"), (91, "-1"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_naming_option_and_value(code, text):
    with pytest.raises(Invalid) as caught:
        parse_option(code, text)
    assert repr(text) in caught.value.message or "unknown DHCP option" in caught.value.message


def test_an_unknown_option_is_refused_with_a_hint():
    with pytest.raises(Invalid, match="unknown DHCP option 'gatewey'"):
        option_code("gatewey")


@pytest.mark.parametrize("name", ["server-identifier", "53", "subnet-mask", "255", "relay-agent-information"])
def test_what_the_server_computes_cannot_be_configured(name):
    with pytest.raises(Invalid, match="computed by the server"):
        encode_configured({name: "10.0.0.1"})


def test_configured_options_are_bytes_by_code_and_empty_ones_are_left_out():
    assert encode_configured({"ntp-servers": "10.0.0.3", "17": "", "100": "UTC"}) == {42: b"\x0a\0\0\3", 100: b"UTC"}


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 254), st.binary(max_size=20))
def test_any_value_can_be_shown_and_a_shown_value_parses_to_what_is_shown_again(code, value):
    shown = show_option(code, value)
    if code in OPTIONS and shown:
        assert show_option(code, parse_option(code, shown)) == shown


def test_an_option_without_a_row_has_its_number_for_a_name():
    assert (option_name(6), option_name(224)) == ("domain-name-servers", "option-224")


@pytest.mark.parametrize("options", [OVMF, IPXE])
def test_a_description_is_read_back_as_the_same_message(options):
    value = discover(options=options, giaddr="10.9.0.1", secs=4)
    assert read_description(describe(value)) == value


@pytest.mark.parametrize(
    ("information", "expected"),
    [
        (b"\1\4eth1\5\4\x0a\x09\0\0", "10.9.0.0"),
        (b"\5\2\x0a\x09", ""),
        (b"\5", ""),
        (b"\5\4\x0a", ""),
        (b"\1\xff", ""),
        (b"", ""),
    ],
)
def test_an_address_from_the_relay_is_read_or_is_nothing(information, expected):
    assert relay_address(discover(options={82: information}), 5) == expected
