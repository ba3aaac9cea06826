"""How errors read."""

import pytest

from agent.errors import AgentError, Conflict, Denied, Missing, Nonsense, Refused, RenderError, ServerAway


def test_a_render_error_says_where() -> None:
    assert str(RenderError("t", 3, "x is undefined")) == "template t line 3: x is undefined"
    assert str(RenderError("t", 0, "there is none")) == "template t: there is none"


def test_a_refusal_says_what_the_server_said() -> None:
    assert str(Refused(409, "log-gap", "send again", {})) == "send again (409 log-gap)"
    assert str(Refused(409, "", "send again", {})) == "send again (409)"


@pytest.mark.parametrize("kind", [Conflict, Denied, Missing])
def test_refusals_are_told_apart_by_what_to_do_next(kind: type[Refused]) -> None:
    assert issubclass(kind, Refused)


@pytest.mark.parametrize("kind", [Refused, RenderError, ServerAway, Nonsense])
def test_all_are_agent_errors(kind: type[Exception]) -> None:
    assert issubclass(kind, AgentError)


def test_being_away_is_no_refusal() -> None:
    assert not issubclass(ServerAway, Refused)
    assert ServerAway("x").retry_after_seconds == 0
