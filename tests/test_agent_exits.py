"""Exit codes: one test for each code at each place, and one property over all others."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.exits import CODES, after_script


def outcome(code: int, is_last: bool) -> tuple[str, str] | None:
    ending = after_script(code, is_last)
    return None if ending is None else (ending.state, ending.exit_state)


ROWS = {
    "0_done_before_the_last_goes_on": (0, False, None),
    "0_done_at_the_last_is_finished": (0, True, ("finished", "complete")),
    "16_stop_before_the_last_is_incomplete": (16, False, ("incomplete", "stop")),
    "16_stop_at_the_last_is_finished": (16, True, ("finished", "stop")),
    "32_power_off_before_the_last_is_incomplete": (32, False, ("incomplete", "poweroff")),
    "32_power_off_at_the_last_is_finished": (32, True, ("finished", "poweroff")),
    "64_reboot_before_the_last_is_incomplete": (64, False, ("incomplete", "reboot")),
    "64_reboot_at_the_last_is_finished": (64, True, ("finished", "reboot")),
    "128_incomplete_before_the_last_ends_early_as_finished": (128, False, ("finished", "complete")),
    "128_incomplete_at_the_last_is_incomplete": (128, True, ("incomplete", "incomplete")),
    "144_incomplete_and_stop_before_the_last": (144, False, ("incomplete", "stop")),
    "144_incomplete_and_stop_at_the_last": (144, True, ("incomplete", "stop")),
    "160_incomplete_and_power_off_before_the_last": (160, False, ("incomplete", "poweroff")),
    "160_incomplete_and_power_off_at_the_last": (160, True, ("incomplete", "poweroff")),
    "192_incomplete_and_reboot_before_the_last": (192, False, ("incomplete", "reboot")),
    "192_incomplete_and_reboot_at_the_last": (192, True, ("incomplete", "reboot")),
    "1_failed_before_the_last": (1, False, ("failed", "failed")),
    "1_failed_at_the_last": (1, True, ("failed", "failed")),
    "48_stop_and_power_off_at_once_is_failed": (48, True, ("failed", "failed")),
    "80_stop_and_reboot_at_once_is_failed": (80, True, ("failed", "failed")),
    "96_power_off_and_reboot_at_once_is_failed": (96, True, ("failed", "failed")),
    "127_not_found_is_failed": (127, True, ("failed", "failed")),
    "129_almost_incomplete_is_failed": (129, True, ("failed", "failed")),
    "255_is_failed": (255, True, ("failed", "failed")),
    "signal_9_is_failed": (-9, True, ("failed", "failed")),
    "signal_15_before_the_last_is_failed": (-15, False, ("failed", "failed")),
}


@pytest.mark.parametrize(("code", "is_last", "expected"), ROWS.values(), ids=ROWS.keys())
def test_exit_code(code: int, is_last: bool, expected: tuple[str, str] | None) -> None:
    assert outcome(code, is_last) == expected


@settings(deadline=None)
@given(st.integers(-64, 255).filter(lambda code: code not in CODES), st.booleans())
def test_any_other_code_or_signal_fails_wherever_it_comes(code: int, is_last: bool) -> None:
    assert outcome(code, is_last) == ("failed", "failed")


@settings(deadline=None)
@given(st.integers(-64, 255), st.booleans())
def test_only_a_complete_ending_leaves_the_machine_runnable(code: int, is_last: bool) -> None:
    ending = after_script(code, is_last)
    assert ending is None or ending.runnable == (ending.exit_state == "complete")


@settings(deadline=None)
@given(st.integers(-64, 255), st.booleans())
def test_the_exit_code_is_kept(code: int, is_last: bool) -> None:
    ending = after_script(code, is_last)
    assert ending is None or ending.exit_code == code


def test_a_signal_is_named() -> None:
    ending = after_script(-9, True)
    assert ending is not None
    assert ending.message == "killed by signal 9"
