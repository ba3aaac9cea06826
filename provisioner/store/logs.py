"""Job logs: one append-only file a job, written at explicit offsets so that a repeated write is harmless.

Files are 5 to 10 times cheaper to write than rows and far cheaper to read. A write returns only after fdatasync, so
what was acknowledged is there after a power cut; what could not be written whole is cut off again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from provisioner.errors import Conflict, TooLarge
from provisioner.store.folders import failed, make_folder, sync_folder

# They wait for the disk most of the time, which takes several writes in the time of one. On a quick disk four are
# enough; on a slow or busy one each more counts.
WRITERS = 16
READERS = 2
_ANY = 1 << 62


class LogGap(Conflict):
    """Bytes before this offset are missing: send again from `size`."""

    code = "log-gap"

    def __init__(self, job: str, offset: int, size: int) -> None:
        super().__init__(f"the log of job {job} has {size} bytes, offset {offset} would leave a gap", object=job)
        self.size = size


class JobLogs:
    """The logs below `folder`. A log is always written by the same thread, so writes to one log never race.

    Reading has threads of its own: it waits for nobody's write to reach the disk, and shows nothing that has not.
    """

    def __init__(self, folder: Path, limit_bytes: int = 1 << 30, sync: Callable[[int], None] = os.fdatasync) -> None:
        self._folder = folder
        self._sync = sync
        self._limit = limit_bytes
        # Of logs that are being written, how much is on disk: what follows may yet be cut off again.
        self._on_disk: dict[str, int] = {}
        self._writers = [ThreadPoolExecutor(1, thread_name_prefix=f"job-logs-{number}") for number in range(WRITERS)]
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="job-logs-read")

    def path(self, job: str) -> Path:
        """Where the log of a job is; job ids are UUIDs, so the name is safe."""
        return self._folder / job[:2] / f"{job}.log"

    async def append(self, job: str, offset: int, data: bytes) -> int:
        """Write `data` at `offset`; bytes that are there already are skipped. Returns the log's size.

        Raises LogGap when the offset is beyond the end, StoreError when the disk fails.
        """
        return await asyncio.get_running_loop().run_in_executor(self._writer(job), self._append, job, offset, data)

    async def read(self, job: str, offset: int = 0, limit: int = 1 << 20) -> tuple[bytes, int]:
        """Bytes from `offset` on, at most `limit`, and the whole log's size; a log not begun is empty."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, job, offset, limit)

    async def size(self, job: str) -> int:
        """The log's size in bytes, 0 when it has not begun."""
        return (await self.read(job, 0, 0))[1]

    def size_now(self, job: str) -> int:
        """The log's size in bytes, for callers that are on a thread of their own."""
        try:
            return self.path(job).stat().st_size
        except OSError:
            return 0

    async def delete(self, job: str) -> None:
        """Remove the log of a job that is gone, after all that was still to be written to it; raises StoreError."""
        await asyncio.get_running_loop().run_in_executor(self._writer(job), self._delete, job)

    def close(self) -> None:
        """Finish what was begun."""
        for each in (*self._writers, self._readers):
            each.shutdown()

    def _writer(self, job: str) -> ThreadPoolExecutor:
        return self._writers[hash(job) % WRITERS]

    def _append(self, job: str, offset: int, data: bytes) -> int:
        path = self.path(job)
        try:
            make_folder(path.parent)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        except OSError as error:
            raise failed(f"open the log {path}", error, job) from error
        try:
            return self._write_new(descriptor, job, offset, data)
        except OSError as error:
            raise failed(f"write the log {path}", error, job) from error
        finally:
            os.close(descriptor)

    def _write_new(self, descriptor: int, job: str, offset: int, data: bytes) -> int:
        size = os.fstat(descriptor).st_size
        if offset > size:
            raise LogGap(job, offset, size)
        fresh = data[size - offset :]
        if not fresh:
            # A process that was killed may have written it and not have waited for the disk.
            self._sync(descriptor)
            return size
        if size + len(fresh) > self._limit:
            raise TooLarge(f"the log of job {job} would exceed {self._limit} bytes", object=job)
        self._on_disk[job] = size
        try:
            written = 0
            while written < len(fresh):
                written += os.pwrite(descriptor, fresh[written:], size + written)
            self._sync(descriptor)
            if not size:
                sync_folder(self.path(job).parent)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        finally:
            del self._on_disk[job]
        return size + len(fresh)

    def _delete(self, job: str) -> None:
        try:
            self.path(job).unlink(missing_ok=True)
        except OSError as error:
            raise failed(f"remove the log {self.path(job)}", error, job) from error

    def _read(self, job: str, offset: int, limit: int) -> tuple[bytes, int]:
        try:
            with self.path(job).open("rb") as log:
                # Asked on both sides of the size, which may be seen before a write begins or after it failed.
                before = self._on_disk.get(job, _ANY)
                size = os.fstat(log.fileno()).st_size
                size = min(size, before, self._on_disk.get(job, _ANY))
                log.seek(offset)
                return log.read(max(min(limit, size - offset), 0)), size
        except FileNotFoundError:
            return b"", 0
        except OSError as error:
            raise failed(f"read the log {self.path(job)}", error, job) from error
