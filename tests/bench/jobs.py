"""Jobs per second through the real API: many machines at once, each running a workflow of small tasks to its end."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from tests.bench.figures import Figure, Floor, percentile
from tests.bench.floor import measure
from tests.bench.process import PASSWORD, Process, real_server, serving

MACHINES = 100
TASKS = 10
LOG = (b"a line of a log as tasks write them, 64 bytes with its newline\r\n" * 80)[: 5 * 1024]
# A job is claimed, started, logged and ended: four round trips; all but the log are one commit each.
TRIPS, COMMITS, LOG_WRITES = 4, 3, 1
LIMIT_SECONDS = 90
_TICKET = re.compile(rb"provisioner\.ticket=(\S+)")


@dataclass(frozen=True)
class Agent:
    """A machine that has registered."""

    machine: str
    token: str
    boot_id: str


@dataclass
class Seen:
    """What the load saw: seconds of each claim that gave a job."""

    claims: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def jobs(self) -> int:
        """How many jobs were run."""
        return len(self.claims)


class Load:
    """Agents without a machine: they say what real ones say and run nothing."""

    def __init__(self, facing_machines: ClientSession, facing_people: ClientSession) -> None:
        self._http = facing_machines
        self._ui = facing_people

    async def _call(self, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
        return await _ask(self._http, method, path, token, json=body)

    async def _operate(self, method: str, path: str, body: Any) -> Any:
        return (await _ask(self._ui, method, path, json=body))[1]

    async def make_content(self) -> None:
        """Log in; a workflow of tasks, made as an operator would."""
        answer = await self._operate("POST", "/api/v1/login", {"username": "admin", "password": PASSWORD})
        self._ui.headers["Authorization"] = f"Bearer {answer['token']}"
        names = [f"bench-{number}" for number in range(TASKS)]
        for name in names:
            script = {"name": "run", "contents": "echo {{ machine.name }}\n"}
            await self._operate("POST", "/api/v1/tasks", {"name": name, "files": [script]})
        await self._operate("POST", "/api/v1/stages", {"name": "bench", "tasks": names})
        await self._operate("POST", "/api/v1/workflows", {"name": "bench", "stages": ["bench"]})

    async def register(self, number: int) -> Agent:
        """A machine boots: it gets its script, registers with the ticket in it, and is given work and says hello."""
        mac = f"52:54:00:be:{number >> 8:02x}:{number & 255:02x}"
        status, script = await _ask(self._http, "GET", f"/boot/{mac.replace(':', '-')}.ipxe")
        found = _TICKET.search(script)
        if found is None:
            raise RuntimeError(f"no ticket in the boot script (HTTP {status}): {script!r}")
        asked = {"ticket": found[1].decode(), "macs": [mac], "firmware": "uefi", "bootenv": "discovery"}
        answer = (await self._call("POST", "/api/v1/register", asked))[1]
        agent = Agent(answer["machine"], answer["token"], f"boot-{number}")
        await self._operate("PATCH", f"/api/v1/machines/{agent.machine}", {"workflow": "bench"})
        hello = {"boot_id": agent.boot_id, "bootenv": "discovery", "version": "bench", "arch": "amd64"}
        await self._call("POST", f"/api/v1/machines/{agent.machine}/hello", hello, agent.token)
        return agent

    async def work(self, agent: Agent, seen: Seen) -> None:
        """Run all of the machine's jobs. An empty answer is an entry that the server itself carried out."""
        done = empty = 0
        while done < TASKS:
            begun = time.monotonic()
            body = {"machine": agent.machine, "boot_id": agent.boot_id}
            status, order = await self._call("POST", "/api/v1/jobs", body, agent.token)
            if status == 204:
                empty += 1
                if empty > TASKS:
                    raise RuntimeError(f"machine {agent.machine} gets no work after {done} jobs")
                continue
            seen.claims.append(time.monotonic() - begun)
            await self._run(agent, order["job"]["id"])
            done += 1

    async def _run(self, agent: Agent, job: str) -> None:
        await self._call("POST", f"/api/v1/jobs/{job}/start", {"boot_id": agent.boot_id}, agent.token)
        await _ask(self._http, "PUT", f"/api/v1/jobs/{job}/log?offset=0", agent.token, data=LOG)
        result = {"boot_id": agent.boot_id, "state": "finished", "exit_state": "complete", "exit_code": 0}
        await self._call("POST", f"/api/v1/jobs/{job}/result", result, agent.token)

    async def all_at_once(self, agents: list[Agent]) -> Seen:
        """Every agent works through its list at the same time."""
        seen, begun = Seen(), time.monotonic()
        async with asyncio.TaskGroup() as group:
            for agent in agents:
                group.create_task(self.work(agent, seen))
        seen.seconds = time.monotonic() - begun
        return seen

    async def check(self, agents: list[Agent]) -> None:
        """Every machine must be done, with a finished job for each task and the whole log; raises RuntimeError."""
        for agent in agents:
            found = (await _ask(self._ui, "GET", f"/api/v1/jobs?machine={agent.machine}&state=finished&limit=1000"))[1]
            jobs = [job for job in found["items"] if job["task"].startswith("bench-")]
            machine = (await _ask(self._ui, "GET", f"/api/v1/machines/{agent.machine}"))[1]
            if len(jobs) != TASKS or not machine["done"]:
                raise RuntimeError(f"machine {machine['name']} has {len(jobs)} finished jobs, done: {machine['done']}")
        log = (await _ask(self._ui, "GET", f"/api/v1/jobs/{jobs[0]['id']}/log"))[1]
        if log != LOG:
            raise RuntimeError(f"a log of {len(LOG)} bytes came back with {len(log)}")


