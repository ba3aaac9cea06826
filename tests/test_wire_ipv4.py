"""UDP in IPv4: scapy reads what we write, byte for byte, checksums included."""

from __future__ import annotations

from socket import inet_ntoa

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw
from scapy.utils import checksum as scapy_checksum

from provisioner.wire.ipv4 import checksum, read_udp, udp_packet

addresses = st.integers(0, 2**32 - 1).map(lambda value: inet_ntoa(value.to_bytes(4)))
ports = st.integers(0, 65535)


@settings(max_examples=200, deadline=None)
@given(addresses, addresses, ports, ports, st.binary(max_size=600))
def test_a_packet_is_the_one_that_scapy_builds(source, destination, source_port, destination_port, payload):
    theirs = IP(src=source, dst=destination, id=0, flags="DF") / UDP(sport=source_port, dport=destination_port)
    assert udp_packet(source, destination, source_port, destination_port, payload) == bytes(theirs / Raw(payload))


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=99).filter(any))
def test_the_checksum_is_the_one_that_scapy_calculates(data):
    assert checksum(data) == scapy_checksum(data)


def test_a_datagram_whose_sum_is_zero_does_not_say_that_it_has_none():
    plain = udp_packet("10.0.0.1", "10.0.0.2", 67, 68, b"\0\0")
    # Putting the checksum itself into the data makes the sum come out as zero.
    packet = udp_packet("10.0.0.1", "10.0.0.2", 67, 68, plain[26:28])
    assert packet[26:28] == b"\xff\xff"


@given(addresses, st.integers(1, 65535), st.binary(max_size=99), st.binary(max_size=20))
def test_a_datagram_is_read_from_a_packet_whatever_pads_the_frame(source, port, payload, padding):
    packet = udp_packet(source, "10.0.0.2", 67, port, payload)
    assert read_udp(packet + padding) == (source, port, payload)


@given(st.integers(0, 200))
def test_a_packet_that_is_cut_short_is_no_datagram(size):
    packet = udp_packet("10.0.0.1", "10.0.0.2", 67, 68, bytes(180))
    assert read_udp(packet[:size]) == ("", 0, b"")


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_a_datagram_or_none(data):
    assert len(read_udp(data)) == 3


def test_options_of_the_header_are_passed_over():
    packet = bytes(IP(src="10.0.0.1", dst="10.0.0.2", options=b"\1" * 4) / UDP(sport=67, dport=68) / Raw(b"x"))
    assert read_udp(packet) == ("10.0.0.1", 68, b"x")


def test_another_protocol_is_no_datagram():
    assert read_udp(bytes(IP(proto=6) / Raw(bytes(40)))) == ("", 0, b"")
