"""A line to every BMC: one request at a time each, on threads of our own, never longer than its deadline.

A thread that hangs in pyghmi keeps its line (and only its line) busy until it comes back; the caller has long been
told. A session is kept while it is used and given back soon after, since BMCs have as few as four.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from provisioner.power.driver import Bmc
from provisioner.power.ipmi_session import Absent, Fault, Lost, Session, Unsuitable, log_in
from provisioner.power.presence import Presence, ask_presence

T = TypeVar("T")

# With a BMC 50 ms away, 100 BMCs answer in 134 ms with 100 threads and in 1.8 s with asyncio's own 6. A thread costs
# 30 KB. Those of dead BMCs do not count: they are found out before a thread is taken.
THREADS = 64
# From the first packet to the last of one request, login included. pyghmi repeats lost packets 4 times within 9 s.
EXCHANGE_SECONDS = 15.0
# BMCs end idle sessions after 60 s at the earliest; pyghmi notices that only by 8 s of silence.
IDLE_SECONDS = 10.0
# A logout is one packet that nobody waits for; longer than this it hangs.
_PARTING_SECONDS = 1.0


class Late(Fault):
    """The BMC was there, then did not finish within the deadline."""


class Engaged(Fault):
    """An earlier request to this BMC still holds its line."""


@dataclass
class _Line:
    """One BMC: who may talk to it now, and the session that is open, if any."""

    key: tuple[str, int]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    stranded: bool = False
    bmc: Bmc | None = None
    session: Session | None = None
    parting: asyncio.Future[None] | None = None
    hangup: asyncio.TimerHandle | None = None


class IpmiLines:
    """Exchanges with any number of BMCs at once. `log_in` blocks and runs on a thread; `ask_presence` does not."""

    def __init__(
        self,
        log_in: Callable[[Bmc], Session] = log_in,
        ask_presence: Callable[[str, int], Awaitable[Presence]] = ask_presence,
        exchange_seconds: float = EXCHANGE_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        threads: int = THREADS,
    ) -> None:
        self._log_in = log_in
        self._ask_presence = ask_presence
        self._exchange_seconds = exchange_seconds
        self._idle_seconds = idle_seconds
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="bmc")
        self._lines: dict[tuple[str, int], _Line] = {}
        self._closed = False

    @property
    def open_lines(self) -> int:
        """How many BMCs are talked to, or have a session open."""
        return len(self._lines)

    async def exchange(self, bmc: Bmc, request: Callable[[Session], T]) -> T:
        """What the blocking `request` returns when it is given a session with that BMC.

        Raises the `Fault` that says why not. After one, the session is gone and the next exchange logs in anew.
        """
        key = (bmc.address, bmc.port)
        line = self._lines.setdefault(key, _Line(key))
        line.users += 1
        try:
            return await self._exchange(line, bmc, request)
        finally:
            line.users -= 1
            self._forget(line)

    async def close(self) -> None:
        """Give every session back and let the threads end. One that hangs ends within seconds by itself."""
        for line in self._lines.values():
            self._hang_up(line)
        partings = {line.parting for line in self._lines.values() if line.parting}
        if partings:
            await asyncio.wait(partings, timeout=_PARTING_SECONDS)
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _exchange(self, line: _Line, bmc: Bmc, request: Callable[[Session], T]) -> T:
        deadline = asyncio.get_running_loop().time() + self._exchange_seconds
        await self._seize(line, deadline)
        try:
            session = await self._session(line, bmc, deadline)
            return await self._on_thread(line, deadline, lambda: request(session))
        except Lost:
            self._drop(line)
            raise
        finally:
            self._release(line)

    async def _seize(self, line: _Line, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await line.lock.acquire()
        except TimeoutError:
            raise Engaged(f"an earlier request held the line for {self._exchange_seconds:g} s") from None
        if line.hangup:
            line.hangup.cancel()
            line.hangup = None

    def _release(self, line: _Line) -> None:
        """Let the next one talk, unless a thread of ours still does; then its end does this."""
        if line.stranded:
            return
        if line.session:
            line.hangup = asyncio.get_running_loop().call_later(self._idle_seconds, self._idle, line)
        line.lock.release()

    def _idle(self, line: _Line) -> None:
        line.hangup = None
        if not line.lock.locked():
            self._hang_up(line)
            self._forget(line)

    def _forget(self, line: _Line) -> None:
        """Drop the line of a BMC that nobody talks to, so that their number follows that of live sessions."""
        if not (line.users or line.session or line.stranded) and self._lines.get(line.key) is line:
            del self._lines[line.key]

    async def _session(self, line: _Line, bmc: Bmc, deadline: float) -> Session:
        """The line's open session, or a new one when there is none or it was opened with other credentials."""
        if line.session and line.bmc == bmc:
            return line.session
        self._hang_up(line)
        if line.parting:
            # pyghmi would hand out the very session that is being ended.
            await asyncio.wait({line.parting}, timeout=_PARTING_SECONDS)
        presence = await self._presence(bmc, deadline)
        if presence.absent:
            raise Absent(presence.absent)
        if not presence.speaks_ipmi_2:
            raise Unsuitable("it speaks only IPMI 1.5, and IPMI 2.0 is needed")
        line.bmc = bmc
        line.session = await self._on_thread(line, deadline, lambda: self._log_in(bmc), undo=_log_out)
        return line.session

    async def _presence(self, bmc: Bmc, deadline: float) -> Presence:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._ask_presence(bmc.address, bmc.port)
        except TimeoutError:
            return Presence(absent=f"no answer within {self._exchange_seconds:g} s")

    async def _on_thread(
        self, line: _Line, deadline: float, work: Callable[[], T], undo: Callable[[T], None] | None = None
    ) -> T:
        """What `work` returns; past the deadline or when cancelled, its thread is left to itself with the line.

        `undo` gets what comes back after nobody wants it any more.
        """
        running = self._threads.submit(work)
        future = asyncio.wrap_future(running)
        try:
            done, _ = await asyncio.wait({future}, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        except asyncio.CancelledError:
            self._strand(line, running, future, undo)
            raise
        if not done:
            self._strand(line, running, future, undo)
            if running.cancelled():
                raise Late("all our threads were waiting for other BMCs")
            raise Late(f"nothing came within {self._exchange_seconds:g} s")
        return future.result()

    def _strand(
        self, line: _Line, running: Future[T], future: asyncio.Future[T], undo: Callable[[T], None] | None
    ) -> None:
        """Give up on a thread: shake it loose, and free its line when it has come back."""
        if running.cancel():
            return
        line.stranded = True
        self._drop(line)
        future.add_done_callback(lambda late: self._came_back(line, late, undo))

    def _came_back(self, line: _Line, late: asyncio.Future[T], undo: Callable[[T], None] | None) -> None:
        failed = late.cancelled() or late.exception() is not None
        # After the end no thread is left that could log out; the BMC ends the session by itself.
        if undo and not failed and not self._closed:
            line.parting = self._submit(lambda: undo(late.result()))
        line.stranded = False
        line.lock.release()
        self._forget(line)

    def _hang_up(self, line: _Line) -> None:
        """Give the session back to the BMC, on a thread since pyghmi may wait for a lock of its own."""
        if line.session:
            line.parting = self._submit(line.session.logout)
        line.session = None

    def _drop(self, line: _Line) -> None:
        """Forget a session that is dead or hangs; the BMC ends it by itself."""
        if line.session:
            line.session.abandon()
        line.session = None

    def _submit(self, work: Callable[[], None]) -> asyncio.Future[None]:
        return asyncio.wrap_future(self._threads.submit(work))


def _log_out(session: Session) -> None:
    session.logout()
