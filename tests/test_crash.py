"""The server is killed by the hundred, at any moment, under a fleet at work: what it has acknowledged is there.

A round takes a while, so it is told to `make check` that it may leave it out. PROVISIONER_TEST_SEED in the environment
repeats the choices of a round that failed (not its timing), PROVISIONER_TEST_KILLS makes it shorter or longer.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import ClientError

from agent.render import Renderer
from tests.fleet.audit import Immutable, faults, read
from tests.fleet.follower import Follower
from tests.fleet.journal import Journal
from tests.fleet.machine import SimulatedMachine
from tests.fleet.mortal import MortalServer
from tests.fleet.network import Mishaps, Network
from tests.fleet.operator import Operator, Refusal
from tests.fleet.plan import Act, log_of
from tests.fleet.runner import RunLog
from tests.fleet.strand import StrandClock

PASSWORD = "only for this test"
MACHINES = 30
KILLS = int(os.environ.get("PROVISIONER_TEST_KILLS", "200"))
# Agents' seconds are this long, so that pauses meant for hardware do not keep the test waiting.
PACE = 0.05
LIFE_SECONDS = (0.02, 0.4)
# Some lives end while the server is still starting.
STILLBORN = 0.2
AUDIT_EVERY = 10
END_SECONDS = 120.0
_QUICK = {"heartbeat_seconds": 5, "idempotent": True}
_TWO = [{"name": name, "contents": "echo {{ param('fleet-mark', 'none') | quote }}\n"} for name in ("first", "second")]
TASKS = {
    "plain": {},
    "chatty": _QUICK,
    "marks": {"optional_params": ["fleet-mark"], "files": _TWO, **_QUICK},
    "flaky": {"retry": {"max": 5, "backoff_seconds": 0.05}},
    "resumes": _QUICK,
    "reboots": {},
    "pauses": _QUICK,
    "stops": {},
    "powers-off": {},
    "last": {},
}
STAGES = [
    ("crash-ram", "discovery", tuple(TASKS)),
    ("crash-disk", "local", ("plain", "resumes", "last")),
]
# What a task's script exits with, in turn.
CODES = {
    "flaky": (1, 0),
    "resumes": (192, 0),
    "reboots": (64,),
    "pauses": (128, 0),
    "stops": (16,),
    "powers-off": (32,),
}


class Site:
    """Server, fleet and operator of one round."""

    def __init__(self, server: MortalServer, network: Network, operator: Operator, random: Random) -> None:
        self.server = server
        self.operator = operator
        self.random = random
        self.log = RunLog()
        self.rounds = 0
        self._helpers: list[asyncio.Task[None]] = []
        clock = StrandClock(asyncio.get_running_loop().time, asyncio.sleep, PACE)
        renderer = Renderer()
        self.machines = [
            SimulatedMachine(number, network, self._play, renderer, random, clock, log=self.log)
            for number in range(MACHINES)
        ]

    def _play(self, machine: int, task: str, script: str, run: int) -> Act:
        codes = CODES.get(task, (0,))
        size = 40_000 if task == "chatty" else 200
        params = {"fleet-mark": f"{machine} {run} {script}"} if task == "marks" else None
        seconds = self.random.uniform(0, 3)
        return Act(codes[(run - 1) % len(codes)], seconds, log_of(size, f"{machine} {task} {script} {run}\n"), params)

    def begin(self, *helpers: Coroutine[Any, Any, None]) -> None:
        """Let these go on beside everything."""
        self._helpers += [asyncio.create_task(helper) for helper in helpers]

    async def end(self) -> None:
        """Stop them, and cut the power of all machines; raises what one of them has died of."""
        for helper in self._helpers:
            helper.cancel()
        ended = await asyncio.gather(*self._helpers, return_exceptions=True)
        for machine in self.machines:
            await machine.pull_plug()
        self._helpers = []
        for error in ended:
            if not isinstance(error, asyncio.CancelledError) and isinstance(error, BaseException):
                raise error

    async def prepare(self) -> None:
        """Content, before anything is killed."""
        await self.operator.log_in()
        await self.operator.ask("POST", "/api/v1/params", {"name": "fleet-mark", "schema": {"type": "string"}})
        await self.operator.make_workflow("crash", TASKS, STAGES)

    async def press_on(self, *, again: bool) -> bool:
        """What people do: switch on what is off, let go on what waits. `again`: give new work to what is done.

        Returns whether everything is done.
        """
        for machine in self.machines:
            if not machine.is_on:
                machine.start()
        shown = await self.operator.every("/api/v1/machines")
        for each in shown:
            path = f"/api/v1/machines/{each['id']}"
            if each["workflow"] != "crash" or (again and each["done"]):
                self.rounds += 1
                await self.operator.ask("PATCH", path, {"workflow": "crash"})
            elif not each["runnable"] and not each["done"]:
                await self.operator.ask("PATCH", path, {"runnable": True})
        return len(shown) == MACHINES and all(each["done"] and each["workflow"] == "crash" for each in shown)

    async def look_after(self) -> None:
        """Press on for ever, whether the server is there or not."""
        while True:
            with suppress(ClientError, OSError, TimeoutError, Refusal):
                await self.press_on(again=True)
            await asyncio.sleep(0.2)

    async def trouble(self) -> None:
        """Once in a while the power of a machine fails, or two agents run on it."""
        while True:
            await asyncio.sleep(self.random.uniform(0.1, 0.6))
            machine = self.random.choice(self.machines)
            if self.random.random() < 0.5:
                await machine.pull_plug()
                machine.start()
            elif machine.known is not None:
                second = machine.another_agent()
                await asyncio.sleep(self.random.uniform(0, 0.3))
                second.cancel()
                await asyncio.gather(second, return_exceptions=True)


@asynccontextmanager
async def site(folder: Path, random: Random, mishaps: Mishaps) -> AsyncIterator[tuple[Site, Journal]]:
    """Everything in place, the server on."""
    journal = Journal()
    async with (
        MortalServer(folder, PASSWORD, ["--machines-default-workflow", ""]) as server,
        Network(server.url("http"), journal, random, mishaps) as network,
        Operator(server.url("ui"), PASSWORD) as operator,
    ):
        await server.start()
        await server.ready()
        made = Site(server, network, operator, random)
        await made.prepare()
        try:
            yield made, journal
        finally:
            await made.end()


@pytest.mark.crash
@pytest.mark.timeout(1500)
async def test_killed_at_any_moment_the_server_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    seed = os.environ.get("PROVISIONER_TEST_SEED") or secrets.token_hex(4)
    print(f"PROVISIONER_TEST_SEED={seed}")
    random = Random(seed)
    mishaps = Mishaps(twice=0.04, lost=0.03, late=0.03, late_seconds=0.3)
    async with site(tmp_path, random, mishaps) as (made, journal):
        follower, immutable = Follower(made.operator), Immutable()
        database = made.server.data / "provisioner.db"
        made.begin(made.look_after(), made.trouble())
        following = asyncio.create_task(follower.follow())
        for kill in range(1, KILLS + 1):
            if random.random() > STILLBORN:
                await made.server.ready()
            await asyncio.sleep(random.uniform(*LIFE_SECONDS))
            await made.server.kill()
            if kill % AUDIT_EVERY == 0:
                books = read(database, tmp_path / "copy.db")
                assert [*faults(books, journal), *immutable.changed(books)] == []
            await made.server.start()
        await made.server.ready()
        await made.end()
        await _finish(made)
        await made.end()
        last = (await made.operator.ask("GET", "/api/v1/events?limit=1"))["items"]
        async with asyncio.timeout(30):
            await follower.reach(last[0]["id"])
        following.cancel()
        await _check_logs(made, journal)
        await made.server.kill()
        books = read(database, tmp_path / "copy.db")
        assert [*faults(books, journal), *immutable.changed(books), *made.log.faults, *follower.gaps()] == []
        assert follower.told == books.events[: len(follower.told)]
        assert made.server.complaints() == []
        print(f"{KILLS} kills, {made.rounds} workflows, {len(books.events)} events; {', '.join(journal)}")


async def _finish(made: Site) -> None:
    """Without more kills and troubles every machine comes to the end of its work."""
    deadline = asyncio.get_running_loop().time() + END_SECONDS
    while not await made.press_on(again=False):
        if asyncio.get_running_loop().time() > deadline:
            stuck = [
                {
                    name: each[name]
                    for name in ("name", "current_task", "current_job", "waiting_for", "runnable", "agent")
                }
                for each in await made.operator.every("/api/v1/machines")
                if not each["done"]
            ]
            raise AssertionError(f"not done: {stuck}")
        await asyncio.sleep(0.3)


async def _check_logs(made: Site, journal: Journal) -> None:
    """A log is what its script wrote: all of it where the end was reported, and never less than was acknowledged."""
    for job, written in made.log.written.items():
        log = await made.operator.ask("GET", f"/api/v1/jobs/{job}/log")
        promised = bytes(journal.logs.get(job, b""))
        assert log == written[: len(log)], f"the log of job {job} is not what was written"
        assert log[: len(promised)] == promised, f"the log of job {job} has lost acknowledged bytes"
        assert job not in made.log.reported or log == written, f"the log of job {job} is not whole"
