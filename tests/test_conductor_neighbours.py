"""Who has an address that another server gave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from provisioner.conductor.neighbours import Neighbours, holder
from provisioner.model.addresses import Lease, LeaseState
from tests.parts import START, opened

ONE, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"


class Kernel:
    """A table of neighbours that counts how often it is read, and its clock."""

    def __init__(self):
        self.table = {}
        self.reads = 0
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def look(self):
        self.reads += 1
        return dict(self.table)

    def clock(self):
        return self.now


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def neighbours(kernel):
    return Neighbours(kernel.look, kernel.clock, most=2)


def test_what_a_client_says_of_itself_is_believed(neighbours):
    neighbours.heard("10.0.0.5", ONE)
    assert neighbours.mac_of("10.0.0.5") == ONE


def test_what_the_kernel_sees_goes_before_what_was_said(kernel, neighbours):
    neighbours.heard("10.0.0.5", ONE)
    kernel.table["10.0.0.5"] = OTHER
    assert neighbours.mac_of("10.0.0.5") == OTHER


def test_nobody_is_known_by_nothing(neighbours):
    neighbours.heard("", ONE)
    assert neighbours.mac_of("10.0.0.5") == neighbours.mac_of("") == ""


def test_whom_the_kernel_sees_is_believed_for_a_while(kernel, neighbours):
    kernel.table["10.0.0.5"] = ONE
    for _ in range(9):
        kernel.now += timedelta(milliseconds=500)
        assert neighbours.mac_of("10.0.0.5") == ONE
    assert kernel.reads == 1
    kernel.table["10.0.0.5"] = OTHER
    kernel.now += timedelta(seconds=1)
    assert neighbours.mac_of("10.0.0.5") == OTHER


def test_whom_the_kernel_does_not_see_yet_is_looked_for_again_soon_but_not_for_each_packet(kernel, neighbours):
    for _ in range(9):
        assert neighbours.mac_of("10.0.0.5") == ""
    assert kernel.reads == 1
    kernel.table["10.0.0.5"] = ONE
    kernel.now += timedelta(milliseconds=20)
    assert neighbours.mac_of("10.0.0.5") == ONE


def test_a_clock_that_is_set_back_does_not_keep_an_old_table(kernel, neighbours):
    assert neighbours.mac_of("10.0.0.5") == ""
    kernel.now -= timedelta(days=1)
    kernel.table["10.0.0.5"] = ONE
    assert neighbours.mac_of("10.0.0.5") == ONE


def test_the_kernel_has_no_such_table_for_ipv6(kernel, neighbours):
    assert neighbours.mac_of("fd00::5") == ""
    assert kernel.reads == 0


def test_the_longest_silent_is_forgotten(neighbours):
    for number in (5, 6, 7):
        neighbours.heard(f"10.0.0.{number}", ONE)
        neighbours.mac_of(f"10.0.0.{number}")
    assert neighbours.mac_of("10.0.0.5") == ""
    assert neighbours.mac_of("10.0.0.7") == ONE


@pytest.mark.parametrize(
    ("lease", "seen", "mac"),
    [
        ({}, OTHER, ONE),
        ({"expires_at": START}, OTHER, OTHER),
        ({"state": LeaseState.EXPIRED}, OTHER, OTHER),
        ({"state": LeaseState.EXPIRED}, "", ONE),
        (None, OTHER, OTHER),
        (None, "", ""),
    ],
)
async def test_a_lease_that_runs_says_whose_an_address_is_then_the_neighbours_then_an_old_lease(
    tmp_path, lease, seen, mac
):
    async with opened(tmp_path) as parts:
        if lease is not None:
            then = {"expires_at": START + timedelta(hours=1), "state": LeaseState.ACKED}
            tx = parts.ledger.transaction()
            tx.put(Lease(**{"address": "10.0.0.5", "mac": ONE} | then | lease))
            await tx.commit()
        assert holder(parts.ledger, "10.0.0.5", lambda address: seen) == mac
