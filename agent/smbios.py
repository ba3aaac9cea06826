"""Memory modules and other facts out of the raw SMBIOS table (DMTF DSP0134), so that no program is needed for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import unpack_from

from .identity import meaningful

TABLE_PATH = "sys/firmware/dmi/tables/DMI"
_HEADER_BYTES = 4
_MEMORY_DEVICE = 17
_END_OF_TABLE = 127
_MIB = 1024 * 1024

# Section 7.18.2, those that are met.
_MEMORY_TYPES = {
    0x07: "RAM", 0x0F: "SDRAM", 0x12: "DDR", 0x13: "DDR2", 0x14: "DDR2 FB-DIMM", 0x18: "DDR3", 0x1A: "DDR4",
    0x1B: "LPDDR", 0x1C: "LPDDR2", 0x1D: "LPDDR3", 0x1E: "LPDDR4", 0x1F: "NVDIMM", 0x20: "HBM", 0x21: "HBM2",
    0x22: "DDR5", 0x23: "LPDDR5", 0x24: "HBM3",
}  # fmt: skip


@dataclass(frozen=True)
class Structure:
    """One structure of the table: its formatted part (header included) and its strings."""

    kind: int
    data: bytes
    strings: tuple[str, ...]

    def byte(self, offset: int) -> int:
        """0 where the structure is too old to have it."""
        return self.data[offset] if offset < len(self.data) else 0

    def word(self, offset: int) -> int:
        """0 where the structure is too old to have it."""
        return int(unpack_from("<H", self.data, offset)[0]) if offset + 2 <= len(self.data) else 0

    def double_word(self, offset: int) -> int:
        """0 where the structure is too old to have it."""
        return int(unpack_from("<I", self.data, offset)[0]) if offset + 4 <= len(self.data) else 0

    def text(self, offset: int) -> str:
        """The string whose number stands at the offset; "" for none and for junk."""
        number = self.byte(offset)
        return meaningful(self.strings[number - 1]) if 0 < number <= len(self.strings) else ""


def structures(table: bytes) -> Iterator[Structure]:
    """All structures up to the end of the table, or to where it stops making sense."""
    position = 0
    while position + _HEADER_BYTES <= len(table):
        kind, length = table[position], table[position + 1]
        end_of_strings = table.find(b"\0\0", position + length)
        if length < _HEADER_BYTES or end_of_strings < 0:
            return
        raw = table[position + length : end_of_strings]
        strings = tuple(text.decode("latin-1") for text in raw.split(b"\0")) if raw else ()
        yield Structure(kind, table[position : position + length], strings)
        if kind == _END_OF_TABLE:
            return
        position = end_of_strings + 2


def memory_modules(table: bytes) -> list[dict[str, object]]:
    """The slots that hold a module (section 7.18)."""
    return [
        {
            "slot": device.text(0x10),
            "bank": device.text(0x11),
            "size_bytes": size,
            "type": _MEMORY_TYPES.get(device.byte(0x12), ""),
            "speed_mts": device.word(0x20) or device.word(0x15),
            "vendor": device.text(0x17),
            "part": device.text(0x1A),
            "serial": device.text(0x18),
        }
        for device in structures(table)
        if device.kind == _MEMORY_DEVICE and (size := _memory_bytes(device))
    ]


def _memory_bytes(device: Structure) -> int:
    size = device.word(0x0C)
    if size in (0, 0xFFFF):  # empty, unknown
        return 0
    if size == 0x7FFF:  # too large for this field
        return (device.double_word(0x1C) & 0x7FFFFFFF) * _MIB
    return (size & 0x7FFF) * 1024 if size & 0x8000 else size * _MIB
