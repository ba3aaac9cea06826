"""Machines are known again by what they are, and not by what says nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from provisioner.errors import Invalid
from provisioner.identity import (
    MATCH,
    SWAP_TIME,
    best_match,
    clean,
    marks,
    maybe_mac,
    normal_mac,
    says_something,
    score,
    twin_reason,
)
from provisioner.model.machines import AgentInfo, Identity, Machine

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FULL = Identity(dmi_uuid="u-1", serial="S1", board_serial="B1", chassis_serial="C1")


def machine(id, identity=Identity(), macs=()):
    return Machine(id=id, name=id, created_at=NOW, updated_at=NOW, identity=identity, macs=macs)


@pytest.mark.parametrize("written", ["52:54:00:aa:BB:01", " 52-54-00-AA-BB-01\n", "5254.00aa.bb01", "525400AABB01"])
def test_a_mac_has_one_form_however_it_is_written(written):
    assert normal_mac(written) == maybe_mac(written) == "52:54:00:aa:bb:01"


@pytest.mark.parametrize(
    "written",
    [
        "",
        "52:54:00:aa:bb",
        "52:54:00:aa:bb:zz",
        "5254.00aa:bb01",
        "52:54-00:aa:bb:01",
        "525400.aabb01",
        "5254-00aa-bb01",
    ],
)
def test_what_is_no_mac_is_refused_with_the_forms_there_are(written):
    with pytest.raises(Invalid, match="such as 52:54:00:12:34:56, 52-54-00-12-34-56, 5254.0012.3456 or 525400123456"):
        normal_mac(written)
    assert maybe_mac(written) == written


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


TEXTS = st.text(alphabet="AB01-. xX", max_size=6)
IDENTITIES = st.builds(Identity, dmi_uuid=TEXTS, serial=TEXTS, board_serial=TEXTS, chassis_serial=TEXTS)


@pytest.mark.parametrize(
    "text",
    [
        *("Not Specified", "System Serial Number", "Base Board Serial Number", "Chassis Serial", "Default string"),
        *("O.E.M.", "Filled By O.E.M.", "INVALID", "Empty", "N/A", "XXXXXXXX", "....", "1234567890", "0x00000000"),
        *("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "03000200-0400-0500-0006-000700080009", "Not Settable"),
    ],
)
def test_a_placeholder_is_no_identity(text):
    assert clean(Identity(dmi_uuid=text, serial=text, board_serial=text)) == Identity()


@pytest.mark.parametrize("text", ["SN0001", "7", "CZ3012ABCD", "VMware-56 4d 1f", "ABC123456789", "PF-0000-1"])
def test_a_serial_number_is_no_placeholder(text):
    assert clean(Identity(serial=text)).serial == text


@given(identity=IDENTITIES)
def test_cleaning_twice_changes_nothing(identity):
    assert clean(clean(identity)) == clean(identity)


@given(identity=IDENTITIES, known=st.lists(IDENTITIES, max_size=4))
def test_the_order_in_which_machines_are_known_does_not_matter(identity, known):
    machines = [machine(f"m{place}", clean(each)) for place, each in enumerate(known)]
    assert best_match(machines, [], clean(identity)) == best_match(reversed(machines), [], clean(identity))


@given(seen=IDENTITIES, known=IDENTITIES)
def test_a_value_that_several_machines_share_counts_neither_for_nor_against(seen, known):
    seen, known = clean(seen), clean(known)
    shared = {*marks((), seen), *marks((), known)}
    assert score(machine("m1", known), frozenset(), seen, shared) == 0


@given(identity=IDENTITIES)
def test_identical_full_numbers_are_the_same_machine_and_any_known_one_fits_itself_best(identity):
    known = machine("m1", clean(identity), ("a",))
    assert best_match([known, machine("m2", Identity(), ("b",))], ["a"], clean(identity)).machine is known


def test_serial_numbers_that_two_known_machines_share_recognise_neither():
    known = [machine("m1", FULL, ("a",)), machine("m2", FULL, ("b",))]
    shared = set(marks((), FULL))
    assert best_match(known, ["z"], FULL, shared) is None
    assert best_match(known, ["b"], FULL, shared).machine.id == "m2"


@pytest.mark.parametrize("mac", ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"])
def test_a_mac_of_no_card_says_nothing(mac):
    assert not says_something(mac) and says_something("52:54:00:00:00:01")


def heard(ago):
    return replace(machine("m1", FULL, ("a",)), registered_at=NOW - ago)


def test_a_machine_with_a_mac_in_common_is_the_machine_itself():
    assert twin_reason(heard(timedelta(0)), ["a", "z"], True, NOW) == ""
    assert twin_reason(replace(heard(timedelta(0)), macs=()), ["z"], False, NOW) == ""


def test_a_machine_at_work_or_heard_of_a_moment_ago_has_a_twin():
    assert "running a job at this moment" in twin_reason(heard(SWAP_TIME), ["z"], True, NOW)
    assert "heard of 3 minutes ago" in twin_reason(heard(timedelta(minutes=3)), ["z"], False, NOW)
    assert "heard of 1 minute ago" in twin_reason(heard(timedelta(seconds=80)), ["z"], False, NOW)
    agent = AgentInfo(hello_at=NOW - timedelta(seconds=20))
    assert "less than a minute ago" in twin_reason(replace(heard(SWAP_TIME), agent=agent), ["z"], False, NOW)


def test_a_machine_that_is_up_and_only_waits_for_work_has_a_twin():
    asked = NOW - timedelta(minutes=2)
    assert "heard of 2 minutes ago" in twin_reason(heard(timedelta(days=9)), ["z"], False, NOW, asked)
    assert twin_reason(heard(timedelta(days=9)), ["z"], False, NOW, NOW - SWAP_TIME) == ""


def test_a_machine_not_heard_of_for_a_while_may_have_got_new_network_cards():
    assert twin_reason(heard(SWAP_TIME), ["z"], False, NOW) == ""
    assert twin_reason(machine("m1", FULL, ("a",)), ["z"], False, NOW) == ""


def test_a_clock_that_was_set_back_makes_no_twins():
    assert twin_reason(heard(timedelta(hours=-1)), ["z"], False, NOW) == ""
