"""Files by HTTP beside nginx, in turn, over loopback: eight of 100 MB at once, and for information one of 1 KB."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests.bench.figures import Figure
from tests.bench.process import Process, real_server, serving
from tests.bench.web import ON_SERVER_CPU, Load, load, nginx

ROUNDS = 5
_LARGE_BYTES, _SMALL_BYTES = 100_000_000, 1000
_AT_ONCE, _SMALL_AT_ONCE = 8, 32
_SECONDS = 3


async def bench(folder: Path) -> list[Figure]:
    """All figures; `folder` is empty."""
    root = folder / "data" / "files"
    root.mkdir(parents=True)
    for name, size in (("large", _LARGE_BYTES), ("small", _SMALL_BYTES)):
        (root / name).write_bytes(bytes(range(250)) * (size // 250))
    argv = real_server(folder)
    async with serving(argv, folder / "server.log", ON_SERVER_CPU) as ours, nginx(root, folder) as peer:
        large = await _in_turn(ours, peer, folder, "large", _AT_ONCE)
        small = await _in_turn(ours, peer, folder, "small", _SMALL_AT_ONCE)
    return [*_large(*large), *_small(*small)]


async def _in_turn(
    ours: Process, peer: Process, folder: Path, name: str, at_once: int
) -> tuple[list[Load], list[Load]]:
    places = {"ours": (ours, f"{ours.urls['http']}/files/{name}"), "peer": (peer, f"{peer.urls['http']}/{name}")}
    runs: dict[str, list[Load]] = {who: [] for who in places}
    for _ in range(ROUNDS):
        for who, (process, url) in places.items():
            runs[who].append(await load(process, url, folder, at_once, _SECONDS))
    return runs["ours"], runs["peer"]


def _large(ours: list[Load], peer: list[Load]) -> list[Figure]:
    rates = [median(run.megabytes_per_second for run in runs) for runs in (ours, peer)]
    cpu = [median(run.cpu_seconds * 1e9 / run.bytes for run in runs) for runs in (ours, peer)]
    note = f"{_AT_ONCE} of 100 MB at once, loopback, median of {ROUNDS}"
    return [
        Figure("http_large", rates[0], "MB/s", note),
        Figure("http_large_nginx", rates[1], "MB/s", note),
        Figure("http_large_ratio", rates[0] / rates[1], "x nginx", "goal 0.9 or more"),
        Figure("http_large_cpu", cpu[0], "ms/MB", "of the server's processor"),
        Figure("http_large_cpu_nginx", cpu[1], "ms/MB", "of the server's processor"),
    ]


def _small(ours: list[Load], peer: list[Load]) -> list[Figure]:
    rates = [median(run.requests_per_second for run in runs) for runs in (ours, peer)]
    note = f"1 KB, {_SMALL_AT_ONCE} connections, an event each"
    return [
        Figure("http_small", rates[0], "1/s", note),
        Figure("http_small_nginx", rates[1], "1/s", f"1 KB, {_SMALL_AT_ONCE} connections"),
        Figure("http_small_ratio", rates[0] / rates[1], "x nginx", "for information"),
    ]
