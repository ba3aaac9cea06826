"""Whose turn it is among the boot loaders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.boot_attempts import BootAttempts, Turn
from provisioner.firmware import BootClient, ClientKind

NAMES = ("snponly", "ipxe", "shim")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def client(xid, *, begins, mac="52:54:00:00:00:01", kind=ClientKind.PXE):
    return BootClient(kind, 7, mac, xid=xid, begins=begins)


def boot(attempts, xid, **fields):
    """One boot of firmware: it begins, and is given what it was offered."""
    turn = attempts.turn(client(xid, begins=True, **fields), NAMES, NOW)
    attempts.turn(client(xid, begins=False, **fields), NAMES, NOW)
    return turn


@pytest.fixture
def attempts():
    return BootAttempts(most=3)


def test_the_second_failure_in_a_row_is_the_nexts_turn(attempts):
    turns = [boot(attempts, xid) for xid in range(7)]
    assert [turn.loader for turn in turns] == ["snponly"] * 2 + ["ipxe"] * 2 + ["shim"] * 2 + ["snponly"]
    assert [turn.failed for turn in turns] == ["", "", "snponly", "", "ipxe", "", "shim"]


def test_a_loader_that_is_heard_of_begins_to_count_anew(attempts):
    for xid in range(9):
        assert boot(attempts, xid) == Turn("snponly")
        attempts.loaded("52:54:00:00:00:01")


def test_what_was_offered_and_not_taken_is_no_failure(attempts):
    assert {attempts.turn(client(xid, begins=True), NAMES, NOW) for xid in range(9)} == {Turn("snponly")}


def test_the_same_attempt_repeated_is_no_failure(attempts):
    boot(attempts, 1)
    assert {boot(attempts, 1) for _ in range(9)} == {Turn("snponly")}


def test_other_loaders_begin_with_their_first(attempts):
    for xid in range(3):
        boot(attempts, xid)
    assert attempts.turn(client(9, begins=True), ("grub",), NOW) == Turn("grub")


def anew(attempts, seconds, xid=2):
    return attempts.turn(client(xid, begins=True), NAMES, NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("file", "seconds", "turn"),
    [
        ("ipxe/snponly.efi", 19, Turn("ipxe", "snponly", 1)),
        ("ipxe/snponly.efi", 20, Turn("snponly")),
        ("ipxe/snponly.efi", -1, Turn("snponly")),
        ("ipxe/ipxe.efi", 1, Turn("snponly")),
        ("vmlinuz", 1, Turn("snponly")),
    ],
)
def test_firmware_that_fetched_its_loader_whole_and_begins_anew_at_once_has_refused_it(attempts, file, seconds, turn):
    boot(attempts, 1)
    attempts.fetched("52:54:00:00:00:01", file, NOW)
    assert anew(attempts, seconds) == turn


def test_what_was_fetched_and_came_up_is_no_failure(attempts):
    boot(attempts, 1)
    attempts.fetched("52:54:00:00:00:01", "ipxe/snponly.efi", NOW)
    attempts.loaded("52:54:00:00:00:01")
    assert anew(attempts, 1) == Turn("snponly")


def test_firmware_that_only_repeats_itself_after_its_loader_refused_nothing(attempts):
    boot(attempts, 1)
    attempts.fetched("52:54:00:00:00:01", "ipxe/snponly.efi", NOW)
    assert anew(attempts, 1, xid=1) == Turn("snponly")


def test_what_was_fetched_before_it_was_given_counts_for_nothing(attempts):
    attempts.fetched("52:54:00:00:00:01", "ipxe/snponly.efi", NOW)
    boot(attempts, 1)
    assert anew(attempts, 1) == Turn("snponly")


def test_a_single_loader_is_kept_to_though_it_is_refused(attempts):
    for xid in range(3):
        attempts.turn(client(xid, begins=True), ("shim",), NOW)
        attempts.turn(client(xid, begins=False), ("shim",), NOW)
        attempts.fetched("52:54:00:00:00:01", "shim/shimx64.efi", NOW)
    assert attempts.turn(client(9, begins=True), ("shim",), NOW) == Turn("shim")


def test_pxe_and_http_of_one_machine_are_counted_apart(attempts):
    for xid in range(2):
        boot(attempts, xid)
    assert boot(attempts, 2, kind=ClientKind.HTTP) == Turn("snponly")
    assert boot(attempts, 3) == Turn("ipxe", "snponly", 2)


@pytest.mark.parametrize(("first", "then"), [(ClientKind.PXE, ClientKind.HTTP), (ClientKind.HTTP, ClientKind.PXE)])
def test_firmware_that_goes_on_at_once_to_its_other_way_has_refused_what_it_fetched(attempts, first, then):
    boot(attempts, 1, kind=first)
    attempts.fetched("52:54:00:00:00:01", "ipxe/snponly.efi", NOW)
    assert boot(attempts, 2, kind=then) == Turn("ipxe", "snponly", 1)
    assert boot(attempts, 3, kind=then) == Turn("ipxe")
    assert attempts.turn(client(4, begins=True, kind=first), NAMES, NOW + timedelta(hours=1)) == Turn(
        "ipxe", "snponly", 1
    )


@pytest.mark.parametrize(("file", "seconds"), [("ipxe/snponly.efi", 20), ("vmlinuz", 1)])
def test_firmware_that_goes_on_later_or_without_its_loader_refused_nothing(attempts, file, seconds):
    boot(attempts, 1)
    attempts.fetched("52:54:00:00:00:01", file, NOW)
    later = NOW + timedelta(seconds=seconds)
    assert attempts.turn(client(2, begins=True, kind=ClientKind.HTTP), NAMES, later) == Turn("snponly")


def test_a_refusal_that_is_known_only_when_firmware_repeats_itself_counts_as_well(attempts):
    boot(attempts, 1)
    repeated = client(2, begins=True, kind=ClientKind.HTTP)
    assert attempts.turn(repeated, NAMES, NOW) == Turn("snponly")
    attempts.fetched("52:54:00:00:00:01", "ipxe/snponly.efi", NOW)
    assert attempts.turn(repeated, NAMES, NOW) == Turn("ipxe", "snponly", 1)


def test_what_came_up_was_not_refused_for_another_way(attempts):
    boot(attempts, 1)
    attempts.fetched("52:54:00:00:00:01", "ipxe/snponly.efi", NOW)
    attempts.loaded("52:54:00:00:00:01")
    assert boot(attempts, 2, kind=ClientKind.HTTP) == Turn("snponly")


def test_the_longest_silent_is_forgotten(attempts):
    for xid in range(3):
        boot(attempts, xid)
    for number in range(2, 5):
        boot(attempts, 1, mac=f"52:54:00:00:00:0{number}")
    assert boot(attempts, 9) == Turn("snponly")


def test_nobody_has_been_heard_of_before_anybody_asked(attempts):
    attempts.loaded("52:54:00:00:00:01")
    assert boot(attempts, 1) == Turn("snponly")


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), max_size=60))
def test_whatever_is_said_it_is_the_turn_of_one_of_them(history):
    attempts = BootAttempts()
    for xid, begins, loaded in history:
        turn = attempts.turn(client(xid, begins=begins), NAMES, NOW)
        assert turn.loader in NAMES and turn.failed in ("", *NAMES) and turn.failed != turn.loader
        if loaded:
            attempts.loaded("52:54:00:00:00:01")
