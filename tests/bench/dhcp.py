"""DHCP beside the servers everybody knows: full exchanges of clients never seen, as PXE ROMs send them.

Each server has a cable of its own and all share processor 0; the load runs on processor 1. They take turns in short
slices while all are up, so that whatever else the host does meets all of them, and ratios hold on a busy host too.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.bench.dhcp_servers import installed, our_server, peer
from tests.bench.dhcp_wires import Load, Outcome, Wire, plugged
from tests.bench.figures import Figure
from tests.bench.process import Process

LEVELS = (1_000, 10_000, 50_000)
WINDOW = 32
# A slice is so many exchanges, or so many seconds for those who would take minutes.
SLICES, SLICE, SLICE_SECONDS = 7, 1_000, 2.0
SLOW_SLICES, SLOW_SLICE, SLOW_ALONE = 3, 200, 50
DIRECT_SLICES = 4
ALONE_SLICES, ALONE = 6, 250
FILL_SECONDS = 100.0

_OURS, _KEA = Wire("ours", 81), Wire("kea", 82)
# dnsmasq and dhcpd take minutes to hours to give out 50,000 leases: theirs are put into their files beforehand.
_SLOW = (Wire("dnsmasq", 83), Wire("dhcpd", 84))


@dataclass
class Seen:
    """What the slices of one server showed."""

    outcomes: list[Outcome] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Exchanges a second, of the median slice."""
        return median(each.rate for each in self.outcomes)

    @property
    def cpu(self) -> float:
        """Processor time of the server for each exchange, in microseconds."""
        return median(self.cpu_us)

    def tail(self, name: str) -> float:
        """The median slice's `p50_ms` or `p99_ms`."""
        return float(median(getattr(each, name) for each in self.outcomes))

    def total(self, name: str) -> int:
        """The sum of a count."""
        return sum(getattr(each, name) for each in self.outcomes)


class Bench:
    """Servers that are up, by their wires, and how many leases each has."""

    def __init__(self, load: Load, servers: dict[Wire, Process]) -> None:
        self._load = load
        self._servers = servers
        self._leases = dict.fromkeys(servers, 0)

    def fill(self, level: int) -> None:
        """Give out leases until each has so many."""
        for wire, leases in self._leases.items():
            if leases < level:
                outcome = self._load.fresh(wire, level - leases, WINDOW, FILL_SECONDS)
                self._leases[wire] += outcome.done

    def measure(self, slices: int, clients: int, window: int, *, direct: bool = False) -> dict[str, Seen]:
        """Take turns; the first of a round is another each time, since whoever follows finds the caches as it does."""
        seen = {wire.name: Seen() for wire in self._servers}
        for turn in range(slices):
            wires = list(self._servers)
            for wire in wires[turn % len(wires) :] + wires[: turn % len(wires)]:
                before = self._servers[wire].cpu_ns()
                outcome = self._load.fresh(wire, clients, window, SLICE_SECONDS, direct=direct)
                used = self._servers[wire].cpu_ns() - before
                seen[wire.name].outcomes.append(outcome)
                seen[wire.name].cpu_us.append(used / 1e3 / max(1, outcome.done))
                self._leases[wire] += outcome.done
        return seen


async def bench(folder: Path) -> list[Figure]:
    """All figures; `folder` is empty."""
    load = Load(folder)
    load.compile()
    peers = [wire for wire in (_KEA, *_SLOW) if installed(wire.name)]
    figures: list[Figure] = []
    with plugged([_OURS, *peers]):
        async with _up(folder, [wire for wire in peers if wire not in _SLOW]) as servers:
            figures += _levels(Bench(load, servers), servers)
        figures.append(await _restart(folder))
        for level in LEVELS:
            slow = [wire for wire in peers if wire in _SLOW]
            figures += await _slow(load, folder / str(level), slow, level, _rate(figures, level))
    return figures


@asynccontextmanager
async def _up(folder: Path, peers: list[Wire]) -> AsyncIterator[dict[Wire, Process]]:
    async with AsyncExitStack() as stack:
        servers = {_OURS: await stack.enter_async_context(our_server(_OURS, folder / "ours"))}
        for wire in peers:
            servers[wire] = await stack.enter_async_context(peer(wire.name, wire, folder / wire.name))
        yield servers


