"""Assets: files that jobs hand in, such as a firmware's report or a core dump, kept as `<folder>/<job>/<file>`.

The file's own name carries all that is told of it, `report.txt~2~<sha256>`: the asset's name, a number that grows each
time it is handed in again, and the digest. So one rename makes an asset complete and known at once, the newest complete
one wins, and lists need no database. What is still coming in is a `.part-` file; a crash leaves it, `sweep` removes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkstemp
from threading import Lock
from typing import TypeVar

from msgspec import Struct

from provisioner.errors import NotFound, TooLarge
from provisioner.store.folders import failed, make_folder, sync_folder

T = TypeVar("T")

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
# A script that hands in a file a second must not use up the disk's inodes.
HIGHEST_COUNT = 200
_FILE = re.compile(rf"({NAME.pattern})~(\d+)~([0-9a-f]{{64}})")
_PART = ".part-"
# Each upload waits for the disk by itself; one that is slow must not stop the others.
_THREADS = 4


class Asset(Struct, frozen=True):
    """One file of a job; `size` in bytes."""

    name: str
    size: int
    sha256: str
    created_at: datetime


class Assets:
    """The assets below `folder`, at most `limit_bytes` for each job, counting what is coming in."""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._folder = folder
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="assets")
        self._lock = Lock()
        self._coming: Counter[str] = Counter()

    @asynccontextmanager
    async def upload(self, job: str, name: str, length: int = 0) -> AsyncIterator[Upload]:
        """An asset coming in; unless `finish` was called inside the block, nothing of it is left.

        `length` is how many bytes are announced, 0 when that is not known; raises TooLarge when they do not fit.
        """
        upload = Upload(self, job, name, length)
        try:
            await self.run(upload.open)
            yield upload
        finally:
            await self.run(upload.close)

    async def listed(self, job: str) -> list[Asset]:
        """The job's assets by name."""
        return await self.run(lambda: [asset for asset, _ in self._newest(job).values()])

    async def open(self, job: str, name: str) -> tuple[Asset, Path]:
        """An asset and where it is; raises NotFound with the names there are."""
        found = await self.run(lambda: self._newest(job))
        if name not in found:
            known = ", ".join(found) or "none"
            raise NotFound(f"job {job} has no asset {name!r}; there is: {known}", object=job)
        return found[name]

    def size_now(self, job: str) -> int:
        """Bytes of all assets of a job, for callers that are on a thread of their own."""
        return sum(asset.size for asset, _ in self._newest(job).values())

    def found(self, job: str) -> list[tuple[Asset, Path]]:
        """The job's assets by name with where they are, for callers that are on a thread of their own."""
        return list(self._newest(job).values())

    def remove(self, job: str) -> None:
        """Remove all assets of a job that is gone, on the caller's thread; raises StoreError."""
        try:
            shutil.rmtree(self._folder / job)
        except FileNotFoundError:
            return
        except OSError as error:
            raise failed(f"remove the assets {self._folder / job}", error, job) from error

    def kept(self) -> Iterator[str]:
        """The jobs that there are assets of."""
        if self._folder.is_dir():
            yield from (path.name for path in self._folder.iterdir())

    def sweep(self) -> int:
        """At start, before anything comes in: remove what a crash left half done; tells how many files those were."""
        try:
            return self._sweep()
        except OSError as error:
            raise failed(f"clean up {self._folder}", error) from error

    def _sweep(self) -> int:
        left = list(self._folder.glob(f"*/{_PART}*"))
        for job in self.kept():
            left += _outdated(self._folder / job)
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def close(self) -> None:
        """Finish what was begun."""
        self._threads.shutdown()

    async def run(self, work: Callable[[], T]) -> T:
        """Do this on a thread for files."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _newest(self, job: str) -> dict[str, tuple[Asset, Path]]:
        found: dict[str, tuple[Asset, Path]] = {}
        for name, _, digest, path in sorted(_files(self._folder / job)):
            try:
                seen = path.stat()
            except FileNotFoundError:
                continue
            created = datetime.fromtimestamp(seen.st_mtime, UTC)
            found[name] = Asset(name, seen.st_size, digest, created), path
        return found

    # --- what uploads ask -------------------------------------------------------------------------------------

    def begin(self, job: str) -> tuple[int, Path]:
        """A new, empty file beside the job's assets: its descriptor and its path; raises StoreError."""
        folder = self._folder / job
        with self._lock:
            try:
                make_folder(folder)
                descriptor, path = mkstemp(prefix=_PART, dir=folder)
            except OSError as error:
                raise failed(f"make a file in {folder}", error, job) from error
        return descriptor, Path(path)

    def drop(self, part: Path) -> None:
        """Remove what did not become an asset, with the job's folder when that has no others."""
        with self._lock:
            part.unlink(missing_ok=True)
            with suppress(OSError):
                part.parent.rmdir()

    def reserve(self, job: str, name: str, size: int) -> None:
        """Count `size` bytes more as coming in; raises TooLarge when the job may not have so many."""
        with self._lock:
            others = {other: asset.size for other, (asset, _) in self._newest(job).items() if other != name}
            if len(others) >= HIGHEST_COUNT:
                raise TooLarge(f"job {job} has {HIGHEST_COUNT} assets already, the most that it may have", object=job)
            if sum(others.values()) + self._coming[job] + size > self.limit_bytes:
                raise TooLarge(f"the assets of job {job} would exceed {self.limit_bytes} bytes together", object=job)
            self._coming[job] += size

    def release(self, job: str, size: int) -> None:
        """These bytes are no longer coming in."""
        with self._lock:
            self._coming[job] -= size
            if not self._coming[job]:
                del self._coming[job]

    def place(self, part: Path, job: str, name: str, digest: str, now: datetime) -> Path:
        """Give a complete file its name; what it replaces is gone afterwards."""
        with self._lock:
            before = [(number, path) for known, number, _, path in _files(self._folder / job) if known == name]
            number = max((number for number, _ in before), default=0) + 1
            path = part.with_name(f"{name}~{number}~{digest}")
            nanoseconds = round(now.timestamp() * 1e6) * 1000
            os.utime(part, ns=(nanoseconds, nanoseconds))
            part.rename(path)
            sync_folder(path.parent)
            for _, old in before:
                old.unlink(missing_ok=True)
        return path


