"""By which address a client came: its Host header if that makes sense, else the socket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.conductor.boot_context import Reached
from provisioner.services.reach import client_of, reached_by

V4, V6 = ("10.0.0.1", 8091), ("fd00::1", 8091, 0, 0)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.1:8091", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("boot.example.org:80", "boot.example.org"),
        ("[::1]:8091", "::1"),
        ("[fd00::12]", "fd00::12"),
    ],
)
def test_what_the_client_says_counts(host: str, address: str) -> None:
    assert reached_by(host, V4) == Reached(address, f"http://{host}")


@pytest.mark.parametrize(
    "host",
    ["", " ", "::1", "[::1", "[10.0.0.1]", "[zz::1]", "a b", "x\r\ny", 'x" onload', "host:0", "host:99999", "h:", "a/b",
     "user@host", "-x", "h" * 300, "[fe80::1%eth0]:80", "äöü"],
)  # fmt: skip
def test_nonsense_is_left_for_the_address_of_the_socket(host: str) -> None:
    assert reached_by(host, V4) == Reached("10.0.0.1", "http://10.0.0.1:8091")


@pytest.mark.parametrize(
    ("local", "reached"),
    [
        (V6, Reached("fd00::1", "http://[fd00::1]:8091")),
        (("fe80::1%eth0", 80, 0, 2), Reached("fe80::1", "http://[fe80::1]:80")),
        (("::ffff:10.0.0.1", 80, 0, 0), Reached("10.0.0.1", "http://10.0.0.1:80")),
        (None, Reached("localhost", "http://localhost:80")),
    ],
)
def test_the_socket_tells_where_a_connection_ends(local: object, reached: Reached) -> None:
    assert reached_by("", local) == reached


@given(st.text())
def test_whatever_a_client_says_nothing_strange_gets_into_a_url(host: str) -> None:
    assert not set(reached_by(host, V4).url) & set(" \t\r\n\"'`$<>\\{}|")


@pytest.mark.parametrize(
    ("peer", "client"),
    [(("10.0.0.9", 1), "10.0.0.9"), (("::ffff:10.0.0.9", 1, 0, 0), "10.0.0.9"), (("fd00::9", 1, 0, 0), "fd00::9"),
     (None, ""), ((), ""), ("/run/socket", "")],
)  # fmt: skip
def test_the_other_end_has_one_name_however_it_came(peer: object, client: str) -> None:
    assert client_of(peer) == client
