"""Install repositories passed on below `/repos/NAME/`, with copies on disk.

The first who asks for a file does not wait for all of it: what has come in goes out at once, and who asks meanwhile
shares the one fetch. A copy is given out without asking the upstream for as long as it is good; when the upstream is
away, however old it is. What the cache has no room for is passed on without a copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import time

import structlog
from aiohttp import ClientSession, web
from msgspec import Struct

from provisioner.errors import NotFound, ProvisionerError, unknown
from provisioner.repositories import clean, is_fresh, url_of
from provisioner.services.fetches import Fetch, Fetches, GrowingBody
from provisioner.services.passing_on import Passing
from provisioner.services.reach import client_of
from provisioner.services.stored import Body, NoBody, StoredFile, WholeBody
from provisioner.services.transfers import Transfers
from provisioner.services.upstreams import (
    Repository,
    UpstreamFailed,
    Upstreams,
    Wish,
    conditions,
    note_of,
    open_session,
    refuse,
    stored,
)
from provisioner.store.file_cache import Copy, FileCache, Note

log = structlog.get_logger(__name__)

# Upstreams that do not know HEAD.
_NO_HEAD = frozenset({405, 501})


class RepositoriesNow(Struct, frozen=True):
    """All repositories, how many bytes their copies take together, and how many they may; 0 is no limit."""

    repositories: list[Repository]
    bytes: int
    limit_bytes: int


class Cleared(Struct, frozen=True):
    """How many bytes the copies took that were removed."""

    bytes: int


class _Serving(Struct, frozen=True):
    """What there is from the start of the service on."""

    upstreams: Upstreams
    fetches: Fetches
    passing: Passing


class Repositories:
    """The repositories; `run` has to go on for as long as they are served."""

    def __init__(
        self,
        upstreams: Mapping[str, str],
        cache: FileCache,
        transfers: Transfers,
        session: Callable[[], ClientSession] = open_session,
        clock: Callable[[], float] = time,
    ) -> None:
        self._all = {
            name: Repository(name=name, url=url, path=f"/repos/{name}/") for name, url in sorted(upstreams.items())
        }
        self.cache = cache
        self._transfers = transfers
        self._open_session = session
        self._clock = clock
        self._serving: _Serving | None = None
        self.started = asyncio.Event()

    def now(self) -> RepositoriesNow:
        """All of them by name, as they are."""
        for name, repository in self._all.items():
            repository.bytes = self.cache.size_of(name)
        return RepositoriesNow(list(self._all.values()), self.cache.size, self.cache.limit_bytes)

    async def clear(self, name: str) -> Cleared:
        """Remove the copies of a repository, good or not: they are fetched again; raises NotFound."""
        repository = self._find(name)
        freed = await asyncio.to_thread(self.cache.clear, repository.name)
        log.info("repository.cleared", repository=name, bytes=freed)
        return Cleared(freed)

    async def run(self) -> None:
        """Fetch for those who ask, until cancelled."""
        if not self._all:
            await asyncio.Event().wait()
        await asyncio.to_thread(self.cache.open)
        async with self._open_session() as session, asyncio.TaskGroup() as group:
            upstreams = Upstreams(session, self._clock)
            fetches = Fetches(self.cache, upstreams, group, self._clock)
            self._serving = _Serving(upstreams, fetches, Passing(upstreams, self._clock))
            self.started.set()
            try:
                await asyncio.Event().wait()
            finally:
                fetches.end()

    def routes(self) -> list[web.RouteDef]:
        """The route of this service, for everybody on the provisioning network."""
        return [web.get("/repos/{name}/{path:.+}", self.get)]

    async def settled(self) -> None:
        """Wait until the fetches that are under way have ended."""
        if self._serving is not None:
            await self._serving.fetches.settled()

    async def get(self, request: web.Request) -> web.StreamResponse:
        """A file of a repository, from a copy or from its upstream."""
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        client = client_of(peer)
        try:
            repository = self._find(request.match_info["name"])
            path = clean(request.match_info["path"])
            note, body = await self._answer(Wish(repository, path, client, request.method, request.headers))
        except ProvisionerError as error:
            self._transfers.recorder.served("http", request.path, client, 0, 0, error.message)
            raise
        follower = self._transfers.of(request.path, client)
        file = stored(note, self._clock())
        return StoredFile(request.method, request.headers, body, file, note.content_type, follower)

    def _find(self, name: str) -> Repository:
        found = self._all.get(name)
        if found is None:
            raise NotFound(unknown("repository", name, self._all), object=f"repositories/{name}")
        return found

    async def _answer(self, wish: Wish) -> tuple[Note, Body]:
        """What is known of the file, and its bytes as they come in."""
        serving = self._serving
        if serving is None:
            raise UpstreamFailed("the server is only just starting; ask again", status=503)
        fetches, repository, path = serving.fetches, wish.repository, wish.path
        fetch = fetches.find(repository, path, wish.client)
        if fetch is None:
            known = await self._known(wish, serving)
            if known is not None:
                return known
            # Another may have begun to fetch it meanwhile.
            fetch = fetches.find(repository, path, wish.client)
        if fetch is None:
            kept = self.cache.find(repository.name, path)
            if kept is None and fetches.is_unkept(repository, path):
                return await serving.passing.open(wish)
            fetch = fetches.begin(repository, path, kept, wish.client)
        return await self._growing(fetch) or await self._left(wish, serving)

    async def _known(self, wish: Wish, serving: _Serving) -> tuple[Note, Body] | None:
        """What can be said without fetching the file: all of it from a good copy, or what HEAD asks for."""
        kept = self.cache.find(wish.repository.name, wish.path)
        if kept is not None and self._is_good(wish, kept, serving.upstreams):
            return kept.note, WholeBody(kept.file, kept.note.size)
        if wish.method == "HEAD":
            note = await self._look(wish, kept, serving)
            return (note, NoBody()) if note is not None else None
        if kept is not None:
            kept.file.close()
        return None

    async def _growing(self, fetch: Fetch) -> tuple[Note, Body] | None:
        """A file while it is being fetched; None when it is not any more."""
        note = await fetch.note()
        if note is None or fetch.part is None:
            return None
        try:
            return note, GrowingBody(fetch, fetch.part, note.size)
        except FileNotFoundError:  # it has just become a copy, or failed
            if fetch.error is not None:
                raise fetch.error from None
            return None

    async def _left(self, wish: Wish, serving: _Serving) -> tuple[Note, Body]:
        """What a fetch has left that has ended: a copy, or the knowledge that there will be none."""
        repository, path = wish.repository, wish.path
        kept = self.cache.find(repository.name, path)
        if kept is not None:
            return kept.note, WholeBody(kept.file, kept.note.size)
        if serving.fetches.is_unkept(repository, path):
            return await serving.passing.open(wish)
        raise UpstreamFailed(f"{repository.name}/{path} is not kept, and its fetch has just ended; ask again")

    def _is_good(self, wish: Wish, kept: Copy, upstreams: Upstreams) -> bool:
        """Whether a copy is given out without asking."""
        if is_fresh(wish.path, kept.validated_at, kept.note.fresh_seconds, self._clock()):
            wish.repository.hits += 1
            return True
        if upstreams.is_away(wish.repository):
            wish.repository.stale += 1
            return True
        return False

    async def _look(self, wish: Wish, kept: Copy | None, serving: _Serving) -> Note | None:
        """What is known of a file without fetching it, None when its upstream tells nobody; `kept` is closed."""
        repository, path = wish.repository, wish.path
        url = url_of(repository.url, path)
        try:
            async with serving.fetches.turn(repository, wish.client):
                repository.fetches += 1
                asked = conditions(kept.note) if kept is not None else {}
                response = await serving.upstreams.ask(repository, url, asked, "HEAD")
            response.release()
            if response.status == 304 and kept is not None:
                repository.unchanged += 1
                await asyncio.to_thread(self.cache.validated, repository.name, path)
                return kept.note
            if response.status in _NO_HEAD or (response.status == 200 and response.content_length is None):
                return None
            refuse(response, url)
            return note_of(path, response.content_length or 0, response, self._clock())
        except UpstreamFailed as error:
            repository.error = error.message
            if kept is None:
                repository.failed += 1
                raise
            repository.stale += 1
            return kept.note
        finally:
            if kept is not None:
                kept.file.close()