class Upload:
    """An asset while it is coming in; made by `Assets.upload`."""

    def __init__(self, assets: Assets, job: str, name: str, length: int) -> None:
        self._assets = assets
        self._length = length
        self._job = job
        self._name = name
        self._digest = hashlib.sha256()
        self._size = 0
        self._part: Path | None = None
        self._descriptor = -1
        self._ended = False
        # A request that is cut off leaves its last write at work on a thread while `close` begins on another.
        self._lock = Lock()

    async def write(self, data: bytes) -> None:
        """Add bytes; raises TooLarge at the limit, DiskFull or StoreError."""
        await self._assets.run(lambda: self._write(data))

    async def finish(self, now: datetime) -> Asset:
        """All is here: it is on disk when this returns, and replaces what had the name before."""
        return await self._assets.run(lambda: self._finish(now))

    def open(self) -> None:
        """Begin; on a thread for files."""
        with self._lock:
            if not self._ended:
                self._assets.reserve(self._job, self._name, self._length)
                self._assets.release(self._job, self._length)
                self._descriptor, self._part = self._assets.begin(self._job)

    def _write(self, data: bytes) -> None:
        with self._lock:
            if self._ended:
                return
            self._assets.reserve(self._job, self._name, len(data))
            self._size += len(data)
            self._digest.update(data)
            rest = memoryview(data)
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                raise failed(f"write asset {self._name} of job {self._job}", error, self._job) from error

    def _finish(self, now: datetime) -> Asset:
        with self._lock:
            if self._part is None:
                raise ValueError("an upload is finished once, while it is open")
            digest = self._digest.hexdigest()
            try:
                os.fchmod(self._descriptor, 0o640)
                os.fsync(self._descriptor)
                self._assets.place(self._part, self._job, self._name, digest, now)
            except OSError as error:
                raise failed(f"save asset {self._name} of job {self._job}", error, self._job) from error
            self._part = None
            return Asset(self._name, self._size, digest, now)

    def close(self) -> None:
        """End; what was not finished is removed."""
        with self._lock:
            self._ended = True
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            if self._part is not None:
                self._assets.drop(self._part)
                self._part = None
            self._assets.release(self._job, self._size)
            self._size = 0


def _files(folder: Path) -> Iterator[tuple[str, int, str, Path]]:
    """(name, number, digest, path) of the complete assets in a job's folder."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    for found in filter(None, map(_FILE.fullmatch, names)):
        yield found[1], int(found[2]), found[3], folder / found[0]


def _outdated(folder: Path) -> list[Path]:
    """Assets that a later one of their name has replaced."""
    newest: dict[str, Path] = {}
    old = []
    for name, _, _, path in sorted(_files(folder)):
        if name in newest:
            old.append(newest[name])
        newest[name] = path
    return old
