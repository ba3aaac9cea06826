"""When the event loop may wait for the disk itself."""

from __future__ import annotations

from provisioner.store.pace import LONGEST_AWAY, ROW_SECONDS, SHORTEST_AWAY, SLOW_SECONDS, Pace

QUICK, STALLED = 0.0003, 0.3


def test_a_new_one_may_try() -> None:
    assert Pace().quick(0.0)


def test_quick_commits_go_on_for_ever() -> None:
    pace = Pace()
    for number in range(1000):
        pace.took(QUICK, number / 100)
    assert pace.quick(10.0)


def test_large_groups_are_no_sign_of_a_slow_disk() -> None:
    pace = Pace()
    for _ in range(100):
        pace.took(500 * ROW_SECONDS + QUICK, 0.0, rows=500)
    assert pace.quick(0.0)
    for _ in range(9):
        pace.took(500 * ROW_SECONDS + 2 * SLOW_SECONDS, 0.0, rows=500)
    assert not pace.quick(0.0)


def test_one_stall_keeps_the_loop_away_for_a_while() -> None:
    pace = Pace()
    pace.took(QUICK, 1.0)
    pace.took(STALLED, 2.0)
    assert not pace.quick(2.0 + SHORTEST_AWAY - 0.01)
    assert pace.quick(2.0 + SHORTEST_AWAY)


def test_a_disk_that_is_a_little_slow_each_time_is_noticed_after_some_commits() -> None:
    pace = Pace()
    slow = 2 * SLOW_SECONDS
    pace.took(slow, 0.0)
    assert pace.quick(0.0)
    for _ in range(8):
        pace.took(slow, 0.0)
    assert not pace.quick(0.0)


def test_a_disk_that_stalls_each_time_it_is_tried_is_tried_less_and_less() -> None:
    pace, now, pauses = Pace(), 0.0, []
    for _ in range(9):
        pace.took(STALLED, now)
        stalled, now = now, now + SHORTEST_AWAY
        while not pace.quick(now):
            now += SHORTEST_AWAY
        pauses.append(now - stalled)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert pauses[-1] == LONGEST_AWAY


def test_after_a_good_time_a_stall_is_as_if_it_were_the_first() -> None:
    pace = Pace()
    pace.took(STALLED, 0.0)
    pace.took(STALLED, 1.0)
    for _ in range(50):
        pace.took(QUICK, 3.0)
    pace.took(STALLED, 10.0)
    assert pace.quick(11.0)
