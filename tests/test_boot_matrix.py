"""The boot matrix on real firmware: every way to boot from the network, from power-on to the hello of our agent.

Each scenario is one machine with OVMF's or SeaBIOS's own network stack; what they are is data in tests/boot_matrix.py.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.boot_matrix import SCENARIOS, Scenario, Walk, unread, walk_all
from tests.journey import FILES, REPOSITORY
from tests.peers.programs import missing, program
from tests.rack.firmware import FLASH
from tests.rack.programs import problems

FOLDER = REPOSITORY / "build" / "boot-matrix"
PASSWORD = "only for this test"
NEEDED = ("discovery/vmlinuz", "discovery/initrd.img", "ipxe/snponly.efi", "shim/shimx64.efi", "shim/grubx64.efi")

pytestmark = [
    pytest.mark.rack,
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="module"),
]
each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


def check_that_all_is_there() -> None:
    """Fail in CI, skip elsewhere, when a program, a firmware or a boot file is missing."""
    program("dnsmasq", "dnsmasq-base")
    flashes = [FLASH[scenario.firmware] for scenario in SCENARIOS]
    images = sorted({path for flash in flashes if flash for path in (flash.code, flash.variables)})
    wanting = problems() + [f"{path} is missing: install ovmf" for path in images if not path.exists()]
    wanting += [
        f"{name} is not built: make boot-files discovery-image" for name in NEEDED if not (FILES / name).exists()
    ]
    if wanting:
        missing("; ".join(wanting))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def walks() -> AsyncIterator[dict[str, Walk]]:
    """All scenarios, once; the tests below look at what they left."""
    check_that_all_is_there()
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
