"""Files by their contents."""

from __future__ import annotations

from hashlib import sha256
from typing import Optional

from .errors import FileTrouble

_PIECE_BYTES = 1024 * 1024


def sha256_of(path: str, size: Optional[int] = None) -> tuple[int, str]:
    """How many bytes were read, and their SHA-256 in hexadecimal: of the whole file, or of its first `size` bytes."""
    digest = sha256()
    done = 0
    try:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE_BYTES if size is None else min(_PIECE_BYTES, size - done)):
                digest.update(piece)
                done += len(piece)
    except OSError as error:
        raise FileTrouble(f"cannot read {path}: {error.strerror}") from error
    return done, digest.hexdigest()
