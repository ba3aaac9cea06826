"""How datagrams reach us: what the kernel says of them, and what is not for us."""

from __future__ import annotations

import socket
from struct import pack

import pytest

from provisioner.links import Arrival
from provisioner.services.arrivals4 import IP_PKTINFO, Arrivals, sent_from
from provisioner.wire.error import WireError

LO = socket.if_nametoindex("lo")


def packet_information(local, header, index=LO):
    value = pack("@I4s4s", index, socket.inet_aton(local), socket.inet_aton(header))
    return [(socket.IPPROTO_IP, IP_PKTINFO, value)]


class Ours:
    """Our addresses; counts how often it was asked for those of one interface."""

    def __init__(self):
        self.asked = 0
        self.here = ("10.0.0.1", "10.0.0.2")

    def __call__(self, interface):
        if not interface:
            return (*self.here, "10.9.0.1", "127.0.0.1")
        self.asked += 1
        return self.here


def test_an_arrival_names_our_other_addresses_here_and_elsewhere():
    arrival = Arrivals((), Ours()).of(packet_information("10.0.0.1", "10.0.0.1"))
    assert arrival == Arrival("10.0.0.1", "lo", False, ("10.0.0.2",), ("10.9.0.1",))


def test_what_was_sent_to_another_address_than_ours_is_a_broadcast():
    assert Arrivals((), Ours()).of(packet_information("10.0.0.1", "255.255.255.255")).broadcast


def test_a_broadcast_where_we_have_no_address_is_not_for_us():
    with pytest.raises(WireError, match="no address of ours"):
        Arrivals((), Ours()).of(packet_information("10.7.0.1", "255.255.255.255"))


def test_an_interface_that_is_not_served_is_named():
    with pytest.raises(WireError) as refused:
        Arrivals(("eth7",), Ours()).of(packet_information("10.0.0.1", "10.0.0.1"))
    assert refused.value.reason == "interface not served" and "lo" in refused.value.message


@pytest.mark.parametrize("ancillary", [[], packet_information("10.0.0.1", "10.0.0.1", 0)])
def test_without_packet_information_nothing_is_known(ancillary):
    with pytest.raises(WireError, match="no packet information"):
        Arrivals((), Ours()).of(ancillary)


def test_interfaces_are_looked_at_again_after_a_while():
    ours = Ours()
    arrivals = Arrivals((), ours, seconds=10)
    arrivals.look_again(1000.0)
    for _ in range(3):
        arrivals.of(packet_information("10.0.0.1", "10.0.0.1"))
    assert ours.asked == 1
    ours.here = ("10.0.0.1",)
    arrivals.look_again(1009.9)
    assert arrivals.of(packet_information("10.0.0.1", "10.0.0.1")).also == ("10.0.0.2",)
    arrivals.look_again(1010.0)
    assert arrivals.of(packet_information("10.0.0.1", "10.0.0.1")).also == ()


def test_a_clock_that_was_set_back_is_a_reason_to_look_again():
    ours = Ours()
    arrivals = Arrivals((), ours, seconds=10)
    for now in (1000.0, 500.0):
        arrivals.look_again(now)
        arrivals.of(packet_information("10.0.0.1", "10.0.0.1"))
    assert ours.asked == 2


def test_an_interface_has_a_number_once_something_came_by_it():
    arrivals = Arrivals((), Ours())
    assert arrivals.index("lo") == 0
    arrivals.of(packet_information("10.0.0.1", "10.0.0.1"))
    assert arrivals.index("lo") == LO


def test_an_interface_that_is_gone_has_its_number_for_a_name():
    assert Arrivals((), Ours()).of(packet_information("10.0.0.1", "10.0.0.1", 40_000)).interface == "#40000"


def test_replies_come_from_an_address_of_ours_by_an_interface():
    [(level, kind, value)] = sent_from("10.0.0.1", LO)
    assert (level, kind, value) == (socket.IPPROTO_IP, IP_PKTINFO, pack("@I4s4s", LO, b"\n\0\0\x01", bytes(4)))
