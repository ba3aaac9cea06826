"""What TFTP sends, as ready DATA datagrams one behind the other: made once, shared by all transfers of the same file.

A file is cut into chunks of whole blocks. Chunks that many machines fetch stay in memory, bounded; one is found again
by the file's device, inode, size and times, so that what is given out is never older than the file as it was opened.
Disks may be slow or far away: chunks are read on a thread, the next one ahead of its time.
"""

from __future__ import annotations

import asyncio
import os
from asyncio import Future
from collections import OrderedDict
from collections.abc import Callable
from itertools import count
from time import time
from typing import BinaryIO, Protocol

from provisioner.wire.tftp import encode_blocks

CHUNK_BYTES = 256 * 1024
# Every loader there is, in the block sizes that firmware asks for, and the hot part of a kernel.
CACHE_BYTES = 64 << 20
_HEADER_BYTES = 4
# A file written in the same tick of the file system's clock as it was read may have changed since and look the same.
_SETTLED_SECONDS = 2.0

_Key = tuple[object, int, int]


class ChunkCache:
    """The chunks used last, by file, block size and number; and those being loaded, so that each is loaded once."""

    def __init__(self, limit_bytes: int = CACHE_BYTES) -> None:
        self._limit = limit_bytes
        self._chunks: OrderedDict[_Key, bytes] = OrderedDict()
        self._loading: dict[_Key, Future[bytes]] = {}
        self.size = 0

    def get(self, key: _Key) -> bytes | None:
        """The chunk, if it is here."""
        chunk = self._chunks.get(key)
        if chunk is not None:
            self._chunks.move_to_end(key)
        return chunk

    def load(self, key: _Key, reader: Callable[[], Callable[[], bytes]]) -> Future[bytes]:
        """The chunk from what `reader` makes, which runs on a thread; many who want the same wait for the same."""
        loading = self._loading.get(key)
        if loading is None:
            loading = asyncio.get_running_loop().run_in_executor(None, reader())
            self._loading[key] = loading
            loading.add_done_callback(lambda done: self._loaded(key, done))
        return loading

    def _loaded(self, key: _Key, done: Future[bytes]) -> None:
        del self._loading[key]
        # Asking for the exception also says that somebody has seen it: the next chunk may be wanted by nobody.
        if done.cancelled() or done.exception() is not None:
            return
        chunk = done.result()
        self._chunks[key] = chunk
        self.size += len(chunk)
        # The newest stays: somebody waits for it.
        while self.size > self._limit and len(self._chunks) > 1:
            _, oldest = self._chunks.popitem(last=False)
            self.size -= len(oldest)


class Source(Protocol):
    """Where the bytes come from."""

    size: int

    def content(self, block_size: int) -> Content:
        """The same in blocks."""

    def close(self) -> None:
        """Let the file go."""


class Content(Protocol):
    """A file in blocks, as datagrams; the last one is short."""

    def run(self, first: int, count: int) -> memoryview | None:
        """Datagrams from block `first` on: `count`, or fewer, at least one; None when they have to be loaded first."""

    def load(self, first: int) -> Future[bytes] | None:
        """Fetch the block and some that follow; OSError comes of it when they cannot be read."""


class BytesSource:
    """Content that is in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    def content(self, block_size: int) -> Content:
        """As many datagrams at a time as are asked for."""
        return _Cut(self._content, block_size)

    def close(self) -> None:
        """There is nothing to close."""


class _Cut:
    """Made ready only as it is sent: whoever asks for blocks of 8 bytes and goes away has cost nothing."""

    def __init__(self, content: bytes, block_size: int) -> None:
        self._content = content
        self._block_size = block_size
        self._last = len(content) // block_size + 1

    def run(self, first: int, count: int) -> memoryview:
        """They are always there."""
        following = min(first + count, self._last + 1)
        part = self._content[(first - 1) * self._block_size : (following - 1) * self._block_size]
        blocks = encode_blocks(first, part, self._block_size)
        if part and following > self._last and len(part) % self._block_size == 0:
            blocks += encode_blocks(self._last, b"", self._block_size)
        return memoryview(blocks)

    def load(self, first: int) -> None:
        """There is nothing to load."""


class FileSource:
    """An open file."""

    _unlike_any = count()

    def __init__(self, file: BinaryIO, cache: ChunkCache) -> None:
        self._file = file
        self._cache = cache
        about = os.fstat(file.fileno())
        self.size = about.st_size
        self._version = _version(about)
        times = about.st_mtime_ns, about.st_ctime_ns
        settled = time() - max(times) / 1e9 > _SETTLED_SECONDS
        self.identity = (
            about.st_dev,
            about.st_ino,
            about.st_size,
            *times,
            0 if settled else next(self._unlike_any) + 1,
        )

    def content(self, block_size: int) -> Content:
        """Its chunks, from the cache or from the disk."""
        return _Chunked(self, block_size, self._cache)

    def reader(self) -> Callable[[int, int], bytes]:
        """What reads these bytes, fewer at the end, once; OSError also when the file is not what it was."""
        descriptor, version, size = os.dup(self._file.fileno()), self._version, self.size

        def read(offset: int, length: int) -> bytes:
            try:
                found = os.pread(descriptor, length, offset)
                same = _version(os.fstat(descriptor)) == version
            finally:
                os.close(descriptor)
            if len(found) < min(length, size - offset) or not same:
                raise OSError("it was changed while it was sent")
            return found

        return read

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _version(about: os.stat_result) -> tuple[int, int]:
    # Without the time of the inode's change: a file may be replaced by renaming another over it, and is still itself.
    return about.st_size, about.st_mtime_ns


class _Chunked:
    """The chunk at hand is kept whatever the cache throws out."""

    def __init__(self, source: FileSource, block_size: int, cache: ChunkCache) -> None:
        self._source = source
        self._cache = cache
        self._block_size = block_size
        self._step = block_size + _HEADER_BYTES
        self._blocks = max(1, CHUNK_BYTES // self._step)
        self._last = source.size // block_size // self._blocks
        self._number = -1
        self._view = memoryview(b"")

    def run(self, first: int, count: int) -> memoryview | None:
        """From the chunk at hand, else the one that the cache has."""
        number, place = divmod(first - 1, self._blocks)
        if number != self._number:
            chunk = self._cache.get(self._key(number))
            if chunk is None:
                return None
            self._hold(number, chunk)
        return self._view[place * self._step : (place + count) * self._step]

    def load(self, first: int) -> Future[bytes]:
        """The chunk with this block, into the cache."""
        return self._load((first - 1) // self._blocks)

    def _hold(self, number: int, chunk: bytes) -> None:
        self._number, self._view = number, memoryview(chunk)
        following = number + 1
        if following <= self._last and self._cache.get(self._key(following)) is None:
            self._load(following)

    def _load(self, number: int) -> Future[bytes]:
        return self._cache.load(self._key(number), lambda: self._reader(number))

    def _reader(self, number: int) -> Callable[[], bytes]:
        """What reads a chunk on a thread; on a descriptor of its own, for many may wait for what one began."""
        read = self._source.reader()
        first = number * self._blocks
        block_size, wanted = self._block_size, self._blocks * self._block_size
        ends = number == self._last

        def encoded() -> bytes:
            content = read(first * block_size, wanted)
            blocks = encode_blocks(first + 1, content, block_size)
            if ends and content and len(content) % block_size == 0:
                blocks += encode_blocks(first + len(content) // block_size + 1, b"", block_size)
            return blocks

        return encoded

    def _key(self, number: int) -> _Key:
        return self._source.identity, self._block_size, number
