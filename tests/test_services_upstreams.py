"""Answers of upstreams, and what is made of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from email.utils import formatdate
from typing import Any, cast

import pytest
from aiohttp import ClientError, ClientResponse, ClientSession, InvalidURL, web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict

from provisioner.errors import NotFound, ProvisionerError
from provisioner.services.upstreams import (
    AWAY_SECONDS,
    Repository,
    UpstreamAway,
    UpstreamFailed,
    Upstreams,
    UpstreamTimeout,
    can_resume,
    conditions,
    note_of,
    refuse,
    refuse_endless,
    stored,
    told,
)
from provisioner.store.file_cache import Note

NOTE = Note("a", 10, '"ours"', '"theirs"', "Sun, 09 Sep 2001 01:46:40 GMT", "text/plain", 60)


class Answer:
    """As much of an answer as is looked at."""

    def __init__(self, status: int = 200, length: int | None = 10, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.reason = ""
        self.content_length = length
        self.headers = CIMultiDict(headers or {})


def answer(*args: Any, **named: Any) -> ClientResponse:
    return cast(ClientResponse, Answer(*args, **named))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFound),
        (410, NotFound),
        (504, UpstreamTimeout),
        (403, UpstreamFailed),
        (500, UpstreamFailed),
        (206, UpstreamFailed),
    ],
)
def test_what_is_not_the_file_is_refused(status: int, error: type[ProvisionerError]) -> None:
    with pytest.raises(error, match="http://h/x"):
        refuse(answer(status), "http://h/x")
    refuse(answer(200), "http://h/x")


def test_a_part_is_the_file_only_where_one_was_asked_for() -> None:
    for status in (200, 206):
        refuse(answer(status), "http://h/x", part=True)


def test_what_says_neither_its_length_nor_its_end_is_refused() -> None:
    refuse_endless(answer(), "u")
    refuse_endless(answer(length=None, headers={"Transfer-Encoding": "chunked"}), "u")
    with pytest.raises(UpstreamFailed, match="without its length"):
        refuse_endless(answer(length=None), "u")


def test_a_copy_is_asked_about_by_its_tag_or_its_date() -> None:
    dated = Note("a", 10, '"o"', "", "yesterday", "", 0)
    assert conditions(NOTE) == {"If-None-Match": '"theirs"'} and conditions(dated) == {"If-Modified-Since": "yesterday"}
    blank = Note("a", 10, '"o"', "", "", "", 0)
    assert conditions(blank) == {} and can_resume(NOTE) and can_resume(dated) and not can_resume(blank)


def test_what_has_a_weak_tag_alone_cannot_be_resumed() -> None:
    assert not can_resume(Note("a", 10, '"o"', 'W/"theirs"', "", "", 0))


def test_our_tag_is_the_same_for_as_long_as_the_file_is() -> None:
    tags = [
        note_of("a", 10, answer(headers={"ETag": tag}), now).etag for tag, now in (('"x"', 1), ('"x"', 2), ('W/"y"', 3))
    ]
    assert tags[0] == tags[1] != tags[2] and all(tag.startswith('"') for tag in tags)
    assert note_of("a", 10, answer(), 1).etag != note_of("a", 10, answer(), 2).etag


def test_a_file_without_a_date_is_as_old_as_its_answer() -> None:
    assert stored(NOTE, 5.0).modified == 1_000_000_000
    assert stored(Note("a", 10, '"o"', "", "never", "", 0), 5.0).modified == 5


def test_a_date_that_cannot_be_written_becomes_the_last_that_can() -> None:
    late = stored(Note("a", 10, '"o"', "", "Fri, 31 Dec 9999 23:59:59 -2359", "", 0), 5.0)
    assert formatdate(late.modified, usegmt=True) == "Fri, 31 Dec 9999 23:59:59 GMT"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), UpstreamTimeout),
        (ClientError("no"), UpstreamAway),
        (InvalidURL("http://[x"), UpstreamFailed),
    ],
)
def test_what_goes_wrong_with_a_connection_is_told(error: Exception, said: type[ProvisionerError]) -> None:
    with pytest.raises(said, match="http://h/x"), told("http://h/x"):
        raise error


class Scene:
    """Questions to a server that answers as `handler` says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.handler: Callable[[web.Request], web.Response] = lambda request: web.Response(body=b"0123456789")
        self.repository = Repository(name="debian", url="", path="")

    async def answer(self, request: web.Request) -> web.Response:
        return self.handler(request)

    async def resume(self, place: int) -> bytes:
        return await (await self.upstreams.resume(self.repository, self.repository.url + "a", NOTE, place)).read()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    async with TestServer(app) as made.server, ClientSession() as session:
        made.repository.url = str(made.server.make_url("/"))
        made.upstreams = Upstreams(session, lambda: made.now)
        yield made


async def test_an_upstream_that_cannot_be_reached_is_away_for_a_while(scene: Scene) -> None:
    ask = lambda: scene.upstreams.ask(scene.repository, scene.repository.url, {})  # noqa: E731
    (await ask()).release()
    assert not scene.upstreams.is_away(scene.repository)
    await scene.server.close()
    with pytest.raises(UpstreamAway):
        await ask()
    assert scene.upstreams.is_away(scene.repository)
    scene.now += AWAY_SECONDS
    assert not scene.upstreams.is_away(scene.repository)


async def test_a_rest_is_taken_that_is_of_the_same_file(scene: Scene) -> None:
    headers = {"Content-Range": "bytes 4-9/10"}
    scene.handler = lambda request: web.Response(status=206, body=b"456789", headers=headers)
    assert await scene.resume(4) == b"456789"


async def test_a_file_that_is_sent_from_anew_is_taken_where_nothing_had_come(scene: Scene) -> None:
    assert await scene.resume(0) == b"0123456789"


@pytest.mark.parametrize("said", ["bytes 4-10/11", "bytes 5-9/10", ""])
async def test_a_rest_of_another_file_is_refused(scene: Scene, said: str) -> None:
    scene.handler = lambda request: web.Response(
        status=206 if said else 200, body=b"x", headers={"Content-Range": said}
    )
    with pytest.raises(UpstreamFailed, match="broke off after 4 of 10 bytes"):
        await scene.resume(4)


@pytest.mark.parametrize("said", [{"ETag": '"new"'}, {"Last-Modified": "Sun, 09 Sep 2001 01:46:41 GMT"}])
@pytest.mark.parametrize("place", [0, 4])
async def test_a_rest_that_tells_of_another_file_is_refused(scene: Scene, said: dict[str, str], place: int) -> None:
    headers = {"Content-Range": f"bytes {place}-9/10", **said}
    scene.handler = lambda request: web.Response(
        status=206 if place else 200, body=b"0123456789"[place:], headers=headers
    )
    with pytest.raises(UpstreamFailed, match="cannot be resumed"):
        await scene.resume(place)
