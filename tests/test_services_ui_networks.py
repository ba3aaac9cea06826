"""What the pages of the network show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network

import pytest

from provisioner.leases import FOREVER
from provisioner.model.addresses import Lease, LeaseState, Reservation, Subnet
from provisioner.services.ui_networks import NetworkViews, quarantine_words, suggested
from tests.browser.demo_state import Demo, fill


@pytest.fixture
async def demo(tmp_path):
    demo = Demo(tmp_path)
    await demo.open()
    yield demo
    await demo.close()


@pytest.fixture
def views(demo):
    return NetworkViews(demo.ledger)


async def save(demo, *values):
    tx = demo.ledger.transaction()
    for each in values:
        tx.put(each)
    await tx.commit()


def lease(last, state=LeaseState.ACKED, seconds=3600, mac="52:54:00:00:00:01", **more):
    ends = datetime.now(UTC) + timedelta(seconds=seconds)
    return Lease(address=f"10.77.0.{last}", mac=mac, state=state, expires_at=ends, **more)


async def test_a_lease_whose_time_is_over_has_expired_whatever_was_written(demo, views):
    await save(demo, lease(9, seconds=-200_000))
    assert [each.state for each in views.leases({})["leases"]] == ["expired"]


async def test_addresses_in_use_are_counted_by_pool(demo, views):
    await fill(demo)
    (rack,) = views.leases({})["subnets"]
    assert (rack.total, rack.quarantined) == (90, 1)
    assert rack.taken == sum(each.state in ("acked", "quarantined") for each in views.leases({})["leases"])


async def test_leases_are_narrowed_by_words(demo, views):
    await fill(demo)
    assert [each.lease.address for each in views.leases({"q": "RACK1-n03"})["leases"]] == ["10.77.0.13"]
    assert views.leases({"q": "quarantined 00:72"})["total"] == 1
    assert views.leases({"q": "nobody"})["leases"] == []
    held = next(each.lease for each in views.leases({})["leases"] if each.lease.mac)
    assert held in [each.lease for each in views.leases({"q": held.mac.replace(":", "")})["leases"]]


def test_a_quarantine_says_why():
    assert quarantine_words(lease(9, LeaseState.QUARANTINED, seconds=500)).startswith("somebody answered")
    declined = Lease(
        address="10.77.0.9", mac="", state=LeaseState.QUARANTINED, expires_at=datetime.now(UTC), seconds=3600
    )
    assert quarantine_words(declined).startswith("declined")


async def test_a_lease_given_to_bootp_never_ends(demo, views):
    await save(demo, lease(9, seconds=FOREVER))
    assert views.leases({})["leases"][0].endless


async def test_addresses_of_both_families_are_shown_in_order(demo, views):
    reservations = [Reservation(address=each, mac="52:54:00:00:00:01") for each in ("fd00::5", "10.0.0.9", "10.0.0.10")]
    await save(demo, *reservations, Subnet(name="six", cidr="fd00::/64", pool_start="fd00::10", pool_end="fd00::1f"))
    shown = views.leases({})
    assert [each.reservation.address for each in shown["reservations"]] == ["10.0.0.9", "10.0.0.10", "fd00::5"]
    assert [each.total for each in shown["subnets"] if each.subnet.name == "six"] == [16]


async def test_what_is_out_of_the_ordinary_in_a_subnet_is_said(demo, views):
    subnet = Subnet(
        name="odd", cidr="10.9.0.0/24", enabled=False, proxy=True, only_reservations=True, shared_network="floor"
    )
    await save(demo, subnet)
    (odd,) = (each for each in views.leases({})["subnets"] if each.subnet.name == "odd")
    assert odd.remarks == ("not answered", "boot information only", "reservations only", "on link floor")


HERE = [("lo", IPv4Network("127.0.0.0/8")), ("eth0", IPv4Network("10.77.0.0/16")), ("eth1", IPv4Network("10.9.0.0/24"))]


async def test_networks_of_ours_that_no_subnet_covers_are_told(demo):
    await save(demo, Subnet(name="hall", cidr="10.77.3.0/24"))
    assert NetworkViews(demo.ledger, lambda: HERE).here() == [("eth1", IPv4Network("10.9.0.0/24"))]


def test_the_upper_half_of_a_network_of_ours_is_suggested_as_its_pool():
    made = suggested("10.9.0.0/24", HERE)
    assert (made.name, made.cidr, made.pool_start, made.pool_end) == (
        "eth1",
        "10.9.0.0/24",
        "10.9.0.128",
        "10.9.0.254",
    )
    assert suggested("10.8.0.0/24", HERE).cidr == ""
    assert suggested("10.8.0.0/30", [("eth2", IPv4Network("10.8.0.0/30"))]).pool_start == ""


async def test_a_reservation_outside_of_every_subnet_is_marked(demo, views):
    reservations = [Reservation(address=each, mac="52:54:00:00:00:01") for each in ("10.78.0.5", "10.1.0.5")]
    await save(demo, Subnet(name="hall", cidr="10.78.0.0/24"), *reservations)
    covered = {each.reservation.address: each.covered for each in views.leases({})["reservations"]}
    assert covered == {"10.78.0.5": True, "10.1.0.5": False}
