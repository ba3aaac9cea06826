"""The main job on real firmware: from power-on of machines that nobody knows to `complete` in their installed system.

One machine per firmware. The server is killed twice on the way, once between an OFFER and its REQUEST and once while a
job streams its log; and an operator watches in a real browser.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.browser.pages import Visit, browsing
from tests.journey import (
    FILES,
    REPOSITORY,
    Problem,
    Site,
    deploy_by_map,
    deploy_by_workflow,
    discover,
    idle_after,
    prepare,
    two_machines,
)
from tests.rack.rack import RackMachine

FOLDER = REPOSITORY / "build" / "main-job"
PACK = Path(__file__).parent / "packs" / "watch"
PASSWORD = "only for this test"

pytestmark = [
    pytest.mark.rack,
    pytest.mark.browser,
    pytest.mark.timeout(900),
    pytest.mark.asyncio(loop_scope="module"),
    # Playwright and QEMU are ended by their own managers; what they leave to the collector is not ours.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told() -> AsyncIterator[Told]:
    """The whole journey, once; the tests below look at what it left."""
    missing = [
        name
        for name in ("discovery/vmlinuz", "images/debian-12.img.zst", "ipxe/snponly.efi")
        if not (FILES / name).exists()
    ]
    assert not missing, f"{', '.join(missing)} not built: make boot-files discovery-image image"
    shutil.rmtree(FOLDER, ignore_errors=True)
    site = Site(FOLDER, PASSWORD, two_machines(), content=[PACK])
    async with site.up():
        journey = Told(site)
        await journey.run()
        yield journey


class Told:
    """The journey and what was seen on it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.bios, self.uefi = site.machines["bios1"], site.machines["uefi1"]
        self.records: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, list[dict[str, Any]]] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.known_before = -1
        self.killed_after_offer: dict[str, Any] = {}
        self.watched: list[dict[str, Any]] = []
        self.watch_log = b""
        self.sum_log = b""
        self.refused_job: list[int] = []
        self.power: list[tuple[str, str]] = []
        self.complaints: list[str] = []
        self.disk_refusal = ""

    async def run(self) -> None:
        """Both machines at once."""
        self.known_before = len((await self.site.call("GET", "/api/v1/machines"))["items"])
        async with asyncio.TaskGroup() as group:
            group.create_task(self._uefi())
            group.create_task(self._bios())
        for name, machine in self.site.machines.items():
            record = await self.site.machine(machine)
            assert record is not None
            self.records[name] = record
            self.jobs[name] = await self.site.jobs_of(record)
            self.events[name] = await self.site.events(machine=record["id"])
            self.power.append((name, await self._ipmi_power(machine)))
        await self._operate()

    async def _ipmi_power(self, machine: RackMachine) -> str:
        return str(await asyncio.to_thread(self.site.rack.ipmitool, machine, "power", "status"))

    async def _uefi(self) -> None:
        site, machine = self.site, self.uefi
        discovering = asyncio.create_task(discover(site, machine))
        self.killed_after_offer = await site.wait_event("dhcp.offer", machine.mac)
        await site.kill_server()
        record = await prepare(site, machine, await discovering)
        await deploy_by_map(site, machine, record)

    async def _bios(self) -> None:
        site, machine = self.site, self.bios
        record = await prepare(site, machine, await discover(site, machine))
        await self._watch(record)
        await deploy_by_workflow(site, machine, record)

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

    async def _operate(self) -> None:
        """In the browser: assign a workflow, watch its log grow, power-cycle."""
        async with browsing() as browser:
            visit = await Visit.open(browser, self.site.url)
            await visit.log_in("admin", PASSWORD)
            await visit.screenshot("rack-machines")
            await visit.open_machine("bios1")
            await visit.assign("hello")
            await visit.wait_for_log("line 2 ")
            await visit.screenshot("rack-log-live")
            boots = len(self.bios.state()["boots"])
            await self.site.wait_machine(self.bios, idle_after("hello"), "hello said")
            await visit.power("power-cycle", confirm=True)
            await asyncio.to_thread(self.bios.wait_for, lambda state: len(state["boots"]) > boots, 60)
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


async def test_nothing_was_known_before(told: Told) -> None:
    assert told.known_before == 0


@pytest.mark.parametrize("name", ["bios1", "uefi1"])
async def test_the_timeline_tells_the_boot_in_order(told: Told, name: str) -> None:
    events = told.events[name]
    order = [
        first(events, "dhcp.discover"),
        first(events, "dhcp.offer"),
        first(events, "dhcp.request"),
        first(events, "dhcp.ack"),
        first(events, "tftp.read"),
        key_of(events, "http.read", "/vmlinuz"),
        key_of(events, "http.read", "/initrd.img"),
        key_of(events, "http.read", "/agent.pyz"),
        first(events, "agent.register"),
        first(events, "agent.hello", bootenv="discovery"),
        first(events, "job.create", task="inventory"),
        first(events, "job.end", task="image-write"),
        first(events, "agent.reboot"),
        first(events, "agent.hello", bootenv="local"),
        first(events, "job.end", task="os-report"),
    ]
    assert order == sorted(order)


