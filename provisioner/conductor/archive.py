"""What has been: one machine's whole history as a tar archive, and a search through all logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from tempfile import SpooledTemporaryFile
from threading import Event as Flag
from typing import Any, BinaryIO, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from provisioner.conductor.catalog import Catalog
from provisioner.conductor.ledger import Ledger
from provisioner.errors import NotFound, ProvisionerError
from provisioner.model.machines import Job, JobState, Machine, RenderedFile
from provisioner.params import redact
from provisioner.store.assets import Assets
from provisioner.store.event_search import EventQuery
from provisioner.store.folders import failed
from provisioner.store.log_search import Bounds, Result, Wanted, search
from provisioner.store.logs import JobLogs
from provisioner.store.tar_stream import END, data_member, file_member, safe

T = TypeVar("T")

# Events taken from the database in one go.
_EVENTS_TOGETHER = 1000
# A timeline larger than this waits in a temporary file until its size is known.
_SPOOL_BYTES = 4 << 20
# Searches wait for each other; so many and no more.
_MOST_WAITING = 4
_MOST_EXPORTS = 4


class Busy(ProvisionerError):
    """Others are being served; ask again a little later."""

    code = "busy"
    status = 503


class LogFilter(Struct, frozen=True):
    """Whose logs are looked through; empty fields say nothing. `since` is when a job was made."""

    machine: str = ""
    task: str = ""
    state: JobState | None = None
    since: datetime | None = None

    def fits(self, job: Job) -> bool:
        """Whether this job's log is one of them."""
        return (
            self.machine in ("", job.machine)
            and self.task in ("", job.task)
            and self.state in (None, job.state)
            and (self.since is None or job.created_at >= self.since)
        )


class Archive:
    """Reads what has been. Values of secure params are hidden as everywhere."""

    def __init__(self, ledger: Ledger, catalog: Catalog, logs: JobLogs, assets: Assets) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._logs = logs
        self._assets = assets
        self._searches = ThreadPoolExecutor(1, thread_name_prefix="log-search")
        self._exports = ThreadPoolExecutor(_MOST_EXPORTS, thread_name_prefix="export")
        self._searching = 0
        self._exporting = 0

    def close(self) -> None:
        """Finish what was begun."""
        self._searches.shutdown()
        self._exports.shutdown()

    async def search(self, wanted: Wanted, only: LogFilter, bounds: Bounds) -> Result:
        """Look for a text in the logs of these jobs, newest first, off the event loop; raises Busy."""
        if self._searching >= _MOST_WAITING:
            raise Busy(f"{self._searching} searches are under way; ask again in a few seconds")
        jobs = [job for job in self._ledger.read_all(Job) if only.fits(job)]
        logs = [(job.id, self._logs.path(job.id)) for job in reversed(jobs)]
        stop = Flag()
        self._searching += 1
        try:
            return await _on(self._searches, lambda: search(logs, wanted, bounds, stop))
        finally:
            stop.set()
            self._searching -= 1

    # --- export -----------------------------------------------------------------------------------------------

    async def export(self, machine_id: str) -> AsyncGenerator[bytes, None]:
        """The machine's history as a tar archive, in pieces: what it is, its timeline, each job with all it left.

        Raises NotFound or Busy before the first piece. A job that is removed meanwhile is left out.
        """
        machine = self._ledger.read(Machine, machine_id)
        if machine is None:
            raise NotFound(f"there is no machine {machine_id!r}", object=machine_id)
        if self._exporting >= _MOST_EXPORTS:
            raise Busy(f"{self._exporting} exports are under way; ask again later")
        self._exporting += 1
        try:
            shown = replace(machine, params=redact(machine.params, self._catalog.view))
            yield data_member("machine.json", _document(shown), machine.updated_at)
            async for piece in self._timeline(machine):
                yield piece
            for number, job_id in enumerate([job.id for job in self._ledger.jobs_of(machine.id)], 1):
                job = self._ledger.read(Job, job_id)
                if job is not None:
                    async for piece in self._job(f"jobs/{number:04}-{safe(job.task)}-{job.id[:8]}", job):
                        yield piece
            yield END
        finally:
            self._exporting -= 1

    async def _timeline(self, machine: Machine) -> AsyncIterator[bytes]:
        with SpooledTemporaryFile(_SPOOL_BYTES) as spool:
            after = 0
            while True:
                query = EventQuery(machine=machine.id, macs=machine.macs, after=after, limit=_EVENTS_TOGETHER)
                events = await self._ledger.database.events(query)
                lines = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
                await self._file_work(lambda lines=lines: spool.write(lines))  # type: ignore[misc]
                if len(events) < _EVENTS_TOGETHER:
                    break
                after = events[-1].id
            await self._file_work(spool.rollover)
            spool.seek(0)
            async for piece in self._pieces(file_member("timeline.ndjson", spool, machine.updated_at)):  # type: ignore[arg-type]
                yield piece

    async def _job(self, folder: str, job: Job) -> AsyncIterator[bytes]:
        at = job.ended_at or job.created_at
        yield data_member(f"{folder}/job.json", _document(job), at)
        async for piece in self._file(f"{folder}/log.txt", self._logs.path(job.id), at):
            yield piece
        for name, content in _named(await self._ledger.database.actions(job.id)):
            yield data_member(f"{folder}/rendered/{name}", content, at)
        for asset, path in await self._file_work(lambda: self._assets.found(job.id)):
            async for piece in self._file(f"{folder}/assets/{asset.name}", path, asset.created_at):
                yield piece

    async def _file(self, name: str, path: Path, modified: datetime) -> AsyncIterator[bytes]:
        """A file, nothing when it is not there."""
        file: BinaryIO | None = None
        try:
            with suppress(FileNotFoundError):
                file = await self._file_work(lambda: path.open("rb"))
            if file is not None:
                async for piece in self._pieces(file_member(name, file, modified)):
                    yield piece
        finally:
            if file is not None:
                file.close()

    async def _pieces(self, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        while (piece := await self._file_work(lambda: next(pieces, None))) is not None:
            yield piece

    async def _file_work(self, work: Callable[[], T]) -> T:
        try:
            return await _on(self._exports, work)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise failed("read what is to be exported", error) from error


async def _on(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def _document(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _named(doc: bytes | None) -> Iterable[tuple[str, bytes]]:
    """Rendered files under names of their own: two of a task may have the same one."""
    files = msgspec.json.decode(doc, type=list[RenderedFile]) if doc else []
    for number, file in enumerate(files, 1):
        yield f"{number:02}-{safe(file.name)}", file.content.encode("utf-8", "surrogatepass")
