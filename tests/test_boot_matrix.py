"""The boot matrix on real firmware: every way to boot from the network, from power-on to the hello of our agent.

Each scenario is one machine with OVMF's or SeaBIOS's own network stack; what they are is data in tests/boot_matrix.py.
Ways that are slow or seldom run only when asked for (root, package ovmf-ia32; a quarter of an hour when emulated):

    python -m pytest -m firmware tests/test_boot_matrix.py
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from tests.boot_matrix import BROKEN_FILES, MORE, PLAIN, SCENARIOS, Scenario, Walk, site_of, unread, walk_all
from tests.journey import FILES, REPOSITORY
from tests.peers.programs import missing, program
from tests.rack.firmware import FLASH, Firmware
from tests.rack.programs import problems

FOLDER = REPOSITORY / "build" / "boot-matrix"
MORE_FOLDER = BROKEN_FILES.parent
PASSWORD = "only for this test"
NEEDED = ("discovery/vmlinuz", "discovery/initrd.img", "ipxe/snponly.efi", "shim/shimx64.efi", "shim/grubx64.efi")

pytestmark = [
    pytest.mark.rack,
    pytest.mark.timeout(1800),
    pytest.mark.asyncio(loop_scope="module"),
]
each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
each_of_more = pytest.mark.parametrize("scenario", MORE, ids=lambda scenario: scenario.name)


def check_that_all_is_there(scenarios: Sequence[Scenario]) -> None:
    """Fail in CI, skip elsewhere, when a program, a firmware or a boot file is missing."""
    program("dnsmasq", "dnsmasq-base")
    flashes = [FLASH[scenario.firmware] for scenario in scenarios]
    images = sorted({path for flash in flashes if flash for path in (flash.code, flash.variables)})
    wanting = problems() + [f"{path} is missing: install ovmf, ovmf-ia32" for path in images if not path.exists()]
    wanting += [
        f"{name} is not built: make boot-files discovery-image" for name in NEEDED if not (FILES / name).exists()
    ]
    if wanting:
        missing("; ".join(wanting))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def walks() -> AsyncIterator[dict[str, Walk]]:
    """All scenarios, once; the tests below look at what they left."""
    check_that_all_is_there(SCENARIOS)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    yield await walk_all(SCENARIOS, FOLDER, PASSWORD)


@each_scenario
async def test_the_machine_comes_to_the_hello_of_our_agent(walks: dict[str, Walk], scenario: Scenario) -> None:
    walk = walks[scenario.name]
    assert not walk.failure
    assert walk.record["agent"]["bootenv"] == "discovery"


@each_scenario
async def test_the_timeline_tells_the_way_it_came(walks: dict[str, Walk], scenario: Scenario) -> None:
    walk = walks[scenario.name]
    seen = [(event["kind"], event["key"], event["data"].get("firmware", "")) for event in walk.events]
    assert unread(scenario, walk.events) is None, seen


@each_scenario
async def test_the_address_is_of_the_network_it_booted_from(walks: dict[str, Walk], scenario: Scenario) -> None:
    assert walks[scenario.name].record["address"].startswith(scenario.setting.network_prefix)


@each_scenario
async def test_secure_boot_is_as_the_firmware_has_it(walks: dict[str, Walk], scenario: Scenario) -> None:
    boot = walks[scenario.name].record["inventory"]["boot"]
    assert boot["secure_boot"] is scenario.secure_boot
    assert boot["mac"] == walks[scenario.name].record["macs"][0]


async def test_beside_another_dhcp_server_no_address_is_ours(walks: dict[str, Walk]) -> None:
    kinds = {event["kind"] for name in ("proxy-bios", "proxy-uefi") for event in walks[name].events}
    assert not kinds & {"dhcp.offer", "dhcp.ack", "dhcp.nak"}


# --- only when asked for --------------------------------------------------------------------------------------------


def break_a_loader(files: Path) -> None:
    """A tree of boot files like ours, but for half an iPXE."""
    shutil.copytree(FILES, files, copy_function=os.link)
    loader = files / "ipxe" / "snponly.efi"
    whole = loader.read_bytes()
    loader.unlink()
    loader.write_bytes(whole[: len(whole) // 2])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def more() -> AsyncIterator[dict[str, Walk]]:
    """The further scenarios, once."""
    check_that_all_is_there(MORE)
    shutil.rmtree(MORE_FOLDER, ignore_errors=True)
    break_a_loader(BROKEN_FILES)
    yield await walk_all(MORE, MORE_FOLDER, PASSWORD)


@pytest.mark.firmware
@pytest.mark.timeout(1800)
@each_of_more
async def test_further_ways_come_to_the_hello_of_our_agent_as_well(more: dict[str, Walk], scenario: Scenario) -> None:
    walk = more[scenario.name]
    assert not walk.failure
    assert unread(scenario, walk.events) is None
    assert walk.record["inventory"]["boot"]["secure_boot"] is scenario.secure_boot


def install(disk: Path) -> None:
    """What `image-write` leaves on a disk."""
    raw = disk.with_suffix(".raw")
    with raw.open("wb") as image:
        subprocess.run(
            ["zstd", "-q", "-d", "-c", str(FILES / "images" / "debian-12.img.zst")], stdout=image, check=True
        )
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(disk)], check=True)
    raw.unlink()


@pytest.mark.firmware
async def test_grub_starts_the_system_on_the_disk_with_secure_boot_on(tmp_path: Path) -> None:
    scenario = Scenario("from-disk", Firmware.UEFI_SECURE, PLAIN, ())
    check_that_all_is_there([scenario])
    disk = tmp_path / PLAIN.name / "rack" / scenario.name / "disk.qcow2"
    disk.parent.mkdir(parents=True)
    install(disk)
    async with site_of(PLAIN, [scenario], tmp_path, PASSWORD) as site:
        machine = site.machines[scenario.name]
        known = {"name": scenario.name, "macs": [machine.mac], "params": {"boot/loader": "shim"}, "bootenv": "local"}
        await site.call("POST", "/api/v1/machines", known)
        await asyncio.to_thread(site.rack.ipmitool, machine, "power", "on")
        await site.wait_event("boot.local", machine.mac)
        await asyncio.to_thread(machine.wait_for, lambda _: "login:" in machine.serial_text(), 300)
