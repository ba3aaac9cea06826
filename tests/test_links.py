"""Which subnet and which link a client is on."""

from __future__ import annotations

import pytest

from provisioner.links import Arrival, Networks, address_text, client_link, network, number, placed, server_id
from provisioner.model.addresses import Picker, Subnet
from tests.dhcp_messages import SERVER, changed, discover, renew, select

HERE = Arrival(SERVER, "eth0")
RACK = Subnet(name="rack", cidr="10.77.0.0/24", pool_start="10.77.0.10", pool_end="10.77.0.13", gateway="10.77.0.254")
HALL = Subnet(name="hall", cidr="10.9.0.0/24", pool_start="10.9.0.10", pool_end="10.9.0.19")
ALL = (Picker.HINT, Picker.NEXT_FREE, Picker.MOST_EXPIRED)


def subnet(name, third, **more):
    return Subnet(
        name=name, cidr=f"10.1.{third}.0/24", pool_start=f"10.1.{third}.9", pool_end=f"10.1.{third}.99", **more
    )


def test_a_client_without_relay_is_where_its_message_arrived():
    assert client_link(discover(1), HERE) == SERVER


def test_a_client_that_renews_by_unicast_says_itself_where_it_is():
    asked = renew(1, "10.9.0.10")
    assert client_link(asked, Arrival(SERVER, "eth0", broadcast=False)) == "10.9.0.10"
    assert client_link(asked, HERE) == SERVER


def test_a_relay_says_where_the_client_is():
    assert client_link(discover(1, giaddr="10.9.0.1"), HERE) == "10.9.0.1"


def test_link_selection_of_the_relay_goes_before_its_address():
    assert client_link(discover(1, giaddr="172.16.0.1", options={82: b"\5\4\x0a\x09\0\0"}), HERE) == "10.9.0.0"


def test_a_subnet_selected_by_the_client_goes_before_the_relays_address_and_after_its_selection():
    chosen = {118: b"\x0a\x09\0\0"}
    assert client_link(discover(1, giaddr="172.16.0.1", options=chosen), HERE) == "10.9.0.0"
    asked = discover(1, giaddr="172.16.0.1", options=chosen | {82: b"\5\4\x0a\x4d\0\0"})
    assert client_link(asked, HERE) == "10.77.0.0"


def test_a_client_on_our_own_wire_cannot_select_another_subnet():
    assert client_link(discover(1, options={118: b"\x0a\x09\0\0"}), HERE) == SERVER


def test_a_relay_can_say_by_which_address_we_shall_be_known():
    assert server_id(discover(1, giaddr="10.9.0.1", options={82: b"\x0b\4\x0a\x09\0\1"}), HERE) == "10.9.0.1"
    assert server_id(discover(1, options={82: b"\x0b\4\x0a\x09\0\1"}), HERE) == SERVER


@pytest.mark.parametrize(
    ("address", "name"),
    [("10.9.0.0", "hall"), ("10.9.0.255", "hall"), ("10.8.255.255", ""), ("10.9.1.0", ""), ("10.77.0.1", "rack")],
)
def test_a_network_is_found_by_any_of_its_addresses(address, name):
    found = Networks([RACK, HALL]).covering(address)
    assert (found.subnet.name if found else "") == name


def test_disabled_and_ipv6_subnets_cover_nothing_here():
    networks = Networks([subnet("off", 1, enabled=False), Subnet(name="six", cidr="fd00::/64")])
    assert list(networks) == []


def test_a_subnet_that_makes_no_sense_disables_only_itself():
    networks = Networks([subnet("bad", 1, gateway="router"), Subnet(name="worse", cidr="x"), RACK])
    assert [each.subnet.name for each in networks] == ["rack"]
    assert [each.name for each in networks.unusable] == ["bad", "worse"]


def test_addresses_and_numbers():
    assert (number("10.0.0.1"), address_text(0x0A000001)) == (0x0A000001, "10.0.0.1")


