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
from pathlib import Path
from struct import Struct as Layout
from struct import error as TooShort
from tempfile import mkstemp
from typing import BinaryIO

import msgspec
from msgspec import Struct

from provisioner.store.folders import make_folder, sync_folder

# Of the limit, so that not every new file makes another one go.
_EVICT_TO = 0.9
# Uses closer together than this are one: each costs a write of an inode.
_USE_SECONDS = 600.0
_TAIL = Layout(">I8s")
_MARK = b"provcopy"
_LARGEST_NOTE = 64 * 1024


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
    """A copy that is being written."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self._digest = sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append; it can be read at once. Raises OSError."""
        _write_all(self._file, data)
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
    """Copies below a folder, by the name of where they are from and their path there; all functions block."""

    def __init__(self, folder: Path, limit_bytes: int, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._clock = clock
        self._size = 0

    @property
    def size(self) -> int:
        """How many bytes all copies take."""
        return self._size

    def open(self) -> None:
        """Remove what a crash has left, and measure the rest; raises OSError."""
        make_folder(self._folder)
        self._size = 0
        for path, found in self._all():
            if path.name.endswith(".part"):
                path.unlink(missing_ok=True)
            else:
                self._size += found.st_size

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
            self._remove(place, found.st_size)
            return None
        now = self._clock()
        if abs(now - found.st_atime) > _USE_SECONDS:
            # Another may be making room at this moment; what is open stays readable.
            with suppress(FileNotFoundError):
                os.utime(place, (now, found.st_mtime))
        return Copy(file, note, found.st_mtime)

    def begin(self, size: int) -> Part:
        """Begin a copy of about so many bytes, for which room is made unless it is too large; raises OSError."""
        self._make_room(size)
        number, name = mkstemp(suffix=".part", dir=self._folder)
        return Part(Path(name), os.fdopen(number, "wb", buffering=0))

    def keep(self, part: Part, source: str, note: Note) -> None:
        """Make a part the copy of its path; raises OSError. One that is larger than the limit is not kept."""
        if self._limit and part.size > self._limit:
            part.drop()
            return
        place = self._place(source, note.path)
        part.seal(note)
        make_folder(place.parent)
        before = _size_of(place)
        now = self._clock()
        os.utime(part.path, (now, now))
        taken = part.path.stat().st_size
        part.path.replace(place)
        sync_folder(place.parent)
        self._size += taken - before

    def validated(self, source: str, path: str) -> None:
        """The copy of this path is as it is where it came from, now."""
        now = self._clock()
        try:
            os.utime(self._place(source, path), (now, now))
        except OSError:  # dropped meanwhile
            return

    def forget(self, source: str, path: str) -> None:
        """Remove the copy of a path, if there is one."""
        place = self._place(source, path)
        self._remove(place, _size_of(place))

    def _remove(self, place: Path, size: int) -> None:
        try:
            place.unlink()
        except FileNotFoundError:
            return
        self._size -= size

    def _make_room(self, size: int) -> None:
        if not self._limit or self._size + size <= self._limit or size > self._limit:
            return
        wanted = max(0, int(self._limit * _EVICT_TO) - size)
        copies = [(found.st_atime, found.st_size, path) for path, found in self._all() if path.suffix != ".part"]
        for _, taken, path in sorted(copies):
            if self._size <= wanted:
                return
            self._remove(path, taken)

    def _all(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder, _, names in os.walk(self._folder):
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
