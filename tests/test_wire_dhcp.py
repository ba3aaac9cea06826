"""The DHCP codec: values to bytes and back, agreement with scapy, and whatever is not DHCP."""

from __future__ import annotations

import contextlib
from socket import inet_aton, inet_ntoa

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP

from provisioner.wire.dhcp import (
    BOOTREPLY,
    DEFAULT_LIMIT,
    LARGEST_LIMIT,
    Destination,
    DhcpMessage,
    MessageType,
    Way,
    decode,
    encode,
    encode_options,
    message_limit,
    reply_destination,
)
from provisioner.wire.error import WireError
from tests.dhcp_messages import OVMF, discover, message, renew

addresses = st.one_of(st.just(""), st.integers(1, 2**32 - 1).map(lambda value: inet_ntoa(value.to_bytes(4))))
option_codes = st.integers(1, 254).filter(lambda code: code not in (52, 53))
names = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=63)
messages = st.builds(
    DhcpMessage,
    op=st.sampled_from([1, 2]),
    htype=st.integers(0, 255),
    hops=st.integers(0, 255),
    xid=st.integers(0, 2**32 - 1),
    secs=st.integers(0, 65535),
    flags=st.sampled_from([0, 0x8000]),
    ciaddr=addresses,
    yiaddr=addresses,
    siaddr=addresses,
    giaddr=addresses,
    mac=st.binary(max_size=16).map(lambda raw: raw.hex(":")),
    sname=names,
    file=names,
    options=st.dictionaries(option_codes, st.binary(max_size=40), max_size=8),
)


@settings(max_examples=300, deadline=None)
@given(messages)
def test_what_is_encoded_decodes_to_the_same(value):
    assert decode(encode(value, limit=LARGEST_LIMIT)) == value


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=256, max_size=700))
def test_a_value_longer_than_255_bytes_is_split_and_joined(value):
    long = discover(options={43: value})
    assert decode(encode(long, limit=LARGEST_LIMIT)).options[43] == value


def test_a_datagram_is_never_shorter_than_bootp_allows():
    assert len(encode(discover())) == 300


def test_padding_behind_the_end_is_ignored():
    value = discover(options=OVMF)
    assert decode(encode(value).ljust(1400, b"\0")) == value


def test_padding_between_options_is_ignored():
    data = encode(discover())[:240] + b"\0\0\x35\1\1\0\0\x0c\1x\xff"
    assert decode(data).options == {53: b"\1", 12: b"x"}


def test_a_missing_end_is_tolerated():
    assert decode(encode(discover())[:243]).options == {53: b"\1"}


def test_a_block_goes_before_the_options_of_the_message():
    block = encode_options({53: b"\5", 54: b"\x0a\0\0\1"})
    assert list(decode(encode(DhcpMessage(op=2, options={61: b"\1"}), block)).options) == [53, 54, 61]


# --- overload -------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.booleans(), st.booleans())
def test_options_overflow_into_file_and_sname_and_as_many_as_fit_arrive(sizes, has_file, has_sname):
    options = {53: b"\2"} | {100 + place: bytes(size) for place, size in enumerate(sizes)}
    value = DhcpMessage(op=2, mac="52:54:00:00:00:01", options=options, file="f" * has_file, sname="s" * has_sname)
    data = encode(value, limit=400)
    seen = decode(data)
    assert len(data) <= 400
    assert (seen.file, seen.sname, seen.options[53]) == (value.file, value.sname, b"\2")
    assert seen.options.items() <= options.items()
    if len(encode_options(options)) + 4 <= 160:
        assert seen.options == options
    # One is left out only where there is no room for it: the fields together hold at least this much of the others.
    left_out = [len(value) + 2 for code, value in options.items() if code not in seen.options]
    taken = len(encode_options(seen.options))
    assert not left_out or taken + min(left_out) > 160 - 4


def test_a_name_that_the_header_says_as_well_gives_way_to_options():
    options = {53: b"\2", 17: b"r" * 100, 66: b"10.0.0.1\0", 67: b"ipxe/snponly.efi\0", 43: b"v" * 40}
    value = DhcpMessage(op=2, options=options, file="ipxe/snponly.efi", sname="10.0.0.1")
    seen = decode(encode(value, limit=400))
    assert seen.options == {53: b"\2", 17: b"r" * 100, 43: b"v" * 40}
    assert (seen.file, seen.sname) == ("ipxe/snponly.efi", "10.0.0.1")


