"""A UDP socket that is emptied in batches: what the services on ports 67, 547 and 4011 have in common.

A DatagramProtocol costs nine times as much for each datagram as a reader callback that takes all that is there.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from asyncio import Future
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import structlog

from provisioner.recording import NO_RECORDER, Recorder

log = structlog.get_logger(__name__)

# More at once makes the first of them wait; fewer wastes commits.
DRAIN_LIMIT = 64
# A power-on storm of a hall fits in: 2,000 packets of 600 bytes with the kernel's overhead.
RECEIVE_BUFFER_BYTES = 4 << 20
# In the end, so long for what is being saved.
_LAST_SECONDS = 1.0

# Not in Python's socket module; number of <asm-generic/socket.h>.
_SO_RCVBUFFORCE = 33

# What `recvmsg` returns: data, ancillary data, flags and the source.
Ancillary = list[tuple[int, int, bytes]]
Datagram = tuple[bytes, Ancillary, int, Any]

_Reply = TypeVar("_Reply")


class DatagramService(ABC):
    """Serves a bound socket, which it closes in the end; `name` is what it is called in the log.

    `received` and `sent` count datagrams; `dropped` counts by reason those that got no reply of ours.
    """

    def __init__(
        self, name: str, sock: socket.socket, largest: int, ancillary_bytes: int, recorder: Recorder = NO_RECORDER
    ) -> None:
        self._name = name
        self._sock = sock
        self._largest = largest
        self._ancillary_bytes = ancillary_bytes
        self._recorder = recorder
        self._pending: set[Future[None]] = set()
        self.received = 0
        self.sent = 0
        self.dropped: Counter[str] = Counter()

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        self._begin()
        loop.add_reader(self._sock, self._readable)
        try:
            await asyncio.Event().wait()
        finally:
            loop.remove_reader(self._sock)
            self._end()
            if self._pending:
                # What is being saved now has been decided: its clients get their answers.
                await asyncio.wait(self._pending, timeout=_LAST_SECONDS)
            self._sock.close()

    @abstractmethod
    def _begin(self) -> None:
        """Set what the socket needs, also one that was handed over by systemd."""

    def _end(self) -> None:  # noqa: B027 (most have nothing to end)
        """Stop what `_begin` started."""

    @abstractmethod
    def _take(self, datagrams: list[Datagram]) -> None:
        """Answer what came, one or more datagrams in order."""

    def _readable(self) -> None:
        datagrams: list[Datagram] = []
        receive, largest, ancillary_bytes = self._sock.recvmsg, self._largest, self._ancillary_bytes
        for _ in range(DRAIN_LIMIT):
            try:
                datagrams.append(receive(largest, ancillary_bytes))
            except BlockingIOError:
                break
            except OSError as error:
                # An ICMP error for something we sent earlier arrives here; it concerns no packet we could name.
                self._drop(f"receive: {error.strerror}")
        if datagrams:
            self.received += len(datagrams)
            self._take(datagrams)

    def _when_saved(
        self, saved: Future[None], send: Callable[[Sequence[_Reply]], None], replies: Sequence[_Reply]
    ) -> None:
        """Send these replies once what they tell is on disk."""
        self._pending.add(saved)
        saved.add_done_callback(partial(self._saved, send, replies))

    def _saved(self, send: Callable[[Sequence[_Reply]], None], replies: Sequence[_Reply], saved: Future[None]) -> None:
        self._pending.discard(saved)
        if saved.cancelled():
            return
        error = saved.exception()
        if error is not None:
            self._drop("not saved", error=str(error), replies=len(replies))
        else:
            send(replies)
        self._recorder.flush()

    def _drop(self, reason: str, **context: object) -> None:
        """Count it, and say it aloud the first time only: a broken client sends for hours."""
        self.dropped[reason] += 1
        level = log.warning if self.dropped[reason] == 1 else log.debug
        level(f"{self._name}.dropped", reason=reason, **context)


def prepare(sock: socket.socket) -> None:
    """Make it one that never blocks and holds what comes while we are busy."""
    sock.setblocking(False)
    # Beyond net.core.rmem_max only root may go; the plain option is cut to it silently.
    for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, RECEIVE_BUFFER_BYTES)
            break
        except OSError:
            continue
