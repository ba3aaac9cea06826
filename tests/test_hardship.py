"""The whole server in hard times: a full disk, a disk that nobody may write to, a clock that goes wrong.

Each is told clearly, nothing is damaged, and when it has passed work goes on by itself.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from provisioner.errors import StoreError
from tests.fleet.audit import faults, read
from tests.fleet.inside import Inside, WrongClock, inside
from tests.fleet.operator import Refusal
from tests.fleet.plan import Act, Plan, log_of
from tests.small_disk import SmallDisk, small_disk

TASKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "chatty": {},
    "flaky": {"retry": {"max": 5, "backoff_seconds": 1}},
    "resumes": {"idempotent": True},
    "last": {},
}
MACHINES = 8
_ROOM = 48 << 20


def plan(seconds: float) -> Plan:
    """Tasks as their names say; each script takes so many of an agent's seconds."""

    def play(machine: int, task: str, script: str, run: int) -> Act:
        code = {"flaky": run % 2, "resumes": 192 if run == 1 else 0}.get(task, 0)
        return Act(code, seconds, log_of(20_000 if task == "chatty" else 300, f"{machine} {task} {run}\n"))

    return play


async def begin(site: Inside, seconds: float = 1.0) -> None:
    """Machines at work."""
    await site.operator.make_workflow("hard", TASKS, [("hard", "discovery", tuple(TASKS))])
    site.add_machines(MACHINES, plan(seconds))
    await site.until(lambda shown: len(shown) == MACHINES)
    for each in await site.operator.every("/api/v1/machines"):
        await site.operator.assign(each["id"], "hard")


async def audited(site: Inside, folder: Path, copy: Path) -> None:
    """Everything that was acknowledged is there, logs byte for byte."""
    assert faults(read(folder / "provisioner.db", copy), site.journal) == []
    assert site.log.faults == []
    for job, written in site.log.written.items():
        log = await site.operator.ask("GET", f"/api/v1/jobs/{job}/log")
        assert log == written if job in site.log.reported else log == written[: len(log)]


async def refused(site: Inside) -> dict[str, Any]:
    """The problem by which a change is refused; the first few may still find room in what the file has to spare."""
    for _ in range(200):
        try:
            await site.operator.ask("POST", "/api/v1/machines", {"name": "new", "description": "x" * 200_000})
        except Refusal as refusal:
            assert refusal.status == 503
            found: dict[str, Any] = json.loads(refusal.text)
            return found
        await site.operator.ask("DELETE", "/api/v1/machines/new")
    raise AssertionError("a full disk takes everything")


async def test_a_full_disk_is_told_and_work_goes_on_once_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", _ROOM) as disk:
        async with inside(disk.folder / "data") as site:
            await begin(site)
            await site.until(lambda shown: any(each["current_task"] == 2 for each in shown))
            disk.fill()
            problem = await refused(site)
            assert problem["code"] == "disk-full" and "make room" in problem["detail"]
            assert len(await site.operator.every("/api/v1/machines")) == MACHINES
            disk.free()
            await site.done()
            await audited(site, disk.folder / "data", tmp_path / "copy.db")
        await _starts_again(disk.folder / "data")


async def _starts_again(data: Path) -> None:
    async with inside(data) as again:
        shown = await again.operator.every("/api/v1/machines")
        assert [each["done"] for each in shown] == [True] * MACHINES
    with closing(sqlite3.connect(data / "provisioner.db")) as conn:
        assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_disk_that_nobody_may_write_to_stops_the_start_with_the_reason_and_harms_nothing(
    tmp_path: Path,
) -> None:
    with small_disk(tmp_path / "disk", _ROOM) as disk:
        data = disk.folder / "data"
        async with inside(data) as site:
            await begin(site, seconds=0)
            await site.done()
        await _refuses_to_start(disk, data)
        await _starts_again(data)


async def _refuses_to_start(disk: SmallDisk, data: Path) -> None:
    disk.read_only(True)
    with pytest.raises(StoreError, match=r"provisioner\.db"):
        async with inside(data):
            pass
    disk.read_only(False)


@pytest.mark.parametrize("minutes", [-60, 60])
async def test_work_goes_on_when_the_clock_is_set(tmp_path: Path, minutes: int) -> None:
    clock = WrongClock()
    async with inside(tmp_path / "data", clock) as site:
        await begin(site)
        await site.until(lambda shown: any(each["not_before"] for each in shown))
        clock.error = timedelta(minutes=minutes)
        async with asyncio.timeout(60):
            await site.done()
        jobs = await site.operator.every("/api/v1/jobs")
        assert {job["state"] for job in jobs} <= {"finished", "failed"}
        await audited(site, tmp_path / "data", tmp_path / "copy.db")
    clock.error = timedelta(0)
    async with inside(tmp_path / "data", clock) as again:
        assert all(each["done"] for each in await again.operator.every("/api/v1/machines"))
