"""Pauses between tries."""

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.backoff import CAP_SECONDS, FIRST_SECONDS, pause_seconds


def test_pauses_double_up_to_the_cap() -> None:
    longest = [pause_seconds(tries, lambda: 1.0) for tries in range(1, 10)]
    assert longest == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


@settings(deadline=None)
@given(st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_shorter_than_half_nor_longer_than_the_cap(tries: int, jitter: float) -> None:
    assert FIRST_SECONDS / 2 <= pause_seconds(tries, lambda: jitter) <= CAP_SECONDS


def test_half_of_a_pause_is_random() -> None:
    assert (pause_seconds(3, lambda: 0.0), pause_seconds(3, lambda: 0.5)) == (1.0, 1.5)
