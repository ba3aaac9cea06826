"""From one kernel to the next on a real machine: by kexec where that is allowed, by the firmware where it fails."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.journey import FILES, REPOSITORY, Site, discover, idle_after
from tests.rack.firmware import Firmware
from tests.rack.machine import Machine

FOLDER = REPOSITORY / "build" / "kexec"
PACK = Path(__file__).parent / "packs" / "kexec"

pytestmark = [pytest.mark.rack, pytest.mark.timeout(1200), pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Way:
    """What one workflow left: the machine's events and how often its firmware ran meanwhile, the log of its arrival."""

    events: list[dict[str, Any]] = field(default_factory=list)
    firmware_boots: int = 0
    log: str = ""

    def data(self, kind: str, name: str) -> list[Any]:
        """One piece of the data of each event of a kind."""
        return [event["data"].get(name) for event in self.events if event["kind"] == kind]


@dataclass
class Ways:
    """Both ways, and the job for which there was not enough memory."""

    kexec: Way
    broken: Way
    devour: dict[str, Any]


class Walk:
    """One machine that goes from environment to environment."""

    def __init__(self, site: Site) -> None:
        self.site = site
        (self.machine,) = site.machines.values()

    async def run(self) -> Ways:
        record = await discover(self.site, self.machine)
        await self.site.change(record, params={"agent/kexec": True})
        kexec = await self.go(record, "go-on")
        broken = await self.go(record, "go-on-broken")
        return Ways(kexec, broken, await self.devour(record))

    async def go(self, record: dict[str, Any], workflow: str) -> Way:
        """Play a workflow to its end."""
        boots = len(self.machine.state()["boots"])
        before = {event["id"] for event in await self.site.events(machine=record["id"])}
        await self.site.change(record, workflow=workflow)
        await self.site.wait_machine(self.machine, idle_after(workflow), f"the end of {workflow}")
        events = [event for event in await self.site.events(machine=record["id"]) if event["id"] not in before]
        job = (await self.site.jobs_of(record))[-1]
        log = (await self.site.log_of(job["id"])).decode()
        ran = len(self.machine.state()["boots"]) - boots
        return Way(events, ran, log)

    async def devour(self, record: dict[str, Any]) -> dict[str, Any]:
        """Let a script run out of memory; its job when that has ended."""
        await self.site.change(record, workflow="devour")
        job = await self.site.wait_job(record, "devour")
        while True:
            found: dict[str, Any] = await self.site.call("GET", f"/api/v1/jobs/{job}")
            if found["state"] not in ("created", "running"):
                return found
            await asyncio.sleep(0.2)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ways() -> AsyncIterator[Ways]:
    missing = [name for name in ("discovery/vmlinuz", "discovery/initrd.img") if not (FILES / name).exists()]
    assert not missing, f"{', '.join(missing)} not built: make discovery-image"
    shutil.rmtree(FOLDER, ignore_errors=True)
    site = Site(FOLDER, "only for this test", [Machine("kexec1", Firmware.BIOS, memory_mb=1024)], content=[PACK])
    async with site.up():
        yield await Walk(site).run()


async def test_the_next_kernel_starts_without_the_firmware(ways: Ways) -> None:
    assert ways.kexec.firmware_boots == 0
    # No firmware asked for an address, no script was fetched and no boot program: the agent was handed its kernel.
    assert ways.kexec.data("dhcp.offer", "firmware") == [None]
    assert ways.kexec.data("boot.render", "protocol") == ["kexec"]
    assert ways.kexec.data("tftp.read", "bytes") == []


async def test_the_next_environment_registers_and_does_the_next_task(ways: Ways) -> None:
    assert ways.kexec.data("agent.hello", "bootenv") == ["second"]
    assert "arrived in second" in ways.kexec.log


async def test_where_kexec_fails_the_firmware_boots_the_next_environment(ways: Ways) -> None:
    assert ways.broken.firmware_boots == 1
    assert ways.broken.data("boot.render", "protocol") == ["kexec", "http"]
    assert ways.broken.data("agent.hello", "bootenv") == ["discovery"]
    assert "arrived in discovery" in ways.broken.log


async def test_a_script_for_which_there_is_no_memory_fails_its_job_at_once(ways: Ways) -> None:
    assert (ways.devour["state"], ways.devour["message"]) == ("failed", "killed by signal 9")
