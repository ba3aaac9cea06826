"""Cables for DHCP benches: a namespace for each server, one for all clients, and what is compiled to load them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER_CPU, CLIENT_CPU = "0", "1"
_SOURCE = Path(__file__).with_name("dhcp_load.c")
# No run of the load takes longer, whatever it was told.
_LOAD_SECONDS = 120
_CLIENTS = f"pvb-c{os.getpid()}"


def missing() -> str:
    """Why nothing can be measured here, or nothing."""
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    absent = [name for name in ("ip", "gcc", "taskset") if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    return "" if (os.cpu_count() or 1) > 1 else "servers and load need a processor each"


def run(*argv: str) -> str:
    """Run it and give its output; RuntimeError with the output when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_LOAD_SECONDS + 30)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stdout}{done.stderr}")
    return done.stdout


async def run_inside(seconds: float, *argv: str) -> str:
    """Run it among the clients and give its output; RuntimeError with what it said when it fails."""
    process = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", _CLIENTS, *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), seconds)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {errors.decode()[-2000:]}")
    return output.decode()


@dataclass(frozen=True)
class Wire:
    """The network 10.`net`.0.0/16 of one server, which is .0.1 in its namespace; the clients' end is .0.2."""

    name: str
    net: int

    @property
    def namespace(self) -> str:
        """Where the server runs."""
        return f"pvb-s{os.getpid()}-{self.net}"

    def address(self, host: str) -> str:
        """An address of this network: `0.1` is the server's."""
        return f"10.{self.net}.{host}"

    def inside(self) -> list[str]:
        """What runs a command beside the server, on the servers' processor."""
        return ["ip", "netns", "exec", self.namespace, "taskset", "-c", SERVER_CPU]

    @property
    def ends(self) -> tuple[str, str]:
        """The names of the interfaces: the server's and the clients'."""
        return f"srv{self.net}", f"cli{self.net}"


@contextmanager
def plugged(wires: list[Wire]) -> Iterator[None]:
    """Namespaces and cables for as long as the context."""
    try:
        run("ip", "netns", "add", _CLIENTS)
        for wire in wires:
            _plug(wire)
        yield
    finally:
        for name in (_CLIENTS, *(wire.namespace for wire in wires)):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _plug(wire: Wire) -> None:
    server, client = wire.ends
    run("ip", "netns", "add", wire.namespace)
    run("ip", "-n", wire.namespace, "link", "set", "lo", "up")
    run(
        "ip", "-n", wire.namespace, "link", "add", server, "type", "veth", "peer", "name", client, "netns", _CLIENTS
    )  # fmt: skip
    for place, name, host in ((wire.namespace, server, "0.1"), (_CLIENTS, client, "0.2")):
        run("ip", "-n", place, "addr", "add", f"{wire.address(host)}/16", "dev", name)
        run("ip", "-n", place, "link", "set", name, "up")


@dataclass(frozen=True)
class Outcome:
    """What a run of the load saw; times in milliseconds, `cpu_us` of the server for each exchange."""

    done: int
    seconds: float
    p50_ms: float
    p99_ms: float
    lost: int
    refused: int
    wrong: int
    twice: int
    resent: int
    begun: int

    @property
    def rate(self) -> float:
        """Exchanges a second."""
        return self.done / self.seconds


class Load:
    """The compiled load: it goes on with new clients in each run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = folder / "dhcp_load"
        self._next: dict[str, int] = {}

    def compile(self) -> None:
        """Make the program; RuntimeError with what the compiler says."""
        run("gcc", "-O2", "-Wall", "-Wextra", "-o", str(self._program), str(_SOURCE))

    def fresh(self, wire: Wire, clients: int, window: int, seconds: float, *, direct: bool = False) -> Outcome:
        """So many clients that this server never saw, unless the time is up before."""
        start = self._next.get(wire.name, 0)
        outcome = self.again(wire, start, clients, window, seconds, direct=direct)
        self._next[wire.name] = start + outcome.begun
        return outcome

    def again(
        self, wire: Wire, start: int, clients: int, window: int, seconds: float, *, direct: bool = False
    ) -> Outcome:
        """These clients, whoever they are."""
        where = ("direct", wire.ends[1], "-") if direct else ("relay", wire.address("0.2"), wire.address("0.1"))
        said = run(
            "ip", "netns", "exec", _CLIENTS, "taskset", "-c", CLIENT_CPU, str(self._program), *where,
            str(start), str(clients), str(window), str(seconds), str(self._folder / f"seen-{wire.name}"),
        )  # fmt: skip
        return Outcome(**json.loads(said))
