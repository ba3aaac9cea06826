"""A thousand machines at once, from registration to the end of a workflow of ten tasks, against a real server process.

The agents are real but for sockets and scripts (`tests.fleet`). Twice: as machines are, whose scripts take seconds and
which do not come up in the same instant, and as fast as they can, which shows the most that the server does.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from agent.messages import API, Request
from agent.render import Renderer
from tests.bench.figures import Figure, percentile
from tests.bench.pack import WORKFLOW, write
from tests.bench.process import PASSWORD, Process, real_server, serving
from tests.fleet.journal import Journal
from tests.fleet.machine import SimulatedMachine
from tests.fleet.network import Network
from tests.fleet.operator import Operator
from tests.fleet.plan import Act, Plan, log_of
from tests.fleet.strand import StrandClock

MACHINES = 1000
TASKS = 10
LOG_BYTES = 5 * 1024
# They come up over so many seconds, and each script takes from the one to the other.
RAMP_SECONDS = 8.0
SCRIPT_SECONDS = (1.5, 4.5)
LIMIT_SECONDS = 180
_MEASURED = ("register", "claim", "result")


@dataclass
class Seen:
    """Seconds that requests took, by what they asked for."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in _MEASURED})
    requests: int = 0

    def __call__(self, request: Request, status: int, seconds: float) -> None:
        self.requests += 1
        name = _name(request, status)
        if name in self.seconds:
            self.seconds[name].append(seconds)


def _name(request: Request, status: int) -> str:
    if request.path == f"{API}/jobs":
        return "claim" if status in (201, 202) else ""
    return request.path.rpartition("/")[2]


async def bench(folder: Path) -> list[Figure]:
    """All figures; `folder` is empty."""
    figures: list[Figure] = []
    for name, ramp, pauses in (("fleet", RAMP_SECONDS, SCRIPT_SECONDS), ("fleet_flat_out", 0.0, (0.0, 0.0))):
        place = folder / name
        place.mkdir()
        argv = [*real_server(place, WORKFLOW), "--content", str(write(place, TASKS))]
        async with asyncio.timeout(LIMIT_SECONDS), serving(argv, place / "server.log") as process:
            figures += await _run(process, name, ramp, pauses)
    return figures


def _split_processors(pid: int) -> str:
    """The server on one processor and the fleet on another, where there are two. Says so."""
    free = sorted(os.sched_getaffinity(0))
    if len(free) < 2:
        return "server and fleet share one processor"
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {free[0]})
    os.sched_setaffinity(0, {free[1]})
    return "server on one processor, fleet on another"


def _plan(pauses: tuple[float, float], random: Random) -> Plan:
    def play(machine: int, task: str, script: str, run: int) -> Act:
        return Act(0, random.uniform(*pauses), log_of(LOG_BYTES, f"{machine} {task} {run}\n"))

    return play


async def _run(process: Process, name: str, ramp: float, pauses: tuple[float, float]) -> list[Figure]:
    free = os.sched_getaffinity(0)
    where = _split_processors(process.pid)
    random, journal, seen = Random(1), Journal(), Seen()
    loop, renderer = asyncio.get_running_loop(), Renderer()
    clock = StrandClock(loop.time, asyncio.sleep)
    async with Network(process.urls["http"], journal, random, watch=seen) as network:
        machines = [
            SimulatedMachine(number, network, _plan(pauses, random), renderer, random, clock, once=True)
            for number in range(MACHINES)
        ]
        load, cpu, own_cpu, begun = os.getloadavg()[0], process.cpu_seconds(), time.process_time(), time.monotonic()

        async def live(machine: SimulatedMachine) -> None:
            await asyncio.sleep(ramp * machine.number / MACHINES)
            await machine.start()

        async with asyncio.TaskGroup() as group:
            for machine in machines:
                group.create_task(live(machine))
        seconds = time.monotonic() - begun
        cpu, own_cpu = process.cpu_seconds() - cpu, time.process_time() - own_cpu
        memory = [process.memory_mb(part) for part in ("VmRSS", "VmHWM")]
    os.sched_setaffinity(0, free)
    await _check(process, journal)
    jobs = len(journal.ended)
    crowd = f"{MACHINES} machines, {jobs} jobs, {LOG_BYTES} bytes of log each"
    shape = f"up within {ramp:g} s, scripts of {pauses[0]:g} to {pauses[1]:g} s" if ramp else "no pauses at all"
    figures = [
        Figure(f"{name}_seconds", seconds, "s", f"{crowd}; {shape}; {where}; load before {load:.1f}"),
        Figure(f"{name}_jobs_per_second", jobs / seconds, "jobs/s"),
        Figure(f"{name}_requests_per_second", seen.requests / seconds, "requests/s"),
    ]
    for part in _MEASURED:
        for percent in (50, 99):
            figures.append(Figure(f"{name}_{part}_p{percent}", percentile(seen.seconds[part], percent) * 1e3, "ms"))
    return [
        *figures,
        Figure(f"{name}_server_cpu", cpu, "s", f"{cpu / seconds * 100:.0f} % of a processor"),
        Figure(f"{name}_server_cpu_per_job", cpu / jobs * 1e3, "ms", "all the machine does before its work is in it"),
        Figure(f"{name}_load_cpu", own_cpu, "s", "the fleet itself"),
        Figure(f"{name}_server_rss", memory[0], "MiB", "afterwards"),
        Figure(f"{name}_server_rss_peak", memory[1], "MiB"),
    ]


async def _check(process: Process, journal: Journal) -> None:
    """Every machine is done and every job finished; raises RuntimeError."""
    async with Operator(process.urls["ui"], PASSWORD) as operator:
        await operator.log_in()
        machines = await operator.every("/api/v1/machines")
        done = [each for each in machines if each["done"]]
        finished = [job for job in journal.ended.values() if job["state"] == "finished"]
        if len(done) != MACHINES or len(finished) != MACHINES * TASKS or journal.faults:
            raise RuntimeError(f"{len(done)} machines done, {len(finished)} jobs finished, faults {journal.faults[:5]}")
        job = finished[-1]["id"]
        log = await operator.ask("GET", f"/api/v1/jobs/{job}/log")
        if log != bytes(journal.logs[job]):
            raise RuntimeError(f"the log of job {job} is not what was sent")
