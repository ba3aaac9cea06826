"""Machines are known again by what they are, and not by what says nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from provisioner.identity import MATCH, best_match, clean, score
from provisioner.model import Identity, Machine

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FULL = Identity(dmi_uuid="u-1", serial="S1", board_serial="B1", chassis_serial="C1")


def machine(id, identity=Identity(), macs=()):
    return Machine(id=id, name=id, created_at=NOW, updated_at=NOW, identity=identity, macs=macs)


@pytest.mark.parametrize("text", ["", "  ", "None", "To Be Filled By O.E.M.", "00000000", "xxxx", "0123456789"])
def test_values_that_say_nothing_are_dropped(text):
    got = clean(Identity(dmi_uuid=text, serial=text, disk_markers=(text, "marker")))
    assert got == Identity(disk_markers=("marker",))


def test_a_uuid_is_compared_in_lower_case_and_a_serial_as_it_is():
    assert clean(Identity(dmi_uuid=" ABC-1 ", serial=" Sn1 ")) == Identity(dmi_uuid="abc-1", serial="Sn1")


def test_new_network_cards_do_not_make_a_new_machine():
    found = best_match([machine("m1", FULL, ("a",))], ["b"], FULL)
    assert (found.machine.id, found.score) == ("m1", 160)


def test_the_same_macs_are_the_same_machine():
    assert best_match([machine("m1", macs=("a", "b"))], ["a"], Identity()).machine.id == "m1"


def test_a_disk_marker_alone_is_enough():
    marked = Identity(disk_markers=("d",))
    assert best_match([machine("m1", marked)], ["z"], marked).score == MATCH


def test_one_number_alone_is_not_enough():
    assert best_match([machine("m1", FULL)], ["z"], Identity(dmi_uuid="u-1")) is None


def test_a_network_card_that_moved_does_not_take_the_machine_along():
    other = Identity(dmi_uuid="u-2", serial="S2", board_serial="B2")
    assert score(machine("m1", FULL, ("usb",)), frozenset({"usb"}), other) < 0


def test_the_best_of_several_is_chosen():
    known = [machine("m1", Identity(dmi_uuid="u-1", serial="S1")), machine("m2", FULL)]
    assert best_match(known, [], FULL).machine.id == "m2"


def test_without_any_machine_there_is_no_match():
    assert best_match([], ["a"], FULL) is None
