"""Make a disk image bootable by BIOS: put GRUB's boot sector into the MBR and its core into the bios_grub partition.

Usage: bios_boot.py IMAGE BOOT_IMG CORE_IMG FIRST_SECTOR SECTORS, where the partition has SECTORS sectors from
FIRST_SECTOR on. This is what grub-bios-setup does, but on a file: no loop device, no rights, no look at the host's
disks. The offsets are those of GRUB 2's include/grub/i386/pc/boot.h and grub-core/boot/i386/pc/diskboot.S.
"""

import struct
import sys
from pathlib import Path

SECTOR = 512
# boot.img: 64-bit number of the sector that holds the core.
KERNEL_SECTOR = 0x5C
# boot.img: a jump that trusts the drive number in DL. Two NOPs instead make it ignore what broken BIOSes pass.
DRIVE_CHECK = 0x66
NOPS = b"\x90\x90"
# The MBR's code ends where the disk signature and the protective partition table begin.
CODE_END = 440
# core.img, first sector: its last block list says where the rest is: 64-bit sector, 16-bit length, 16-bit segment.
BLOCK_LIST = SECTOR - 12


def boot_sector(boot: bytes, core_sector: int) -> bytes:
    """The code part of the MBR, loading the core from `core_sector`."""
    code = bytearray(boot[:CODE_END])
    code[KERNEL_SECTOR : KERNEL_SECTOR + 8] = struct.pack("<Q", core_sector)
    code[DRIVE_CHECK : DRIVE_CHECK + 2] = NOPS
    return bytes(code)


def placed_core(core: bytes, core_sector: int) -> bytes:
    """The core, told that the rest of it follows its first sector."""
    placed = bytearray(core)
    placed[BLOCK_LIST : BLOCK_LIST + 8] = struct.pack("<Q", core_sector + 1)
    return bytes(placed)


def main(image: Path, boot: Path, core: Path, first_sector: int, sectors: int) -> int:
    """Write both parts into the image; 1 when the core does not fit, and then nothing is written."""
    if core.stat().st_size > sectors * SECTOR:
        print(f"{core} has {core.stat().st_size} bytes, the partition {sectors * SECTOR}", file=sys.stderr)
        return 1
    with image.open("r+b") as disk:
        disk.write(boot_sector(boot.read_bytes(), first_sector))
        disk.seek(first_sector * SECTOR)
        disk.write(placed_core(core.read_bytes(), first_sector))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
