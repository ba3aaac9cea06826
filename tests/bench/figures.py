"""Figures: one measured number with its unit and what to know about it; how they are worked out and written down."""

from __future__ import annotations

import json
import math
import os
import platform
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp


@dataclass(frozen=True)
class Figure:
    """One result; `note` says what it was measured on."""

    name: str
    value: float
    unit: str
    note: str = ""

    def line(self) -> str:
        """`name value unit (note)`."""
        note = f" ({self.note})" if self.note else ""
        return f"{self.name} {short(self.value)} {self.unit}{note}"


def short(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{places}f}"


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least this share of all values does not exceed (nearest rank)."""
    ranked = sorted(values)
    if not ranked:
        raise ValueError("no values")
    return ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)]


@dataclass(frozen=True)
class Floor:
    """What this host can do at best, each by itself: per second."""

    round_trips: float
    commits: float
    log_writes: float

    def http_seconds(self, trips: int) -> float:
        """What a job's round trips take."""
        return trips / self.round_trips

    def disk_seconds(self, commits: int, log_writes: int) -> float:
        """What a job's writes take when each waits for the disk by itself."""
        return commits / self.commits + log_writes / self.log_writes


def this_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "aiohttp": aiohttp.__version__,
        "sqlite": sqlite3.sqlite_version,
        "load_before": round(os.getloadavg()[0], 1),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def write(path: Path, figures: Sequence[Figure], when: datetime, machine: dict[str, Any]) -> None:
    """All figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {"figures": [asdict(figure) for figure in figures], "when": when.isoformat(), "machine": machine}
    path.write_text(json.dumps(result, indent=2) + "\n")
