"""The flight recorder: what was noted is found again, of each client the newest, also after a crash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioner.recording import Packet
from provisioner.store.recorder import FlightRecorder

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
CLIENT, ALL = ("0.0.0.0", 68), ("255.255.255.255", 67)
TOTAL = 1 << 20


def recorder(folder: Path, **options) -> FlightRecorder:
    return FlightRecorder(folder, options.pop("total_bytes", TOTAL), **options)


def note(kept: FlightRecorder, data: bytes, mac: str = MAC, now: float = 1.0, interface: str = "eth0") -> None:
    kept.keep("dhcp", now, mac, False, data, CLIENT, ALL, interface)


def datas(kept: FlightRecorder, mac: str = MAC) -> list[bytes]:
    return [packet.data for packet in kept.packets(mac)]


def test_a_packet_is_found_as_it_was(tmp_path):
    kept = recorder(tmp_path)
    kept.keep("dhcp6", 12.5, MAC, True, b"\1\2\3", ("fe80::1", 547, 0, 2), ("fe80::2", 546, 0, 2), "br0")
    kept.flush()
    assert kept.packets(MAC) == [
        Packet(
            time=12.5,
            protocol="dhcp6",
            mac=MAC,
            outgoing=True,
            interface="br0",
            source="fe80::1",
            source_port=547,
            destination="fe80::2",
            destination_port=546,
            data=b"\1\2\3",
        )
    ]
    kept.close()


def test_packets_of_others_are_left_out(tmp_path):
    kept = recorder(tmp_path)
    note(kept, b"mine")
    note(kept, b"theirs", OTHER)
    kept.flush()
    assert datas(kept) == [b"mine"]
    assert [packet.data for packet in kept.packets()] == [b"mine", b"theirs"]
    kept.close()


def test_packets_before_the_time_asked_for_are_left_out(tmp_path):
    kept = recorder(tmp_path)
    note(kept, b"old", now=1.0)
    note(kept, b"new", now=2.0)
    kept.flush()
    assert [packet.data for packet in kept.packets(MAC, since=2.0)] == [b"new"]
    kept.close()


def test_of_each_client_only_the_newest_are_shown(tmp_path):
    kept = recorder(tmp_path, per_client=2)
    for each in (b"1", b"2", b"3"):
        note(kept, each)
    note(kept, b"other", OTHER)
    kept.flush()
    assert datas(kept) == [b"2", b"3"]
    assert datas(kept, OTHER) == [b"other"]
    kept.close()


def test_packets_survive_a_restart(tmp_path):
    first = recorder(tmp_path)
    note(first, b"before")
    first.close()
    second = recorder(tmp_path)
    note(second, b"after", interface="eth1")
    second.flush()
    assert [(packet.interface, packet.data) for packet in second.packets(MAC)] == [
        ("eth0", b"before"),
        ("eth1", b"after"),
    ]
    second.close()


@given(cut=st.integers(1, 60))
def test_a_record_torn_by_a_crash_costs_only_itself(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("recorder")
    first = recorder(folder)
    note(first, b"whole")
    note(first, b"t" * 40)
    first.close()
    size = (folder / "recent").stat().st_size
    os.truncate(folder / "recent", size - cut)
    second = recorder(folder)
    note(second, b"after")
    second.flush()
    assert datas(second) == [b"whole", b"after"]
    second.close()


def test_a_merge_keeps_the_newest_of_each_client(tmp_path):
    kept = recorder(tmp_path, per_client=2, merge_bytes=1, merge_seconds=0.0)
    note(kept, b"quiet", OTHER)
    kept.flush()
    for number in range(5):
        note(kept, b"%d" % number, now=10.0 + number)
        kept.flush()
    kept.close()
    again = recorder(tmp_path, per_client=2)
    assert datas(again) == [b"3", b"4"]
    assert datas(again, OTHER) == [b"quiet"]
    again.close()


def test_a_merge_that_has_no_room_forgets_who_was_heard_longest_ago(tmp_path):
    kept = recorder(tmp_path, total_bytes=200, merge_bytes=1, merge_seconds=0.0)
    note(kept, b"a" * 100, OTHER)
    note(kept, b"b" * 100, MAC)
    kept.flush()
    kept.close()
    again = recorder(tmp_path)
    assert datas(again, OTHER) == []
    assert datas(again) == [b"b" * 100]
    again.close()


def test_a_merge_cut_short_is_made_up_for_by_the_next(tmp_path):
    first = recorder(tmp_path)
    note(first, b"rotated")
    first.close()
    (tmp_path / "recent").rename(tmp_path / "rotated")
    second = recorder(tmp_path)
    assert datas(second) == [b"rotated"]
    second.merge()
    assert not (tmp_path / "rotated").exists()
    assert datas(second) == [b"rotated"]
    second.close()


def test_a_spoilt_record_costs_only_the_packets_that_came_its_way(tmp_path):
    first = recorder(tmp_path)
    note(first, b"spoilt", interface="eth0")
    note(first, b"whole", OTHER, interface="eth1")
    first.close()
    content = (tmp_path / "recent").read_bytes()
    (tmp_path / "kept").write_bytes(content.replace(b'"eth0"', b'\xff\xfe##0"', 1).replace(MAC.encode(), b"\xff" * 17))
    (tmp_path / "recent").unlink()
    second = recorder(tmp_path)
    second.merge()
    assert [packet.data for packet in second.packets()] == [b"whole"]
    second.close()


def test_what_was_noted_is_merged_also_when_the_clock_was_set_back(tmp_path):
    kept = recorder(tmp_path, merge_bytes=1)
    for now in (10_000.0, 5_000.0):
        note(kept, b"%d" % now, now=now)
        kept.flush()
        if kept._merging is not None:
            kept._merging.join()
    assert (tmp_path / "recent").stat().st_size == 0
    kept.close()


def test_many_routes_do_not_mix(tmp_path):
    kept = recorder(tmp_path)
    for number in range(5000):
        kept.keep(
            "dhcp", 1.0, f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}", False, b"x", ("a", number), ALL, "e"
        )
    kept.flush()
    for packet in kept.packets():
        high, low = packet.mac.split(":")[4:]
        assert packet.source_port == int(high, 16) << 8 | int(low, 16)
    kept.close()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    place = tmp_path / "file"
    place.write_text("not a folder")
    with pytest.raises(OSError):
        recorder(place)
