"""Boot scripts per second out of the real server, each an event in a timeline: known machines, and strangers."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests.bench.figures import Figure
from tests.bench.process import Process, real_server, serving
from tests.bench.seeded import seed
from tests.bench.web import ON_SERVER_CPU, Load, load, nginx

ROUNDS = 5
MACHINES = 1000
# More than are kept, so that each is rendered anew.
_STRANGERS = 20_000
_CONNECTIONS = 32
_SECONDS = 4
_SCRIPT_BYTES = 1200
# Walks the MACs of `count` machines: the requests are made beforehand, so that wrk has its time for the load.
_WALK = """
local requests, place = {{}}, 0
init = function(args)
  for number = 0, {count} - 1 do
    local mac = string.format("52-{kind}-00-00-%02x-%02x", math.floor(number / 256), number % 256)
    requests[#requests + 1] = wrk.format("GET", "/boot/" .. mac .. ".ipxe")
  end
end
request = function()
  place = place % #requests + 1
  return requests[place]
end
"""
_KNOWN = _WALK.format(count=MACHINES, kind="54")
_UNKNOWN = _WALK.format(count=_STRANGERS, kind="66")


async def bench(folder: Path) -> list[Figure]:
    """All figures; `folder` is empty."""
    await seed(folder / "data", MACHINES)
    root = folder / "root"
    root.mkdir()
    (root / "script").write_bytes(b"#" * _SCRIPT_BYTES)
    # Nothing is downloaded here: a queue would answer most with their place in it.
    argv = real_server(folder)
    async with serving(argv, folder / "server.log", ON_SERVER_CPU) as ours, nginx(root, folder) as peer:
        await _run(ours, ours.urls["http"], folder, _KNOWN)
        known, unknown, static = [], [], []
        for _ in range(ROUNDS):
            known.append(await _run(ours, ours.urls["http"], folder, _KNOWN))
            unknown.append(await _run(ours, ours.urls["http"], folder, _UNKNOWN))
            static.append(await _run(peer, f"{peer.urls['http']}/script", folder))
    return _figures(known, unknown, static)


async def _run(process: Process, url: str, folder: Path, script: str = "") -> Load:
    return await load(process, url, folder, _CONNECTIONS, _SECONDS, script)


def _figures(known: list[Load], unknown: list[Load], static: list[Load]) -> list[Figure]:
    rates = [median(run.requests_per_second for run in runs) for runs in (known, unknown, static)]
    cpu = [median(run.cpu_seconds / run.requests for run in runs) * 1e6 for runs in (known, unknown)]
    note = f"{_CONNECTIONS} connections, an event each, median of {ROUNDS}"
    return [
        Figure("scripts", rates[0], "1/s", f"{MACHINES} known machines, {note}; goal 10,000 or more"),
        Figure("scripts_cpu", cpu[0], "us", "of the server's processor for one, its event written"),
        Figure("scripts_p99", median(run.p99_ms for run in known), "ms", f"{_CONNECTIONS} connections that never rest"),
        Figure("scripts_strangers", rates[1], "1/s", f"{_STRANGERS} MACs that nobody knows, rendered anew, {note}"),
        Figure("scripts_strangers_cpu", cpu[1], "us", "of the server's processor for one, its event written"),
        Figure("scripts_ratio", rates[0] / rates[2], "x nginx", f"which sends {_SCRIPT_BYTES} bytes from a file"),
    ]
