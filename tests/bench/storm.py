"""A thousand machines are powered on at once: DHCP twice each, iPXE by TFTP, script and 20 MB by HTTP, registration.

The server is whole, behind a cable of its own and on one processor; the machines are on the other, as one compiled
program that drains its sockets faster than anybody fills them (`storm_load.c`). Addresses are asked for on the network
before they are offered, as is usual (`provisioner.services.probes`).
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.dhcp_wires import CLIENT_CPU, Wire, plugged, run, run_inside
from tests.bench.figures import Figure, percentile
from tests.bench.process import Process, serving

MACHINES = 1000
DOWNLOAD_MB = 20
LOADER_KB = 250
LIMIT_SECONDS = 120
# A hall comes on while the server runs, not in the seconds after its start in which it fills its stock of addresses.
SETTLED_SECONDS = 6
_WIRE = Wire("storm", 86)
_FILE = "storm/initrd.img"
_SOURCE = Path(__file__).with_name("storm_load.c")
_BY_DHCP = ("first_offer", "first_ack", "next_offer", "next_ack")


@dataclass(frozen=True)
class Seen:
    """What the machines saw: seconds of each step, from what was sent first; and what the load itself used."""

    seconds: float
    cpu: float
    longest_turn: float
    resent: int
    bytes: int
    loading: float
    steps: dict[str, list[float]]
    failed: list[str]


def _server(folder: Path) -> list[str]:
    wire = _WIRE
    subnet = f"{wire.address('0.0')}/16,{wire.address('1.0')}-{wire.address('255.250')},gateway={wire.address('0.254')}"
    return [
        "provisioner", "serve", "--data-dir", str(folder / "data"), "--files-dir", str(folder / "files"),
        "--log-format", "json", "--listen-ui", "127.0.0.1:0", "--dhcp-subnets", subnet, "--boot-heavy-downloads", "0",
    ]  # fmt: skip


def _prepare(folder: Path) -> None:
    for name, size in (("ipxe/snponly.efi", LOADER_KB << 10), (_FILE, DOWNLOAD_MB << 20)):
        place = folder / "files" / name
        place.parent.mkdir(parents=True)
        place.write_bytes(bytes(size))
    run("gcc", "-O2", "-Wall", "-Wextra", "-o", str(folder / "storm_load"), str(_SOURCE))


async def bench(folder: Path) -> list[Figure]:
    """All figures; `folder` is empty."""
    _prepare(folder)
    with plugged([_WIRE]):
        async with serving(_server(folder), folder / "server.log", _WIRE.inside()) as process:
            await asyncio.sleep(SETTLED_SECONDS)
            used = process.cpu_seconds()
            seen = await power_on(folder / "storm_load", MACHINES)
            used = process.cpu_seconds() - used
            return _figures(seen, used, process)


async def power_on(program: Path, machines: int) -> Seen:
    """So many machines at once."""
    argv = [str(program), _WIRE.address("0.1"), _WIRE.address("0.2"), str(machines), f"/files/{_FILE}"]
    said = await run_inside(LIMIT_SECONDS + 10, "taskset", "-c", CLIENT_CPU, *argv, str(LIMIT_SECONDS))
    return Seen(**json.loads(said))


def _figures(seen: Seen, used: float, process: Process) -> list[Figure]:
    lost = "; ".join(f"{count} x {what}" for what, count in Counter(seen.failed).items())
    load = f"the load used {seen.cpu:.1f} s of its processor, in turns of at most {seen.longest_turn * 1e3:.0f} ms"
    note = f"{MACHINES} machines at once, {DOWNLOAD_MB} MB each, {seen.resent} packets sent again; {load}"
    figures = [
        Figure("storm_seconds", seen.seconds, "s", note),
        Figure("storm_lost", len(seen.failed), "machines", lost),
        Figure("storm_cpu", used, "s", "of the server"),
        Figure("storm_memory", process.memory_mb("VmHWM"), "MB", "of the server, at most"),
    ]
    if seen.bytes:
        rate = seen.bytes / seen.loading / 1e6
        figures.append(Figure("storm_http", rate, "MB/s", "of the large file, from the first request to the last byte"))
    dhcp = [each for name in _BY_DHCP for each in seen.steps[name]]
    figures += _step("dhcp", dhcp, "replies; goal 100 ms")
    return figures + [each for name, took in seen.steps.items() for each in _step(name, took, "machines")]


def _step(name: str, took: Sequence[float], what: str) -> list[Figure]:
    return [
        Figure(f"storm_{name}_p{percent}", percentile(took, percent) * 1e3, "ms", f"of {len(took)} {what}")
        for percent in (50, 99)
        if took
    ]
