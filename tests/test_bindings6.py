"""What one DHCPv6 message's client has and may have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from provisioner.bindings6 import Case, runs
from provisioner.clients6 import identify
from provisioner.model.addresses import Lease, LeaseState, Picker, Reservation, Subnet
from provisioner.wire.dhcp6_options import decode_ia
from tests.dhcp6_messages import PRIVATE, arrival, ia, llt_duid, mac, solicit, uuid_duid
from tests.fakes.address_view6 import View6

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POOL = Subnet(name="rack", cidr="fd00:77::/64", pool_start="fd00:77::10", pool_end="fd00:77::13")
A, B = "fd00:77::10", "fd00:77::11"


def lease(address, number=1, state=LeaseState.ACKED, seconds=60.0, duid=None, iaid=1):
    client_id = f"{(duid or uuid_duid(number)).hex()}/{iaid:08x}"
    until = NOW + timedelta(seconds=seconds)
    return Lease(address=address, mac=mac(number), state=state, expires_at=until, client_id=client_id)


def case(view, packet=None, at=None):
    packet, at = packet or solicit(1), at or arrival(1)
    return Case(packet, identify(packet, at, view.mac_of), at, view, NOW, view.networks(["fd00:77::1"]))


def view_with(*leases, subnet=POOL, reservations=()):
    view = View6(subnet, reservations=reservations)
    view.leases = {each.address: each for each in leases}
    return view


@pytest.mark.parametrize(
    ("held", "owned"),
    [
        (lease(A), True),
        (lease(A, iaid=7), True),
        (lease(A, duid=llt_duid(1), iaid=7), True),
        (lease(A, 2), False),
    ],
)
def test_a_lease_is_the_clients_by_its_mac(held, owned):
    asked = case(view_with(held))
    assert asked.owns(held, asked.associations[0]) is owned


def test_a_lease_under_another_iaid_of_the_same_message_is_not_this_ones():
    held = lease(A, iaid=2)
    asked = case(view_with(held), solicit(1, ia(1), ia(2)))
    assert [asked.owns(held, each) for each in asked.associations] == [False, True]


def test_of_a_mac_that_only_a_duid_tells_each_iaid_is_its_own():
    held = lease(A, 7, duid=llt_duid(7), iaid=2)
    asked = case(view_with(held), solicit(1, ia(1), duid=llt_duid(7)), PRIVATE)
    assert not asked.owns(held, asked.associations[0])


@pytest.mark.parametrize(
    ("address", "leases", "may"),
    [
        (A, (), True),
        (A, (lease(A, 2),), False),
        (A, (lease(A, 2, seconds=-1),), True),
        (A, (lease(A, 2, LeaseState.EXPIRED),), True),
        (A, (lease(A, 1, LeaseState.QUARANTINED),), False),
        (A, (lease(A, 1, LeaseState.QUARANTINED, -1),), True),
        ("fd00:77::1", (), False),
        ("fd00:77::99", (), False),
        ("fd00:9::10", (), False),
    ],
)
def test_a_client_may_have_what_is_free_in_the_pool(address, leases, may):
    asked = case(view_with(*leases))
    assert asked.may_have(address, asked.associations[0]) is may


def test_what_is_reserved_is_for_its_mac_alone_in_the_pool_and_outside():
    reserved = (Reservation(address=A, mac=mac(2)), Reservation(address="fd00:77::99", mac=mac(1)))
    asked = case(view_with(reservations=reserved))
    found = asked.associations[0]
    assert (asked.may_have(A, found), asked.may_have("fd00:77::99", found)) == (False, True)
    assert asked.choose(found) == "fd00:77::99"


def test_the_same_iaids_lease_goes_before_a_newer_one_of_the_same_mac():
    asked = case(view_with(lease(A, duid=llt_duid(1), seconds=900), lease(B)))
    assert asked.choose(asked.associations[0]) == B


def test_pickers_are_asked_in_their_order_until_none():
    hinted = solicit(1, ia(1, "fd00:77::13"))
    for pickers, expected in (
        ((Picker.HINT, Picker.NEXT_FREE), "fd00:77::13"),
        ((Picker.NEXT_FREE, Picker.HINT), A),
        ((Picker.NONE, Picker.HINT), ""),
    ):
        subnet = Subnet(name="rack", cidr="fd00:77::/64", pool_start=A, pool_end="fd00:77::13", pickers=pickers)
        asked = case(view_with(subnet=subnet), hinted)
        assert asked.choose(asked.associations[0]) == expected


def test_times_stay_within_the_lease():
    subnet = Subnet(
        name="rack", cidr="fd00:77::/64", pool_start=A, pool_end=B, lease_seconds=100, renew_seconds=70,
        rebind_seconds=60,
    )  # fmt: skip
    asked = case(view_with(subnet=subnet))
    found = asked.associations[0]
    asked.give(A, found)
    told = decode_ia(asked.association(found)[1])
    assert (told.renew, told.rebind) == (60, 60)


def test_an_offer_and_a_lease_run_until_their_time():
    assert runs(lease(A), NOW) and runs(lease(A, state=LeaseState.OFFERED), NOW)
    assert not runs(lease(A, seconds=0), NOW) and not runs(lease(A, state=LeaseState.QUARANTINED), NOW)
