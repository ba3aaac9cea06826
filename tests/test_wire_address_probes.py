"""Probes: scapy reads what we send, and we read what hosts answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP

from provisioner.wire.address_probes import arp_probe, echo_request, read_arp, read_echo_reply

OURS, THEIRS = "52:54:00:aa:00:01", "52:54:00:aa:00:02"


def test_an_arp_probe_asks_from_no_address():
    asked = ARP(arp_probe(OURS, "10.77.0.9"))
    assert (asked.op, asked.hwsrc, asked.psrc, asked.hwdst, asked.pdst) == (
        1, OURS, "0.0.0.0", "00:00:00:00:00:00", "10.77.0.9",
    )  # fmt: skip


@pytest.mark.parametrize("op", ["is-at", "who-has"])
def test_whoever_speaks_by_arp_from_an_address_has_it(op):
    said = bytes(ARP(op=op, hwsrc=THEIRS, psrc="10.77.0.9", hwdst=OURS, pdst="0.0.0.0")).ljust(46, b"\0")
    assert read_arp(said) == (THEIRS, "10.77.0.9")


@pytest.mark.parametrize(
    "said",
    [
        b"", b"\0" * 27, bytes(28), arp_probe(OURS, "10.77.0.9"),
        bytes(ARP(ptype=0x86DD, plen=16, psrc="::1", pdst="::2")),
    ],
)  # fmt: skip
def test_what_says_no_address_is_nobody(said):
    assert read_arp(said) == ("", "")


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_an_echo_request_is_the_one_that_scapy_builds(identifier, sequence):
    assert echo_request(identifier, sequence) == bytes(ICMP(id=identifier, seq=sequence))


def test_an_echo_reply_says_who_is_there():
    packet = bytes(IP(src="10.9.0.7", dst="10.77.0.1", options=b"\1\1\1\1") / ICMP(type="echo-reply", id=7, seq=1))
    assert read_echo_reply(packet, 7) == "10.9.0.7"
    assert read_echo_reply(packet, 8) == ""


@pytest.mark.parametrize(
    "packet",
    [
        b"", bytes(19), bytes(28), bytes(IP(src="10.9.0.7") / ICMP(type="echo-request", id=7)),
        bytes(IP(src="10.9.0.7") / ICMP(type="dest-unreach")), b"\x4f" + bytes(8) + b"\x01" + bytes(30),
    ],
)  # fmt: skip
def test_what_is_no_echo_reply_is_from_nobody(packet):
    assert read_echo_reply(packet, 7) == ""
