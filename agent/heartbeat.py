"""Tells the server every few seconds that a job is alive, and passes on when it does not want the job any more."""

from __future__ import annotations

from threading import Event, Lock, Thread
from typing import Any, Callable, Optional

from .clock import Clock
from .errors import AgentError, Conflict, Missing
from .interrupt import CANCELLED, Interrupt

INTERVAL_SECONDS = 10.0
# The server calls a job abandoned after `heartbeat_seconds` of silence: two beats may be lost before that.
BEATS_PER_WINDOW = 3.0
FINAL_STATES = frozenset({"finished", "failed", "abandoned", "cancelled"})


def interval_seconds(window_seconds: float) -> float:
    """How often to beat when silence of `window_seconds` (0: the usual) counts as death."""
    return min(INTERVAL_SECONDS, window_seconds / BEATS_PER_WINDOW) if window_seconds > 0 else INTERVAL_SECONDS


def read_answer(answer: Any) -> str:
    """Why the job should be cancelled, in words; "" when it should not."""
    if not isinstance(answer, dict):
        return ""
    state = str(answer.get("state"))
    if state in FINAL_STATES:
        return f"the server says that the job is {state}"
    return "cancel was asked for" if answer.get("cancel") else ""


class Heartbeat:
    """The thread that beats for one job. `beat` sends one and returns the answer."""

    def __init__(self, beat: Callable[[], Any], interrupt: Interrupt, clock: Clock, interval: float) -> None:
        self._beat = beat
        self._interrupt = interrupt
        self._clock = clock
        self._interval = interval
        self._done = Event()
        self._ending = Lock()
        self._thread: Optional[Thread] = None

    def start(self) -> None:
        """Begin to beat."""
        self._thread = Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; a beat under way is left to itself, and its answer counts no more."""
        with self._ending:
            self._done.set()

    def once(self) -> None:
        """Beat once; a server that is away is no news, the next beat tries again."""
        try:
            reason = read_answer(self._beat())
        except (Conflict, Missing) as refusal:
            reason = f"the server has given the job up: {refusal}"
        except AgentError:
            return
        with self._ending:
            # Once stopped, the interrupt may be closed and its descriptor be somebody else's.
            if reason and not self._done.is_set():
                self._interrupt.give(CANCELLED, reason)

    def _run(self) -> None:
        while not self._clock.wait(self._done, self._interval):
            self.once()
