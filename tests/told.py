"""The main job as the end-to-end test has it played, both machines at once, and what was seen on the way."""

from __future__ import annotations

import asyncio
from typing import Any

from tests import interruptions
from tests.browser.pages import Visit, browsing
from tests.interruptions import Scene
from tests.journey import Site, deploy_by_map, deploy_by_workflow, discover, idle_after, prepare
from tests.rack.rack import RackMachine


class Told:
    """The journey and what was seen on it."""

    def __init__(self, site: Site, password: str) -> None:
        self.site = site
        self._password = password
        self.bios, self.uefi = site.machines["bios1"], site.machines["uefi1"]
        self.records: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, list[dict[str, Any]]] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.known_before = -1
        self.killed_after_offer: dict[str, Any] = {}
        self.watched: list[dict[str, Any]] = []
        self.watch_log = b""
        self.sum_log = b""
        self.power: list[tuple[str, str]] = []
        self.complaints: list[str] = []
        self.scenes: dict[str, Scene] = {}

    async def run(self) -> None:
        """Both machines at once."""
        self.known_before = len((await self.site.call("GET", "/api/v1/machines"))["items"])
        async with asyncio.TaskGroup() as group:
            group.create_task(self._uefi())
            group.create_task(self._bios())

    async def _collect(self, machine: RackMachine) -> None:
        """What a machine's way to `complete` left."""
        record = await self.site.machine(machine)
        assert record is not None
        self.records[machine.name] = record
        self.jobs[machine.name] = await self.site.jobs_of(record)
        self.events[machine.name] = await self.site.events(machine=record["id"])
        self.power.append((machine.name, await self._ipmi_power(machine)))

    async def _ipmi_power(self, machine: RackMachine) -> str:
        return str(await asyncio.to_thread(self.site.rack.ipmitool, machine, "power", "status"))

    async def _uefi(self) -> None:
        site, machine = self.site, self.uefi
        discovering = asyncio.create_task(discover(site, machine))
        self.killed_after_offer = await site.wait_event("dhcp.offer", machine.mac)
        await site.kill_server()
        record = await prepare(site, machine, await discovering)
        self.scenes["cut-idempotent"] = await interruptions.cut_idempotent(site, machine, record)
        self.scenes["come-back"] = await interruptions.come_back(site, machine, record)
        await deploy_by_map(site, machine, record)
        await self._collect(machine)

    async def _bios(self) -> None:
        site, machine = self.site, self.bios
        record = await prepare(site, machine, await discover(site, machine))
        await self._watch(record)
        self.scenes["cut-plain"] = await interruptions.cut_plain(site, machine, record)
        await deploy_by_workflow(site, machine, record)
        await self._collect(machine)
        await self._operate(record)

    async def _watch(self, record: dict[str, Any]) -> None:
        site = self.site
        await site.change(record, workflow="watch")
        await site.wait_job(record, "watch-write", log_bytes=500)
        await site.kill_server()
        await site.wait_machine(self.bios, idle_after("watch"), "watched")
        self.watched = [job for job in await site.jobs_of(record) if job["workflow"] == "watch"]
        by_task = {job["task"]: job["id"] for job in self.watched}
        self.watch_log = await site.log_of(by_task["watch-write"])
        self.sum_log = await site.log_of(by_task["watch-sum"])

    async def _operate(self, record: dict[str, Any]) -> None:
        """In the browser: cancel a job, assign a workflow, watch its log grow, power-cycle."""
        async with browsing() as browser:
            visit = await Visit.open(browser, self.site.url)
            await visit.log_in("admin", self._password)
            await visit.screenshot("rack-machines")
            self.scenes["linger"] = await interruptions.linger(self.site, self.bios, record, visit)
            await visit.open_machine("bios1")
            await visit.assign("hello")
            await visit.wait_for_log("line 2 ", seconds=120)
            await visit.screenshot("rack-log-live")
            boots = len(self.bios.state()["boots"])
            await self.site.wait_machine(self.bios, idle_after("hello"), "hello said")
            await visit.power("power-cycle", confirm=True)
            await asyncio.to_thread(self.bios.wait_for, lambda state: len(state["boots"]) > boots, 240)
            await visit.notice()
            await visit.screenshot("rack-power-cycled")
            self.complaints = visit.complaints
        self.power.append(("cycled", await self._ipmi_power(self.bios)))


def first(events: list[dict[str, Any]], kind: str, **data: Any) -> int:
    """The number of the first event of a kind with these data."""
    for event in events:
        if event["kind"] == kind and all(event["data"].get(name) == value for name, value in data.items()):
            return int(event["id"])
    raise AssertionError(f"there is no {kind} with {data}; there are {sorted({event['kind'] for event in events})}")


def key_of(events: list[dict[str, Any]], kind: str, key: str) -> int:
    """The number of the first event of a kind about something."""
    return min(int(event["id"]) for event in events if event["kind"] == kind and event["key"].endswith(key))
