"""Tickets: what was signed is read back, and nothing else is."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.tickets import LETTERS, LIFETIME, NONCE_BYTES, Ticket, Tickets

NOW = datetime(2026, 1, 1, 12, 0, 0, 123000, tzinfo=UTC)
MAC = "52:54:00:00:00:01"
NONCE = bytes(NONCE_BYTES)
OLD, NEW = b"old" * 10, b"new" * 10


def test_what_is_made_is_read_back():
    assert Tickets([NEW]).read(Tickets([NEW]).make(MAC, NOW, NONCE)) == Ticket(MAC, NOW)


def test_a_ticket_fits_into_a_word_of_a_kernels_command_line():
    made = Tickets([NEW]).make(MAC, NOW, b"\xff" * NONCE_BYTES)
    assert len(made) == LETTERS and set(made) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def test_tickets_of_one_moment_differ_by_their_nonce():
    tickets = Tickets([NEW])
    assert tickets.make(MAC, NOW, NONCE) != tickets.make(MAC, NOW, b"\1" * NONCE_BYTES)


def test_an_older_key_still_recognises_its_tickets_and_a_lost_one_does_not():
    made = Tickets([OLD]).make(MAC, NOW, NONCE)
    assert Tickets([NEW, OLD]).read(made) is not None and Tickets([NEW]).read(made) is None
    assert Tickets([NEW]).read(Tickets([NEW, OLD]).make(MAC, NOW, NONCE)) is not None


@pytest.mark.parametrize("place", range(36))
def test_no_byte_of_a_ticket_can_be_changed(place):
    data = bytearray(urlsafe_b64decode(Tickets([NEW]).make(MAC, NOW, NONCE)))
    data[place] ^= 1
    assert Tickets([NEW]).read(urlsafe_b64encode(data).decode()) is None


@given(st.text(max_size=60))
def test_what_is_no_ticket_is_read_as_none(text):
    assert Tickets([NEW]).read(text) is None


@pytest.mark.parametrize("more", ["=", "\n", " ", "A"])
def test_a_ticket_has_one_way_to_be_written(more):
    made = Tickets([NEW]).make(MAC, NOW, NONCE)
    assert Tickets([NEW]).read(made + more) is None and Tickets([NEW]).read(more + made) is None


def test_a_ticket_is_good_for_half_an_hour_and_outlives_a_clock_that_is_set_back():
    ticket = Ticket(MAC, NOW)
    assert ticket.alive(NOW) and ticket.alive(NOW + LIFETIME - timedelta(seconds=1))
    assert not ticket.alive(NOW + LIFETIME)
    assert ticket.alive(NOW - timedelta(hours=10))
