"""An arm64 machine from power-on to our agent's hello, by PXE, the signed shim and GRUB. `make arm64` runs it.

All of it is emulated, instruction by instruction, so it stays out of the other tests.
"""

from __future__ import annotations

import shutil

import pytest

from tests.boot_matrix import ARM64, unread, walk_all
from tests.journey import FILES, REPOSITORY
from tests.peers.programs import missing, program
from tests.rack.firmware import FLASH
from tests.rack.programs import problems

FOLDER = REPOSITORY / "build" / "boot-arm64"
NEEDED = ("arm64/vmlinuz", "arm64/initrd.img", "shim/shimaa64.efi", "shim/grubaa64.efi")


def check_that_all_is_there() -> None:
    """Fail in CI, skip elsewhere, when something is missing."""
    program("qemu-system-aarch64", "qemu-system-arm")
    flash = FLASH[ARM64.firmware]
    assert flash is not None
    wanting = [str(path) for path in (flash.code, *(FILES / name for name in NEEDED)) if not path.exists()] + problems()
    if wanting:
        missing(f"missing: {', '.join(wanting)}; make arm64 brings it")


@pytest.mark.arm64
@pytest.mark.rack
@pytest.mark.timeout(900)
@pytest.mark.asyncio
async def test_an_arm64_machine_comes_to_the_hello_of_our_agent() -> None:
    check_that_all_is_there()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    walk = (await walk_all([ARM64], FOLDER, "only for this test"))[ARM64.name]
    assert not walk.failure
    assert walk.record["arch"] == "arm64"
    assert walk.record["agent"]["bootenv"] == "arm64"
    assert unread(ARM64, walk.events) is None
