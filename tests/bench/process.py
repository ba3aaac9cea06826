"""Server processes on loopback: the real one, and one that does nothing; both tell what they used."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from provisioner.compiled import VARIABLE
from tests.journey import PASSWORD_VARIABLE, REPOSITORY

PASSWORD = "only for this bench"
_START_SECONDS = 30
_STOP_SECONDS = 10
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Process:
    """A server that is up, and its URLs by the name of the socket."""

    pid: int
    urls: dict[str, str]

    def cpu_seconds(self) -> float:
        """User and system time so far (proc(5): fields 14 and 15 of stat)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def cpu_ns(self) -> int:
        """The same in nanoseconds and without the coarse ticks (schedstat of each thread)."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)

    def memory_mb(self, field: str) -> float:
        """`VmRSS` or `VmHWM` (the most it ever was), in MiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) / 1024
        raise KeyError(field)


@asynccontextmanager
async def serving(argv: Sequence[str], log: Path, where: Sequence[str] = ()) -> AsyncIterator[Process]:
    """Run a module that logs `server.ready` with the addresses of its sockets as JSON, for as long as the context.

    `where` is a command to run it by, such as `ip netns exec`.
    """
    process = _spawn(argv, log, where)
    try:
        yield Process(process.pid, await _ready(process, log))
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _spawn(argv: Sequence[str], log: Path, where: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = {"PATH": os.environ.get("PATH", os.defpath), PASSWORD_VARIABLE: PASSWORD}
    # `no` measures the sources.
    environment |= {name: value for name, value in os.environ.items() if name == VARIABLE}
    command = [*where, sys.executable, "-m", *argv]
    with log.open("wb") as output:
        return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=output, stderr=output)


async def _ready(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        urls = _announced(log)
        if urls:
            return urls
        await asyncio.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not come up:\n{_tail(log)}")


def _announced(log: Path) -> dict[str, str]:
    for line in log.read_text().splitlines(keepends=True):
        if line.endswith("}\n") and '"server.ready"' in line:
            said = json.loads(line)
            return {name: f"http://{said[name]}" for name in ("http", "ui") if name in said}
    return {}


def _tail(log: Path) -> str:
    return log.read_text()[-2000:]


def real_server(folder: Path, workflow: str = "") -> list[str]:
    """How the server under load is started: everything but DHCP and TFTP; what new machines are given to do."""
    argv = ["provisioner", "serve", "--data-dir", str(folder / "data"), "--log-format", "json"]
    argv += ["--listen-http", "127.0.0.1:0", "--listen-ui", "127.0.0.1:0", "--machines-default-workflow", workflow]
    # What boots here downloads nothing, and would only wait for those before it to be forgotten.
    return [*argv, "--listen-dhcp", "off", "--listen-tftp", "off", "--boot-heavy-downloads", "0"]
