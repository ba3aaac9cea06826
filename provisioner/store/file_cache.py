"""Copies of files from elsewhere, on disk: whole or not at all, the least recently used dropped first.

A copy is one file: the content, then what is known of it as JSON, its length and a mark. It gets its name when all of
that is on the disk, so a crash leaves either a whole copy or a part that the next start removes. The time of change of
the file is when the copy was last known to be right, its time of access when it was last used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from operator import itemgetter
from pathlib import Path
from struct import Struct as Layout
from struct import error as TooShort
from tempfile import mkstemp
from threading import Lock
from typing import BinaryIO

import msgspec
from msgspec import Struct

from provisioner.errors import DiskFull
from provisioner.store.folders import make_folder, sync_folder

# Of the limit, so that not every new file makes another one go.
_EVICT_TO = 0.9
# Uses closer together than this are one: each costs a write of an inode.
_USE_SECONDS = 600.0
# Room is made in steps for what does not say how long it is, and on a full disk: each looks at all copies.
_STEP_BYTES = 64 << 20
_TAIL = Layout(">I8s")
_MARK = b"provcopy"
_LARGEST_NOTE = 64 * 1024


class NoRoom(Exception):
    """A file cannot be kept: with those that are coming in it is larger than the limit."""


class Note(Struct, frozen=True):
    """What is known of a copy; `fresh_seconds` is how long it is good without asking where it came from."""

    path: str
    size: int
    etag: str
    upstream_etag: str
    last_modified: str
    content_type: str
    fresh_seconds: int


class Copy(Struct, frozen=True):
    """A copy that is there: opened, with its note and when it was last known to be right (seconds since 1970)."""

    file: BinaryIO
    note: Note
    validated_at: float


class Part:
    """A copy that is being written; `promised` is the room that it may take."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._digest = sha256()
        self.size = 0
        self.promised = 0

    def write(self, data: bytes) -> None:
        """Append; it can be read at once. Raises OSError, and nothing was appended then."""
        try:
            _write_all(self._file, data)
        except OSError:
            self._file.seek(self.size)
            self._file.truncate()
            raise
        self._digest.update(data)
        self.size += len(data)

    def sha256(self) -> str:
        """Of what was written so far."""
        return self._digest.hexdigest()

    def seal(self, note: Note) -> None:
        """Put the note behind it, and all of it on the disk."""
        encoded = msgspec.json.encode(note)
        _write_all(self._file, encoded + _TAIL.pack(len(encoded), _MARK))
        os.fsync(self._file.fileno())
        self._file.close()

    def drop(self) -> None:
        """Remove it, should it still be a part."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class FileCache:
    """Copies below a folder, by the name of where they are from and their path there; all functions block.

    They may be called from several threads. What is counted changes together with the files, under `_lock`, so that
    none is counted twice or not at all.
    """

    def __init__(self, folder: Path, limit_bytes: int, clock: Callable[[], float]) -> None:
        self._folder = folder
        self.limit_bytes = limit_bytes
        self._clock = clock
        self._sizes: dict[str, int] = {}
        self._promised = 0
        self._lock = Lock()
        # Who waits for room finds what the one before it has made.
        self._making_room = Lock()
        self.size = 0

    def size_of(self, source: str) -> int:
        """How many bytes the copies from there take."""
        return self._sizes.get(source, 0)

    def open(self) -> None:
        """Remove what a crash has left, and measure the rest; raises OSError."""
        make_folder(self._folder)
        with self._lock:
            self._sizes.clear()
            self.size = 0
            for path, found in self._all():
                if path.name.endswith(".part"):
                    path.unlink(missing_ok=True)
                else:
                    self._count(path, found.st_size)

    def find(self, source: str, path: str) -> Copy | None:
        """The copy of a path, None when there is none or it is damaged (it is removed then)."""
        place = self._place(source, path)
        try:
            file = place.open("rb")
        except OSError:
            return None
        note = _note_of(file)
        found = os.fstat(file.fileno())
        if note is None or note.path != path:
            file.close()
            self._remove(place, found)
            return None
        now = self._clock()
        if abs(now - found.st_atime) > _USE_SECONDS:
            # Another may be making room at this moment; what is open stays readable.
            with suppress(FileNotFoundError):
                os.utime(place, (now, found.st_mtime))
        return Copy(file, note, found.st_mtime)

    def begin(self, size: int) -> Part:
        """Begin a copy of about so many bytes, for which room is made; raises NoRoom, OSError."""
        self._promise(size)
        try:
            number, name = mkstemp(suffix=".part", dir=self._folder)
        except OSError:
            self._promise(-size)
            raise
        part = Part(Path(name), os.fdopen(number, "wb", buffering=0))
        part.promised = size
        return part

    def write(self, part: Part, data: bytes) -> None:
        """Append to a part; raises NoRoom, OSError."""
        if part.size + len(data) > part.promised:
            more = max(len(data), min(_STEP_BYTES, self.limit_bytes // 10))
            self._promise(more)
            part.promised += more
        try:
            part.write(data)
        except OSError as error:
            if error.errno not in DiskFull.ERRNOS or not self._free(_STEP_BYTES):
                raise
            part.write(data)

    def drop(self, part: Part) -> None:
        """Remove a part, should it still be one."""
        part.drop()
        self._promise(-part.promised)
        part.promised = 0

    def keep(self, part: Part, source: str, note: Note) -> None:
        """Make a part the copy of its path; raises OSError."""
        place = self._place(source, note.path)
        part.seal(note)
        make_folder(place.parent)
        now = self._clock()
        os.utime(part.path, (now, now))
        taken = part.path.stat().st_size
        with self._lock:
            before = _size_of(place)
            part.path.replace(place)
            self._count(place, taken - before)
            self._promised -= part.promised
            part.promised = 0
        sync_folder(place.parent)

    def validated(self, source: str, path: str) -> None:
        """The copy of this path is as it is where it came from, now."""
        now = self._clock()
        try:
            os.utime(self._place(source, path), (now, now))
        except OSError:  # dropped meanwhile
            return

    def forget(self, source: str, path: str) -> None:
        """Remove the copy of a path, if there is one."""
        self._remove(self._place(source, path))

    def clear(self, source: str) -> int:
        """Remove all copies from there; how many bytes that freed."""
        return sum(self._remove(path) for path, _ in self._all(source))

    def _remove(self, place: Path, seen: os.stat_result | None = None) -> int:
        """Remove a copy, with `seen` only if it is still that one; how many bytes it took."""
        with self._lock:
            try:
                found = place.stat()
                if seen is not None and (seen.st_ino, seen.st_size) != (found.st_ino, found.st_size):
                    return 0
                place.unlink()
            except FileNotFoundError:
                return 0
            self._count(place, -found.st_size)
            return found.st_size

    def _count(self, place: Path, change: int) -> None:
        """There is more or less; the lock is held."""
        source = place.relative_to(self._folder).parts[0]
        self._sizes[source] = self._sizes.get(source, 0) + change
        self.size += change

    def _promise(self, size: int) -> None:
        """Set room aside for a part, or give it back; raises NoRoom."""
        with self._lock:
            if self.limit_bytes and size > 0 and self._promised + size > self.limit_bytes:
                raise NoRoom
            self._promised += size
        if self.limit_bytes and size > 0:
            with self._making_room:
                if self.size + self._promised > self.limit_bytes:
                    self._evict(self.size + self._promised - int(self.limit_bytes * _EVICT_TO))

    def _free(self, size: int) -> bool:
        """Remove copies of so many bytes; whether there were any."""
        with self._making_room:
            return self._evict(size) > 0

    def _evict(self, size: int) -> int:
        """Remove those used least recently until so many bytes are free, or all; how many are."""
        copies = [(found.st_atime, str(path), found) for path, found in self._all() if path.suffix != ".part"]
        freed = 0
        for _, path, found in sorted(copies, key=itemgetter(0, 1)):
            if freed >= size:
                break
            freed += self._remove(Path(path), found)
        return freed

    def _all(self, source: str = "") -> Iterator[tuple[Path, os.stat_result]]:
        for folder, _, names in os.walk(self._folder / source):
            for name in names:
                path = Path(folder, name)
                try:
                    yield path, path.stat()
                except FileNotFoundError:
                    continue

    def _place(self, source: str, path: str) -> Path:
        name = sha256(path.encode("utf-8", "surrogatepass")).hexdigest()
        return self._folder / source / name[:2] / name


def _write_all(file: BinaryIO, data: bytes) -> None:
    """A file without a buffer may take a part of it only and say so, as when the disk is nearly full."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _note_of(file: BinaryIO) -> Note | None:
    """The note behind a copy; None when that is not whole, and then nothing of it is."""
    try:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - _TAIL.size))
        length, mark = _TAIL.unpack(file.read(_TAIL.size))
        if mark != _MARK or length > _LARGEST_NOTE:
            return None
        file.seek(end - _TAIL.size - length)
        note = msgspec.json.decode(file.read(length), type=Note)
    except (OSError, TooShort, ValueError, msgspec.DecodeError):
        return None
    return note if note.size + length + _TAIL.size == end else None
