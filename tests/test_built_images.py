"""What the virtual machines boot is built beside the other tests (see `make test`); here its end is waited for.

By its place in RACK_FILES (tests/conftest.py) it comes before whatever boots an image.
"""

from __future__ import annotations

import subprocess

import pytest

from tests.journey import FILES, REPOSITORY

pytestmark = [pytest.mark.rack, pytest.mark.timeout(1500)]

NEEDED = (
    "ipxe/snponly.efi",
    "shim/shimx64.efi",
    "shim/grubx64.efi",
    "discovery/vmlinuz",
    "discovery/initrd.img",
    "images/debian-12.img.zst",
)


def test_everything_that_machines_boot_is_built() -> None:
    # Each script waits for another run of itself, and does nothing when what it makes is there.
    made = subprocess.run(
        ["make", "--no-print-directory", "-j3", "quick-images"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert [name for name in NEEDED if not (FILES / name).exists()] == []
