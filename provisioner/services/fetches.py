"""Fetches of files from upstreams into the cache, each shared by all who want the file meanwhile.

A fetch goes on when those who asked hang up, for others will ask; one that has not begun by then is given up. What
cannot be kept, for want of room, is passed on without a copy instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from aiohttp import ClientError, ClientResponse
from msgspec.structs import replace

from provisioner.errors import DiskFull, ProvisionerError
from provisioner.repositories import server_of, sha256_in, url_of
from provisioner.services.places import Places, Shares, Turn
from provisioner.services.stored import WholeBody
from provisioner.services.upstreams import (
    FETCHES_PER_UPSTREAM,
    MOST_RESUMES,
    Busy,
    Repository,
    UpstreamFailed,
    Upstreams,
    can_resume,
    conditions,
    note_of,
    refuse,
    refuse_endless,
    told,
)
from provisioner.store.file_cache import Copy, FileCache, NoRoom, Note, Part
from provisioner.store.folders import failed

log = structlog.get_logger(__name__)

PIECE_BYTES = 256 * 1024
# Anybody on the network can ask for names that there are not.
MOST_FETCHES = 1000
# For so long it is not tried again to keep what could not be kept.
UNKEPT_SECONDS = 60.0


class Fetch:
    """One fetch."""

    def __init__(self, turn: Turn | None = None) -> None:
        # Its place at the upstream.
        self.turn = turn
        # None when a copy can be taken from the cache now, or nothing is kept; raises why there is nothing.
        self.begun: asyncio.Future[Note | None] = asyncio.get_running_loop().create_future()
        # Nobody may be left to hear of it.
        self.begun.add_done_callback(lambda future: future.exception())
        self.part: Part | None = None
        self.task: asyncio.Task[None] | None = None
        self.error: ProvisionerError | None = None
        # Its length and digest are right.
        self.is_whole = False
        self.waiting = 0
        self._grown = asyncio.Event()

    async def note(self) -> Note | None:
        """What is known of the file, as soon as that is so; None as `begun`."""
        self.waiting += 1
        try:
            return await asyncio.shield(self.begun)
        finally:
            self.waiting -= 1

    def grow(self) -> None:
        """Wake those who wait for more."""
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def more(self) -> None:
        """Wait until there is more, or an end."""
        await self._grown.wait()

    def begin(self, note: Note | None) -> None:
        """Let those go on who wait for its beginning."""
        if not self.begun.done():
            self.begun.set_result(note)

    def fail(self, error: ProvisionerError) -> None:
        """Tell all who wait."""
        self.error = error
        if not self.begun.done():
            self.begun.set_exception(error)
        self.grow()


class GrowingBody(WholeBody):
    """The content of a file that is being fetched into a part."""

    def __init__(self, fetch: Fetch, part: Part, size: int) -> None:
        super().__init__(part.path.open("rb"), size)
        self._fetch = fetch
        self._part = part

    async def ready(self, place: int) -> int:
        """What has come in by now, more than `place`. The last byte waits until all of it has proved right."""
        while (there := self._there()) <= place:
            if self._fetch.error is not None:
                raise self._fetch.error
            await self._fetch.more()
        return there

    def _there(self) -> int:
        return self.size if self._fetch.is_whole else min(self._part.size, self.size - 1)


class Fetches:
    """All fetches under way, a few of each upstream at a time, of which no client has more than half."""

    def __init__(
        self,
        cache: FileCache,
        upstreams: Upstreams,
        group: asyncio.TaskGroup,
        clock: Callable[[], float],
        most: int = MOST_FETCHES,
    ) -> None:
        self._cache = cache
        self._upstreams = upstreams
        self._group = group
        self._clock = clock
        self._shares = Shares(most)
        self._all: dict[tuple[str, str], Fetch] = {}
        self._places: dict[str, Places] = {}
        self._unkept: dict[tuple[str, str], float] = {}

    def find(self, repository: Repository, path: str, client: str) -> Fetch | None:
        """The fetch of a file that is under way, from now on for this client too."""
        fetch = self._all.get((repository.name, path))
        if fetch is not None and fetch.turn is not None:
            fetch.turn.join(client)
        return fetch

    def is_unkept(self, repository: Repository, path: str) -> bool:
        """Whether a file could not be kept a moment ago."""
        return self._clock() < self._unkept.get((repository.name, path), float("-inf"))

    def turn(self, repository: Repository, client: str) -> Turn:
        """Who asks an upstream needs one of its places."""
        return self._places.setdefault(server_of(repository.url), Places(FETCHES_PER_UPSTREAM)).turn(client)

    def begin(self, repository: Repository, path: str, kept: Copy | None, client: str) -> Fetch:
        """Fetch a file, of which `kept` is an old copy, closed in the end; raises Busy.

        Whoever begins it waits for its note at once: a fetch for which nobody waits is not begun.
        """
        if not self._shares.take(client):
            if kept is not None:
                kept.file.close()
            raise Busy(f"{len(self._all)} files are being fetched or wait for that; ask again")
        turn = self.turn(repository, client)
        fetch = self._all[repository.name, path] = Fetch(turn)
        fetch.task = self._group.create_task(self._run(fetch, turn, repository, path, kept))
        fetch.task.add_done_callback(lambda task: self._shares.give_back(client))
        return fetch

    async def settled(self) -> None:
        """Wait until the fetches that are under way have ended."""
        await asyncio.gather(*(fetch.task for fetch in self._all.values() if fetch.task is not None))

    def end(self) -> None:
        """The server stops."""
        for fetch in self._all.values():
            fetch.fail(UpstreamFailed("the server stops"))

    async def _run(self, fetch: Fetch, turn: Turn, repository: Repository, path: str, kept: Copy | None) -> None:
        """One fetch from beginning to end; what goes wrong is for those who wait, and never ends the service."""
        url = url_of(repository.url, path)
        try:
            async with turn:
                if not fetch.waiting:
                    fetch.fail(UpstreamFailed(f"{url} is waited for by nobody any more; ask again"))
                    return
                repository.fetches += 1
                await self._bring_or_say(fetch, repository, path, url, kept)
        except ProvisionerError as error:
            if isinstance(error, DiskFull):
                self._leave_unkept(repository, path)
            self._give_up(fetch, repository, path, error, kept)
        finally:
            self._all.pop((repository.name, path), None)
            if fetch.part is not None:
                self._cache.drop(fetch.part)
            if kept is not None:
                kept.file.close()

    async def _bring_or_say(self, fetch: Fetch, repository: Repository, path: str, url: str, kept: Copy | None) -> None:
        try:
            with told(url):
                await self._bring(fetch, repository, path, url, kept)
        except ProvisionerError:
            raise
        except NoRoom:
            self._leave_unkept(repository, path)
            log.info("repository.not_kept", repository=repository.name, path=path)
            # Who has begun to read it has been told a length, and gets no more of it.
            if fetch.begun.done():
                fetch.fail(UpstreamFailed(f"{url} is larger than the cache"))
            fetch.begin(None)
        except OSError as error:
            raise failed(f"keep a copy of {url}", error) from error
        except Exception as error:
            log.exception("repository.fault", repository=repository.name, path=path)
            raise UpstreamFailed(f"{url}: this is our fault; the server's log has the details") from error

    def _leave_unkept(self, repository: Repository, path: str) -> None:
        now = self._clock()
        self._unkept = {key: until for key, until in self._unkept.items() if now < until}
        self._unkept[repository.name, path] = now + UNKEPT_SECONDS

    def _give_up(
        self, fetch: Fetch, repository: Repository, path: str, error: ProvisionerError, kept: Copy | None
    ) -> None:
        gone = error.status == 404
        if gone and kept is not None:
            self._cache.forget(repository.name, path)
        if not gone:
            repository.error = error.message
            is_stale = kept is not None and not fetch.begun.done()
            log.warning(
                "repository.stale" if is_stale else "repository.failed",
                repository=repository.name,
                path=path,
                error=error.message,
            )
            if is_stale:
                repository.stale += 1
                fetch.begin(None)
                return
            repository.failed += 1
        if isinstance(error, DiskFull) and not fetch.begun.done():
            fetch.begin(None)
            return
        fetch.fail(error)

    async def _bring(self, fetch: Fetch, repository: Repository, path: str, url: str, kept: Copy | None) -> None:
        headers = conditions(kept.note) if kept is not None else {}
        async with await self._upstreams.ask(repository, url, headers) as response:
            if response.status == 304 and kept is not None:
                repository.unchanged += 1
                await asyncio.to_thread(self._cache.validated, repository.name, path)
                fetch.begin(None)
                return
            refuse(response, url)
            refuse_endless(response, url)
            size = response.content_length
            part = fetch.part = await asyncio.to_thread(self._cache.begin, size or 0)
            note = note_of(path, size or 0, response, self._clock())
            if size is not None:
                fetch.begin(note)
            await self._pour(fetch, part, response)
        resumes = MOST_RESUMES if size is not None and can_resume(note) else 0
        while size is not None and part.size < size and resumes:
            before = part.size
            async with await self._upstreams.resume(repository, url, note, before) as response:
                await self._pour(fetch, part, response)
            resumes = MOST_RESUMES if part.size > before else resumes - 1
        await self._keep(fetch, repository, part, url, note, size)

    async def _keep(
        self, fetch: Fetch, repository: Repository, part: Part, url: str, note: Note, size: int | None
    ) -> None:
        if size is not None and part.size != size:
            raise UpstreamFailed(f"{url} ended after {part.size} of {size} bytes")
        wanted = sha256_in(note.path)
        if wanted and part.sha256() != wanted.lower():
            raise UpstreamFailed(f"{url} is damaged: its SHA-256 is not the one in its name")
        fetch.is_whole = True
        fetch.grow()
        note = note if size is not None else replace(note, size=part.size)
        await asyncio.to_thread(self._cache.keep, part, repository.name, note)
        fetch.begin(None)

    async def _pour(self, fetch: Fetch, part: Part, response: ClientResponse) -> None:
        """Into the part, until it ends or breaks off; what came stays."""
        try:
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                await asyncio.to_thread(self._cache.write, part, piece)
                fetch.grow()
        except (ClientError, TimeoutError):
            if response.content_length is None:
                raise
