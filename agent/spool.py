"""Bytes that were written and not yet acknowledged, bounded, in memory while few and in temporary files when many."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO, Optional

SEGMENT_BYTES = 4 * 1024 * 1024
MEMORY_BYTES = 256 * 1024  # a segment below this size never touches a disk
LIMIT_BYTES = 256 * 1024 * 1024  # on a netbooted machine temporary files are memory too


class _Segment:
    """A run of bytes that starts at `start`."""

    def __init__(self, start: int, folder: Optional[str]) -> None:
        self.start = start
        self.size = 0
        self._folder = folder
        self._file: IO[bytes] = BytesIO()
        self._is_on_disk = False

    @property
    def end(self) -> int:
        return self.start + self.size

    def append(self, data: bytes) -> None:
        """Raises OSError, and keeps none of it, when the disk is full."""
        if self.size + len(data) > MEMORY_BYTES and not self._is_on_disk:
            self._move_to_disk()
        self._file.seek(self.size)
        self._file.write(data)
        self._file.flush()  # or a full disk would be noticed too late
        self.size += len(data)

    def _move_to_disk(self) -> None:
        target = TemporaryFile(dir=self._folder)  # noqa: SIM115 (it lives as long as the segment)
        try:
            target.write(self.read(self.start, self.size))
            target.flush()
        except OSError:
            with suppress(OSError):
                target.close()
            raise
        self._file, self._is_on_disk = target, True

    def read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset - self.start)
        return self._file.read(min(size, self.end - offset))

    def close(self) -> None:
        # What a full disk kept back is written on closing, and fails once more.
        with suppress(OSError):
            self._file.close()


class Spool:
    """A queue of bytes addressed by offset. Not safe for use by several threads at once."""

    def __init__(
        self, start: int, folder: Optional[str] = None, limit: int = LIMIT_BYTES, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self._folder = folder
        self._limit = limit
        self._segment_bytes = segment_bytes
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
        if self._end - self.start + len(data) > self._limit:
            return False
        if not self._segments or self._segments[-1].size >= self._segment_bytes:
            self._segments.append(_Segment(self._end, self._folder))
        try:
            self._segments[-1].append(data)
        except OSError:
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
