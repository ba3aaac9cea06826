"""Bytes that are passed on as they come in. What readers see is told in the repositories' tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from aiohttp import ClientPayloadError, ClientResponse, web

from provisioner.services.passing_on import PassedBody, Passing
from provisioner.services.upstreams import PASSED_PER_UPSTREAM, Busy, Repository, UpstreamFailed, Upstreams, Wish


class Answer:
    """An answer in pieces; an error in place of a piece is raised."""

    url = "http://h/x"
    status = 200
    headers: dict[str, str] = {}  # noqa: RUF012 -- nothing is ever put in
    content_length = 10

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = list(pieces)
        self.is_closed = False

    @property
    def content(self) -> Answer:
        return self

    async def readany(self) -> bytes:
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        self.is_closed = True


class Sent(web.StreamResponse):
    """What was sent."""

    def __init__(self) -> None:
        self.data = b""

    async def write(self, data: Any) -> None:
        self.data += data


def body_of(
    *answers: Answer, place: int = 0, closed: Callable[[], None] = lambda: None
) -> tuple[PassedBody, list[int]]:
    """A body from the first answer on; the others come where it breaks off."""
    asked: list[int] = []
    more = list(answers[1:])

    async def again(place: int) -> ClientResponse:
        asked.append(place)
        return cast(ClientResponse, more.pop(0))

    return PassedBody(cast(ClientResponse, answers[0]), place, again, closed), asked


async def send_all(body: PassedBody, start: int, end: int, step: int = 100) -> bytes:
    sent, place = Sent(), start
    while place < end:
        count = min(await body.ready(place), end, place + step) - place
        place += await body.send(sent, cast(asyncio.Transport, None), place, count)
    return sent.data


@pytest.mark.parametrize("step", [1, 3, 100])
async def test_pieces_are_sent_in_any_portions(step: int) -> None:
    body, _ = body_of(Answer(b"01234", b"5", b"6789"))
    assert await send_all(body, 0, 10, step) == b"0123456789"


async def test_what_comes_before_the_place_is_left_out() -> None:
    body, _ = body_of(Answer(b"01234", b"56789"))
    assert await send_all(body, 7, 9) == b"78"


async def test_a_break_is_mended_where_it_was() -> None:
    first = Answer(b"0123", ClientPayloadError("cut"))
    body, asked = body_of(first, Answer(b"45", TimeoutError()), Answer(b"6789"))
    assert await send_all(body, 0, 10) == b"0123456789" and asked == [4, 6] and first.is_closed


async def test_an_upstream_that_sends_nothing_more_is_given_up() -> None:
    body, asked = body_of(*(Answer() for _ in range(9)))
    with pytest.raises(UpstreamFailed, match="broke off after 0 bytes"):
        await send_all(body, 0, 10)
    assert asked == [0, 0, 0]


async def test_its_place_is_given_back_once() -> None:
    closed: list[bool] = []
    answer = Answer()
    body, _ = body_of(answer, closed=lambda: closed.append(True))
    body.close()
    body.close()
    assert answer.is_closed and closed == [True]


DEBIAN = Repository(name="debian", url="http://h/", path="")


class FakeUpstreams:
    """Answers every question in the same way."""

    async def ask(self, *asked: object) -> Answer:
        return Answer(b"0123456789")


async def test_who_finds_no_place_is_told_to_ask_again_and_one_that_is_given_back_is_taken() -> None:
    passing = Passing(cast(Upstreams, FakeUpstreams()), lambda: 0.0, patience=0.01)
    wishes = [Wish(DEBIAN, "x", f"10.0.0.{number}", "GET", {}) for number in range(PASSED_PER_UPSTREAM + 1)]
    bodies = [(await passing.open(wish))[1] for wish in wishes[:-1]]
    with pytest.raises(Busy, match="debian/x"):
        await passing.open(wishes[-1])
    bodies.pop().close()
    note, _ = await passing.open(wishes[-1])
    assert note.size == 10


async def test_repositories_of_one_server_share_its_places() -> None:
    passing = Passing(cast(Upstreams, FakeUpstreams()), lambda: 0.0, patience=0.01)
    security = Repository(name="security", url="http://h/security/", path="")
    for repository in (DEBIAN, security):
        await passing.open(Wish(repository, "x", "10.0.0.1", "GET", {}))
    with pytest.raises(Busy, match="security/x"):
        await passing.open(Wish(security, "x", "10.0.0.1", "GET", {}))


async def test_no_client_has_all_places() -> None:
    passing = Passing(cast(Upstreams, FakeUpstreams()), lambda: 0.0, patience=0.01)
    with pytest.raises(Busy):
        for _ in range(PASSED_PER_UPSTREAM):
            await passing.open(Wish(DEBIAN, "x", "10.0.0.1", "GET", {}))
    assert (await passing.open(Wish(DEBIAN, "x", "10.0.0.2", "GET", {})))[0].size == 10