def test_an_option_that_has_no_room_does_not_cost_the_smaller_ones_behind_it():
    value = DhcpMessage(op=2, options={53: b"\2", 17: b"r" * 200, 12: b"node"}, file="f", sname="s")
    assert decode(encode(value, limit=400)).options == {53: b"\2", 12: b"node"}


def test_what_the_relay_wants_back_stays_in_the_options_field():
    value = DhcpMessage(op=2, options={53: b"\2", 82: b"\1\4port", 17: b"r" * 100, 18: b"e" * 100})
    data = encode(value, limit=400)
    assert b"\x52\6\1\4port\xff" in data[240:]
    assert decode(data).options == value.options


def test_a_reply_without_what_every_reply_has_is_refused():
    with pytest.raises(WireError, match="options do not fit"):
        encode(DhcpMessage(op=2, options={53: b"\2", 61: b"c" * 150, 82: b"r" * 150}, file="f", sname="s"), limit=400)


def test_a_long_option_is_not_torn_between_fields():
    value = DhcpMessage(op=2, options={53: b"\2", 43: b"v" * 260, 12: b"node"})
    assert decode(encode(value, limit=400)).options == {53: b"\2", 12: b"node"}
    assert decode(encode(value, limit=600)).options == value.options


def test_overloaded_fields_are_not_read_as_names():
    value = DhcpMessage(op=2, options=dict.fromkeys((60, 61, 62, 63, 64, 65, 66), b"x" * 40))
    seen = decode(encode(value, limit=420))
    assert (seen.file, seen.sname, seen.options) == ("", "", value.options)


def test_overload_of_both_fields_is_read_in_the_order_of_the_rfc():
    head = encode(discover())[:240]
    sname, file = b"\x0c\1c\xff".ljust(64, b"\0"), b"\x0c\1b\xff".ljust(128, b"\0")
    data = head[:44] + sname + file + head[236:] + b"\x34\1\3\x0c\1a\xff"
    assert decode(data).options == {12: b"abc"}


# --- scapy as oracle ------------------------------------------------------------------------------------------

plain_options = st.dictionaries(
    st.sampled_from([12, 15, 17, 60, 61, 66, 67, 77, 82, 97, 175]), st.binary(min_size=1, max_size=30), max_size=5
)


@settings(max_examples=150, deadline=None)
@given(messages, plain_options)
def test_scapy_reads_what_we_write(value, options):
    value = DhcpMessage(
        op=value.op, xid=value.xid, secs=value.secs, yiaddr=value.yiaddr, giaddr=value.giaddr,
        mac="52:54:00:00:00:01", options={53: b"\1"} | options,
    )  # fmt: skip
    seen = BOOTP(encode(value, limit=LARGEST_LIMIT))
    assert (seen.op, seen.xid, seen.secs) == (value.op, value.xid, value.secs)
    assert (seen.yiaddr, seen.giaddr) == (value.yiaddr or "0.0.0.0", value.giaddr or "0.0.0.0")
    assert bytes(seen.chaddr)[:6].hex(":") == value.mac
    assert _scapy_options(seen[DHCP]) == value.options


def _scapy_options(layer):
    """Each option as scapy dissected it, encoded again one by one."""
    found = {}
    for option in layer.options:
        if isinstance(option, tuple):
            raw = bytes(DHCP(options=[option]))
            found[raw[0]] = raw[2 : 2 + raw[1]]
    return found


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["0.0.0.0", "10.77.0.9"]),
    st.binary(min_size=1, max_size=30),
    st.lists(st.integers(1, 254), min_size=1, max_size=40),
)
def test_we_read_what_scapy_writes(xid, ciaddr, hostname, asked):
    data = bytes(
        BOOTP(xid=xid, ciaddr=ciaddr, chaddr=bytes.fromhex("525400000001"), flags="B")
        / DHCP(options=[("message-type", "request"), ("hostname", hostname), ("param_req_list", asked), "end"])
    )
    seen = decode(data)
    assert seen.message_type is MessageType.REQUEST
    assert (seen.xid, seen.ciaddr or "0.0.0.0", seen.mac) == (xid, ciaddr, "52:54:00:00:00:01")
    assert seen.options == {53: b"\3", 12: hostname, 55: bytes(asked)}
    assert seen.wants_broadcast


