"""The floor under a job: what its HTTP round trips and its writes take when nothing else is done."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from aiohttp import ClientSession, TCPConnector

from tests.bench.figures import Floor
from tests.bench.process import serving

# About the size of a job's document.
_DOCUMENT = "x" * 600
# Enough to measure by, and bounded on a slow disk.
_MOST_SECONDS = 15.0


async def measure(folder: Path, machines: int, trips: int, commits: int, log: bytes) -> Floor:
    """Round trips by `machines` clients at once with `trips` each; commits and log writes one after another."""
    http = await _round_trips(folder, machines, trips, log)
    rate = await asyncio.to_thread(_commits, folder / "floor.db", commits)
    return Floor(http, rate, await asyncio.to_thread(_log_writes, folder, commits // 3, log))


async def _round_trips(folder: Path, machines: int, trips: int, log: bytes) -> float:
    async with (
        serving(["tests.bench.empty"], folder / "empty.log") as process,
        ClientSession(process.urls["http"], connector=TCPConnector(limit=0)) as session,
    ):

        async def client() -> None:
            for trip in range(trips):
                # One in four carries a log, as a job's do.
                method, body = ("PUT", log) if trip % 4 == 2 else ("POST", b'{"boot_id":"bench"}')
                async with session.request(method, "/api/v1/jobs", data=body) as response:
                    await response.read()

        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(machines):
                group.create_task(client())
        return machines * trips / (time.monotonic() - begun)


def _commits(path: Path, count: int) -> float:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA journal_mode = WAL")
        conn.execute("PRAGMA synchronous = FULL")
        conn.execute("CREATE TABLE jobs (key TEXT PRIMARY KEY, doc TEXT) WITHOUT ROWID")
        begun, done = time.monotonic(), 0
        while done < count and time.monotonic() - begun < _MOST_SECONDS:
            with conn:
                conn.execute("INSERT INTO jobs VALUES (?, ?)", (f"{done:08}", _DOCUMENT))
            done += 1
        return done / (time.monotonic() - begun)


def _log_writes(folder: Path, count: int, log: bytes) -> float:
    logs = folder / "floor-logs"
    logs.mkdir()
    begun, done = time.monotonic(), 0
    while done < count and time.monotonic() - begun < _MOST_SECONDS:
        with (logs / f"{done:08}").open("wb", buffering=0) as file:
            file.write(log)
            os.fdatasync(file.fileno())
        done += 1
    return done / (time.monotonic() - begun)
