"""What goes wrong with work on real machines: the power is pulled, a task reboots in its middle, an operator cancels.

Each scene is played on one machine of a `Site`, with the tasks of the pack `rough`, and leaves what was seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.browser.pages import Visit
from tests.journey import Site, idle_after
from tests.rack.rack import RackMachine

PACK = Path(__file__).parent / "packs" / "rough"
WORKFLOWS = ("cut-idempotent", "cut-plain", "come-back", "linger")


@dataclass
class Scene:
    """What one workflow of the pack left: its jobs and their logs, oldest first, and the machine's events meanwhile.

    `held` is the machine while it waited for an operator, `cut` what was seen right before and after the power went.
    """

    jobs: list[dict[str, Any]] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    boots: list[dict[str, Any]] = field(default_factory=list)
    held: dict[str, Any] = field(default_factory=dict)
    cut: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)

    def told(self, *kinds: str) -> list[tuple[Any, ...]]:
        """The events of these kinds in order, each as its kind and what matters of its data."""
        return [(event["kind"], *_gist(event)) for event in self.events if event["kind"] in kinds]


def _gist(event: dict[str, Any]) -> tuple[Any, ...]:
    data = event["data"]
    names = {
        "job.create": ("attempt",),
        "job.start": ("resumed",),
        "job.end": ("state",),
        "machine.runnable": ("runnable", "hold"),
        "agent.hello": ("bootenv",),
    }
    return tuple(data[name] for name in names.get(event["kind"], ()))


Played = Callable[[Scene], Coroutine[Any, Any, None]]


async def _play(
    site: Site, rack_machine: RackMachine, record: dict[str, Any], workflow: str, what_happens: Played
) -> Scene:
    """Give the machine the workflow, let things happen to it, and collect what is left."""
    scene = Scene()
    past = await site.events(machine=record["id"])
    boots = len(rack_machine.state()["boots"])
    await site.change(record, workflow=workflow)
    await what_happens(scene)
    scene.jobs = [job for job in await site.jobs_of(record) if job["workflow"] == workflow]
    scene.logs = [(await site.log_of(job["id"])).decode() for job in scene.jobs]
    scene.events = await site.events(machine=record["id"], after=str(past[-1]["id"]))
    scene.boots = rack_machine.state()["boots"][boots:]
    return scene


async def cut_idempotent(site: Site, rack_machine: RackMachine, record: dict[str, Any]) -> Scene:
    """Pull the power by `ipmitool` in the middle of a task that may be redone; switched on, it is."""

    async def happens(scene: Scene) -> None:
        await site.wait_job(record, "cut-idempotent", log_bytes=200)
        await asyncio.to_thread(site.rack.ipmitool, rack_machine, "chassis", "power", "off")
        scene.cut["power"] = rack_machine.power_state()
        await asyncio.to_thread(site.rack.ipmitool, rack_machine, "chassis", "power", "on")
        await site.wait_machine(rack_machine, idle_after("cut-idempotent"), "its task done again by itself")

    return await _play(site, rack_machine, record, "cut-idempotent", happens)


async def cut_plain(site: Site, rack_machine: RackMachine, record: dict[str, Any]) -> Scene:
    """Pull the power by the product in the middle of a task that may not be redone; an operator resumes it."""

    async def happens(scene: Scene) -> None:
        job = await site.wait_job(record, "cut-plain", log_bytes=200)
        scene.cut["progress"] = await site.wait_progress(job)
        scene.cut["said"] = await site.act(record, "power-off")
        scene.cut["power"] = rack_machine.power_state()
        await site.act(record, "power-on")
        scene.held = await site.wait_machine(rack_machine, _held_after_boot(record), "held after its boot")
        await site.call("POST", f"/api/v1/machines/{record['id']}/resume")
        await site.wait_machine(rack_machine, idle_after("cut-plain"), "its task done again")

    return await _play(site, rack_machine, record, "cut-plain", happens)


def _held_after_boot(before: dict[str, Any]) -> Callable[[dict[str, Any]], bool]:
    def held(machine: dict[str, Any]) -> bool:
        booted = machine["agent"]["boot_id"] != before["agent"]["boot_id"]
        return booted and not machine["runnable"] and bool(machine["waiting_for"])

    return held


async def come_back(site: Site, rack_machine: RackMachine, record: dict[str, Any]) -> Scene:
    """A task that exits 192 on its first run, and finishes after the reboot."""

    async def happens(scene: Scene) -> None:
        await site.wait_machine(rack_machine, idle_after("come-back"), "back and done")

    return await _play(site, rack_machine, record, "come-back", happens)


async def linger(site: Site, rack_machine: RackMachine, record: dict[str, Any], visit: Visit) -> Scene:
    """Cancel a long task in the browser, on its job's page."""

    async def happens(scene: Scene) -> None:
        job = await site.wait_job(record, "linger", log_bytes=200)
        await visit.go(f"/jobs/{job}")
        await visit.wait_for_log("step 3\n", seconds=120)
        await visit.find("cancel").click()
        await visit.screenshot("rack-cancel-asked")
        await visit.confirm()
        await visit.wait_for_state("cancelled", seconds=240)
        await visit.wait_for_log("tidied up", seconds=120)
        scene.shown["exit"] = await visit.find("exit-state").inner_text()
        await visit.screenshot("rack-cancelled")
        scene.held = await site.wait_machine(rack_machine, lambda seen: not seen["runnable"], "held after the cancel")
        await visit.open_machine(scene.held["name"])
        scene.shown["sentence"] = await visit.find("sentence").inner_text()
        await visit.screenshot("rack-held-after-cancel")

    return await _play(site, rack_machine, record, "linger", happens)
