"""What a client can have on its link."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from provisioner.dhcp_case import Case, Offer, runs
from provisioner.links import Arrival, Networks
from provisioner.model.addresses import Lease, LeaseState, Picker, Reservation, Subnet
from tests.dhcp_messages import SERVER, discover, mac
from tests.fakes.address_view import PlainView

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUBNET = Subnet(name="rack", cidr="10.77.0.0/24", pool_start="10.77.0.10", pool_end="10.77.0.13", gateway="10.77.0.254")
ADDRESS = "10.77.0.10"


def lease(client, seconds=60, state=LeaseState.ACKED):
    return Lease(address=ADDRESS, mac=mac(client), state=state, expires_at=NOW + timedelta(seconds=seconds))


def case(*leases, offers=(), reservations=(), hint=""):
    view = PlainView([SUBNET], reservations, leases)
    view.offers = {each.address: each for each in offers}
    return Case(discover(1, hint), Arrival(SERVER), view, NOW, Networks([SUBNET]).link(SERVER))


@pytest.mark.parametrize(
    ("held", "mac_of_holder"),
    [
        ((), None),
        ((lease(2),), mac(2)),
        ((lease(2, 0),), None),
        ((lease(2, state=LeaseState.EXPIRED),), None),
        ((lease(2, state=LeaseState.QUARANTINED),), mac(2)),
        ((lease(1),), None),
        ((lease(1, state=LeaseState.QUARANTINED),), mac(1)),
        ((lease(1, -1, LeaseState.QUARANTINED),), None),
    ],
)
def test_who_keeps_the_client_from_an_address(held, mac_of_holder):
    assert case(*held).taken_by(ADDRESS) == mac_of_holder


@pytest.mark.parametrize(("client", "seconds", "holder"), [(2, 1, mac(2)), (2, 0, None), (1, 1, None)])
def test_an_offer_to_another_keeps_the_client_from_it_while_it_lasts(client, seconds, holder):
    offer = Offer(ADDRESS, mac(client), NOW + timedelta(seconds=seconds))
    assert case(offers=[offer]).taken_by(ADDRESS) == holder


@pytest.mark.parametrize("address", ["10.77.0.9", "10.77.0.254", "10.9.0.1", SERVER])
def test_outside_of_the_pool_nothing_can_be_had_without_reservation(address):
    its = case()
    assert not its.may_have(address, its.link.covering(address))


def test_the_offer_that_a_client_has_goes_before_the_address_it_had():
    offer = Offer("10.77.0.12", mac(1), NOW + timedelta(seconds=5))
    assert case(lease(1), offers=[offer]).last_address() == "10.77.0.12"
    assert case(lease(1)).last_address() == ADDRESS


def test_offers_are_taken_back_but_for_one():
    offers = [Offer(f"10.77.0.{last}", mac(1), NOW + timedelta(seconds=5)) for last in (11, 12)]
    assert case(offers=offers).withdrawn(but="10.77.0.12") == (Offer("10.77.0.11", mac(1), NOW),)


def test_how_an_address_was_found_is_told():
    assert case(hint="10.77.0.12").pick() == ("10.77.0.12", Picker.HINT)
    assert case().pick() == (ADDRESS, Picker.NEXT_FREE)


def test_only_a_reserved_address_that_is_free_can_be_had():
    reserved = Reservation(address=ADDRESS, mac=mac(1))
    assert case(reservations=[reserved]).reservation() == reserved
    held = case(lease(2), reservations=[reserved])
    assert (held.reservation(), held.settings("10.77.0.11")) == (None, reserved)


def test_only_what_the_client_declined_counts_as_declined():
    found_by_probe = lease(1, state=LeaseState.QUARANTINED)
    its_own = replace(found_by_probe, address="10.77.0.11", seconds=600)
    over = replace(its_own, address="10.77.0.12", expires_at=NOW)
    assert case(found_by_probe, its_own, over).declined() == [its_own]


@pytest.mark.parametrize(
    ("one", "running"),
    [(lease(1), True), (lease(1, 0), False), (lease(1, state=LeaseState.QUARANTINED), False)],
)
def test_a_lease_runs_until_it_expires(one, running):
    assert runs(one, NOW) is running
