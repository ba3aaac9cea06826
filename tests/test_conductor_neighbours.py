"""Who has an address that another server gave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from provisioner.conductor.neighbours import Neighbours

ONE, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"


class Kernel:
    """A table of neighbours that counts how often it is read, and its clock."""

    def __init__(self):
        self.table = {}
        self.reads = 0
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def look(self, address):
        self.reads += 1
        return self.table.get(address, "")

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


def test_the_kernel_is_asked_once_in_a_while(kernel, neighbours):
    for _ in range(9):
        assert neighbours.mac_of("10.0.0.5") == ""
    assert kernel.reads == 1
    kernel.table["10.0.0.5"] = ONE
    kernel.now += timedelta(seconds=6)
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
