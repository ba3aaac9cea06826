"""A tar archive (POSIX.1-2001 pax) written piece by piece: nothing is kept in memory, and sizes are said first.

A file that grows while it is read ends where it ended when its header was written; one that has become shorter is
filled up with zeros, so that the archive stays whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from tarfile import BLOCKSIZE, NUL, PAX_FORMAT, TarInfo
from typing import BinaryIO

PIECE_BYTES = 256 << 10
# Two empty blocks, filled up to a record (POSIX: 20 blocks).
END = NUL * (20 * BLOCKSIZE)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def safe(name: str) -> str:
    """The name as one part of a path that is harmless wherever the archive is unpacked."""
    return _UNSAFE.sub("-", name)[:100].lstrip(".") or "-"


def header(path: str, size: int, modified: datetime) -> bytes:
    """What stands before a file's bytes."""
    info = TarInfo(path)
    info.size = size
    info.mtime = int(modified.timestamp())
    info.mode = 0o640
    info.uname = info.gname = "root"
    return info.tobuf(PAX_FORMAT)


def padding(size: int) -> bytes:
    """What stands behind a file of this size."""
    return NUL * (-size % BLOCKSIZE)


def data_member(path: str, data: bytes, modified: datetime) -> bytes:
    """A whole file that is in memory."""
    return header(path, len(data), modified) + data + padding(len(data))


def file_member(path: str, file: BinaryIO, modified: datetime | None = None) -> Iterator[bytes]:
    """A file that is open, as long as it is now, in pieces; `modified` is the file's own time unless given."""
    seen = os.fstat(file.fileno())
    size = seen.st_size
    yield header(path, size, modified or datetime.fromtimestamp(seen.st_mtime).astimezone())
    left = size
    while left:
        piece = file.read(min(left, PIECE_BYTES)) or NUL * min(left, PIECE_BYTES)
        left -= len(piece)
        yield piece
    yield padding(size)
