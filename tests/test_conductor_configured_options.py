"""Configured options: encoded once for each subnet, reservation and address of ours, and for each client where they
name it.
"""

from __future__ import annotations

from structlog.testing import capture_logs

from provisioner.conductor.configured_options import ConfiguredOptions
from provisioner.leases import Decision
from provisioner.links import Arrival, network
from provisioner.model import Reservation, Subnet
from provisioner.wire.dhcp import MessageType
from tests.dhcp_messages import discover, mac

PLAIN = Subnet(name="plain", cidr="10.77.0.0/24")
RACK = Subnet(
    name="rack",
    cidr="10.77.0.0/24",
    options={"42": "10.77.0.3", "150": "{{ server.address }}", "17": "/{{ client.mac }}", "15": "{{ machine.name }}"},
)
HERE, THERE = Arrival("10.77.0.1", "eth0"), Arrival("10.77.0.2", "eth0")


def offer(subnet, reservation=None):
    return Decision(reply=MessageType.OFFER, address="10.77.0.9", network=network(subnet), reservation=reservation)


def test_each_client_gets_what_names_it_and_all_get_the_rest():
    options = ConfiguredOptions(100)
    assert options.fixed(HERE, offer(RACK)) == {42: bytes((10, 77, 0, 3)), 150: bytes((10, 77, 0, 1))}
    for client in (1, 2):
        own = options.own(discover(client), HERE, offer(RACK), None)
        assert own == {17: f"/{mac(client)}".encode()}


def test_our_address_is_the_one_by_which_the_client_reaches_us():
    options = ConfiguredOptions(100)
    assert [options.fixed(each, offer(RACK))[150][-1] for each in (HERE, THERE)] == [1, 2]


def test_the_options_of_a_reservation_go_before_those_of_its_subnet():
    options = ConfiguredOptions(100)
    reserved = Reservation(address="10.77.0.9", mac=mac(1), options={"42": "10.77.0.4", "17": "/fixed"})
    assert options.fixed(HERE, offer(RACK, reserved))[42][-1] == 4
    assert options.fixed(HERE, offer(RACK))[42][-1] == 3


def test_a_change_counts_after_forgetting():
    options = ConfiguredOptions(100)
    options.fixed(HERE, offer(RACK))
    changed = Subnet(name="rack", cidr="10.77.0.0/24", options={"42": "10.77.0.5"})
    options.forget()
    assert options.fixed(HERE, offer(changed)) == {42: bytes((10, 77, 0, 5))}


def test_what_cannot_be_encoded_is_left_out_and_told_once():
    options = ConfiguredOptions(100)
    with capture_logs() as logs:
        for client in (1, 2, 3):
            options.own(discover(client), HERE, offer(RACK), None)
    assert [(each["event"], each["option"]) for each in logs] == [("dhcp.option-unusable", "15")]


def test_without_configured_options_there_are_none():
    options = ConfiguredOptions(100)
    assert options.own(discover(1), HERE, offer(PLAIN), None) == options.fixed(HERE, offer(PLAIN)) == {}
    assert options.fixed(HERE, Decision()) == {}


def test_no_more_is_kept_than_allowed():
    options = ConfiguredOptions(2)
    for number in range(5):
        assert options.fixed(Arrival(f"10.77.0.{number}"), offer(RACK))[150][-1] == number
    assert len(options._kept) <= 2
