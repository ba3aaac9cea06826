"""One TFTP transfer: moves what `wire.tftp_sender` says between a file's blocks and its port.

Driven by callbacks and not by a task for each packet: a lock-step transfer is one wake-up a block, and there may be
a thousand at once.
"""

from __future__ import annotations

import asyncio
from asyncio import Future, TimerHandle
from contextlib import suppress

import structlog

from provisioner.services.tftp_content import Content
from provisioner.services.tftp_ports import Lost, Port
from provisioner.wire.error import WireError
from provisioner.wire.tftp import ACK, NOT_DEFINED, UNKNOWN_TRANSFER, Ack, Error, OptionAck, decode, encode
from provisioner.wire.tftp import Data as DataPacket
from provisioner.wire.tftp_sender import NOTHING, Send, Sender, SenderState

log = structlog.get_logger(__name__)

# While the kernel's send buffer is full.
_LOOK_AGAIN_SECONDS = 0.001
_ACK_CODE = bytes((0, ACK))
# An ACK or ERROR is small; more is padding or not for us.
_DATAGRAM_BYTES = 2048


class Transfer:
    """Sends one file. `run` ends when it is over; `error` says why it failed, `sent_bytes` what had arrived."""

    def __init__(self, port: Port, sender: Sender, content: Content, size: int) -> None:
        self._port = port
        self._sender = sender
        self._content = content
        self._size = size
        self._loop = asyncio.get_running_loop()
        self._over: Future[None] = self._loop.create_future()
        self._receive = port.receive
        self._timer: TimerHandle | None = None
        self._timer_at = 0.0
        self._later: TimerHandle | None = None
        self._rest = NOTHING
        port.prepare(sender.terms.block_size, sender.terms.window)
        self._step = sender.terms.block_size + 4
        self._loading = False
        self.error = ""
        self.size_only = False

    @property
    def sent_bytes(self) -> int:
        """How many bytes of the file the client has acknowledged."""
        return min(self._sender.acked * self._sender.terms.block_size, self._size)

    @property
    def resent(self) -> int:
        """How many blocks were sent more than once."""
        return self._sender.resent

    @property
    def options(self) -> dict[str, str]:
        """What was agreed on."""
        return self._sender.terms.accepted

    @property
    def block_size(self) -> int:
        """How many bytes a block has; more than fit into a frame travel as fragments."""
        return self._sender.terms.block_size

    @property
    def begun(self) -> bool:
        """Whether the client has acknowledged anything."""
        return self._sender.acked > 0

    async def run(self) -> None:
        """Send the file until the client has all of it, or one side gives up."""
        try:
            self._send(self._sender.start(self._loop.time()))
            if not self._over.done():
                self._arm()
            await self._over
        finally:
            for handle in (self._timer, self._later):
                if handle is not None:
                    handle.cancel()

    def fail(self, reason: str, *, tell: int | None = NOT_DEFINED) -> None:
        """End it; the client is told unless `tell` is None."""
        if self._over.done():
            return
        self._sender.abort()
        self.error = reason
        if tell is not None:
            # If it cannot be told, it is over all the same.
            with suppress(OSError, Lost):
                self._port.say(encode(Error(tell, reason)))
        self._over.set_result(None)

    def readable(self, now: float) -> None:
        """One datagram; for more, the socket says again that it is readable. Never raises: others are served too."""
        try:
            data = self._receive(_DATAGRAM_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._gone(error)
            return
        self.received(data, now)

    def received(self, data: bytes, now: float) -> None:
        """A datagram of the client. Never raises."""
        try:
            if len(data) < 4 or not data.startswith(_ACK_CODE):
                self._take(data)
            elif not self._over.done():
                # All but a handful of what comes; bytes behind it are padding.
                self._acknowledged(data[2] << 8 | data[3], now)
        except Exception:
            log.exception("tftp.failed")
            self.fail("our own fault")

    def _take(self, data: bytes) -> None:
        try:
            packet = decode(data)
        except WireError:
            # Not worth a transfer: the timer repeats what matters.
            return
        match packet:
            case Error():
                self._refused(packet)
            case Ack() | DataPacket() | OptionAck():
                self.fail("the client sent what only a server sends", tell=UNKNOWN_TRANSFER)
            case _:
                # A late copy of the request.
                pass

    def _acknowledged(self, block: int, now: float) -> None:
        sender = self._sender
        send = sender.acknowledged(block, now)
        if send.count:
            self._send(send)
            if sender.deadline < self._timer_at and self._timer is not None:
                # The round trip was measured to be shorter than the timer was set for.
                self._timer.cancel()
                self._arm()
        elif sender.state is SenderState.DONE and not self._over.done():
            self._over.set_result(None)

    def _refused(self, packet: Error) -> None:
        if self._sender.state is SenderState.OFFERING and "tsize" in self._sender.terms.accepted:
            # PXE firmware asks for the size alone and hangs up; that is how it works.
            self.size_only = True
            self.fail("", tell=None)
        else:
            self.fail(f"the client gave up: {packet.message or 'no reason given'} ({packet.code})", tell=None)

    def _gone(self, error: OSError) -> None:
        """The client's port is closed: bad news in the middle, and how clients end whose last ACK was lost."""
        if self._sender.sent_all and isinstance(error, ConnectionRefusedError) and not self._over.done():
            self._sender.delivered()
            self._over.set_result(None)
        else:
            self.fail(f"the client is gone: {error.strerror}", tell=None)

    def _arm(self) -> None:
        self._timer_at = self._sender.deadline
        self._timer = self._loop.call_at(self._timer_at, self._expired)

    def _expired(self) -> None:
        # An ACK may have come already and wait for its turn: when we are the slow ones, nothing is lost.
        self.readable(self._loop.time())
        if self._over.done():
            return
        self._send(self._sender.expired(self._loop.time()))
        if self._sender.state is SenderState.FAILED:
            self.fail(self._silence())
        elif not self._over.done():
            # The deadline has moved with every ACK; one timer that looks again is cheaper than one for each.
            self._arm()

    def _silence(self) -> str:
        if self._sender.heard:
            return "the client does not answer any more"
        return "the client never answered; a firewall in between has to let UDP through from the port we answer from"

    def _send(self, send: Send) -> None:
        self._rest = NOTHING
        if not send.count:
            return
        first, left = send.first, send.count
        if not first:
            self._offer()
            return
        while left and not self._over.done():
            most = self._port.most
            run = self._content.run(first, left if left < most else most)
            if run is None:
                self._load(Send(first, left))
                return
            if not self._put(run):
                self._rest = Send(first, left)
                self._later = self._loop.call_later(_LOOK_AGAIN_SECONDS, self._continue)
                return
            count = -(-len(run) // self._step)
            first += count
            left -= count

    def _offer(self) -> None:
        try:
            self._port.say(encode(OptionAck(self._sender.terms.accepted)))
        except (BlockingIOError, Lost):
            # The timer repeats it.
            return
        except OSError as error:
            self._gone(error)

    def _put(self, data: memoryview) -> bool:
        """Whether there is nothing left to do about it; there is while the kernel's send buffer is full."""
        try:
            self._port.send(data)
        except BlockingIOError:
            return False
        except Lost:
            # As if the network had lost it.
            return True
        except OSError as error:
            self._gone(error)
        return True

    def _continue(self) -> None:
        self._later = None
        if not self._over.done():
            self._send(self._rest)

    def _load(self, send: Send) -> None:
        if self._loading:
            return
        loading = self._content.load(send.first)
        assert loading is not None, "what is in memory is always there"
        self._loading = True
        loading.add_done_callback(lambda done: self._loaded(send, done))

    def _loaded(self, send: Send, loading: Future[bytes]) -> None:
        self._loading = False
        if self._over.done() or loading.cancelled():
            return
        error = loading.exception()
        if error is not None:
            self.fail(f"cannot read the file: {error}")
        else:
            self._send(send)
