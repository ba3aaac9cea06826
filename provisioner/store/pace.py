"""Whether the disk is quick enough for the event loop to wait for it. Pure: seconds are arguments.

Handing a commit to a thread and back costs more than a commit on a quick disk, and a stalled disk must not stop the
loop. So the loop commits by itself as long as that is quick; after it was slow it stays away for a while, for longer
each time when it is slow again soon after.
"""

from __future__ import annotations

# What commits may take on average. A thread costs a lone one about a millisecond more.
SLOW_SECONDS = 0.002
# Of the processor, and not the disk's fault: a storm's groups have hundreds.
ROW_SECONDS = 0.00001
# How much one commit counts: one of ten milliseconds after quick ones is slow already.
_SHARE = 1 / 8
_EXPECTED_SECONDS = SLOW_SECONDS / 2
SHORTEST_AWAY = 1.0
LONGEST_AWAY = 60.0
# After so many that were quick, one that is slow is the first again.
_ENOUGH = 50


class Pace:
    """What is known of the commits made in the loop; `now` is of a clock that is never set."""

    def __init__(self) -> None:
        self._usual = _EXPECTED_SECONDS
        self._away = SHORTEST_AWAY
        self._back_at = float("-inf")
        self._well = _ENOUGH

    def quick(self, now: float) -> bool:
        """Whether the loop may commit."""
        return now >= self._back_at

    def took(self, seconds: float, now: float, rows: int = 0) -> None:
        """A commit of so many rows in the loop took so long and ended now."""
        waited = max(0.0, seconds - rows * ROW_SECONDS)
        self._usual += (waited - self._usual) * _SHARE
        if self._usual <= SLOW_SECONDS:
            self._well += 1
            return
        self._away = SHORTEST_AWAY if self._well >= _ENOUGH else min(2 * self._away, LONGEST_AWAY)
        self._well = 0
        self._back_at = now + self._away
        self._usual = _EXPECTED_SECONDS
