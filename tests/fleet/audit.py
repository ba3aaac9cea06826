"""Holds what is on disk to what was acknowledged, and to what must always be true."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fleet.journal import FINAL, Journal

LIVE = frozenset({"created", "running"})
Document = dict[str, Any]


@dataclass(frozen=True)
class Books:
    """A database as it is on disk at one moment. Events are (id, kind, machine, key) in order."""

    machines: dict[str, Document]
    jobs: dict[str, Document]
    actions: dict[str, Any]
    events: list[tuple[int, str, str, str]]
    integrity: str


def read(database: Path, copy: Path) -> Books:
    """Read a copy, so that the original is left exactly as the crash left it."""
    for suffix in ("", "-wal"):
        source = database.with_name(database.name + suffix)
        if source.exists():
            shutil.copyfile(source, copy.with_name(copy.name + suffix))
    with closing(sqlite3.connect(copy)) as conn:
        found = Books(
            _documents(conn, "machines", "key"),
            _documents(conn, "jobs", "key"),
            _documents(conn, "job_actions", "job"),
            conn.execute("SELECT id, kind, machine, key FROM events ORDER BY id").fetchall(),
            conn.execute("PRAGMA integrity_check").fetchone()[0],
        )
    for suffix in ("", "-wal", "-shm"):
        copy.with_name(copy.name + suffix).unlink(missing_ok=True)
    return found


def _documents(conn: sqlite3.Connection, table: str, key: str) -> dict[str, Any]:
    return {name: json.loads(doc) for name, doc in conn.execute(f"SELECT {key}, doc FROM {table}")}


def faults(books: Books, journal: Journal) -> list[str]:
    """Everything that is wrong, in words."""
    found = [*_lost(books, journal), *_untrue(books)]
    if books.integrity != "ok":
        found.append(f"PRAGMA integrity_check: {books.integrity}")
    return found + journal.faults


def _lost(books: Books, journal: Journal) -> Iterator[str]:
    for machine, macs in journal.machines.items():
        known = books.machines.get(machine)
        if known is None or not set(macs) <= set(known["macs"]):
            yield f"machine {machine} was registered with {macs} and is {known and known['macs']}"
    for id, claimed in journal.jobs.items():
        job = books.jobs.get(id)
        if job is None:
            yield f"job {id} was handed out and is gone"
            continue
        for name in ("machine", "task", "index", "previous", "attempt"):
            if job[name] != claimed[name]:
                yield f"job {id}: {name} was {claimed[name]!r} and is {job[name]!r}"
        if id in journal.started and job["state"] == "created":
            yield f"job {id} was started and is only created"
        if id in journal.ended:
            journal.check_ending(job)
    for id, files in journal.actions.items():
        if books.actions.get(id) != files:
            yield f"what job {id} rendered was acknowledged and is {str(books.actions.get(id))[:200]}"
    for (machine, name), values in journal.params.items():
        if values and books.machines[machine]["params"].get(name) not in values:
            yield f"param {name} of machine {machine} is none of {values}"
    for machine, values in journal.inventories.items():
        if books.machines[machine]["inventory"] not in values:
            yield f"the inventory of machine {machine} is none of {values}"


def _untrue(books: Books) -> Iterator[str]:
    live = Counter(job["machine"] for job in books.jobs.values() if job["state"] in LIVE)
    for machine, count in live.items():
        if count > 1:
            yield f"machine {machine} has {count} live jobs"
    for machine in books.machines.values():
        yield from _chain(machine, [job for job in books.jobs.values() if job["machine"] == machine["id"]])
    for place, event in enumerate(books.events):
        if event[0] != place + 1:
            yield f"event {event[0]} follows {place}"
            return


def _chain(machine: Document, jobs: list[Document]) -> Iterator[str]:
    """From the current job back to the first there is one way, and it passes all jobs."""
    by_id, id, passed = {job["id"]: job for job in jobs}, machine["current_job"], 0
    while id and passed <= len(jobs):
        if id not in by_id:
            yield f"machine {machine['name']}: its chain of jobs leads to {id}, which is none of its jobs"
            return
        id, passed = by_id[id]["previous"], passed + 1
    if passed != len(jobs):
        yield f"machine {machine['name']}: its chain of jobs passes {passed} of {len(jobs)}"


class Immutable:
    """Remembers final jobs from one look to the next."""

    def __init__(self) -> None:
        self._final: dict[str, Document] = {}
        self._events: list[tuple[int, str, str, str]] = []

    def changed(self, books: Books) -> Iterator[str]:
        """What was final or told at an earlier look and is something else now."""
        for id, before in self._final.items():
            if books.jobs.get(id) != before:
                yield f"job {id} was final as {before} and is {books.jobs.get(id)}"
        if books.events[: len(self._events)] != self._events:
            yield "events that were on disk have changed"
        self._final = {id: job for id, job in books.jobs.items() if job["state"] in FINAL}
        self._events = books.events
