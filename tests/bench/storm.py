"""A thousand machines are powered on at once: DHCP twice each, iPXE by TFTP, script and 20 MB by HTTP, registration.

The server is whole, behind a cable of its own and on one processor; the machines are on the other (`storm_machines`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.dhcp_wires import CLIENT_CPU, Wire, plugged, run_inside
from tests.bench.figures import Figure, percentile
from tests.bench.process import serving

MACHINES = 1000
DOWNLOAD_MB = 20
LOADER_KB = 250
LIMIT_SECONDS = 330
_WIRE = Wire("storm", 86)
_FILE = "storm/initrd.img"


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


async def bench(folder: Path) -> list[Figure]:
    """All figures; `folder` is empty."""
    _prepare(folder)
    with plugged([_WIRE]):
        async with serving(_server(folder), folder / "server.log", _WIRE.inside()) as process:
            machines = ["tests.bench.storm_machines", _WIRE.address("0.1"), _WIRE.address("0.2"), str(MACHINES)]
            where = ("taskset", "-c", CLIENT_CPU)
            said = await run_inside(LIMIT_SECONDS, *where, sys.executable, "-m", *machines, f"/files/{_FILE}")
            seen = json.loads(said)
            most = process.memory_mb("VmHWM")
    return _figures(seen["steps"], seen, most)


def _figures(steps: dict[str, list[float]], seen: dict[str, float | dict[str, int]], most: float) -> list[Figure]:
    failed = seen["failed"]
    assert isinstance(failed, dict)
    lost = sum(failed.values())
    whole, carried = float(str(seen["seconds"])), float(str(seen["bytes"]))
    note = f"{MACHINES} machines at once, {DOWNLOAD_MB} MB each, {seen['resent']} packets sent again"
    figures = [
        Figure("storm_seconds", whole, "s", note),
        Figure("storm_lost", lost, "machines", "; ".join(f"{count} x {what}" for what, count in failed.items())),
        Figure("storm_throughput", carried / whole / 1e6, "MB/s", "of the large file, over the whole time"),
        Figure("storm_memory", most, "MB", "of the server, at most"),
    ]
    return figures + [each for name, took in steps.items() for each in _step(name, took)]


def _step(name: str, took: Sequence[float]) -> list[Figure]:
    return [
        Figure(f"storm_{name}_p{percent}", percentile(took, percent) * 1e3, "ms", f"of {len(took)}")
        for percent in (50, 99)
        if took
    ]
