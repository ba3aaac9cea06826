"""Files that are passed on as they come in, without a copy: those for which the cache has no room."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from aiohttp import ClientError, ClientResponse, web

from provisioner.repositories import server_of, url_of
from provisioner.services.places import Places
from provisioner.services.upstreams import (
    MOST_RESUMES,
    PASSED_PER_UPSTREAM,
    Busy,
    Repository,
    UpstreamFailed,
    Upstreams,
    Wish,
    can_resume,
    note_of,
    refuse,
    refuse_endless,
    stored,
)
from provisioner.store.file_cache import Note
from provisioner.wire.http_parts import answer

# Who waits longer for one of the few places is told to ask again.
PATIENCE_SECONDS = 20.0
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_ONE_RANGE = re.compile(r"bytes=(\d+-\d*|-\d+)")


class PassedBody:
    """What comes in from an upstream, from a place on, as fast as it is read."""

    def __init__(
        self,
        response: ClientResponse,
        place: int,
        again: Callable[[int], Awaitable[ClientResponse]],
        closed: Callable[[], None],
    ) -> None:
        self._response = response
        self._place = place
        self._again = again
        self._closed: Callable[[], None] | None = closed
        self._piece = b""
        self._resumes = MOST_RESUMES

    async def ready(self, place: int) -> int:
        """Up to where its bytes are there. Raises UpstreamFailed when none come."""
        while self._place + len(self._piece) <= place:
            self._place += len(self._piece)
            self._piece = await self._more()
        self._piece = self._piece[place - self._place :]
        self._place = place
        return place + len(self._piece)

    async def send(self, response: web.StreamResponse, transport: asyncio.Transport, place: int, count: int) -> int:
        """Send what is ready."""
        await response.write(self._piece[:count])
        return count

    async def _more(self) -> bytes:
        while True:
            try:
                piece = await self._response.content.readany()
            except (ClientError, TimeoutError):
                piece = b""
            if piece:
                self._resumes = MOST_RESUMES
                return piece
            if not self._resumes:
                raise UpstreamFailed(f"{self._response.url} broke off after {self._place} bytes")
            self._resumes -= 1
            self._response.close()
            self._response = await self._again(self._place)

    def close(self) -> None:
        """End the connection to the upstream."""
        self._response.close()
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()


class Passing:
    """Passes files on, a few of each upstream at a time: a slow reader holds a connection for as long as it reads.

    One client reads half as many at most, so that others can read as well.
    """

    def __init__(self, upstreams: Upstreams, clock: Callable[[], float], patience: float = PATIENCE_SECONDS) -> None:
        self._upstreams = upstreams
        self._clock = clock
        self._patience = patience
        self._places: dict[str, Places] = {}

    async def open(self, wish: Wish) -> tuple[Note, PassedBody]:
        """What is known of a file, and the part of it that is asked for; raises Busy, NotFound, UpstreamFailed."""
        name, server = wish.repository.name, server_of(wish.repository.url)
        turn = self._places.setdefault(server, Places(PASSED_PER_UPSTREAM)).turn(wish.client)
        try:
            async with asyncio.timeout(self._patience):
                await turn.wait()
        except TimeoutError:
            raise Busy(f"{name}/{wish.path} is too large to be kept, and all who may are fetching such") from None
        try:
            return await self._open(wish, turn.end)
        except BaseException:
            turn.end()
            raise

    async def _open(self, wish: Wish, closed: Callable[[], None]) -> tuple[Note, PassedBody]:
        repository, url = wish.repository, url_of(wish.repository.url, wish.path)
        wanted = wish.headers.get("Range", "")
        asked = {"Range": wanted} if _ONE_RANGE.fullmatch(wanted) else {}
        repository.fetches += 1
        repository.passed += 1
        while True:
            response = await self._upstreams.ask(repository, url, asked)
            try:
                if response.status != 416:
                    refuse(response, url, part=bool(asked))
                found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
                if response.status != 416 and (response.status == 200 or found):
                    note = self._note(response, url, wish.path, int(found[3]) if found else None)
                    start = int(found[1]) if found else 0
                    meant = answer(wish.method, wish.headers, stored(note, self._clock()))
                    # The reader's conditions are about our tags, which the upstream does not know.
                    if not found or (meant.status, meant.start) == (206, start) or meant.status not in (200, 206):
                        return note, self._body(repository, url, note, response, start, closed)
            except BaseException:
                response.close()
                raise
            response.close()
            if not asked:
                raise UpstreamFailed(f"{url} answers {response.status} to who asks for all of it")
            asked = {}

    def _note(self, response: ClientResponse, url: str, path: str, total: int | None) -> Note:
        refuse_endless(response, url)
        size = response.content_length if total is None else total
        if size is None:
            raise UpstreamFailed(f"{url} does not say how long it is, and is larger than the cache: see repos.cache_mb")
        return note_of(path, size, response, self._clock())

    def _body(
        self,
        repository: Repository,
        url: str,
        note: Note,
        response: ClientResponse,
        start: int,
        closed: Callable[[], None],
    ) -> PassedBody:
        async def again(place: int) -> ClientResponse:
            if not can_resume(note):
                raise UpstreamFailed(f"{url} broke off after {place} of {note.size} bytes and cannot be resumed")
            return await self._upstreams.resume(repository, url, note, place)

        return PassedBody(response, start, again, closed)
