"""LLDP: frames read, and neighbours heard."""

import os
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.lldp import listen, parse
from tests.fakes.agent_parts import FakeClock

HEAD = bytes.fromhex("0180c200000e00112233445588cc")


def element(kind: int, value: bytes) -> bytes:
    return pack(">H", kind << 9 | len(value)) + value


CHASSIS = element(1, b"\x04" + bytes.fromhex("001122334455"))
PORT = element(2, b"\x05Ethernet1/7")
TTL = element(3, b"\x00\x78")
END = element(0, b"")


def test_a_switch_says_who_it_is_and_which_port() -> None:
    names = element(4, b"rack 3") + element(5, b"leaf-1") + element(6, b"Some OS 1.2\r\n")
    assert parse(HEAD + CHASSIS + PORT + TTL + names + END) == {
        "chassis": "00:11:22:33:44:55",
        "port": "Ethernet1/7",
        "port_description": "rack 3",
        "system_name": "leaf-1",
        "system_description": "Some OS 1.2",
    }


@pytest.mark.parametrize(
    ("chassis", "port", "expected"),
    [
        (b"\x05\x01\x0a\x00\x00\x01", b"\x03" + bytes.fromhex("001122334455"), ("10.0.0.1", "00:11:22:33:44:55")),
        (b"\x07leaf-1", b"\x04\x01\x0a\x00\x00\x02", ("leaf-1", "10.0.0.2")),
        (b"\x07leaf-\xff", b"\x07" + b"7", ("leaf-\ufffd", "7")),
    ],
)
def test_ids_come_in_several_forms(chassis: bytes, port: bytes, expected: tuple[str, str]) -> None:
    found = parse(HEAD + element(1, chassis) + element(2, port) + TTL + END)
    assert found is not None
    assert (found["chassis"], found["port"]) == expected


@pytest.mark.parametrize(
    "frame",
    [b"", HEAD, HEAD[:12] + b"\x08\x00" + CHASSIS + PORT, HEAD + CHASSIS + END + PORT, HEAD + element(1, b"") + PORT],
)
def test_what_is_not_lldp_is_nobody(frame: bytes) -> None:
    assert parse(frame) is None


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    parse(HEAD + data)


@settings(deadline=None)
@given(st.integers(0, 60))
def test_a_frame_that_breaks_off_is_read_without_an_error(length: int) -> None:
    parse((HEAD + CHASSIS + PORT + TTL)[:length])


def test_without_cards_or_rights_nothing_is_heard() -> None:
    assert listen([], 30.0, FakeClock()) == {}
    assert listen(["nosuch0"], 30.0, FakeClock()) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="listening needs root")
def test_the_time_to_listen_has_an_end() -> None:
    class Passing(FakeClock):
        def now(self) -> float:
            self.time += 15.0
            return self.time

    clock = Passing()
    assert listen(["lo"], 0.03, clock) == {}
