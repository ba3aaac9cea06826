"""Bytes that were written and not yet acknowledged, bounded, in memory while few and in temporary files when many.

What does not fit is refused whole, and the spool says why: nothing is lost without a word.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from io import BytesIO
from tempfile import TemporaryFile, gettempdir
from typing import IO, Callable, Optional

SEGMENT_BYTES = 4 * 1024 * 1024
MEMORY_BYTES = 256 * 1024  # a segment below this size never touches a disk
LIMIT_BYTES = 256 * 1024 * 1024  # on a netbooted machine temporary files are memory too


OpenFile = Callable[[Optional[str]], IO[bytes]]


def _temporary_file(folder: Optional[str]) -> IO[bytes]:
    # Unbuffered: what a full disk refuses must not stay in a buffer, where it would fail whatever comes afterwards.
    return TemporaryFile(dir=folder, buffering=0)


def _write(file: IO[bytes], data: bytes) -> None:
    """Write all of it; an unbuffered file may take less at once."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


@dataclass(frozen=True)
class Place:
    """Where and how much is kept.

    `folder` None is the system's place for temporary files. Segments of up to `memory_bytes` stay in memory; with 0
    every byte goes to disk.
    """

    folder: Optional[str] = None
    limit_bytes: int = LIMIT_BYTES
    memory_bytes: int = MEMORY_BYTES
    segment_bytes: int = SEGMENT_BYTES


class _Segment:
    """A run of bytes that starts at `start`."""

    def __init__(self, start: int, place: Place, open_file: OpenFile) -> None:
        self.start = start
        self.size = 0
        self._place = place
        self._open_file = open_file
        self._file: IO[bytes] = BytesIO()
        self._is_on_disk = False

    @property
    def end(self) -> int:
        return self.start + self.size

    def append(self, data: bytes) -> None:
        """Raises OSError, and keeps none of it, when the disk is full."""
        if self.size + len(data) > self._place.memory_bytes and not self._is_on_disk:
            self._move_to_disk()
        self._file.seek(self.size)
        _write(self._file, data)
        self.size += len(data)

    def _move_to_disk(self) -> None:
        target = self._open_file(self._place.folder)
        try:
            _write(target, self.read(self.start, self.size))
        except OSError:
            target.close()
            raise
        self._file, self._is_on_disk = target, True

    def read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset - self.start)
        return self._file.read(min(size, self.end - offset))

    def close(self) -> None:
        self._file.close()


class Spool:
    """A queue of bytes addressed by offset. Not safe for use by several threads at once.

    `trouble` is why bytes were refused last, "" when none ever were.
    """

    def __init__(self, start: int, place: Place = Place(), open_file: OpenFile = _temporary_file) -> None:
        self._place = place
        self._open_file = open_file
        self.trouble = ""
        self._segments: deque[_Segment] = deque()
        self._end = start

    @property
    def start(self) -> int:
        """The offset of the oldest byte that is still here."""
        return self._segments[0].start if self._segments else self._end

    @property
    def end(self) -> int:
        """The offset of the next byte to be written."""
        return self._end

    def append(self, data: bytes) -> bool:
        """Keep the bytes; False when there is no room for them, then none is kept."""
        place = self._place
        if self._end - self.start + len(data) > place.limit_bytes:
            self.trouble = f"the server was away too long, the spool's {place.limit_bytes} bytes are full"
            return False
        if not self._segments or self._segments[-1].size >= place.segment_bytes:
            self._segments.append(_Segment(self._end, place, self._open_file))
        try:
            self._segments[-1].append(data)
        except OSError as error:
            self.trouble = f"the spool in {place.folder or gettempdir()} takes no more: {error.strerror or error}"
            return False
        self._end += len(data)
        return True

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on; fewer at the end and where a segment ends."""
        for segment in self._segments:
            if segment.start <= offset < segment.end:
                return segment.read(offset, size)
        return b""

    def forget(self, offset: int) -> None:
        """Bytes before `offset` are no longer needed; their room is freed segment by segment."""
        while self._segments and self._segments[0].end <= offset:
            self._segments.popleft().close()

    def close(self) -> None:
        """Drop everything."""
        self.forget(self._end)
