"""Subnets and reservations: what is checked before it counts."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from provisioner.conductor.networks import Networks, checked_subnet
from provisioner.errors import Conflict, Invalid, NotFound
from provisioner.leases import FOREVER
from provisioner.model.addresses import Lease, LeaseState, Picker, Reservation, Subnet
from tests.parts import MAC, OPERATOR, OTHER_MAC

SUBNET = Subnet(name="rack", cidr="10.0.0.0/24", pool_start="10.0.0.10", pool_end="10.0.0.20", gateway="10.0.0.1")
RESERVATION = Reservation(address="10.0.0.5", mac=MAC, hostname="n5")


async def test_a_good_subnet_is_saved_and_told(parts):
    subnet = replace(SUBNET, options={"ntp-servers": "10.0.0.1", "252": "http://10.0.0.1/wpad"})
    assert await parts.networks.put_subnet(subnet, OPERATOR, new=True) == subnet
    assert parts.ledger.read(Subnet, "rack") == subnet
    assert await parts.events("object") == [("subnets/rack", {})]


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
async def test_a_wrong_subnet_names_its_field_and_is_not_saved(parts, wrong, path):
    with pytest.raises(Invalid) as caught:
        await parts.networks.put_subnet(replace(SUBNET, **wrong), OPERATOR)
    assert [field.path for field in caught.value.fields] == [path] and caught.value.message.startswith(f"{path}: ")
    assert parts.ledger.get(Subnet, "rack") is None


async def test_all_wrong_options_are_named_at_once(parts):
    with pytest.raises(Invalid) as caught:
        await parts.networks.put_subnet(replace(SUBNET, options={"x1": "1", "interface-mtu": "big"}), OPERATOR)
    assert [field.path for field in caught.value.fields] == ["options.x1", "options.interface-mtu"]


async def test_subnets_do_not_overlap(parts):
    await parts.networks.put_subnet(SUBNET, OPERATOR)
    with pytest.raises(Conflict, match=r"10.0.0.0/25 overlaps subnet 'rack' \(10.0.0.0/24\)"):
        await parts.networks.put_subnet(Subnet(name="half", cidr="10.0.0.0/25"), OPERATOR)


async def test_a_subnet_is_saved_again_but_not_made_twice(parts):
    await parts.networks.put_subnet(SUBNET, OPERATOR)
    await parts.networks.put_subnet(replace(SUBNET, domain="rack.example"), OPERATOR)
    assert parts.ledger.read(Subnet, "rack").domain == "rack.example"
    with pytest.raises(Conflict, match="there is a subnet 'rack' already") as caught:
        await parts.networks.put_subnet(SUBNET, OPERATOR, new=True)
    assert caught.value.code == "name-taken"


async def test_a_removed_subnet_is_gone(parts):
    await parts.networks.put_subnet(SUBNET, OPERATOR)
    assert await parts.networks.delete_subnet("rack", OPERATOR) == SUBNET
    assert parts.ledger.read(Subnet, "rack") is None
    with pytest.raises(NotFound, match="there is no subnet 'rack'"):
        await parts.networks.delete_subnet("rack", OPERATOR)


async def test_a_reservation_is_saved_with_its_mac_in_our_writing(parts):
    saved = await parts.networks.put_reservation(replace(RESERVATION, mac="52-54-00-00-00-0A"), OPERATOR)
    assert saved.mac == "52:54:00:00:00:0a" and parts.ledger.reservations_by_mac(saved.mac) == [saved]


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"address": "10.0.0"}, "address"),
        ({"mac": "52:54:00"}, "mac"),
        ({"next_server": "tftp"}, "next_server"),
        ({"options": {"host-name": "", "router": "gate"}}, "options.router"),
    ],
    ids=str,
)
async def test_a_wrong_reservation_names_its_field_and_is_not_saved(parts, wrong, path):
    with pytest.raises(Invalid) as caught:
        await parts.networks.put_reservation(replace(RESERVATION, **wrong), OPERATOR)
    assert [field.path for field in caught.value.fields] == [path]
    assert list(parts.ledger.all(Reservation)) == []


async def test_an_address_is_reserved_for_one_mac(parts):
    await parts.networks.put_reservation(RESERVATION, OPERATOR, new=True)
    await parts.networks.put_reservation(replace(RESERVATION, hostname="other"), OPERATOR)
    assert parts.ledger.read(Reservation, "10.0.0.5").hostname == "other"
    for again in (replace(RESERVATION, mac=OTHER_MAC), RESERVATION):
        with pytest.raises(Conflict, match=f"10.0.0.5 is reserved for {MAC} already") as caught:
            await parts.networks.put_reservation(again, OPERATOR, new=True)
        assert caught.value.code == "address-taken"


async def test_a_reservation_passes_to_another_mac_and_that_is_told(parts):
    await parts.networks.put_subnet(Subnet(name="n", cidr="10.0.0.0/24"), OPERATOR)
    for each in (RESERVATION, replace(RESERVATION, address="10.0.0.6", mac="52:54:00:00:00:77")):
        await parts.networks.put_reservation(each, OPERATOR)
    passed = await parts.networks.put_reservation(replace(RESERVATION, mac=OTHER_MAC), OPERATOR)
    assert parts.ledger.read(Reservation, "10.0.0.5") == passed
    assert [each.address for each in parts.ledger.reservations_by_mac(MAC)] == []
    assert (await parts.events("object.put"))[-1] == ("reservations/10.0.0.5", {"before": MAC})
    with pytest.raises(Conflict, match="has a reservation in subnet 'n' already: 10.0.0.6"):
        await parts.networks.put_reservation(replace(RESERVATION, mac="52:54:00:00:00:77"), OPERATOR)


async def test_a_lease_without_an_end_ends_when_its_reservation_passes_to_another(parts):
    await parts.networks.put_reservation(RESERVATION, OPERATOR)
    ends = parts.clock() + timedelta(seconds=FOREVER)
    tx = parts.ledger.transaction()
    tx.put(Lease(address="10.0.0.5", mac=MAC, state=LeaseState.ACKED, expires_at=ends, seconds=FOREVER))
    await tx.commit()
    await parts.networks.put_reservation(replace(RESERVATION, mac=OTHER_MAC), OPERATOR)
    assert parts.ledger.read(Lease, "10.0.0.5") is None


async def test_a_mac_has_one_scoped_reservation_in_a_subnet_and_one_that_is_not_scoped(parts):
    for name, second in (("n", 0), ("m", 1)):
        await parts.networks.put_subnet(Subnet(name=name, cidr=f"10.0.{second}.0/24"), OPERATOR)
    good = (
        RESERVATION, replace(RESERVATION, address="10.0.1.5"), replace(RESERVATION, address="10.9.0.5"),
        replace(RESERVATION, address="10.9.0.6"), replace(RESERVATION, address="10.0.0.7", scoped=False),
    )  # fmt: skip
    for each in good:
        await parts.networks.put_reservation(each, OPERATOR, new=True)
    with pytest.raises(Conflict, match=f"{MAC} has a reservation in subnet 'n' already: 10.0.0.5") as caught:
        await parts.networks.put_reservation(replace(RESERVATION, address="10.0.0.6"), OPERATOR)
    assert caught.value.code == "mac-taken"
    with pytest.raises(Conflict, match="reservation that is not scoped already: 10.0.0.7"):
        await parts.networks.put_reservation(replace(RESERVATION, address="10.0.0.8", scoped=False), OPERATOR)
    six = replace(RESERVATION, address="fd00::5", scoped=False)
    await parts.networks.put_reservation(six, OPERATOR)


@pytest.mark.parametrize("address", ["10.0.0.0", "10.0.0.255", "10.0.0.1"])
async def test_an_address_that_no_client_can_have_is_not_reserved(parts, address):
    await parts.networks.put_subnet(Subnet(name="n", cidr="10.0.0.0/24", gateway="10.0.0.1"), OPERATOR)
    with pytest.raises(Invalid) as caught:
        await parts.networks.put_reservation(replace(RESERVATION, address=address), OPERATOR)
    assert [field.path for field in caught.value.fields] == ["address"]


async def test_in_a_network_of_two_addresses_both_can_be_reserved(parts):
    await parts.networks.put_subnet(Subnet(name="n", cidr="10.0.0.4/31"), OPERATOR)
    for address in ("10.0.0.4", "10.0.0.5"):
        other = MAC if address.endswith("4") else OTHER_MAC
        await parts.networks.put_reservation(replace(RESERVATION, address=address, mac=other), OPERATOR)


async def test_a_lease_is_freed_and_that_is_told(parts):
    then = parts.clock() + timedelta(hours=1)
    lease = Lease(address="10.0.0.5", mac=MAC, state=LeaseState.ACKED, expires_at=then)
    tx = parts.ledger.transaction()
    tx.put(lease)
    await tx.commit()
    assert await parts.networks.free_lease("10.0.0.5", OPERATOR) == lease
    assert parts.ledger.read(Lease, "10.0.0.5") is None
    assert await parts.events("object.delete") == [("leases/10.0.0.5", {"state": "acked"})]
    with pytest.raises(NotFound, match="there is no lease of '10.0.0.5'"):
        await parts.networks.free_lease("10.0.0.5", OPERATOR)


async def test_a_removed_reservation_is_gone(parts):
    await parts.networks.put_reservation(RESERVATION, OPERATOR)
    await parts.networks.delete_reservation("10.0.0.5", OPERATOR)
    with pytest.raises(NotFound, match="no reservation of '10.0.0.5'"):
        await parts.networks.delete_reservation("10.0.0.5", OPERATOR)


@pytest.mark.parametrize(
    ("lease", "stays"),
    [
        ({"seconds": FOREVER}, False),
        ({"seconds": 3600}, True),
        ({"seconds": FOREVER, "mac": OTHER_MAC}, True),
        ({"seconds": FOREVER, "state": LeaseState.EXPIRED}, True),
    ],
)
async def test_a_lease_without_an_end_ends_with_its_reservation(parts, lease, stays):
    await parts.networks.put_reservation(RESERVATION, OPERATOR)
    then = parts.clock() + timedelta(seconds=lease["seconds"])
    tx = parts.ledger.transaction()
    tx.put(Lease(**{"address": "10.0.0.5", "mac": MAC, "state": LeaseState.ACKED, "expires_at": then} | lease))
    await tx.commit()
    await parts.networks.delete_reservation("10.0.0.5", OPERATOR)
    assert (parts.ledger.read(Lease, "10.0.0.5") is not None) is stays
    told = [key for key, _ in await parts.events("object.delete")]
    assert told == ["reservations/10.0.0.5"] + ["leases/10.0.0.5"] * (not stays)


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1"])
async def test_an_address_of_this_server_is_not_reserved(parts, address):
    networks = Networks(parts.ledger, lambda: frozenset({"10.0.0.1", "fd00::1"}))
    with pytest.raises(Invalid, match=f"address: {address} is an address of this server"):
        await networks.put_reservation(Reservation(address=address, mac=MAC), OPERATOR)
    await networks.put_reservation(Reservation(address=f"{address}1", mac=MAC), OPERATOR)


async def test_a_subnet_with_reserved_addresses_stays_and_they_are_named(parts):
    await parts.networks.put_subnet(Subnet(name="n", cidr="10.0.0.0/24"), OPERATOR)
    for address, mac in (("10.0.0.9", MAC), ("10.0.1.9", OTHER_MAC)):
        await parts.networks.put_reservation(Reservation(address=address, mac=mac), OPERATOR)
    with pytest.raises(Conflict, match="subnet 'n' is in use by reservations 10.0.0.9$") as caught:
        await parts.networks.delete_subnet("n", OPERATOR)
    assert caught.value.code == "in-use"
    await parts.networks.delete_reservation("10.0.0.9", OPERATOR)
    await parts.networks.delete_subnet("n", OPERATOR)
    assert list(parts.ledger.all(Subnet)) == []


SIX = Subnet(name="six", cidr="fd00:1::/64", pool_start="fd00:1::100", pool_end="fd00:1::ffff:ffff")


async def test_a_network_of_ipv6_stands_beside_those_of_ipv4(parts):
    await parts.networks.put_subnet(SUBNET, OPERATOR)
    await parts.networks.put_subnet(SIX, OPERATOR)
    kept = await parts.networks.put_reservation(Reservation(address="FD00:1::0005", mac=MAC), OPERATOR)
    assert kept.address == "fd00:1::5"
    with pytest.raises(Conflict, match="in use by reservations fd00:1::5"):
        await parts.networks.delete_subnet("six", OPERATOR)
    with pytest.raises(Conflict, match="overlaps subnet 'six'"):
        await parts.networks.put_subnet(replace(SIX, name="other", cidr="fd00:1::/48"), OPERATOR)


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


async def test_a_subnet_is_not_moved_away_from_addresses_that_are_reserved_in_it(parts):
    await parts.networks.put_subnet(Subnet(name="n", cidr="10.0.0.0/24"), OPERATOR)
    await parts.networks.put_reservation(Reservation(address="10.0.0.9", mac=MAC), OPERATOR)
    with pytest.raises(Conflict, match="in use by reservations 10.0.0.9$"):
        await parts.networks.put_subnet(Subnet(name="n", cidr="10.0.2.0/24"), OPERATOR)
    wider = await parts.networks.put_subnet(Subnet(name="n", cidr="10.0.0.0/23"), OPERATOR)
    assert parts.ledger.get(Subnet, "n") == wider


async def test_a_gateway_cannot_take_the_address_that_is_reserved_for_a_machine(parts):
    await parts.networks.put_subnet(SUBNET, OPERATOR)
    await parts.networks.put_reservation(RESERVATION, OPERATOR)
    with pytest.raises(Conflict, match=f"gateway 10.0.0.5 is reserved for {MAC}"):
        await parts.networks.put_subnet(replace(SUBNET, gateway="10.0.0.5"), OPERATOR)
    assert parts.ledger.read(Subnet, "rack") == SUBNET
