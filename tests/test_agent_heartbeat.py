"""Beats, and what their answers say."""

from typing import Any

import pytest

from agent.clock import SystemClock
from agent.errors import AgentError, Conflict, Denied, Missing, ServerAway
from agent.heartbeat import INTERVAL_SECONDS, Heartbeat, interval_seconds, read_answer
from agent.interrupt import CANCELLED, Interrupt, readable
from tests.fakes.agent_parts import FakeClock


def beat_once(answer: Any) -> Interrupt:
    interrupt = Interrupt()

    def beat() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    Heartbeat(beat, interrupt, FakeClock(), 1.0).once()
    return interrupt


@pytest.mark.parametrize(
    "answer",
    [{"cancel": False, "state": "running"}, {}, None, "nonsense", ServerAway("away"), Denied(401, "", "token", {})],
)
def test_most_answers_change_nothing(answer: Any) -> None:
    assert beat_once(answer).reason == ""


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ({"cancel": True, "state": "running"}, "cancel was asked for"),
        ({"cancel": False, "state": "abandoned"}, "the server says that the job is abandoned"),
        ({"cancel": True, "state": "cancelled"}, "the server says that the job is cancelled"),
        (Conflict(409, "", "held by another", {}), "the server has given the job up: held by another (409)"),
        (Missing(404, "", "no job", {}), "the server has given the job up: no job (404)"),
    ],
)
def test_a_job_that_the_server_does_not_want_is_cancelled(answer: Any, detail: str) -> None:
    interrupt = beat_once(answer)
    assert (interrupt.reason, interrupt.detail) == (CANCELLED, detail)


@pytest.mark.parametrize(("window", "interval"), [(0, INTERVAL_SECONDS), (60, 10), (3600, 10), (15, 5), (3, 1)])
def test_two_beats_may_be_lost_before_the_window_closes(window: float, interval: float) -> None:
    assert interval_seconds(window) == interval


def test_every_final_state_ends_the_job() -> None:
    assert all(read_answer({"state": state}) for state in ("finished", "failed", "abandoned", "cancelled"))
    assert not any(read_answer({"state": state}) for state in ("created", "running", "incomplete"))


@pytest.mark.parametrize("state", [[], {}, None, 5])
def test_a_state_that_is_no_word_says_nothing(state: Any) -> None:
    assert read_answer({"state": state}) == ""


def test_an_answer_that_comes_after_the_end_changes_nothing() -> None:
    # Its interrupt may be closed by then, and the number of its descriptor belong to another file.
    interrupt = Interrupt()

    def beat() -> Any:
        heart.stop()
        return {"state": "finished"}

    heart = Heartbeat(beat, interrupt, FakeClock(), 1.0)
    heart.once()
    assert (interrupt.reason, readable([interrupt.fileno()], 0)) == ("", [])


def test_it_beats_until_it_is_stopped() -> None:
    beaten, clock = Interrupt(), SystemClock(Interrupt())
    count = 0

    def beat() -> None:
        nonlocal count
        count += 1
        if count == 3:
            beaten.give("x", "three times")
        raise AgentError("away")

    heart = Heartbeat(beat, Interrupt(), clock, 0.001)
    heart.start()
    assert readable([beaten.fileno()], 10)
    heart.stop()


def test_a_thread_that_was_stopped_before_its_first_beat_does_not_beat() -> None:
    heart = Heartbeat(lambda: pytest.fail("it beat"), Interrupt(), SystemClock(Interrupt()), 3600)
    heart.start()
    heart.stop()