# --- what is not DHCP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "shorter than a DHCP header"),
        (encode(discover())[:239], "shorter than a DHCP header"),
        (bytes(300), "no DHCP cookie"),
        (b"\3" + encode(discover())[1:], "neither request nor reply"),
        (encode(discover())[:2] + b"\x11" + encode(discover())[3:], "hardware address too long"),
        (encode(discover())[:240] + b"\x0c", "option without length"),
        (encode(discover())[:240] + b"\x0c\x05abc", "option runs past the end"),
        (encode(discover())[:240] + b"\x34\1\7\xff", "unknown overload"),
        (encode(discover())[:240] + b"\x34\2\1\1\xff", "unknown overload"),
    ],
)
def test_malformed_bytes_are_one_error_with_a_reason(data, reason):
    with pytest.raises(WireError) as caught:
        decode(data)
    assert caught.value.reason == reason


def test_options_in_an_overloaded_field_are_checked_as_well():
    head = encode(discover())[:240]
    data = head[:108] + b"\x0c\xff" + head[110:] + b"\x34\1\1\xff"
    with pytest.raises(WireError, match="option 12"):
        decode(data)


def test_every_truncation_of_a_message_decodes_or_is_malformed():
    data = encode(discover(options=OVMF))
    for size in range(len(data)):
        with contextlib.suppress(WireError):
            decode(data[:size])


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=600))
@example(encode(discover(options=OVMF)))
def test_arbitrary_bytes_decode_or_are_malformed(data):
    with contextlib.suppress(WireError):
        decode(data)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=12))
def test_a_mutated_message_decodes_or_is_malformed(changes):
    data = bytearray(encode(discover(options=OVMF)).ljust(401, b"\0"))
    for place, value in changes:
        data[place] = value
    try:
        seen = decode(bytes(data))
    except WireError:
        return
    seen.message_type, seen.address_option(50), seen.text_option(12)


def test_a_name_too_long_for_the_header_cannot_be_encoded():
    with pytest.raises(WireError, match="name too long"):
        encode(DhcpMessage(file="x" * 128))


def test_plain_bootp_has_no_message_type():
    assert DhcpMessage().message_type is None
    assert DhcpMessage(options={53: b"\x63"}).message_type is None


# --- sizes and destinations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "limit"),
    [
        (b"", DEFAULT_LIMIT),
        (b"\x05\xc0", 1472 - 28),
        (b"\x00\x10", DEFAULT_LIMIT),
        (b"\xff\x00", LARGEST_LIMIT),  # OVMF sends 255.0 for 255: its REQUEST has the bytes swapped
    ],
)
def test_the_reply_is_as_long_as_the_client_takes(option, limit):
    assert message_limit(discover(options={57: option} if option else {})) == limit


def test_a_relayed_reply_goes_to_the_relay():
    asked = discover(giaddr="10.9.0.1")
    for kind in (MessageType.OFFER, MessageType.ACK, MessageType.NAK):
        assert reply_destination(asked, kind, "10.9.0.7") == Destination(Way.RELAY, "10.9.0.1", 67)


def test_a_nak_is_broadcast():
    expected = Destination(Way.BROADCAST, "255.255.255.255", 68)
    assert reply_destination(renew(1, "10.77.0.9"), MessageType.NAK, "") == expected


def test_a_renewal_is_answered_to_the_address_it_came_from():
    expected = Destination(Way.UNICAST, "10.77.0.9", 68)
    assert reply_destination(renew(1, "10.77.0.9"), MessageType.ACK, "10.77.0.9") == expected


def test_a_client_that_asks_for_broadcast_gets_it():
    assert reply_destination(discover(), MessageType.OFFER, "10.77.0.9").way is Way.BROADCAST


def test_a_client_that_takes_unicast_gets_it_at_its_hardware_address():
    expected = Destination(Way.HARDWARE, "10.77.0.9", 68, discover().mac)
    assert reply_destination(discover(flags=0), MessageType.OFFER, "10.77.0.9") == expected


@pytest.mark.parametrize("fields", [{"htype": 6}, {"mac": "02:00:00:00"}])
def test_a_client_without_an_ethernet_address_has_no_hardware_address_to_reply_to(fields):
    asked = discover(flags=0, **fields)
    assert reply_destination(asked, MessageType.OFFER, "10.77.0.9").mac == ""


def test_addresses_in_options_are_text_or_nothing():
    value = message(MessageType.REQUEST, options={50: inet_aton("10.0.0.9"), 54: b"\0\0\0\0", 1: b"\1\2"})
    assert [value.address_option(code) for code in (50, 54, 1, 28)] == ["10.0.0.9", "", "", ""]


def test_text_in_options_may_end_in_nul():
    assert discover(options={12: b"node1\0"}).text_option(12) == "node1"


def test_a_reply_is_told_from_a_request():
    assert decode(encode(DhcpMessage(op=BOOTREPLY))).op == BOOTREPLY
