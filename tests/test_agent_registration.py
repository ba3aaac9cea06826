"""From a ticket to a token."""

import pytest

from agent.errors import Denied, ServerAway, Stopped
from agent.registration import CLASH_PAUSE_SECONDS, join
from tests.fakes.agent_parts import FakeClock, Notes, PlayedTransport, client, reply

KNOWN = reply(201, {"machine": "m", "name": "m1", "token": "geheim", "url": "http://there"})
CARD = {"ticket": "t"}


def register(transport: PlayedTransport, clock: FakeClock, notes: Notes) -> object:
    return join(client(transport, clock, notes), clock, CARD, "http://here", "key", notes)


def test_a_machine_that_registers_is_told_who_it_is() -> None:
    notes = Notes()
    known = register(PlayedTransport(KNOWN), FakeClock(), notes)
    assert (known.machine, known.token, known.url) == ("m", "geheim", "http://there")  # type: ignore[attr-defined]
    assert notes.lines == ["registered as m1"]


def test_a_server_that_is_away_is_waited_for_with_the_same_key() -> None:
    transport = PlayedTransport(ServerAway("x"), reply(500), KNOWN)
    register(transport, FakeClock(), Notes())
    assert {request.headers["Idempotency-Key"] for request in transport.requests} == {"key"}
    assert len(transport.requests) == 3


def test_a_ticket_that_is_refused_is_not_tried_again() -> None:
    transport = PlayedTransport(reply(403, {"code": "ticket-refused", "detail": "the ticket is used"}))
    with pytest.raises(Denied, match="the ticket is used"):
        register(transport, FakeClock(), Notes())
    assert len(transport.requests) == 1


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        (reply(409, {"detail": "two machines have serial S"}), "two machines have serial S"),
        (reply(422, {"detail": "no MAC"}), "no MAC"),
        (reply(200, {"machine": "m"}), "cannot understand"),
    ],
)
def test_what_a_person_has_to_solve_is_told_and_tried_again_slowly(answer: object, note: str) -> None:
    clock, notes = FakeClock(), Notes()
    register(PlayedTransport(answer, answer, KNOWN), clock, notes)  # type: ignore[arg-type]
    assert clock.sleeps == [CLASH_PAUSE_SECONDS] * 2
    assert note in notes


def test_told_to_stop_it_stops() -> None:
    with pytest.raises(Stopped):
        register(PlayedTransport(reply(409)), FakeClock(stop_after=2), Notes())


def test_neither_ticket_nor_token_is_noted() -> None:
    notes = Notes()
    register(PlayedTransport(ServerAway("x"), KNOWN), FakeClock(), notes)
    assert "geheim" not in notes
