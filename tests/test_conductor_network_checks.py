"""Subnets and reservations beside each other: what takes from another is refused."""

import pytest
from msgspec.structs import replace

from provisioner.conductor.networks import Networks
from provisioner.errors import Conflict, Invalid
from provisioner.model.addresses import Reservation, Subnet
from tests.parts import MAC, OPERATOR, OTHER_MAC

SUBNET = Subnet(name="rack", cidr="10.0.0.0/24", pool_start="10.0.0.10", pool_end="10.0.0.20", gateway="10.0.0.1")
RESERVATION = Reservation(address="10.0.0.5", mac=MAC, hostname="n5")


async def test_subnets_do_not_overlap(parts):
    await parts.networks.put_subnet(SUBNET, OPERATOR)
    with pytest.raises(Conflict, match=r"10.0.0.0/25 overlaps subnet 'rack' \(10.0.0.0/24\)"):
        await parts.networks.put_subnet(Subnet(name="half", cidr="10.0.0.0/25"), OPERATOR)


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
