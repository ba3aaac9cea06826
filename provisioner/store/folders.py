"""Folders and files as the store uses them: made and named durably, and errors of the system put into words."""

from __future__ import annotations

import os
from pathlib import Path

from provisioner.errors import DiskFull, StoreError


def make_folder(folder: Path) -> None:
    """Make a folder with those above it, so that it is there after a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o750, exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Return when the names in this folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def failed(what: str, error: OSError, object: str = "") -> StoreError:
    """The error for `what` could not be done, as `write the log X`."""
    if error.errno in DiskFull.ERRNOS:
        return DiskFull(
            f"cannot {what}: {error.strerror}; make room on the disk, nothing else is needed", object=object
        )
    return StoreError(f"cannot {what}: {error.strerror}", object=object)
