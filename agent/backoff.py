"""Pauses between tries: doubling, capped, jittered, so that a thousand agents do not come back in step."""

from __future__ import annotations

from typing import Callable

FIRST_SECONDS = 0.5
CAP_SECONDS = 30.0  # an agent notices a server that came back within half a minute


def pause_seconds(tries: int, jitter: Callable[[], float], cap: float = CAP_SECONDS) -> float:
    """The pause after `tries` failed tries (1 or more); `jitter` gives a number in [0, 1).

    Half of the pause is fixed and half is random: never zero, never all at once.
    """
    doublings = min(tries - 1, 30)  # beyond this the cap holds anyhow, and floats would overflow
    full = min(cap, FIRST_SECONDS * 2.0**doublings)
    return full / 2 + full / 2 * jitter()
