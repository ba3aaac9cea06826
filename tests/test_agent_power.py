"""Rebooting and powering off."""

import pytest

from agent.errors import Stopped
from agent.loop import Outcome
from agent.power import PUSHES, perform
from tests.fakes.agent_parts import FakeClock, Notes


def pushed(outcome: Outcome, exit_code: int, stop_after: int = 99) -> tuple[list[str], list[float]]:
    """What was done, and how long was waited, when every command exits like this."""
    done: list[str] = []
    clock = FakeClock(stop_after)

    def run(words: object) -> int:
        done.append(" ".join(words))  # type: ignore[arg-type]
        return exit_code

    try:
        perform(outcome, run, done.append, clock.sleep, Notes())
    except Stopped:
        done.append("gone")
    return done, clock.sleeps


def test_the_gentle_way_is_enough_when_the_machine_goes() -> None:
    assert pushed(Outcome.REBOOT, 0, stop_after=0)[0] == ["systemctl reboot", "gone"]
    assert pushed(Outcome.POWEROFF, 0, stop_after=0)[0] == ["systemctl poweroff", "gone"]


def test_a_machine_that_stays_is_pushed_harder_each_time() -> None:
    assert pushed(Outcome.REBOOT, 0) == (
        ["systemctl reboot", "systemctl --force reboot", "reboot -f", "s", "u", "b"],
        [180.0, 60.0, 60.0, 60.0],
    )


def test_a_command_that_fails_is_not_waited_for() -> None:
    assert pushed(Outcome.POWEROFF, 1) == (
        ["systemctl poweroff", "systemctl --force poweroff", "poweroff -f", "s", "u", "o"],
        [60.0],
    )


@pytest.mark.parametrize("outcome", PUSHES)
def test_the_last_push_needs_no_program(outcome: Outcome) -> None:
    assert PUSHES[outcome][-1].sysrq