def test_subnets_of_one_shared_network_are_one_link_with_the_arrivals_first():
    networks = Networks([subnet("a", 1, shared_network="x"), subnet("b", 2, shared_network="x"), subnet("c", 3)])
    link = networks.link("10.1.2.7")
    assert [each.subnet.name for each in link.networks] == ["b", "a"]
    assert link.here.subnet.name == "b"
    assert (link.covering("10.1.1.5").subnet.name, link.covering("10.1.3.5")) == ("a", None)


def test_a_link_with_a_proxy_subnet_on_it_is_another_servers():
    networks = Networks([subnet("a", 1, shared_network="x"), subnet("b", 2, shared_network="x", proxy=True)])
    assert networks.link("10.1.1.1").proxy and networks.link("10.1.2.1").proxy


@pytest.mark.parametrize(
    ("more", "pickers"),
    [
        ({}, ALL),
        ({"pickers": (Picker.MOST_EXPIRED, Picker.HINT, Picker.NONE)}, (Picker.MOST_EXPIRED, Picker.HINT)),
        ({"pickers": (Picker.NONE,)}, ()),
        ({"only_reservations": True}, ()),
        ({"pool_start": "", "pool_end": ""}, ()),
    ],
)
def test_the_pickers_of_a_network_are_those_before_none(more, pickers):
    values = {"name": "a", "cidr": "10.1.1.0/24", "pool_start": "10.1.1.9", "pool_end": "10.1.1.99"} | more
    assert network(Subnet(**values)).pickers == pickers


def test_the_pickers_of_a_link_are_those_of_the_arrivals_subnet_and_then_the_others():
    first = subnet("a", 1, shared_network="x", pickers=(Picker.MOST_EXPIRED,))
    link = Networks([first, subnet("b", 2, shared_network="x")]).link("10.1.1.1")
    assert link.pickers == (Picker.MOST_EXPIRED, Picker.HINT, Picker.NEXT_FREE)


# --- several addresses on one interface -----------------------------------------------------------------------

BOTH = Arrival("192.168.1.5", "eth0", also=("10.77.0.1", "10.9.0.1"))


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (discover(1), "10.77.0.1"),
        (select(1, "10.9.0.10", "10.9.0.1"), "10.9.0.1"),
        (select(1, "192.168.1.9", "192.168.1.77"), "10.77.0.1"),
        (discover(1, giaddr="10.9.0.7"), "192.168.1.5"),
    ],
)
def test_of_our_addresses_on_an_interface_the_one_on_a_subnet_is_meant_or_the_one_that_the_client_names(asked, meant):
    found = placed(asked, BOTH, Networks([RACK, HALL]).link)
    assert found.address == meant
    assert {found.address, *found.also} == {BOTH.address, *BOTH.also}


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (select(1, "10.9.0.10", "10.77.0.1", giaddr="10.9.0.7"), "10.77.0.1"),
        (select(1, "10.9.0.10", "10.200.0.1", giaddr="10.9.0.7"), "10.200.0.1"),
        (select(1, "10.9.0.10", "10.9.0.99", giaddr="10.9.0.7"), "192.168.1.5"),
        (select(1, "10.77.0.10", "10.200.0.1"), "10.77.0.1"),
    ],
)
def test_a_relays_client_can_name_any_address_of_ours_and_one_on_our_wire_those_of_the_interface(asked, meant):
    arrival = changed(BOTH, elsewhere=("10.200.0.1", "127.0.0.1"))
    found = placed(asked, arrival, Networks([RACK, HALL]).link)
    assert found.address == meant
    assert set(found.ours) == set(arrival.ours)


def test_all_addresses_of_ours_are_ours():
    arrival = changed(BOTH, elsewhere=("10.200.0.1",))
    assert all(arrival.has(each) for each in ("192.168.1.5", "10.9.0.1", "10.200.0.1"))
    assert not arrival.has("10.9.0.2")


def test_where_no_subnet_covers_any_of_our_addresses_the_first_is_kept():
    assert placed(discover(1), BOTH, Networks([]).link).address == "192.168.1.5"
