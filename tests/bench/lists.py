"""Lists of ten thousand machines: the first page, and filters that look at every machine."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench.figures import Figure, percentile
from tests.bench.pack import write
from tests.bench.process import PASSWORD, Process, real_server, serving
from tests.bench.seeded import COLOURS, seed
from tests.fleet.operator import Operator

MACHINES = 10_000
_TIMES = 40
_QUERIES = {
    "list_first_page": "",
    "list_by_param": "&params.fleet-colour=red",
    "list_by_param_none": "&params.fleet-colour=mauve",
    "list_by_meta": "&meta.rack=r7",
    "list_sorted": "&sort=-name",
}


async def bench(folder: Path) -> list[Figure]:
    """All figures; `folder` is empty."""
    await seed(folder / "data", MACHINES)
    argv = [*real_server(folder), "--content", str(write(folder, 1))]
    async with serving(argv, folder / "server.log") as process, Operator(process.urls["ui"], PASSWORD) as operator:
        await operator.log_in()
        return [figure for name, query in _QUERIES.items() for figure in await _measure(process, operator, name, query)]


async def _measure(process: Process, operator: Operator, name: str, query: str) -> list[Figure]:
    seconds = []
    cpu = process.cpu_seconds()
    for _ in range(_TIMES):
        begun = time.monotonic()
        answer = await operator.ask("GET", f"/api/v1/machines?limit=100{query}")
        seconds.append(time.monotonic() - begun)
    cpu = process.cpu_seconds() - cpu
    found = f"{len(answer['items'])} of {answer['total']}, {len(COLOURS)} colours, {MACHINES} machines"
    return [
        Figure(f"{name}_p50", percentile(seconds, 50) * 1e3, "ms", f"as its client sees it; {found}"),
        Figure(f"{name}_cpu", cpu / _TIMES * 1e3, "ms", "of the server's processor"),
    ]