def _levels(bench: Bench, servers: dict[Wire, Process]) -> list[Figure]:
    figures: list[Figure] = []
    rates: dict[str, dict[int, float]] = {wire.name: {} for wire in servers}
    for level in LEVELS:
        bench.fill(level)
        seen = bench.measure(SLICES, SLICE, WINDOW)
        label = f"{level // 1000}k"
        for name, each in seen.items():
            rates[name][level] = each.rate
            figures += _described(f"dhcp_{name}_{label}", each)
        figures += _ratios(f"dhcp_{label}", seen)
        figures += _alone(f"dhcp_alone_{label}", bench.measure(ALONE_SLICES, ALONE, 1))
    for name, by_level in rates.items():
        figures.append(Figure(f"dhcp_{name}_decay", by_level[LEVELS[-1]] / by_level[LEVELS[0]], "x", "50k to 1k"))
    # Fewer: the pool has 65,000 addresses, and by now most of them are given away.
    direct = bench.measure(DIRECT_SLICES, SLICE, WINDOW, direct=True)
    for name, each in direct.items():
        figures += _described(f"dhcp_{name}_direct", each)
    figures += _ratios("dhcp_direct", direct)
    for wire, process in servers.items():
        figures.append(Figure(f"dhcp_{wire.name}_memory", process.memory_mb("VmRSS"), "MB", "with over 60k leases"))
    return figures


def _described(name: str, seen: Seen) -> list[Figure]:
    bad = ", ".join(f"{seen.total(each)} {each}" for each in ("lost", "refused", "wrong", "twice", "resent"))
    return [
        Figure(f"{name}_rate", seen.rate, "DORA/s", f"{WINDOW} in flight, {seen.total('done')} exchanges: {bad}"),
        Figure(f"{name}_p50", seen.tail("p50_ms"), "ms", "DISCOVER to ACK"),
        Figure(f"{name}_p99", seen.tail("p99_ms"), "ms", "DISCOVER to ACK"),
        Figure(f"{name}_cpu", seen.cpu, "us", "of the server's processor, each exchange"),
    ]


def _ratios(name: str, seen: dict[str, Seen]) -> list[Figure]:
    if "kea" not in seen:
        return []
    us, kea = seen["ours"], seen["kea"]
    # Slice by slice: the two of a pair met the same host.
    paired = median(a.rate / b.rate for a, b in zip(us.outcomes, kea.outcomes, strict=True))
    return [
        Figure(f"{name}_rate_to_kea", paired, "x", "more is better; ours is on disk before the ACK, Kea's is not"),
        Figure(f"{name}_cpu_to_kea", us.cpu / kea.cpu, "x", "less is better"),
    ]


def _alone(name: str, seen: dict[str, Seen]) -> list[Figure]:
    figures = []
    for who, each in seen.items():
        figures.append(Figure(f"{name}_{who}_p50", each.tail("p50_ms"), "ms", "one client alone, DISCOVER to ACK"))
        figures.append(Figure(f"{name}_{who}_p99", each.tail("p99_ms"), "ms", "one client alone, DISCOVER to ACK"))
    if "kea" in seen:
        pairs = zip(seen["ours"].outcomes, seen["kea"].outcomes, strict=True)
        ratio = median(a.p50_ms / b.p50_ms for a, b in pairs)
        figures.append(Figure(f"{name}_p50_to_kea", ratio, "x", "less is better"))
    return figures


async def _restart(folder: Path) -> Figure:
    """How long ours takes to come up with the leases and events that it has by now."""
    began = time.monotonic()
    async with our_server(_OURS, folder / "ours"):
        seconds = time.monotonic() - began
    return Figure("dhcp_ours_restart", seconds, "s", f"with over 60k leases, a database of {_database_mb(folder)} MB")


def _database_mb(folder: Path) -> int:
    return (folder / "ours" / "data" / "provisioner.db").stat().st_size >> 20


async def _slow(load: Load, folder: Path, wires: list[Wire], level: int, ours: float) -> list[Figure]:
    figures = []
    for wire in wires:
        seen = Seen()
        async with peer(wire.name, wire, folder / wire.name, level) as process:
            for _ in range(SLOW_SLICES):
                before = process.cpu_ns()
                outcome = load.fresh(wire, SLOW_SLICE, WINDOW, SLICE_SECONDS)
                if outcome.done:
                    seen.outcomes.append(outcome)
                    seen.cpu_us.append((process.cpu_ns() - before) / 1e3 / outcome.done)
            alone = load.fresh(wire, SLOW_ALONE, 1, SLICE_SECONDS)
        if alone.done:
            name = f"dhcp_alone_{level // 1000}k_{wire.name}_p50"
            figures.append(Figure(name, alone.p50_ms, "ms", "one client alone, DISCOVER to ACK"))
        if seen.outcomes:
            figures += _described(f"dhcp_{wire.name}_{level // 1000}k", seen)
            ratio = ours / seen.rate
            figures.append(Figure(f"dhcp_{level // 1000}k_rate_to_{wire.name}", ratio, "x", "not interleaved"))
    return figures


def _rate(figures: list[Figure], level: int) -> float:
    return next(each.value for each in figures if each.name == f"dhcp_ours_{level // 1000}k_rate")
