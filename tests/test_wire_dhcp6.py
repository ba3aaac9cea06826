"""The DHCPv6 codec: values to bytes and back, agreement with scapy, and whatever is not DHCPv6."""

from __future__ import annotations

import contextlib
from ipaddress import IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.dhcp6 import (
    DHCP6_Advertise,
    DHCP6_Confirm,
    DHCP6_Decline,
    DHCP6_InfoRequest,
    DHCP6_Rebind,
    DHCP6_RelayForward,
    DHCP6_Release,
    DHCP6_Renew,
    DHCP6_Reply,
    DHCP6_Request,
    DHCP6_Solicit,
    DHCP6OptIA_NA,
    DHCP6OptIAAddress,
    DHCP6OptRelayMsg,
    DHCP6OptStatusCode,
    DHCP6OptUnknown,
    dhcp6opts_by_code,
)

from provisioner.wire.dhcp6 import (
    MOST_RELAYS,
    Dhcp6Message,
    MessageType6,
    Relay,
    Relayed,
    address_text,
    decode,
    encode,
    encode_options,
)
from provisioner.wire.dhcp6_options import IaAddress, IaNa, Status, decode_ia, encode_ia
from provisioner.wire.error import WireError
from tests.dhcp6_messages import firmware, relayed, solicit

SCAPY = {
    MessageType6.SOLICIT: DHCP6_Solicit,
    MessageType6.ADVERTISE: DHCP6_Advertise,
    MessageType6.REQUEST: DHCP6_Request,
    MessageType6.CONFIRM: DHCP6_Confirm,
    MessageType6.RENEW: DHCP6_Renew,
    MessageType6.REBIND: DHCP6_Rebind,
    MessageType6.REPLY: DHCP6_Reply,
    MessageType6.RELEASE: DHCP6_Release,
    MessageType6.DECLINE: DHCP6_Decline,
    MessageType6.INFORMATION_REQUEST: DHCP6_InfoRequest,
}
# Codes of which scapy has no idea of its own, so that it leaves the bytes alone.
PLAIN_CODES = st.integers(200, 0xFFFF).filter(lambda code: code not in dhcp6opts_by_code)

addresses = st.integers(0, 2**128 - 1).map(lambda value: address_text(value.to_bytes(16)))
options = st.lists(
    st.tuples(st.integers(0, 0xFFFF).filter(lambda code: code != 9), st.binary(max_size=40)), max_size=8
).map(tuple)
plain_options = st.lists(st.tuples(PLAIN_CODES, st.binary(min_size=1, max_size=40)), min_size=1, max_size=6).map(tuple)
relays = st.lists(
    st.builds(
        Relay,
        kind=st.sampled_from([MessageType6.RELAY_FORWARD, MessageType6.RELAY_REPLY]),
        hops=st.integers(0, 255),
        link=addresses,
        peer=addresses,
        options=options,
    ),
    max_size=3,
).map(tuple)
messages = st.builds(Dhcp6Message, kind=st.sampled_from(list(SCAPY)), xid=st.integers(0, 2**24 - 1), options=options)


@settings(max_examples=300, deadline=None)
@given(messages, relays)
def test_what_is_encoded_decodes_to_the_same(message, around):
    assert decode(encode(Relayed(message, around))) == Relayed(message, around)


# --- scapy as oracle ------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(SCAPY)), st.integers(0, 2**24 - 1), plain_options)
def test_scapy_reads_what_we_write(kind, xid, some):
    read = SCAPY[kind](encode(Relayed(Dhcp6Message(kind=kind, xid=xid, options=some))))
    assert (read.msgtype, read.trid) == (kind, xid)
    found, layer = [], read.payload
    while isinstance(layer, DHCP6OptUnknown):
        found.append((layer.optcode, layer.data))
        layer = layer.payload
    assert tuple(found) == some


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(SCAPY)), st.integers(0, 2**24 - 1), plain_options)
def test_we_read_what_scapy_writes(kind, xid, some):
    packet = SCAPY[kind](trid=xid)
    for code, value in some:
        packet /= DHCP6OptUnknown(optcode=code, data=value)
    assert decode(bytes(packet)) == Relayed(Dhcp6Message(kind=kind, xid=xid, options=some))


