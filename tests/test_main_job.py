"""The main job on real firmware: from power-on of machines that nobody knows to `complete` in their installed system.

One machine per firmware. The server is killed twice on the way, once between an OFFER and its REQUEST and once while a
job streams its log; power is pulled in the middle of tasks, a task reboots and goes on; and an operator watches, and
cancels, in a real browser.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio

from tests import interruptions
from tests.journey import FILES, REPOSITORY, Problem, Site, two_machines
from tests.told import Told, first, key_of

FOLDER = REPOSITORY / "build" / "main-job"
PACK = Path(__file__).parent / "packs" / "watch"
PASSWORD = "only for this test"

pytestmark = [
    pytest.mark.rack,
    pytest.mark.browser,
    pytest.mark.timeout(1800),
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
    site = Site(FOLDER, PASSWORD, two_machines(), content=[PACK, interruptions.PACK])
    async with site.up():
        journey = Told(site, PASSWORD)
        await journey.run()
        yield journey


async def test_nothing_was_known_before(told: Told) -> None:
    assert told.known_before == 0


@pytest.mark.parametrize("name", ["bios1", "uefi1"])
async def test_the_timeline_tells_the_boot_in_order(told: Told, name: str) -> None:
    events = told.events[name]
    order = [
        first(events, "dhcp.offer"),
        first(events, "dhcp.ack"),
        # The card of the BIOS machine has iPXE in its ROM, which takes its script by HTTP at once.
        *([first(events, "tftp.read")] if name == "uefi1" else []),
        first(events, "boot.render", protocol="http"),
        key_of(events, "http.read", "/vmlinuz"),
        key_of(events, "http.read", "/initrd.img"),
        key_of(events, "http.read", "/agent.pyz"),
        first(events, "agent.register"),
        first(events, "agent.hello", bootenv="discovery"),
        first(events, "job.create", task="inventory"),
        first(events, "job.end", task="image-write"),
        first(events, "agent.reboot", next_boot="disk"),
        first(events, "agent.hello", bootenv="local"),
        first(events, "job.end", task="os-report"),
    ]
    assert order == sorted(order)


@pytest.mark.parametrize("name", ["bios1", "uefi1"])
async def test_every_job_but_the_cut_one_finished_in_one_unbroken_chain(told: Told, name: str) -> None:
    jobs = told.jobs[name]
    cut = {"bios1": ["cut-plain"], "uefi1": ["cut-idempotent"]}[name]
    assert [job["task"] for job in jobs if job["state"] != "finished"] == cut
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
    assert {name: "on" in said for name, said in told.power} == {"bios1": True, "uefi1": True, "cycled": True}


async def test_the_reboot_into_the_disk_was_set_by_the_bmc(told: Told) -> None:
    for machine in told.site.machines.values():
        reboots = [boot["next_boot"] for boot in machine.state()["boots"] if boot["cause"] == "guest-reset"]
        assert reboots.count("disk") == 1


# --- work that is interrupted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("workflow", ["cut-idempotent", "cut-plain"])
async def test_a_task_whose_power_was_pulled_is_abandoned_with_the_log_it_wrote_so_far(
    told: Told, workflow: str
) -> None:
    scene = told.scenes[workflow]
    assert scene.cut["power"] == "off"
    assert [(job["state"], job["attempt"]) for job in scene.jobs] == [("abandoned", 1), ("finished", 2)]
    assert scene.jobs[1]["previous"] == scene.jobs[0]["id"]
    assert "step 3 of 300, attempt 1" in scene.logs[0]
    assert "step 300 of 300" not in scene.logs[0]
    assert "step 10 of 10, attempt 2" in scene.logs[1]
    assert "attempt 1" not in scene.logs[1]


async def test_an_idempotent_task_is_done_again_by_itself_after_the_next_boot(told: Told) -> None:
    scene = told.scenes["cut-idempotent"]
    assert scene.told("job.create", "job.start", "job.end", "agent.lost", "machine.complete") == [
        ("job.create", 1),
        ("job.start", "created"),
        ("job.end", "abandoned"),
        ("job.create", 2),
        ("job.start", "created"),
        ("job.end", "finished"),
        ("machine.complete",),
    ]
    again = first(scene.events, "job.create", attempt=2)
    assert first(scene.events, "job.start") < first(scene.events, "agent.hello", bootenv="discovery") < again
    assert scene.told("machine.runnable") == []
    assert "another boot" in scene.jobs[0]["message"]
    assert [boot["cause"] for boot in scene.boots] == ["power-on"]


async def test_a_task_that_may_not_be_redone_holds_its_machine_until_an_operator_resumes_it(told: Told) -> None:
    scene = told.scenes["cut-plain"]
    work = (
        "job.create",
        "job.start",
        "job.end",
        "agent.hello",
        "machine.resume",
        "machine.runnable",
        "machine.complete",
    )
    assert scene.told(*work) == [
        ("job.create", 1),
        ("job.start", "created"),
        ("job.end", "abandoned"),
        ("machine.runnable", False, "lost"),
        ("agent.hello", "discovery"),
        ("machine.resume",),
        ("machine.runnable", True, ""),
        ("job.create", 2),
        ("job.start", "created"),
        ("job.end", "finished"),
        ("machine.complete",),
    ]
    assert scene.held["hold"] == "lost"
    assert scene.held["current_job"] == scene.jobs[0]["id"]


async def test_the_silence_of_a_machine_without_power_is_told_before_it_is_back(told: Told) -> None:
    scene = told.scenes["cut-plain"]
    assert scene.told("agent.lost", "agent.hello") == [("agent.lost",), ("agent.hello", "discovery")]
    assert "nothing was heard of its agent for 15 s" in scene.jobs[0]["message"]


async def test_a_machine_that_waits_after_a_cut_names_the_task_and_why_it_is_not_redone(told: Told) -> None:
    scene = told.scenes["cut-plain"]
    reason = next(event for event in scene.events if event["kind"] == "machine.runnable")["data"]["waiting_for"]
    assert "'cut-plain'" in reason
    assert "not marked idempotent" in reason
    assert scene.held["waiting_for"] == reason


async def test_the_product_switched_the_machine_off_in_the_middle_of_its_task(told: Told) -> None:
    scene = told.scenes["cut-plain"]
    assert scene.cut["progress"] >= 10
    assert scene.cut["said"]["state"] == "off"
    order = [
        first(scene.events, "job.start"),
        first(scene.events, "power.done", state="off"),
        first(scene.events, "power.done", state="on"),
        first(scene.events, "agent.hello"),
    ]
    assert order == sorted(order)
    assert first(scene.events, "power.done", state="off") < first(scene.events, "agent.lost")
    assert [boot["cause"] for boot in scene.boots] == ["power-on"]


async def test_a_task_that_exits_192_goes_on_after_the_reboot_as_the_same_job(told: Told) -> None:
    scene = told.scenes["come-back"]
    (job,) = scene.jobs
    assert (job["state"], job["exit_state"], job["exit_code"]) == ("finished", "complete", 0)
    assert (job["attempt"], job["resumes"]) == (1, 1)
    work = ("job.create", "job.start", "job.end", "machine.runnable", "agent.reboot", "machine.complete")
    assert scene.told(*work) == [
        ("job.create", 1),
        ("job.start", "created"),
        ("job.end", "incomplete"),
        ("machine.runnable", False, "boot"),
        ("agent.reboot",),
        ("machine.runnable", True, ""),
        ("job.start", "incomplete"),
        ("job.end", "finished"),
        ("machine.complete",),
    ]
    went_on = first(scene.events, "job.start", resumed="incomplete")
    assert first(scene.events, "agent.reboot") < first(scene.events, "agent.hello", bootenv="discovery") < went_on
    paused = next(event for event in scene.events if event["kind"] == "job.end")
    assert (paused["data"]["exit_state"], paused["data"]["exit_code"]) == ("reboot", 192)
    assert [boot["cause"] for boot in scene.boots] == ["guest-reset"]


async def test_one_log_holds_both_runs_of_a_job_that_went_on(told: Told) -> None:
    (log,) = told.scenes["come-back"].logs
    ran = re.search(r"first run in boot (\S+)\n(?s:.*)second run in boot (\S+), after boot (\S+)\n", log)
    assert ran is not None, log
    assert ran[1] == ran[3] != ran[2]
    assert told.scenes["come-back"].jobs[0]["boot_id"] == ran[2]


async def test_a_job_cancelled_in_the_browser_keeps_its_result_and_its_last_words(told: Told) -> None:
    scene = told.scenes["linger"]
    (job,) = scene.jobs
    assert (job["state"], job["exit_state"], job["exit_code"]) == ("cancelled", "failed", 7)
    assert job["message"] == "asked for by user:admin"
    assert re.search(r"told to stop after step \d+\ntidied up\n", scene.logs[0])
    assert scene.told("job.start", "job.cancel", "job.end") == [
        ("job.start", "created"),
        ("job.cancel",),
        ("job.end", "cancelled"),
    ]
    assert next(event for event in scene.events if event["kind"] == "job.cancel")["by"] == "user:admin"


async def test_a_cancelled_job_holds_its_machine_and_the_page_says_why(told: Told) -> None:
    scene = told.scenes["linger"]
    assert scene.held["runnable"] is False
    assert scene.held["hold"] == "cancelled"
    assert scene.held["waiting_for"] == "task 'linger' cancelled: asked for by user:admin"
    assert "code 7" in scene.shown["exit"]
    assert "task linger was cancelled: asked for by user:admin" in scene.shown["sentence"]


# --- afterwards -----------------------------------------------------------------------------------------------


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
