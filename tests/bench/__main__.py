"""`make bench`: one figure a line on stdout, and all of them in build/bench.json. Takes about eight minutes."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench import boot, dhcp, dhcp_wires, fleet, http, idle, jobs, lists, scripts, storm, tftp, web
from tests.bench.figures import Figure, this_machine, write
from tests.journey import REPOSITORY
from tests.rack.programs import accelerator

FOLDER = REPOSITORY / "build" / "bench"
RESULT = REPOSITORY / "build" / "bench.json"
BOOT_SECONDS = 200


# In the order in which they are run; `boot` comes last.
_MEASURES: dict[str, Callable[[Path], Coroutine[Any, Any, list[Figure]]]] = {
    "jobs": jobs.bench,
    "fleet": fleet.bench,
    "lists": lists.bench,
    "idle": idle.bench,
    "dhcp": dhcp.bench,
    "storm": storm.bench,
    "tftp": tftp.bench,
    "http": http.bench,
    "scripts": scripts.bench,
}
# Why a measure cannot be done here, or nothing.
_MISSING: dict[str, Callable[[], str]] = {
    "dhcp": dhcp_wires.missing,
    "storm": dhcp_wires.missing,
    "tftp": tftp.missing,
    "http": web.missing,
    "scripts": web.missing,
}


def _tell(text: str) -> None:
    print(f"# {text}", flush=True)


def _show(figures: list[Figure]) -> list[Figure]:
    for figure in figures:
        print(figure.line(), flush=True)
    return figures


def _run(only: str) -> list[Figure]:
    figures: list[Figure] = []
    for name, measure in _MEASURES.items():
        reason = _MISSING.get(name, str)()
        if only in ("", name) and reason:
            _tell(f"{name} was left out: {reason}")
        elif only in ("", name):
            (FOLDER / name).mkdir(parents=True)
            figures += _show(asyncio.run(measure(FOLDER / name)))
    if only in ("", "boot"):
        reason = boot.missing()
        if reason:
            _tell(f"boot was left out: {reason}")
        else:
            figures += _show(asyncio.run(boot.bench(FOLDER / "boot", BOOT_SECONDS, _tell)))
    return figures


def main(argv: list[str]) -> int:
    """Measure and write down."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=(*_MEASURES, "boot"), default="", help="measure this part alone")
    only = parser.parse_args(argv).only
    shutil.rmtree(FOLDER, ignore_errors=True)
    when, machine = datetime.now(UTC), this_machine()
    figures = _run(only)
    if any(figure.name.startswith("boot_") for figure in figures):
        machine["rack_accelerator"] = accelerator()
    write(RESULT, figures, when, machine)
    shutil.rmtree(FOLDER, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
