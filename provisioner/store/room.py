"""Room in the write-ahead log, made before it is needed.

A commit that makes the log longer waits for the file system to note its new length as well: twice as long as one that
writes over what is there, and ten times as long when others write to the disk too. After it was merged SQLite begins
the log anew without making it shorter, so this happens once: in the first power-on storm after a start, of all times.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from shutil import disk_usage

# Of what is free on the disk it may take so much. Others need the rest more: where it is that full, a commit can wait.
_SHARE = 1 / 4
# What is more than this of a transaction goes into the log before anybody knows whether it will be committed.
_KEPT_BYTES = 2 << 20


def make_room(conn: sqlite3.Connection, path: Path, size: int) -> None:
    """Make the log of the database at `path` about `size` bytes long; what it holds stays as it is.

    It is SQLite itself that writes there, in a transaction that is taken back: so nobody else can be writing. The
    transaction must have begun. Raises sqlite3.Error and OSError, also before the disk is full.
    """
    try:
        if size > disk_usage(path.parent).free * _SHARE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        conn.execute("CREATE TABLE room (bytes)")
        conn.execute("INSERT INTO room VALUES (zeroblob(?))", (size + _KEPT_BYTES,))
    finally:
        conn.rollback()
    # Else the next commit would wait for all of it.
    log = os.open(path.with_name(f"{path.name}-wal"), os.O_RDWR)
    try:
        os.fsync(log)
    finally:
        os.close(log)
