"""Memory modules out of a raw SMBIOS table."""

from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.smbios import memory_modules, structures

END = pack("<BBH", 127, 4, 0xFEFF) + b"\0\0"


def structure(kind: int, body: bytes, *strings: str) -> bytes:
    texts = b"".join(text.encode("latin-1") + b"\0" for text in strings) or b"\0"
    return pack("<BBH", kind, 4 + len(body), 0x1100) + body + texts + b"\0"


def module(size: int, *, extended: int = 0, kind: int = 0x1A, speed: int = 2933, configured: int = 2666) -> bytes:
    """A type 17 structure of SMBIOS 2.8 (40 bytes)."""
    body = pack(
        "<HHHHHBBBBBHHBBBBBIHHHH",
        0,
        0,
        72,
        64,
        size,
        9,
        0,
        1,
        2,
        kind,
        0,
        speed,
        3,
        4,
        0,
        5,
        1,
        extended,
        configured,
        0,
        0,
        0,
    )
    return structure(17, body, "DIMM_A1", "BANK 0", "Samsung", "  38F1A2B3 ", "M393A4K40CB2-CVF  ")


def test_a_module() -> None:
    assert memory_modules(module(32 * 1024 - 2) + END) == [
        {
            "slot": "DIMM_A1",
            "bank": "BANK 0",
            "size_bytes": (32 * 1024 - 2) << 20,
            "type": "DDR4",
            "speed_mts": 2666,
            "vendor": "Samsung",
            "part": "M393A4K40CB2-CVF",
            "serial": "38F1A2B3",
        }
    ]


@pytest.mark.parametrize(
    ("table", "size"),
    [
        (module(0x7FFF, extended=64 * 1024), 64 << 30),
        (module(0x8000 | 512), 512 * 1024),
        (module(16384), 16 << 30),
    ],
)
def test_sizes_come_in_three_forms(table: bytes, size: int) -> None:
    assert memory_modules(table)[0]["size_bytes"] == size


@pytest.mark.parametrize("size", [0, 0xFFFF])
def test_empty_and_unknown_slots_are_left_out(size: int) -> None:
    assert memory_modules(module(size) + module(1024) + END)[0]["size_bytes"] == 1 << 30


def test_a_module_that_does_not_tell_its_configured_speed_tells_its_highest() -> None:
    assert memory_modules(module(1024, configured=0))[0]["speed_mts"] == 2933


def test_a_structure_of_an_old_version_has_fewer_fields() -> None:
    short = structure(17, pack("<HHHHHBBBBBH", 0, 0, 72, 64, 1024, 9, 0, 1, 0, 0x13, 0), "DIMM0")
    assert memory_modules(short)[0] == {
        "slot": "DIMM0",
        "bank": "",
        "size_bytes": 1 << 30,
        "type": "DDR2",
        "speed_mts": 0,
        "vendor": "",
        "part": "",
        "serial": "",
    }


def test_other_structures_and_what_follows_the_end_are_passed_over() -> None:
    table = structure(1, bytes(8), "Dell Inc.") + structure(2, b"") + module(1024) + END + module(2048)
    assert [each.kind for each in structures(table)] == [1, 2, 17, 127]
    assert len(memory_modules(table)) == 1


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(table: bytes) -> None:
    memory_modules(table)


@settings(deadline=None)
@given(st.integers(0, 200))
def test_a_table_that_breaks_off_gives_what_was_whole(length: int) -> None:
    whole = module(1024) + module(2048) + END
    assert len(memory_modules(whole[:length])) <= 2