associations = st.builds(
    IaNa,
    iaid=st.binary(min_size=4, max_size=4).map(bytes.hex),
    renew=st.integers(0, 2**32 - 1),
    rebind=st.integers(0, 2**32 - 1),
    addresses=st.lists(
        st.builds(IaAddress, addresses, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), max_size=3
    ).map(tuple),
    status=st.sampled_from([None, *Status]),
)


@settings(max_examples=150, deadline=None)
@given(associations)
def test_scapy_reads_our_associations_and_we_read_scapys(ia):
    value = encode_ia(ia)
    assert decode_ia(value) == ia
    read = DHCP6OptIA_NA(encode_options([(3, value)]))
    assert (f"{read.iaid:08x}", read.T1, read.T2) == (ia.iaid, ia.renew, ia.rebind)
    inner = [(IPv6Address(each.addr), each.preflft, each.validlft) for each in read.ianaopts if each.optcode == 5]
    assert inner == [(IPv6Address(each.address), each.preferred, each.valid) for each in ia.addresses]
    parts = [DHCP6OptIAAddress(addr=e.address, preflft=e.preferred, validlft=e.valid) for e in ia.addresses]
    parts += [] if ia.status is None else [DHCP6OptStatusCode(statuscode=int(ia.status))]
    built = bytes(DHCP6OptIA_NA(iaid=int(ia.iaid, 16), T1=ia.renew, T2=ia.rebind, ianaopts=parts))
    assert built[4:] == value


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 255), addresses, addresses)
def test_scapy_and_we_agree_on_relays(hops, link, peer):
    inner = solicit(1, *firmware()).message
    packet = DHCP6_RelayForward(hopcount=hops, linkaddr=link, peeraddr=peer) / DHCP6OptRelayMsg(
        message=DHCP6_Solicit(encode(Relayed(inner)))
    )
    assert decode(bytes(packet)) == Relayed(inner, (Relay(hops=hops, link=link, peer=peer),))


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_a_mutated_packet_is_refused_or_read_as_it_stands(data):
    good = encode(solicit(1, *firmware()))
    places = data.draw(st.lists(st.integers(1, len(good) - 1), max_size=4))
    packet = bytearray(good)
    for place in places:
        packet[place] = data.draw(st.integers(0, 255))
    cut = bytes(packet[: data.draw(st.integers(1, len(packet)))])
    with contextlib.suppress(WireError):
        ours = decode(cut)
        assert encode(ours) == cut


# --- what is none ---------------------------------------------------------------------------------------------


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_wire_error(data):
    with contextlib.suppress(WireError):
        decode(data)
    with contextlib.suppress(WireError):
        decode_ia(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no DHCPv6 message"),
        (b"\0\0\0\0", "no DHCPv6 message"),
        (b"\x63\0\0\0", "no DHCPv6 message"),
        (b"\1\0", "shorter than a DHCPv6 header"),
        (b"\1\0\0\0\0", "option without length"),
        (b"\1\0\0\0\0\1\0\4abc", "option runs past the end"),
        (b"\x0c\0" + bytes(20), "shorter than a relay header"),
        (b"\x0c\0" + bytes(32), "not one relayed message"),
        (b"\x0c\0" + bytes(32) + b"\0\x09\0\0\0\x09\0\0", "not one relayed message"),
        (b"\x0c\0" + bytes(32) + b"\0\x09\0\0", "no DHCPv6 message"),
    ],
)
def test_what_is_none_is_refused_by_a_reason_of_few(data, reason):
    with pytest.raises(WireError) as caught:
        decode(data)
    assert caught.value.reason == reason


def test_more_relays_than_may_be_are_refused():
    packet = solicit(1)
    for hop in range(MOST_RELAYS):
        packet = relayed(packet, "fd00::1", 1, hops=hop)
    assert len(decode(encode(packet)).relays) == MOST_RELAYS
    with pytest.raises(WireError, match="too many relays"):
        decode(encode(relayed(packet, "fd00::1", 1)))


def test_a_value_too_long_for_its_length_is_refused():
    with pytest.raises(WireError, match="option too long"):
        encode_options([(1, bytes(65536))])


def test_the_first_of_several_options_is_the_option_and_all_can_be_had():
    message = Dhcp6Message(kind=MessageType6.SOLICIT, options=((3, b"a"), (1, b"c"), (3, b"b")))
    assert (message.option(3), message.every(3), message.option(4)) == (b"a", [b"a", b"b"], None)