async def _ask(session: ClientSession, method: str, path: str, token: str = "", **body: Any) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with session.request(method, path, headers=headers, **body) as response:
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: HTTP {response.status} {await response.text()}")
        if response.content_type == "application/json":
            return response.status, await response.json()
        return response.status, await response.read()


async def bench(folder: Path) -> list[Figure]:
    """All figures; `folder` is empty and on the disk to be measured."""
    async with asyncio.timeout(LIMIT_SECONDS):
        async with serving(real_server(folder), folder / "server.log") as process:
            figures, rate = await _load(process)
        floor = await measure(folder, MACHINES, TASKS * TRIPS, MACHINES * TASKS * COMMITS, LOG)
    return figures + compare(rate, floor)


async def _load(process: Process) -> tuple[list[Figure], float]:
    patience = ClientTimeout(total=60)
    async with (
        ClientSession(process.urls["http"], connector=TCPConnector(limit=0), timeout=patience) as machines,
        ClientSession(process.urls["ui"], timeout=patience) as people,
    ):
        load = Load(machines, people)
        await load.make_content()
        alone = [await load.register(MACHINES)]
        quiet = await load.all_at_once(alone)
        begun = time.monotonic()
        agents = list(await asyncio.gather(*(load.register(number) for number in range(MACHINES))))
        registered = MACHINES / (time.monotonic() - begun)
        cpu, own_cpu = process.cpu_seconds(), time.process_time()
        busy = await load.all_at_once(agents)
        cpu, own_cpu = process.cpu_seconds() - cpu, time.process_time() - own_cpu
        memory = [process.memory_mb(field) for field in ("VmRSS", "VmHWM")]
        await load.check([*alone, *agents])
    rate = busy.jobs / busy.seconds
    crowd = f"{MACHINES} machines at once"
    return [
        Figure("jobs_per_second", rate, "jobs/s", f"{busy.jobs} jobs of {TRIPS} requests, {crowd}"),
        Figure("claim_p50", percentile(busy.claims, 50) * 1e3, "ms", crowd),
        Figure("claim_p99", percentile(busy.claims, 99) * 1e3, "ms", crowd),
        Figure("claim_alone_p50", percentile(quiet.claims, 50) * 1e3, "ms", f"one machine, {quiet.jobs} jobs"),
        Figure("claim_alone_max", max(quiet.claims) * 1e3, "ms", f"one machine, {quiet.jobs} jobs"),
        Figure("registrations_per_second", registered, "machines/s", "script, register, workflow, hello"),
        Figure("server_cpu", cpu, "s", f"{busy.seconds:.1f} s of load"),
        Figure("server_cpu_per_job", cpu / busy.jobs * 1e3, "ms"),
        Figure("load_cpu", own_cpu, "s", "the bench itself; it shares the processors"),
        Figure("server_rss", memory[0], "MiB", "after the load"),
        Figure("server_rss_peak", memory[1], "MiB", "a login's password hash alone takes 64"),
    ], rate


def compare(rate: float, floor: Floor) -> list[Figure]:
    """The floor, and how many times as long a job takes."""
    http, disk = floor.http_seconds(TRIPS), floor.disk_seconds(COMMITS, LOG_WRITES)
    return [
        Figure("floor_http", floor.round_trips, "requests/s", f"empty handler, {MACHINES} clients at once"),
        Figure("floor_commit", floor.commits, "commits/s", "bare SQLite, WAL, FULL, one row each, one by one"),
        Figure("floor_log", floor.log_writes, "files/s", f"{len(LOG)} bytes and fdatasync each, one by one"),
        Figure("times_http_floor", 1 / rate / http, "x", f"time of a job to that of {TRIPS} empty round trips"),
        Figure(
            "times_disk_floor", 1 / rate / disk, "x", f"to {COMMITS} commits and {LOG_WRITES} log; groups go below 1"
        ),
        Figure("times_whole_floor", 1 / rate / (http + disk), "x", "to both, one after the other"),
    ]
