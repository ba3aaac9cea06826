"""A reason to stop what is running, given from another thread or a signal handler, and a descriptor to wait on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from math import ceil
from select import POLLIN, poll
from typing import Optional

CANCELLED = "cancelled"  # the server, or a person through it, wants the job to end
STOPPED = "stopped"  # the agent itself has to end


def readable(descriptors: Sequence[int], seconds: Optional[float]) -> list[int]:
    """Those that have something to read, waiting for it; None is for ever. Not `select`, which ends at 1024 files."""
    waiting = poll()
    for descriptor in descriptors:
        waiting.register(descriptor, POLLIN)
    return [descriptor for descriptor, _ in waiting.poll(None if seconds is None else ceil(max(0.0, seconds) * 1000))]


class Interrupt:
    """Given at most once; the first reason stays. Close it when done."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self.reason = ""
        self.detail = ""

    def fileno(self) -> int:
        """Readable once the interrupt was given."""
        return self._reader

    def give(self, reason: str, detail: str) -> None:
        """Interrupt; `detail` is for people."""
        if not self.reason:
            self.detail = detail
            self.reason = reason
            with suppress(OSError):  # closed meanwhile: nobody waits any more
                os.write(self._writer, b"!")

    def close(self) -> None:
        """Free the descriptors."""
        os.close(self._reader)
        os.close(self._writer)
