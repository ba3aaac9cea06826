"""Reading datagrams by their shape."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner.wire.dhcp import decode as decode_alone
from provisioner.wire.dhcp import encode
from provisioner.wire.dhcp_shapes import Decoder
from provisioner.wire.error import WireError
from tests.dhcp_messages import BIOS, HTTP, IPXE, OVMF, discover, inform, release, renew, select
from tests.mutations import Mutator

RELAYED = {"giaddr": "10.9.0.1", "hops": 1}
DATAGRAMS = [
    encode(each)
    for client in (1, 2)
    for options in (OVMF, BIOS, IPXE, HTTP, {}, {12: b"node", 61: b"\1abcdef"}, {82: b"\1\2po"}, {97: b"\0" * 300})
    for each in (
        discover(client, options=options),
        discover(client, "10.77.0.12", options=options, secs=4 * client, **RELAYED),
        select(client, "10.77.0.12", options=options),
        renew(client, "10.77.0.12"),
        release(client, "10.77.0.12"),
        inform(client, "10.77.0.12"),
    )
]
MERGED = st.dictionaries(st.sampled_from([12, 43, 50, 55, 60, 61, 82, 97]), st.binary(max_size=12), max_size=5)


def read(decode, data):
    """The message, or why there is none."""
    try:
        return decode(data)
    except WireError as error:
        return error.reason, error.message


def shapes(*messages):
    """How many shapes these have."""
    decoder = Decoder()
    for each in messages:
        decoder.decode(encode(each))
    return decoder.remembered


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(1, 20), st.integers(1, 4))
def test_a_datagram_means_the_same_whatever_was_read_before_it(seed, most_shapes, most_alike):
    decoder = Decoder(most_shapes, most_alike)
    for data in Mutator(seed, DATAGRAMS).datagrams(80):
        assert read(decoder.decode, data) == read(decode_alone, data)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), MERGED), min_size=1, max_size=12))
def test_clients_that_differ_in_their_own_options_are_read_apart(clients):
    decoder = Decoder()
    for data in [encode(discover(client, options=options)) for client, options in clients]:
        assert read(decoder.decode, data) == read(decode_alone, data)


def test_the_order_of_options_is_that_of_the_datagram():
    decoder = Decoder()
    first, second = (encode(discover(client, options={12: b"node", 43: b"x", 61: b"abc"})) for client in (1, 2))
    decoder.decode(first)
    assert list(decoder.decode(second).options) == list(decode_alone(second).options)


def test_clients_that_are_alike_have_one_shape():
    alike = (discover(n, "10.77.0.12", options=OVMF | {97: bytes([n]) * 17}, xid=n, secs=n) for n in (1, 2, 3))
    assert shapes(*alike) == 1


@pytest.mark.parametrize(
    "other",
    [
        discover(1, options=OVMF | {93: b"\0\x09"}),
        discover(1, options=OVMF, giaddr="10.9.0.1"),
        discover(1, options=OVMF, flags=0),
        discover(1, options=OVMF | {12: b"node"}),
        discover(1, options=OVMF | {97: bytes(16)}),
        discover(1, options=OVMF, mac="52:54:00:00:01"),
        select(1, "10.77.0.12", options=OVMF),
    ],
)
def test_whoever_asks_for_something_else_has_another_shape(other):
    assert shapes(discover(1, options=OVMF), other) == 2


def test_options_of_its_own_in_several_parts_have_no_shape():
    assert shapes(discover(1, options={97: b"\0" * 300})) == 0


def test_options_in_other_fields_have_no_shape():
    decoder, filled = Decoder(), {code: bytes(60) for code in range(200, 206)}
    data = encode(discover(1, options=filled), limit=548)
    assert decoder.decode(data).options == discover(1, options=filled).options
    assert decoder.remembered == 0


def test_no_more_shapes_are_remembered_than_agreed():
    decoder = Decoder(most_shapes=2)
    for length in range(80, 90):
        decoder.decode(encode(discover(1, options={60: bytes(length)})))
        assert decoder.remembered <= 2


def test_of_those_that_begin_alike_the_oldest_is_forgotten():
    decoder = Decoder(most_alike=2)
    kinds = [encode(discover(1, options={60: b"alike" + bytes([kind])})) for kind in (1, 2, 3)]
    for data in (*kinds, kinds[0]):
        assert decoder.decode(data) == decode_alone(data)
    assert decoder.remembered == 2
