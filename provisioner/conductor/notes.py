"""Notes for the timeline that change no state: who tells one goes on at once, and it reaches the disk soon after.

A fetched file or a boot script that was given out is nothing that later decisions build on, so nobody waits for the
disk: they go with the next commit that somebody waits for, or soon, and what is told meanwhile into the one after that.
A crash can take back the notes of the last moments: the timeline then lacks that a script was fetched, never a lease, a
registration or a job, which are changes of state and wait for their commits.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, Final

import structlog

from provisioner.conductor.ledger import Ledger
from provisioner.events import KINDS, Event

log = structlog.get_logger(__name__)

# A disk that stands still must not fill the memory; so many are a few seconds of a storm.
MOST_WAITING: Final = 50_000


class Notes:
    """Gathers notes and commits them in groups; used on the event loop."""

    def __init__(self, ledger: Ledger, most_waiting: int = MOST_WAITING) -> None:
        self._ledger = ledger
        self._most_waiting = most_waiting
        # An event is made when it gets its number.
        self._waiting: list[tuple[datetime, str, str, str, str, str, dict[str, Any]]] = []
        self._dropped = 0
        self._busy = False
        self._idle: list[asyncio.Future[None]] = []

    def tell(self, kind: str, *, by: str, machine: str = "", mac: str = "", key: str = "", **data: Any) -> None:
        """Tell what happened; `kind` is one of events.KINDS."""
        if kind not in KINDS:
            raise ValueError(kind)
        if len(self._waiting) >= self._most_waiting:
            self._dropped += 1
            return
        self._waiting.append((self._ledger.clock(), kind, machine, mac, key, by, data))
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._commit)

    async def settled(self) -> None:
        """Wait until all that was told is on disk, or was given up because it cannot be written."""
        if self._busy:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(future)
            self._ledger.database.hurry()
            await future

    def _commit(self) -> None:
        told, self._waiting = self._waiting, []

        def numbered(first: int) -> list[Event]:
            return [
                Event(id=number, time=time, kind=kind, machine=machine, mac=mac, key=key, by=by, data=data)
                for number, (time, kind, machine, mac, key, by, data) in enumerate(told, first)
            ]

        saved = self._ledger.commit({}, {}, numbered, lazy=not self._idle)
        saved.add_done_callback(lambda future: self._committed(future, len(told)))

    def _committed(self, future: asyncio.Future[None], count: int) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None or self._dropped:
            lost, self._dropped = (count if error is not None else 0) + self._dropped, 0
            log.error("notes.lost", events=lost, error=str(error or "the disk is too slow"))
        if self._waiting:
            self._commit()
            return
        self._busy = False
        idle, self._idle = self._idle, []
        for each in idle:
            if not each.done():
                each.set_result(None)
