"""One TFTP transfer on its own connected socket: moves what `wire.tftp_sender` says between file and network.

Driven by callbacks and not by a task for each packet: a lock-step transfer is one wake-up a block, and there may be
hundreds at once.
"""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio import Future, TimerHandle
from contextlib import suppress
from functools import partial
from typing import BinaryIO, Protocol

from provisioner.wire.error import WireError
from provisioner.wire.tftp import NOT_DEFINED, UNKNOWN_TRANSFER, Ack, Error, OptionAck, decode, encode
from provisioner.wire.tftp import Data as DataPacket
from provisioner.wire.tftp_sender import NOTHING, Send, Sender, SenderState

# Read ahead at once: a window of the largest blocks we agree to is smaller than this by far in practice.
CHUNK_BYTES = 256 * 1024
# An ACK or ERROR is small; more is padding or not for us.
_DATAGRAM_BYTES = 2048


class Source(Protocol):
    """Where the bytes come from."""

    size: int

    def read(self, offset: int, length: int) -> bytes | None:
        """These bytes, fewer at the end; None when they have to be loaded first."""

    def load(self, offset: int, length: int) -> None:
        """Fetch these bytes and some that follow, on a thread of its own; OSError when they cannot be read."""

    def close(self) -> None:
        """Let the file go."""


class BytesSource:
    """Content that is in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    def read(self, offset: int, length: int) -> bytes | None:
        """These bytes."""
        return self._content[offset : offset + length]

    def load(self, offset: int, length: int) -> None:
        """There is nothing to load."""

    def close(self) -> None:
        """There is nothing to close."""


class FileSource:
    """An open file, read a chunk at a time on a thread: its disk may be slow, or far away."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size
        self._chunk = (0, b"")

    def read(self, offset: int, length: int) -> bytes | None:
        """These bytes, if they are in the chunk read last."""
        length = min(length, self.size - offset)
        chunk_at, chunk = self._chunk
        start = offset - chunk_at
        if start < 0 or start + length > len(chunk):
            return None
        return chunk[start : start + length]

    def load(self, offset: int, length: int) -> None:
        """Read the chunk that begins there."""
        chunk = os.pread(self._file.fileno(), max(CHUNK_BYTES, length), offset)
        if len(chunk) < min(length, self.size - offset):
            raise OSError("it became shorter while it was sent")
        self._chunk = (offset, chunk)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Transfer:
    """Sends one file. `run` ends when it is over; `error` says why it failed, `sent_bytes` what had arrived."""

    def __init__(self, sock: socket.socket, sender: Sender, source: Source) -> None:
        self._sock = sock
        self._sender = sender
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._over: Future[None] = self._loop.create_future()
        self._timer: TimerHandle | None = None
        self._rest = NOTHING
        self._loading: Future[None] | None = None
        self.error = ""

    @property
    def sent_bytes(self) -> int:
        """How many bytes of the file the client has acknowledged."""
        return min(self._sender.acked * self._sender.terms.block_size, self._source.size)

    @property
    def begun(self) -> bool:
        """Whether the client has acknowledged anything."""
        return self._sender.acked > 0

    async def run(self) -> None:
        """Send the file until the client has all of it, or one side gives up."""
        self._loop.add_reader(self._sock, self._readable)
        try:
            self._send(self._sender.start(self._loop.time()))
            self._arm()
            await self._over
        finally:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            if self._timer is not None:
                self._timer.cancel()
            if self._loading is not None:
                self._loading.cancel()

    def fail(self, reason: str, *, tell: int | None = NOT_DEFINED) -> None:
        """End it; the client is told unless `tell` is None."""
        if self._over.done():
            return
        self._sender.abort()
        self.error = reason
        if tell is not None:
            # If it cannot be told, it is over all the same.
            with suppress(OSError):
                self._sock.send(encode(Error(tell, reason)))
        self._over.set_result(None)

    def _readable(self) -> None:
        while not self._over.done():
            try:
                data = self._sock.recv(_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self.fail(f"the client is gone: {error.strerror}", tell=None)
                return
            self._received(data)

    def _received(self, data: bytes) -> None:
        try:
            packet = decode(data)
        except WireError:
            # Not worth a transfer: the timer repeats what matters.
            return
        match packet:
            case Ack(block):
                self._acknowledged(block)
            case Error():
                self._refused(packet)
            case DataPacket() | OptionAck():
                self.fail("the client sent what only a server sends", tell=UNKNOWN_TRANSFER)
            case _:
                # A late copy of the request.
                pass

    def _acknowledged(self, block: int) -> None:
        self._send(self._sender.acknowledged(block, self._loop.time()))
        if self._over.done():
            return
        if self._sender.state is SenderState.DONE:
            self._over.set_result(None)
        elif self._timer is not None and self._sender.deadline < self._timer.when():
            # The round trip was measured to be shorter than the timer was set for.
            self._timer.cancel()
            self._arm()

    def _refused(self, packet: Error) -> None:
        if self._sender.state is SenderState.OFFERING and "tsize" in self._sender.terms.accepted:
            # PXE firmware asks for the size alone and hangs up; that is how it works.
            self.fail("", tell=None)
        else:
            self.fail(f"the client gave up: {packet.message or 'no reason given'} ({packet.code})", tell=None)

    def _arm(self) -> None:
        self._timer = self._loop.call_at(self._sender.deadline, self._expired)

    def _expired(self) -> None:
        if self._over.done():
            return
        self._send(self._sender.expired(self._loop.time()))
        if self._sender.state is SenderState.FAILED:
            self.fail("the client does not answer any more")
        elif not self._over.done():
            # The deadline has moved with every ACK; one timer that looks again is cheaper than one for each.
            self._arm()

    def _send(self, send: Send) -> None:
        if not send.count:
            return
        self._rest = NOTHING
        if send.first == 0:
            self._put(encode(OptionAck(self._sender.terms.accepted)))
            return
        size = self._sender.terms.block_size
        offset = (send.first - 1) * size
        content = self._source.read(offset, send.count * size)
        if content is None:
            self._load(send)
            return
        for place in range(send.count):
            block = send.first + place
            payload = content[place * size : (place + 1) * size]
            if not self._put(encode(DataPacket(block, payload))):
                self._rest = Send(block, send.count - place)
                self._loop.add_writer(self._sock, self._writable)
                return

    def _put(self, data: bytes) -> bool:
        """Whether the kernel took the datagram; it does not while its send buffer is full."""
        try:
            self._sock.send(data)
        except BlockingIOError:
            return False
        except OSError as error:
            self.fail(f"cannot send: {error.strerror}", tell=None)
        return True

    def _writable(self) -> None:
        self._loop.remove_writer(self._sock)
        if not self._over.done():
            self._send(self._rest)

    def _load(self, send: Send) -> None:
        if self._loading is None:
            size = self._sender.terms.block_size
            wanted = (send.first - 1) * size, send.count * size
            self._loading = self._loop.run_in_executor(None, self._source.load, *wanted)
            self._loading.add_done_callback(partial(self._loaded, send))

    def _loaded(self, send: Send, loading: Future[None]) -> None:
        self._loading = None
        if loading.cancelled():
            return
        error = loading.exception()
        if self._over.done():
            return
        if error is not None:
            self.fail(f"cannot read the file: {error}")
        else:
            self._send(send)
