"""The main job on a virtual rack, step by step: what the demo walks through and what the end-to-end test asserts.

A `Site` is a rack with a real server process in its namespace; its UI listener is bound outside and handed over. The
server may be killed and started again at any moment; whoever talks to it waits until it is back.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientConnectionError, ClientSession, ClientTimeout

from tests.rack.firmware import Firmware
from tests.rack.machine import Machine
from tests.rack.network import Network
from tests.rack.rack import Rack, RackMachine

REPOSITORY = Path(__file__).resolve().parent.parent
FILES = REPOSITORY / "build" / "files"
PASSWORD_VARIABLE = "PROVISIONER_ADMIN_PASSWORD"
SUBNET = "10.77.0.0/24,10.77.0.100-10.77.0.180,gateway=10.77.0.1,dns=10.77.0.1"
_POLL_SECONDS = 0.2
# A slow machine is waited for so many times as long as a silent one.
_PATIENCE = 4

Tell = Callable[[str], None]


class Problem(Exception):
    """The server refused something; `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status = status


class Site:
    """A rack and the server that runs it; `flags` are more of its flags, and the last one of a name counts."""

    def __init__(
        self,
        folder: Path,
        password: str,
        machines: Iterable[Machine],
        content: Iterable[Path] = (),
        ui_port: int = 0,
        network: Network | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.password = password
        self._flags = list(flags)
        self.rack = Rack(folder / "rack", network)
        self.machines: dict[str, RackMachine] = {each.name: self.rack.add(each) for each in machines}
        self._content = [str(path) for path in content]
        self._listener = socket.create_server(("127.0.0.1", ui_port), backlog=1024)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.server: subprocess.Popen[Any] | None = None
        self.starts = 0
        self._session: ClientSession | None = None

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Site]:
        """The rack and the server, for as long as the context lasts."""
        try:
            await asyncio.to_thread(self.rack.start)
            self.start_server()
            async with ClientSession(self.url, timeout=ClientTimeout(total=30)) as self._session:
                await self._log_in()
                yield self
        finally:
            await asyncio.to_thread(self.rack.stop)
            self._listener.close()

    async def _log_in(self) -> None:
        assert self._session is not None
        answer = await self.call("POST", "/api/v1/login", {"username": "admin", "password": self.password})
        self._session.headers["Authorization"] = f"Bearer {answer['token']}"

    def start_server(self) -> None:
        """Start the server, or start it again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "provisioner", "serve", "--data-dir", str(self.folder / "data")]
        argv += ["--files-dir", str(FILES), "--listen-http", "10.77.0.1:8091", "--dhcp-interfaces", "br0"]
        argv += ["--dhcp-subnets", SUBNET, "--content", " ".join(self._content), *self._flags]
        self.starts += 1
        with (self.folder / "server.log").open("ab") as log:
            self.server = self.rack.run_in(
                argv,
                sockets={"ui": self._listener},
                cwd=REPOSITORY,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", PASSWORD_VARIABLE: self.password},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def kill_server(self) -> None:
        """SIGKILL, as a crash would, and start again."""
        assert self.server is not None
        self.server.send_signal(signal.SIGKILL)
        await asyncio.to_thread(self.server.wait)
        self.start_server()

    def _check_server(self) -> None:
        """Raise with its last words when the server has ended by itself; being killed is part of the journey."""
        code = self.server.poll() if self.server is not None else None
        if code is not None and code != -signal.SIGKILL:
            words = (self.folder / "server.log").read_text(errors="replace")[-3000:]
            raise AssertionError(f"the server ended with {code}:\n{words}")

    # --- the API, patiently -----------------------------------------------------------------------------------

    async def _request(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        assert self._session is not None
        deadline = time.monotonic() + 60
        while True:
            try:
                async with self._session.request(method, path, json=body) as response:
                    return response.status, await response.read()
            except (ClientConnectionError, TimeoutError):
                self._check_server()
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(_POLL_SECONDS)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """What the API answers, as JSON; raises Problem when it refuses. Waits while the server is away."""
        status, data = await self._request(method, path, body)
        if status >= 400:
            raise Problem(status, data.decode(errors="replace"))
        return json.loads(data) if data else None

    async def log_of(self, job: str) -> bytes:
        """All of a job's log."""
        status, data = await self._request("GET", f"/api/v1/jobs/{job}/log")
        assert status == 200, data
        return data

    async def events(self, **query: str) -> list[dict[str, Any]]:
        """Events that fit, oldest first."""
        wanted = "&".join(f"{name}={value}" for name, value in {"limit": "5000", **query}.items())
        answer = await self.call("GET", f"/api/v1/events?{wanted}")
        return list(answer["items"])

    async def machine(self, rack_machine: RackMachine) -> dict[str, Any] | None:
        """The server's record of a machine in the rack, if it has one."""
        found = await self.call("GET", f"/api/v1/machines?macs={rack_machine.mac}")
        return found["items"][0] if found["items"] else None

    async def wait_machine(
        self, rack_machine: RackMachine, wanted: Callable[[dict[str, Any]], bool], what: str, seconds: float = 240
    ) -> dict[str, Any]:
        """The machine's record once it fits; fails at once when a job of its failed, and says where it stands.

        A machine without any sign of life for `seconds` will not get there. One that still writes to its console is
        only slow: each instruction is emulated, beside whatever else this host does.
        """
        began = heard = time.monotonic()
        said = -1
        seen: dict[str, Any] | None = None
        while (now := time.monotonic()) < min(heard + seconds, began + _PATIENCE * seconds):
            seen = await self.machine(rack_machine)
            if seen is not None and wanted(seen):
                return seen
            if seen is not None and "failed" in seen["waiting_for"]:
                raise AssertionError(f"{rack_machine.name}: {seen['waiting_for']}\n{await self._last_log(seen)}")
            if said != (said := rack_machine.serial_bytes()):
                heard = now
            await asyncio.sleep(_POLL_SECONDS)
        stand = {name: seen[name] for name in _STANDING} if seen else "never registered"
        serial = rack_machine.serial_text()[-2000:]
        raise AssertionError(f"{rack_machine.name} did not come to: {what}; it stands at {stand}\n{serial}")

    async def _last_log(self, machine: dict[str, Any]) -> str:
        return (await self.log_of(machine["current_job"])).decode(errors="replace")[-3000:]

    async def change(self, machine: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Patch a machine."""
        changed: dict[str, Any] = await self.call("PATCH", f"/api/v1/machines/{machine['id']}", fields)
        return changed

    async def jobs_of(self, machine: dict[str, Any]) -> list[dict[str, Any]]:
        """The machine's jobs, oldest first."""
        found = await self.call("GET", f"/api/v1/jobs?machine={machine['id']}&sort=created_at&limit=1000")
        return list(found["items"])

    async def wait_job(self, machine: dict[str, Any], task: str, log_bytes: int = 0, seconds: float = 240) -> str:
        """The id of the machine's job of a task, once its log has so many bytes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for job in await self.jobs_of(machine):
                if job["task"] == task and len(await self.log_of(job["id"])) >= log_bytes:
                    return str(job["id"])
            await asyncio.sleep(_POLL_SECONDS)
        raise AssertionError(f"no job of task {task} with {log_bytes} bytes of log within {seconds} s")

    async def wait_progress(self, job: str, seconds: float = 240) -> float:
        """What a job says of its progress, once it says something."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            progress = (await self.call("GET", f"/api/v1/jobs/{job}"))["progress"]
            if progress is not None:
                return float(progress)
            await asyncio.sleep(_POLL_SECONDS)
        raise AssertionError(f"job {job} said nothing of its progress within {seconds} s")

    async def act(self, machine: dict[str, Any], action: str) -> dict[str, Any]:
        """Have the server carry out a power action; what it read back."""
        said: dict[str, Any] = await self.call("POST", f"/api/v1/machines/{machine['id']}/actions/{action}", {})
        return said

    async def wait_event(self, kind: str, mac: str, after: int = 0, seconds: float = 240) -> dict[str, Any]:
        """The first event of a kind about a MAC."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for event in await self.events(kind=kind, after=str(after)):
                if event["mac"] == mac:
                    return event
            await asyncio.sleep(0.05)
        raise AssertionError(f"no {kind} of {mac} within {seconds} s")


_STANDING = ("name", "stage", "bootenv", "current_task", "tasks", "runnable", "waiting_for", "agent")


def two_machines() -> list[Machine]:
    """One of each firmware."""
    return [Machine("bios1", Firmware.BIOS, memory_mb=1024), Machine("uefi1", Firmware.UEFI, memory_mb=1024)]


def idle_after(workflow: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a machine has done all of a workflow."""
    return lambda machine: bool(machine["workflow"] == workflow and machine["done"])


async def discover(site: Site, rack_machine: RackMachine) -> dict[str, Any]:
    """Switch a machine on over IPMI and wait until it is known and inventoried."""
    await asyncio.to_thread(site.rack.ipmitool, rack_machine, "power", "on")
    return await site.wait_machine(rack_machine, idle_after("discover"), "discovered")


async def prepare(site: Site, rack_machine: RackMachine, machine: dict[str, Any]) -> dict[str, Any]:
    """What an operator adds before a deployment: the BMC's login and the name of the system to be."""
    params = {
        "power/username": rack_machine.bmc.username,
        "power/password": rack_machine.bmc.password,
        "os/hostname": f"{rack_machine.name}.rack.test",
    }
    return await site.change(machine, name=rack_machine.name, params=params)


async def deploy_by_workflow(site: Site, rack_machine: RackMachine, machine: dict[str, Any]) -> dict[str, Any]:
    """Write the system to the disk and boot it, as a workflow."""
    await site.change(machine, workflow="deploy")
    return await site.wait_machine(rack_machine, idle_after("deploy"), "deployed")


async def deploy_by_map(site: Site, rack_machine: RackMachine, machine: dict[str, Any]) -> dict[str, Any]:
    """The same path, led by the change-stage map."""
    await site.change(machine, workflow="", profiles=["deploy-by-map"])
    await site.change(machine, stage="deploy-prepare")
    return await site.wait_machine(
        rack_machine, lambda seen: seen["stage"] == "complete" and seen["done"], "complete by the map"
    )
