"""Ten thousand agents that wait for work: what they cost the server in processor time and memory."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from agent.loop import Outcome
from agent.messages import API
from agent.protocol import LONG_POLL_SECONDS
from agent.render import Renderer
from tests.bench.figures import Figure
from tests.bench.process import Process, real_server, serving
from tests.bench.seeded import Seed, seed
from tests.fleet.journal import Journal
from tests.fleet.machine import SimulatedMachine
from tests.fleet.network import Network
from tests.fleet.plan import Act, same
from tests.fleet.strand import StrandClock

AGENTS = 10_000
# Agents come up over this long, so that their polls are spread as those of real ones.
RAMP_SECONDS = 50.0
_SETTLE_SECONDS = 5.0
MEASURE_SECONDS = float(max(LONG_POLL_SECONDS))


async def bench(folder: Path) -> list[Figure]:
    """All figures; `folder` is empty."""
    seeds = await seed(folder / "data", AGENTS)
    argv = real_server(folder)
    begun = time.monotonic()
    async with serving(argv, folder / "server.log") as process:
        return await _wait(process, seeds, time.monotonic() - begun)


async def _wait(process: Process, seeds: list[Seed], start_seconds: float) -> list[Figure]:
    loop, random, renderer = asyncio.get_running_loop(), Random(1), Renderer()
    clock = StrandClock(loop.time, asyncio.sleep)
    looks = 0

    def watch(request: object, status: int, seconds: float) -> None:
        nonlocal looks
        looks += 1

    async with Network(process.urls["http"], Journal(), random, watch=watch) as network:
        before = process.memory_mb("VmRSS")

        async def live(each: Seed) -> Outcome:
            await asyncio.sleep(RAMP_SECONDS * each.number / AGENTS)
            machine = SimulatedMachine(each.number, network, same(Act()), renderer, random, clock)
            return await machine.resume(each.registration, "discovery")

        agents = [asyncio.create_task(live(each)) for each in seeds]
        await asyncio.sleep(RAMP_SECONDS)
        await _settled(lambda: looks)
        load, cpu, begun, looked = os.getloadavg()[0], process.cpu_seconds(), time.monotonic(), looks
        await asyncio.sleep(MEASURE_SECONDS)
        seconds, cpu, looked = time.monotonic() - begun, process.cpu_seconds() - cpu, looks - looked
        memory, connected = process.memory_mb("VmRSS"), _connections(process.pid)
        ended = sum(agent.done() for agent in agents)
        for agent in agents:
            agent.cancel()
        await asyncio.gather(*agents, return_exceptions=True)
    if ended or connected < AGENTS:
        raise RuntimeError(f"{ended} agents ended, {connected} sockets are open")
    note = f"{connected} sockets open, {looked / seconds:.0f} polls/s over {seconds:.0f} s; load before {load:.1f}"
    return [
        Figure(
            "idle_agents",
            AGENTS,
            "agents",
            f"each in long polls of {LONG_POLL_SECONDS[0]} to {LONG_POLL_SECONDS[1]} s ({API}/machines/ID/work)",
        ),
        Figure("idle_cpu", cpu / seconds * 100, "% of a processor", note),
        Figure("idle_cpu_per_poll", cpu / max(1, looked) * 1e3, "ms"),
        Figure("idle_rss", memory, "MiB", f"{before:.0f} with {AGENTS} known machines and nobody connected"),
        Figure("idle_start", start_seconds, "s", f"from exec to ready with {AGENTS} machines in the database"),
    ]


async def _settled(count: Callable[[], int]) -> None:
    """Wait until agents only poll: no more answers than polls make."""
    expected = _SETTLE_SECONDS * AGENTS / min(LONG_POLL_SECONDS)
    before = count()
    while True:
        await asyncio.sleep(_SETTLE_SECONDS)
        if count() - before <= expected * 1.1:
            return
        before = count()


def _connections(pid: int) -> int:
    return sum(1 for each in os.listdir(f"/proc/{pid}/fd") if _is_socket(f"/proc/{pid}/fd/{each}"))


def _is_socket(path: str) -> bool:
    try:
        return os.readlink(path).startswith("socket:")
    except OSError:
        return False
