"""Packets to bytes and back."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from provisioner.recording import Packet
from provisioner.store.packet_records import encoded, newest_of_each, newest_since, packets_in, read, whole_length

PACKET = Packet(1.0, "dhcp", "52:54:00:00:00:01", False, "eth0", "0.0.0.0", 68, "255.255.255.255", 67, b"discover")
OTHER = replace(PACKET, time=2.0, mac="52:54:00:00:00:02", outgoing=True, data=b"offer")


def test_what_was_written_is_read():
    assert list(packets_in(encoded([PACKET, OTHER]), "")) == [PACKET, OTHER]


def test_of_one_client_only():
    assert list(packets_in(encoded([PACKET, OTHER]), OTHER.mac)) == [OTHER]


@pytest.mark.parametrize("cut", [1, 5, len(PACKET.data) + 10])
def test_a_torn_end_is_no_record(cut):
    content, whole = encoded([PACKET, OTHER]), encoded([PACKET])
    assert list(packets_in(content[:-cut], "")) == [PACKET]
    assert whole_length(content[:-cut]) >= len(whole)


def test_a_letter_that_begins_no_record_ends_all():
    content = encoded([PACKET])
    assert whole_length(content + b"X" * 100) == len(content)


def test_of_each_client_the_newest_are_kept():
    several = [replace(PACKET, time=float(time)) for time in range(5)]
    assert newest_of_each([*several, OTHER], 2, 1_000_000) == [OTHER, *several[-2:]]


def test_when_there_is_no_room_who_was_heard_last_is_kept():
    assert newest_of_each([PACKET, OTHER], 2, 50) == [OTHER]


def test_what_is_asked_for_since_a_time_comes_in_its_order():
    contents = [encoded([OTHER]), encoded([PACKET, replace(PACKET, time=3.0)])]
    assert [packet.time for packet in newest_since(contents, "", 0.0, 5)] == [1.0, 2.0, 3.0]
    assert [packet.time for packet in newest_since(contents, PACKET.mac, 2.0, 5)] == [3.0]
    assert [packet.time for packet in newest_since(contents, "", 0.0, 1)] == [2.0, 3.0]


def test_a_file_that_is_not_there_holds_none(tmp_path):
    assert list(read(tmp_path / "kept")) == []
