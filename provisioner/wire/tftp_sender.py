"""The sending side of one TFTP transfer, without sockets or clock (RFC 1350, 1123 section 4.2.3.1, 7440).

Blocks are counted from 1 without end here; only their low 16 bits are on the wire, so files of any size wrap round.
Feed it what arrived and when; it says which blocks to send, and by when to call `expired`.

States and what can follow: OFFERING (OACK sent; an ACK 0 leads to SENDING), SENDING (until the last block is acked),
DONE, FAILED. The last two are final.

Retransmission: after the client's `timeout` option (RFC 2349) if it has one, else by the measured round trip, doubled
from try to try, as in RFC 6298.
A repeated ACK never causes a block to be sent again without a window (the Sorcerer's Apprentice); with a window it
says that the window's first block was lost and is answered once per window. An ACK in the middle of a window says that
what follows was lost: it is sent again from there, but not more often than once in half a round trip, so that a client
that acknowledges every block of a window does not multiply them.
"""

from enum import Enum

from msgspec import Struct

from provisioner.wire.tftp import Terms

FIRST_TIMEOUT_SECONDS = 1.0
# Below this a busy client's ordinary pauses look like loss.
SHORTEST_TIMEOUT_SECONDS = 0.1
# Longer than the usual 5 or 6 s of clients: atftp answers one copy of a block and ignores all others, and its own
# timer, which says the ACK again, begins anew with each of them.
LONGEST_TIMEOUT_SECONDS = 8.0
# Firmware gives up and starts anew within half a minute; a switch relearns a port (spanning tree) in as long.
PATIENCE_SECONDS = 30.0
# A client that asked for a long timeout gets at least these, however long they take.
LEAST_TRIES = 3


class SenderState(Enum):
    """Where the transfer stands."""

    OFFERING = "offering"
    SENDING = "sending"
    DONE = "done"
    FAILED = "failed"


class Send(Struct, frozen=True):
    """Blocks to send now: the OACK when `first` is 0, else `count` blocks from `first` on; `count` 0 is nothing."""

    first: int = 0
    count: int = 0


NOTHING = Send()


class Sender:
    """One transfer of `size` bytes on agreed `terms`."""

    def __init__(self, terms: Terms, size: int) -> None:
        self.terms = terms
        self.last_block = size // terms.block_size + 1
        self.state = SenderState.OFFERING if terms.accepted else SenderState.SENDING
        self.acked = 0
        self.resent = 0
        self.deadline = 0.0
        self._sent = 0
        self._sent_at = 0.0
        self._timed = True
        self._window_answered = False
        self._went_back_at = float("-inf")
        self._tries = 0
        self._heard_at = 0.0
        self.heard = False
        self._smoothed = 0.0
        self._variation = 0.0
        self._timeout = float(terms.timeout_seconds) or FIRST_TIMEOUT_SECONDS

    @property
    def over(self) -> bool:
        """Whether nothing more will be sent."""
        return self.state in (SenderState.DONE, SenderState.FAILED)

    @property
    def sent_all(self) -> bool:
        """Whether every block has been sent, so that only the acknowledgement of the last ones may be missing."""
        return self._sent == self.last_block

    def start(self, now: float) -> Send:
        """What to send first."""
        self._heard_at = now
        if self.state is SenderState.OFFERING:
            return self._offer(now)
        return self._window(now)

    def acknowledged(self, number: int, now: float) -> Send:
        """What to send now that an ACK with this 16-bit number has arrived."""
        if self.state is not SenderState.SENDING:
            return self._accepted(number, now) if self.state is SenderState.OFFERING else NOTHING
        ahead = (number - self.acked) & 0xFFFF
        outstanding = self._sent - self.acked
        if ahead > outstanding:
            return NOTHING
        if not ahead:
            return self._repeated(now)
        self._measure(now)
        self.acked += ahead
        if ahead < outstanding:
            return self._went_missing(now)
        if self.acked == self.last_block:
            self.state = SenderState.DONE
            return NOTHING
        return self._window(now)

    def expired(self, now: float) -> Send:
        """What to send now that `deadline` has passed without an ACK that helped."""
        if self.over or now < self.deadline:
            return NOTHING
        self._tries += 1
        if self._tries >= LEAST_TRIES and now - self._heard_at >= PATIENCE_SECONDS:
            self.state = SenderState.FAILED
            return NOTHING
        if not self.terms.timeout_seconds:
            self._timeout = min(self._timeout * 2, LONGEST_TIMEOUT_SECONDS)
        self._timed = False
        if self.state is SenderState.OFFERING:
            self.resent += 1
            return self._offer(now)
        return self._again(now)

    def abort(self) -> None:
        """The client or the shell ends it."""
        if not self.over:
            self.state = SenderState.FAILED

    def delivered(self) -> None:
        """The client has hung up after the last block: it has everything, and only its last ACK was lost."""
        if not self.over:
            self.acked, self.state = self.last_block, SenderState.DONE

    def _offer(self, now: float) -> Send:
        self._sent_at = now
        self.deadline = now + self._timeout
        return Send(0, 1)

    def _accepted(self, number: int, now: float) -> Send:
        if number != 0:
            return NOTHING
        self.state = SenderState.SENDING
        self._measure(now)
        return self._window(now)

    def _window(self, now: float) -> Send:
        """A whole window behind what is acknowledged."""
        count = min(self.terms.window, self.last_block - self.acked)
        self._sent = max(self._sent, self.acked + count)
        self._sent_at = now
        self._timed = True
        self._window_answered = False
        self.deadline = now + self._timeout
        return Send(self.acked + 1, count)

    def _again(self, now: float) -> Send:
        """The window once more."""
        self.resent += min(self.terms.window, self._sent - self.acked)
        send = self._window(now)
        self._timed = False
        return send

    def _repeated(self, now: float) -> Send:
        if self.terms.window == 1 or self._window_answered:
            return NOTHING
        send = self._again(now)
        self._window_answered = True
        return send

    def _went_missing(self, now: float) -> Send:
        """An ACK in the middle of the window: go back behind it, or just on if we went back a moment ago."""
        if now - self._went_back_at >= self._smoothed / 2:
            self._went_back_at = now
            return self._again(now)
        first = self._sent + 1
        self._sent = min(self.acked + self.terms.window, self.last_block)
        self._timed = False
        self.deadline = now + self._timeout
        return Send(first, self._sent + 1 - first) if self._sent >= first else NOTHING

    def _measure(self, now: float) -> None:
        """RFC 6298; a block that was sent twice tells nothing (Karn)."""
        self._tries = 0
        self._heard_at = now
        self.heard = True
        if self.terms.timeout_seconds or not self._timed:
            return
        sample = now - self._sent_at
        if not self._smoothed:
            self._smoothed, self._variation = sample, sample / 2
        else:
            self._variation += (abs(self._smoothed - sample) - self._variation) / 4
            self._smoothed += (sample - self._smoothed) / 8
        timeout = self._smoothed + 4 * self._variation
        self._timeout = min(max(timeout, SHORTEST_TIMEOUT_SECONDS), LONGEST_TIMEOUT_SECONDS)
