"""Requests with retries: what is tried again, what is an error, and how long it pauses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import Conflict, Denied, Missing, Refused, ServerAway, Stopped
from agent.messages import Reply, Request
from tests.fakes.agent_parts import FakeClock, Notes, PlayedTransport, client, reply

REQUEST = Request("POST", "/api/v1/x", b"{}")
AWAY = ServerAway("connection refused")


def test_a_good_answer_is_its_json() -> None:
    assert client(PlayedTransport(reply(200, {"a": 1}))).call(REQUEST) == {"a": 1}


def test_an_answer_without_a_body_is_none() -> None:
    assert client(PlayedTransport(reply(204))).call(REQUEST) is None


@pytest.mark.parametrize("answer", [AWAY, reply(500), reply(502), reply(503), reply(408), reply(425), reply(429)])
def test_what_may_pass_is_tried_again(answer: object) -> None:
    transport = PlayedTransport(answer, answer, reply(200, 1))  # type: ignore[arg-type]
    assert client(transport).call(REQUEST) == 1
    assert transport.requests == [REQUEST] * 3


def test_an_answer_that_is_not_json_is_tried_again() -> None:
    cut = reply(200, {"a": 1})
    cut = type(cut)(cut.status, cut.headers, cut.body[:4])
    assert client(PlayedTransport(cut, reply(200, 1))).call(REQUEST) == 1


def test_an_answer_that_is_nested_too_deep_is_tried_again() -> None:
    deep = reply(200, 1)
    deep = type(deep)(deep.status, deep.headers, b"[" * 200_000)
    assert client(PlayedTransport(deep, reply(200, 1))).call(REQUEST) == 1


def test_a_wait_that_is_no_number_is_passed_over() -> None:
    odd = reply(503)
    odd = type(odd)(odd.status, {"retry-after": "\xb2"}, odd.body)
    assert client(PlayedTransport(odd, reply(200, 1))).call(REQUEST) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (401, Denied),
        (403, Denied),
        (404, Missing),
        (409, Conflict),
        (410, Missing),
        (422, Refused),
        (302, Refused),
    ],
)
def test_a_refusal_is_final(status: int, kind: type[Refused]) -> None:
    problem = {"code": "no", "detail": "it is not so", "size": 7}
    transport = PlayedTransport(reply(status, problem))
    with pytest.raises(kind) as caught:
        client(transport).call(REQUEST)
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code, caught.value.detail) == (status, "no", "it is not so")
    assert caught.value.body["size"] == 7
    assert len(transport.requests) == 1


@pytest.mark.parametrize("status", [302, 401, 403, 404, 410])
def test_a_refusal_that_is_not_the_servers_is_tried_again(status: int) -> None:
    # A proxy that has lost its server must not end a job, or a machine's registration.
    page = Reply(status, {"content-type": "text/html"}, b"<html>nginx</html>")
    assert client(PlayedTransport(page, reply(status), reply(200, 1))).call(REQUEST) == 1


def test_a_refusal_without_a_problem_still_says_its_status() -> None:
    with pytest.raises(Refused, match="status 418"):
        client(PlayedTransport(reply(418))).call(REQUEST)


def test_pauses_grow_and_have_an_end() -> None:
    clock = FakeClock()
    answers = [AWAY] * 9
    client(PlayedTransport(*answers, reply(200, 1)), clock).call(REQUEST)
    assert clock.sleeps == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]


def test_a_server_may_say_how_long_to_stay_away() -> None:
    clock = FakeClock()
    client(PlayedTransport(reply(503, retry_after="7"), reply(200, 1)), clock).call(REQUEST)
    assert clock.sleeps == [7.0]


def test_nobody_stays_away_for_hours_because_a_header_says_so() -> None:
    clock = FakeClock()
    client(PlayedTransport(reply(503, retry_after="86400"), reply(200, 1)), clock).call(REQUEST)
    assert clock.sleeps == [300.0]


@settings(deadline=None)
@given(st.integers(1, 5))
def test_tries_are_counted_when_they_are_limited(tries: int) -> None:
    transport = PlayedTransport(AWAY)
    with pytest.raises(ServerAway):
        client(transport).call(REQUEST, tries=tries)
    assert len(transport.requests) == tries


def test_told_to_stop_it_stops_trying() -> None:
    with pytest.raises(Stopped):
        client(PlayedTransport(AWAY), FakeClock(stop_after=3)).call(REQUEST)


def test_an_outage_makes_two_notes_however_long_it_is() -> None:
    notes = Notes()
    client(PlayedTransport(*[AWAY] * 50, reply(200, 1)), notes=notes).call(REQUEST)
    assert len(notes.lines) == 2
    assert "server away" in notes
    assert "server is back after" in notes


def test_the_token_goes_with_every_request_and_into_no_note() -> None:
    notes = Notes()
    transport = PlayedTransport(AWAY, reply(200, 1))
    client(transport, notes=notes, token="geheim").call(REQUEST)
    assert [dict(request.headers) for request in transport.requests] == [{"Authorization": "Bearer geheim"}] * 2
    assert "geheim" not in notes


def test_without_a_token_none_is_sent() -> None:
    transport = PlayedTransport(reply(200, 1))
    client(transport).call(REQUEST)
    assert "Authorization" not in transport.requests[0].headers
