"""Captures: what we recorded can be read by anybody's tools, and read back."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from provisioner.recording import Packet
from provisioner.wire.capture import capture, read_capture
from provisioner.wire.dhcp import encode
from provisioner.wire.error import WireError
from tests.dhcp_messages import discover
from tests.peers.programs import program

REQUEST = Packet(
    time=1_790_000_000.25,
    protocol="dhcp",
    mac="52:54:00:00:00:01",
    outgoing=False,
    interface="br0",
    source="0.0.0.0",
    source_port=68,
    destination="255.255.255.255",
    destination_port=67,
    data=b"",
)


def request(**fields) -> Packet:
    return replace(REQUEST, data=encode(discover(1)), **fields)


def test_a_capture_is_read_back_as_it_was():
    reply = replace(
        request(), outgoing=True, source="10.0.0.1", source_port=67, destination="10.0.0.9", destination_port=68
    )
    assert read_capture(capture([request(), reply])) == [request(), reply]


def test_a_capture_of_ipv6_is_read_back_as_it_was():
    solicit = replace(
        REQUEST,
        protocol="dhcp6",
        source="fe80::1",
        source_port=546,
        destination="ff02::1:2",
        destination_port=547,
        data=b"\1\0\0\1",
    )
    assert read_capture(capture([solicit])) == [solicit]


def test_an_empty_capture_is_a_capture():
    assert read_capture(capture([])) == []


def test_tcpdump_reads_a_capture(tmp_path):
    file = tmp_path / "client.pcapng"
    file.write_bytes(capture([request()]))
    shown = subprocess.run(
        [program("tcpdump", "tcpdump"), "-nnvr", str(file)], capture_output=True, text=True, check=True
    ).stdout
    assert "BOOTP/DHCP, Request from 52:54:00:00:00:01" in shown
    assert "DHCP-Message (53), length 1: Discover" in shown
    assert "bad udp cksum" not in shown


def test_what_another_tool_captured_is_told_apart_by_ports_and_header(tmp_path):
    file = tmp_path / "client.pcap"
    ours = tmp_path / "ours.pcapng"
    ours.write_bytes(capture([request()]))
    subprocess.run([program("tcpdump", "tcpdump"), "-nnr", str(ours), "-w", str(file)], capture_output=True, check=True)
    (found,) = read_capture(file.read_bytes())
    assert (found.protocol, found.mac, found.data) == ("dhcp", REQUEST.mac, request().data)


@given(st.binary(max_size=200))
def test_what_is_no_capture_is_refused(content):
    with pytest.raises(WireError):
        read_capture(content)
