"""A tiny disk: a tmpfs in a mount namespace of the tests' own, for tests of what a full disk does.

Threads and programs that are started inside the block see it too; nobody else on the host does. It needs root.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from tests.peers.programs import missing

_NEW_MOUNTS = 0x00020000
_MS_RDONLY, _MS_REMOUNT, _MS_REC, _MS_PRIVATE = 1, 32, 1 << 14, 1 << 18
_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


class SmallDisk:
    """The mounted folder; `fill` and `free` take and give back its room, `read_only` turns writing off and on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / ".ballast"

    def fill(self, leave_bytes: int = 0) -> None:
        """Use up all room but so much."""
        room = os.statvfs(self.folder)
        # Somebody else may have taken of it meanwhile.
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            file.write(bytes(max(room.f_bavail * room.f_frsize - leave_bytes, 0)))

    def free(self) -> None:
        """Give back what `fill` took."""
        self._ballast.unlink()

    def read_only(self, wanted: bool) -> None:
        """Remount it; files that are open for writing hinder that."""
        flags = _MS_REMOUNT | (_MS_RDONLY if wanted else 0)
        _call("mount", b"none", os.fsencode(self.folder), b"tmpfs", flags, None)


@cache
def _own_mounts() -> None:
    """Give this thread, and all that it starts from now on, mounts of their own; they keep them until the end."""
    _call("unshare", _NEW_MOUNTS)
    _call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)


@contextmanager
def small_disk(folder: Path, size_bytes: int = 1 << 20) -> Iterator[SmallDisk]:
    """A disk of this size at `folder`; where nothing can be mounted, the test is skipped (in CI: failed).

    Enter it before anything starts threads: those that run already do not see it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _own_mounts()
        _call("mount", b"none", os.fsencode(folder), b"tmpfs", 0, f"size={size_bytes}".encode())
    except OSError as error:
        missing(f"a small disk cannot be mounted here: {error.strerror}")
    try:
        yield SmallDisk(folder)
    finally:
        _call("umount2", os.fsencode(folder), _DETACH)


def _call(name: str, *args: object) -> None:
    if getattr(_libc, name)(*args) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
