"""`make bench`: one figure a line on stdout, and all of them in build/bench.json. Takes less than four minutes."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import time
from datetime import UTC, datetime

from tests.bench import boot, jobs
from tests.bench.figures import Figure, this_machine, write
from tests.journey import REPOSITORY
from tests.rack.programs import accelerator

FOLDER = REPOSITORY / "build" / "bench"
RESULT = REPOSITORY / "build" / "bench.json"
LIMIT_SECONDS = 235


def _tell(text: str) -> None:
    print(f"# {text}", flush=True)


def _show(figures: list[Figure]) -> list[Figure]:
    for figure in figures:
        print(figure.line(), flush=True)
    return figures


def _run(only: str) -> list[Figure]:
    begun, figures = time.monotonic(), []
    if only != "boot":
        (FOLDER / "jobs").mkdir(parents=True)
        figures += _show(asyncio.run(jobs.bench(FOLDER / "jobs")))
    if only != "jobs":
        reason = boot.missing()
        if reason:
            _tell(f"boot was left out: {reason}")
        else:
            left = LIMIT_SECONDS - (time.monotonic() - begun)
            figures += _show(asyncio.run(boot.bench(FOLDER / "boot", left, _tell)))
    return figures


def main(argv: list[str]) -> int:
    """Measure and write down."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=("jobs", "boot"), default="", help="measure this part alone")
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
