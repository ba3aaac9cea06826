"""Subnets and reservations by themselves: a field that makes no sense is named."""

import pytest
from msgspec.structs import replace

from provisioner.errors import Invalid
from provisioner.model.addresses import Picker, Reservation, Subnet
from provisioner.network_fields import check_name, checked_reservation, checked_subnet

SUBNET = Subnet(name="rack", cidr="10.0.0.0/24", pool_start="10.0.0.10", pool_end="10.0.0.20", gateway="10.0.0.1")
SIX = Subnet(name="six", cidr="fd00:1::/64", pool_start="fd00:1::100", pool_end="fd00:1::ffff:ffff")


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"cidr": "10.0.0.0/33"}, "cidr"),
        ({"cidr": "10.0.0.7/24"}, "cidr"),
        ({"cidr": "fd00::/64", "gateway": ""}, "pool_start"),
        ({"cidr": ""}, "cidr"),
        ({"pool_end": ""}, "pool_end"),
        ({"pool_start": ""}, "pool_end"),
        ({"pool_start": "ten"}, "pool_start"),
        ({"pool_start": "10.0.1.10"}, "pool_start"),
        ({"pool_start": "10.0.0.0"}, "pool_start"),
        ({"pool_end": "10.0.0.255"}, "pool_end"),
        ({"pool_end": "10.0.0.9"}, "pool_end"),
        ({"gateway": "10.0.1.1"}, "gateway"),
        ({"gateway": "router"}, "gateway"),
        ({"dns_servers": ("10.0.0.1", "dns")}, "dns_servers"),
        ({"next_server": "here"}, "next_server"),
        ({"lease_seconds": 59}, "lease_seconds"),
        ({"lease_seconds": 1 << 32}, "lease_seconds"),
        ({"reserved_lease_seconds": -1}, "reserved_lease_seconds"),
        ({"renew_seconds": -1}, "renew_seconds"),
        ({"renew_seconds": 3600}, "renew_seconds"),
        ({"renew_seconds": 3150}, "renew_seconds"),
        ({"rebind_seconds": 3600}, "rebind_seconds"),
        ({"renew_seconds": 1800, "rebind_seconds": 1800}, "rebind_seconds"),
        ({"pickers": ()}, "pickers"),
        ({"pickers": (Picker.HINT, Picker.HINT)}, "pickers"),
        ({"pickers": (Picker.NONE, Picker.HINT)}, "pickers"),
        ({"shared_network": " hall"}, "shared_network"),
        ({"options": {"no-such": "1"}}, "options.no-such"),
        ({"options": {"ntp-servers": "soon"}}, "options.ntp-servers"),
        ({"options": {"lease-time": "60"}}, "options.lease-time"),
    ],
    ids=str,
)
def test_a_wrong_subnet_names_its_field(wrong, path):
    with pytest.raises(Invalid) as caught:
        checked_subnet(replace(SUBNET, **wrong))
    assert [field.path for field in caught.value.fields] == [path] and caught.value.message.startswith(f"{path}: ")


def test_all_wrong_options_are_named_at_once():
    with pytest.raises(Invalid) as caught:
        checked_subnet(replace(SUBNET, options={"x1": "1", "interface-mtu": "big"}))
    assert [field.path for field in caught.value.fields] == ["options.x1", "options.interface-mtu"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cidr": "fd00:1::5/64"}, "cidr"),
        ({"cidr": "fe80::/64"}, "cidr"),
        ({"cidr": "ff00::/8"}, "cidr"),
        ({"pool_start": "fd00:1::"}, "pool_start"),
        ({"pool_end": "fd00:2::5"}, "pool_end"),
        ({"pool_end": "fd00:1::50"}, "pool_end"),
        ({"gateway": "10.0.0.1"}, "gateway"),
        ({"dns_servers": ("10.0.0.1",)}, "dns_servers"),
        ({"next_server": "fd00::1%eth0"}, "next_server"),
        ({"proxy": True}, "proxy"),
        ({"options": {"routers": "10.0.0.1"}}, "options.routers"),
        (
            {"cidr": "10.5.0.0/24", "pool_start": "", "pool_end": "", "router_advertisements": True},
            "router_advertisements",
        ),
    ],
)  # fmt: skip
def test_a_network_of_ipv6_names_the_field_that_is_wrong(fields, field):
    with pytest.raises(Invalid) as caught:
        checked_subnet(replace(SIX, **fields))
    assert [each.path for each in caught.value.fields] == [field]


def test_a_network_of_ipv6_takes_options_of_dhcpv6():
    assert checked_subnet(replace(SIX, options={"sntp-servers": "fd00::1"})).options


def test_a_reservation_is_written_as_usual():
    made = checked_reservation(Reservation(address="FD00:1::0005", mac="5254.0000.000A"))
    assert (made.address, made.mac) == ("fd00:1::5", "52:54:00:00:00:0a")


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"address": "10.0.0"}, "address"),
        ({"mac": "52:54:00"}, "mac"),
        ({"next_server": "fd00::1"}, "next_server"),
        ({"hostname": "a..b"}, "hostname"),
        ({"options": {"router": "gate"}}, "options.router"),
    ],
    ids=str,
)
def test_a_wrong_reservation_names_its_field(wrong, path):
    with pytest.raises(Invalid) as caught:
        checked_reservation(replace(Reservation(address="10.0.0.5", mac="52:54:00:00:00:01"), **wrong))
    assert [field.path for field in caught.value.fields] == [path]


@pytest.mark.parametrize("name", ["", ".", "a/b", "{a}", " a", "a" * 101])
def test_a_name_that_no_path_leads_to_is_refused(name):
    with pytest.raises(Invalid, match="is no name for a subnet"):
        check_name(name)
