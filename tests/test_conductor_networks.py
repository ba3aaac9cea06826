"""Subnets and reservations are saved, changed and removed, and that is told."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from provisioner.errors import Conflict, Invalid, NotFound
from provisioner.leases import FOREVER
from provisioner.model.addresses import Lease, LeaseState, Reservation, Subnet
from tests.parts import MAC, OPERATOR, OTHER_MAC

SUBNET = Subnet(name="rack", cidr="10.0.0.0/24", pool_start="10.0.0.10", pool_end="10.0.0.20", gateway="10.0.0.1")
RESERVATION = Reservation(address="10.0.0.5", mac=MAC, hostname="n5")


async def test_a_good_subnet_is_saved_and_told(parts):
    subnet = replace(SUBNET, options={"ntp-servers": "10.0.0.1", "252": "http://10.0.0.1/wpad"})
    assert await parts.networks.put_subnet(subnet, OPERATOR, new=True) == subnet
    assert parts.ledger.read(Subnet, "rack") == subnet
    assert await parts.events("object") == [("subnets/rack", {})]


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
