"""The TFTP codec and the agreement on options."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tftpy.TftpPacketFactory import TftpPacketFactory
from tftpy.TftpPacketTypes import TftpPacketRRQ, TftpPacketWRQ

from provisioner.wire.error import WireError
from provisioner.wire.tftp import (
    Ack,
    Data,
    Error,
    Limits,
    OptionAck,
    Request,
    Terms,
    agree,
    decode,
    encode,
    encode_blocks,
    to_netascii,
)

names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)
packets = st.one_of(
    st.builds(
        Request, names, st.sampled_from(["octet", "netascii"]),
        st.dictionaries(names.map(str.lower), names, max_size=4), st.booleans(),
    ),
    st.builds(Data, st.integers(0, 65535), st.binary(max_size=600)),
    st.builds(Ack, st.integers(0, 65535)),
    st.builds(Error, st.integers(0, 65535), names),
    st.builds(OptionAck, st.dictionaries(names.map(str.lower), names, min_size=1, max_size=4)),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(packets)
def test_what_is_encoded_decodes_to_the_same(packet):
    assert decode(encode(packet)) == packet


def test_block_numbers_wrap_round_on_the_wire():
    assert encode(Data(65536, b"x")) == b"\0\3\0\0x"
    assert encode(Ack(65537)) == b"\0\4\0\1"


def test_option_names_and_mode_are_read_in_any_case():
    data = b"\0\1boot/x\0OcTeT\0BLKSIZE\x001468\0TSize\x000\0"
    assert decode(data) == Request("boot/x", "octet", {"blksize": "1468", "tsize": "0"})


@pytest.mark.parametrize("padding", [b"\xff", b"\xff\xff\xff", b"\0\0\0", b"\0\xff\0\xff"])
def test_padding_behind_mode_or_options_is_no_option(padding):
    assert decode(b"\0\1a\0octet\0" + padding) == Request("a")
    assert decode(b"\0\1a\0octet\0tsize\x000\0" + padding) == Request("a", "octet", {"tsize": "0"})


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000), st.sampled_from([8, 100, 512, 1468]), st.integers(0, 70_000))
def test_blocks_behind_each_other_are_the_data_packets_one_by_one(content, block_size, first):
    count = max(1, -(-len(content) // block_size))
    each = [encode(Data(first + n, content[n * block_size : (n + 1) * block_size])) for n in range(count)]
    assert encode_blocks(first, content, block_size) == b"".join(each)


@pytest.mark.parametrize("name", [b"ipxe.efi\xff", b"ipxe.efi\xff\xff"])
def test_the_stray_end_option_behind_a_name_is_stripped(name):
    assert decode(b"\0\1" + name + b"\0octet\0") == Request("ipxe.efi")


def test_a_request_padded_with_nul_is_read():
    assert decode(b"\0\1a\0octet\0tsize\x000\0".ljust(512, b"\0")) == Request("a", "octet", {"tsize": "0"})


def test_a_padded_ack_is_read():
    assert decode(b"\0\4\0\7" + bytes(14)) == Ack(7)


def test_a_name_that_is_no_utf8_is_still_a_name():
    assert decode(b"\0\1\xe9t\xe9\0octet\0") == Request("\\xe9t\\xe9")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "shorter than a TFTP packet"),
        (b"\0\4\0", "shorter than a TFTP packet"),
        (b"\0\7\0\0", "unknown TFTP operation"),
        (b"\0\0\0\0", "unknown TFTP operation"),
        (b"\0\1abc", "request without NUL-terminated name and mode"),
        (b"\0\1abc\0octet", "request without NUL-terminated name and mode"),
        (b"\0\1\0octet\0", "request without file name"),
        (b"\0\1abc\0mail\0", "unknown mode"),
        (b"\0\1abc\0octet\0blksize", "option without value"),
        (b"\0\1" + b"a" * 1600 + b"\0octet\0", "request too long"),
        (b"\0\6blksize\0", "option without value"),
    ],
)
def test_malformed_packets_are_one_error_with_a_reason(data, reason):
    with pytest.raises(WireError) as caught:
        decode(data)
    assert caught.value.reason == reason


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=100), st.sampled_from([b"", b"\0\1", b"\0\2", b"\0\5", b"\0\6"]))
def test_arbitrary_bytes_decode_or_are_malformed(data, head):
    try:
        decode(head + data)
    except WireError as error:
        assert error.reason


def test_we_read_the_request_that_tftpy_writes():
    request = TftpPacketRRQ()
    request.filename, request.mode, request.options = "a/b", "octet", {"blksize": 1468, "tsize": 0}
    assert decode(bytes(request.encode().buffer)) == Request("a/b", "octet", {"blksize": "1468", "tsize": "0"})


def test_tftpy_reads_the_data_and_options_that_we_write():
    parse = TftpPacketFactory().parse
    data = parse(encode(Data(7, b"abc")))
    assert (data.blocknumber, data.data) == (7, b"abc")
    assert parse(encode(OptionAck({"blksize": "1468"}))).options == {"blksize": "1468"}


@settings(max_examples=200, deadline=None)
@given(packets)
def test_tftpy_reads_what_we_write_and_we_read_what_it_writes(packet):
    theirs = TftpPacketFactory().parse(encode(packet))
    # It has a text of its own for each error, and writes no netascii.
    if not isinstance(packet, Error) and getattr(packet, "mode", "octet") == "octet":
        assert decode(bytes(theirs.encode().buffer)) == packet
    match packet:
        case Request(filename, mode, options, write):
            assert (_text(theirs.filename), _text(theirs.mode), theirs.options) == (filename, mode, options)
            assert isinstance(theirs, TftpPacketWRQ if write else TftpPacketRRQ)
        case Data(block, payload):
            assert (theirs.blocknumber, theirs.data) == (block, payload)
        case Ack(block):
            assert theirs.blocknumber == block
        case Error(code, _):
            assert theirs.errorcode == code
        case OptionAck(options):
            assert theirs.options == options


@settings(max_examples=500, deadline=None)
@given(packets, st.data())
def test_where_tftpy_reads_a_mutated_request_we_read_the_same_name(packet, data):
    mutated = bytearray(encode(packet))
    place = data.draw(st.integers(2, len(mutated) - 1)) if len(mutated) > 2 else 0
    mutated[place] = data.draw(st.integers(0, 255))
    try:
        theirs = TftpPacketFactory().parse(bytes(mutated))
    except Exception:
        # It has many ways to fail; ours has one.
        theirs = None
    try:
        ours = decode(bytes(mutated))
    except WireError:
        return
    if isinstance(ours, Request) and isinstance(theirs, TftpPacketRRQ | TftpPacketWRQ):
        assert ours.filename == _text(theirs.filename)
    elif isinstance(ours, Ack) and theirs is not None:
        assert ours.block == theirs.blocknumber


def _text(name):
    return name.decode() if isinstance(name, bytes) else name


# --- agreement ------------------------------------------------------------------------------------------------


def terms(limits=Limits(), size=1000, **options):
    return agree(Request("f", "octet", options), size, limits)


def test_without_options_nothing_is_acknowledged():
    assert terms() == Terms(512, 1, 0, {})


def test_only_what_was_asked_is_acknowledged():
    assert terms(tsize="0").accepted == {"tsize": "1000"}
    assert terms(windowsize="4").accepted == {"windowsize": "4"}


def test_all_options_together():
    agreed = terms(blksize="1468", tsize="0", timeout="3", windowsize="16")
    assert agreed == Terms(1468, 16, 3, {"blksize": "1468", "tsize": "1000", "timeout": "3", "windowsize": "16"})


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("blksize", "7"), ("blksize", "65465"), ("blksize", "abc"), ("blksize", ""), ("blksize", "-8"),
        ("blksize", "1" * 30), ("blksize", "٣٣"), ("timeout", "0"), ("timeout", "256"), ("windowsize", "0"),
        ("windowsize", "65536"), ("tsize", "x"), ("multicast", ""),
    ],
)  # fmt: skip
def test_a_value_out_of_range_counts_as_not_asked(option, text):
    assert terms(**{option: text}) == Terms(512, 1, 0, {})


@pytest.mark.parametrize("text", ["8", "65464"])
def test_block_sizes_are_good_to_both_ends_of_the_range(text):
    assert terms(blksize=text).block_size == int(text)


def test_what_is_agreed_is_never_more_than_our_limits():
    agreed = terms(Limits(block_size=1024, window=8), blksize="1468", windowsize="64")
    assert (agreed.block_size, agreed.window) == (1024, 8)
    assert agreed.accepted == {"blksize": "1024", "windowsize": "8"}


@pytest.mark.parametrize(("text", "wire"), [(b"a\nb", b"a\r\nb"), (b"a\rb", b"a\r\0b"), (b"a\r\n", b"a\r\0\r\n")])
def test_line_ends_of_netascii(text, wire):
    assert to_netascii(text) == wire