@pytest.mark.parametrize("name", ["bios1", "uefi1"])
async def test_every_job_finished_in_one_unbroken_chain(told: Told, name: str) -> None:
    jobs = told.jobs[name]
    assert [(job["task"], job["state"], job["exit_state"]) for job in jobs if job["state"] != "finished"] == []
    deployed = [job["task"] for job in jobs]
    for task in (
        "inventory",
        "network",
        "bmc-detect",
        "check-erase-grant",
        "image-write",
        "image-settings",
        "os-report",
    ):
        assert deployed.count(task) == 1
    assert [job["previous"] for job in jobs] == ["", *(job["id"] for job in jobs[:-1])]


@pytest.mark.parametrize("name", ["bios1", "uefi1"])
async def test_the_installed_system_has_the_name_it_was_given(told: Told, name: str) -> None:
    record = told.records[name]
    assert record["agent"]["bootenv"] == "local"
    assert record["agent"]["hostname"].split(".")[0] == name
    assert record["bootenv"] == "local"
    assert record["stage"] == "complete"


@pytest.mark.parametrize("name", ["bios1", "uefi1"])
async def test_the_image_was_written_with_progress_and_checked(told: Told, name: str) -> None:
    job = next(job for job in told.jobs[name] if job["task"] == "image-write")
    log = (await told.site.log_of(job["id"])).decode()
    assert "%" in log
    assert "sha256" in log.lower() or "SHA-256" in log


@pytest.mark.parametrize("name", ["bios1", "uefi1"])
async def test_the_inventory_tells_what_the_machine_is(told: Told, name: str) -> None:
    record = await told.site.call("GET", f"/api/v1/machines/{told.records[name]['id']}")
    inventory = record["inventory"]
    assert record["firmware"] == ("uefi" if name == "uefi1" else "bios")
    assert {"cpu", "memory", "disks", "nics"} <= set(inventory)
    assert told.site.machines[name].machine.serial in str(inventory["disks"]) or inventory["disks"][0]["serial"]


async def test_a_kill_between_offer_and_request_changes_nothing(told: Told) -> None:
    offered = told.killed_after_offer
    acks = [event for event in told.events["uefi1"] if event["kind"] == "dhcp.ack"]
    assert acks[0]["id"] > offered["id"]
    assert acks[0]["key"] == offered["key"]
    assert told.site.starts == 3


async def test_no_address_was_given_to_two_machines(told: Told) -> None:
    holders: dict[str, set[str]] = {}
    for event in await told.site.events(kind="dhcp.ack"):
        holders.setdefault(event["key"], set()).add(event["mac"])
    assert {address: macs for address, macs in holders.items() if len(macs) > 1} == {}


async def test_a_log_streamed_over_a_kill_is_what_the_script_wrote(told: Told) -> None:
    lines = [line for line in told.watch_log.splitlines(keepends=True) if not line.startswith(b"[agent] ")]
    assert len(lines) == 200
    summed = re.search(rb"^sum ([0-9a-f]{64})$", told.sum_log, re.MULTILINE)
    assert summed is not None
    assert sha256(b"".join(lines)).hexdigest().encode() == summed[1]


async def test_the_bmc_says_that_both_machines_are_on(told: Told) -> None:
    assert [(name, "on" in said) for name, said in told.power] == [("bios1", True), ("uefi1", True), ("cycled", True)]


async def test_the_reboot_into_the_disk_was_set_by_the_bmc(told: Told) -> None:
    for machine in told.site.machines.values():
        reboot = [boot for boot in machine.state()["boots"] if boot["cause"] == "guest-reset"][0]
        assert reboot["next_boot"] == "disk"


async def test_the_browser_had_nothing_to_complain_of(told: Told) -> None:
    assert told.complaints == []


async def test_a_deployed_disk_is_refused_without_a_grant(told: Told) -> None:
    record = told.records["bios1"]
    await told.site.change(record, workflow="deploy")
    deadline = asyncio.get_running_loop().time() + 180
    while asyncio.get_running_loop().time() < deadline:
        seen = await told.site.machine(told.bios)
        assert seen is not None
        if "failed" in seen["waiting_for"]:
            break
        await asyncio.sleep(0.5)
    job = (await told.site.jobs_of(record))[-1]
    assert (job["task"], job["state"]) == ("check-erase-grant", "failed")
    assert "grant" in (await told.site.log_of(job["id"])).decode()


async def test_a_wrong_bmc_password_is_named(told: Told) -> None:
    record = told.records["uefi1"]
    await told.site.change(record, params={"power/password": "wrong"})
    with pytest.raises(Problem, match="bmc-login-refused"):
        await told.site.call("POST", f"/api/v1/machines/{record['id']}/actions/power-status", {})


async def test_a_bmc_that_is_away_is_named(told: Told) -> None:
    record = told.records["uefi1"]
    await told.site.change(record, params={"power/address": "10.77.0.250"})
    with pytest.raises(Problem, match="bmc-unreachable"):
        await told.site.call("POST", f"/api/v1/machines/{record['id']}/actions/power-status", {})


async def test_tftp_does_not_leave_its_folder(told: Told) -> None:
    program = told.site.rack.run_in(
        ["curl", "-s", "-S", "--max-time", "10", "tftp://10.77.0.1//../../../etc/passwd"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = await asyncio.to_thread(program.communicate)
    assert program.returncode != 0
    assert b"root:" not in said
