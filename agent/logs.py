"""A job's log on its way to the server: every byte once, in order, whatever happens to requests and servers.

The script writes into a spool and is never held up. A sender takes from the spool and appends to the log at an explicit
byte offset; what the server says of the log's size decides what is sent next. Bytes leave within `FLUSH_SECONDS` or as
soon as `FLUSH_BYTES` have gathered.
"""

from __future__ import annotations

from threading import Event, Lock, Thread
from typing import Callable, Optional, Protocol

from .backoff import pause_seconds
from .clock import Clock
from .errors import Conflict, Refused, ServerAway
from .spool import Spool

FLUSH_SECONDS = 1.0
FLUSH_BYTES = 64 * 1024
PIECE_BYTES = 1024 * 1024  # after an outage, larger pieces catch up faster
CLOSE_POLL_SECONDS = 0.5
PREFIX = b"[agent] "


class Append(Protocol):
    """Appends bytes to the log at the server."""

    def __call__(self, offset: int, data: bytes) -> int:
        """The log's size afterwards. Raises `ServerAway`, `Conflict` with `size` in its body, or `Refused`."""


class JobLog:
    """The log of one job. `write` and `line` are for the runner's thread, `send` for the sender's."""

    def __init__(self, append: Append, spool: Spool, clock: Clock, jitter: Callable[[], float]) -> None:
        self._append = append
        self._spool = spool
        self._clock = clock
        self._jitter = jitter
        self._lock = Lock()
        self._sent = spool.start
        self._shift = (
            0  # offset at the server minus offset here; other than 0 only if someone else wrote, or lost, bytes
        )
        self._oldest: Optional[float] = None
        self._at_line_start = True
        self._dropped = 0
        self._lost = 0
        self._failures = 0
        self.urgent = Event()
        self.refusal: Optional[Refused] = None

    def write(self, data: bytes) -> None:
        """Take bytes exactly as a script wrote them."""
        if not data or self.refusal:
            return
        with self._lock:
            if self._dropped:
                self._note_gap()
            if self._dropped or not self._keep(data):
                self._dropped += len(data)
                self._lost += len(data)
            else:
                self._at_line_start = data.endswith(b"\n")

    def line(self, text: str) -> None:
        """Add a line of the agent's own, on a line of its own."""
        lines = b"".join(PREFIX + line.encode("utf-8", "replace") + b"\n" for line in text.splitlines())
        self.write(lines if self._at_line_start else b"\n" + lines)

    def due_seconds(self) -> float:
        """How long the bytes at hand may still wait; 0 when they should go now."""
        with self._lock:
            if self._oldest is None:
                return FLUSH_SECONDS
            if self._spool.end - self._sent >= FLUSH_BYTES:
                return 0.0
            return max(0.0, self._oldest + FLUSH_SECONDS - self._clock.now())

    @property
    def is_delivered(self) -> bool:
        """Whether nothing is left to send: all is at the server, or the server wants none of it."""
        with self._lock:
            return self.refusal is not None or self._sent == self._spool.end

    @property
    def missing(self) -> str:
        """Which part of the log was dropped on the way and why, for people; "" when all of it was kept."""
        return f"{self._lost} bytes of its log were lost: {self._spool.trouble}" if self._lost else ""

    @property
    def untold(self) -> str:
        """How much of the log the server was not told when it ended, for people; "" when nothing."""
        with self._lock:
            left = 0 if self.refusal else self._spool.end - self._sent
        return f"the last {left} bytes of its log were lost: the agent ended while the server was away" if left else ""

    def finish_gap(self) -> bool:
        """At the end, say that bytes are missing if that is still unsaid; whether there is now more to send."""
        with self._lock:
            if not self._dropped or self.refusal:
                return False
            self._note_gap()
            return not self._dropped

    def send(self) -> float:
        """Send one piece; the pause in seconds before the next try, 0 when this one was answered."""
        with self._lock:
            piece = self._read_piece()
            offset = self._sent + self._shift
            self._oldest = None
            self.urgent.clear()
        if not piece:
            return 0.0
        try:
            moved = self._settle(self._append(offset, piece))
        except ServerAway as away:
            return self._pause(away.retry_after_seconds)
        except Conflict as conflict:
            size = conflict.body.get("size")
            if not isinstance(size, int):
                return self._give_up(conflict)
            moved = self._settle(size)
        except Refused as refusal:
            return self._give_up(refusal)
        if not moved:
            return self._pause(0.0)
        self._failures = 0
        return 0.0

    def _read_piece(self) -> bytes:
        """What comes next; what cannot be read back any more is passed over, and told of."""
        try:
            return self._spool.read(self._sent, PIECE_BYTES)
        except OSError as error:
            gap = self._spool.end - self._sent
            self._spool.trouble = f"the spool cannot be read: {error.strerror or error}"
            self._lost += gap
            self._dropped += gap
            self._shift -= gap
            self._sent = self._spool.end
            self._spool.forget(self._sent)
            return b""

    def _pause(self, at_least: float) -> float:
        self._failures += 1
        with self._lock:
            self._oldest = self._clock.now()
        return max(pause_seconds(self._failures, self._jitter), at_least)

    def _settle(self, size: int) -> bool:
        """Go on from where the server says the log ends; whether that is another place than before."""
        with self._lock:
            before = self._sent, self._shift
            here = size - self._shift
            if here > self._spool.end:
                # Somebody else wrote into this log; ours goes behind it.
                self._shift = size - self._sent
            elif here < self._spool.start:
                # The server lost bytes that it had acknowledged; what we still have goes behind the rest.
                self._shift = size - self._spool.start
                self._sent = self._spool.start
            else:
                self._sent = here
            self._spool.forget(self._sent)
            if self._sent < self._spool.end and self._oldest is None:
                self._oldest = self._clock.now()
            return before != (self._sent, self._shift)

    def _give_up(self, refusal: Refused) -> float:
        self.refusal = refusal
        with self._lock:
            self._spool.close()
        return 0.0

    def close(self) -> None:
        """Drop what was not delivered, and free what it took."""
        with self._lock:
            self._spool.close()

    def _keep(self, data: bytes) -> bool:
        if not self._spool.append(data):
            return False
        if self._oldest is None:
            self._oldest = self._clock.now()
        if self._spool.end - self._sent >= FLUSH_BYTES:
            self.urgent.set()
        return True

    def _note_gap(self) -> None:
        """Say in the log that bytes are missing, as soon as there is room for saying it."""
        why = self._spool.trouble.encode("utf-8", "replace")
        note = b"%s%d bytes of output were dropped: %s\n" % (PREFIX, self._dropped, why)
        if self._keep(note if self._at_line_start else b"\n" + note):
            self._dropped = 0
            self._at_line_start = True


class LogSender:
    """The thread that sends a job's log while its scripts run."""

    def __init__(self, log: JobLog, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._closing = Event()
        self._abandoned = Event()
        self._thread = Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def close(self, give_up: Callable[[], bool]) -> None:
        """Send all there is and end; `give_up` says when to end without."""
        self._closing.set()
        self._log.urgent.set()
        while self._thread.is_alive():
            self._thread.join(CLOSE_POLL_SECONDS)
            if give_up():
                self._abandoned.set()
                return

    def _run(self) -> None:
        while not self._abandoned.is_set():
            if not self._closing.is_set():
                self._clock.wait(self._log.urgent, self._log.due_seconds())
            elif self._log.is_delivered and not self._log.finish_gap():
                return
            pause = self._log.send()
            if pause:
                self._clock.wait(self._abandoned, pause)
