"""Install repositories passed on below `/repos/NAME/`, with copies on disk.

The first who asks for a file does not wait for all of it: what has come in goes out at once, and who asks meanwhile
shares the one fetch. A fetch goes on when they hang up, for others will ask. A copy is given out without asking the
upstream for as long as it is good; when the upstream is away, however old it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from hashlib import sha256
from time import time
from typing import BinaryIO

import structlog
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector, web
from msgspec import Struct
from msgspec.structs import replace

from provisioner.errors import NotFound, ProvisionerError, unknown
from provisioner.repositories import (
    MOST_REDIRECTS,
    clean,
    followed,
    fresh_seconds,
    is_fresh,
    is_immutable,
    sha256_in,
    url_of,
)
from provisioner.services.reach import client_of
from provisioner.services.stored import Body, StoredFile, WholeBody, content_type
from provisioner.services.transfers import Transfers
from provisioner.store.file_cache import Copy, FileCache, Note, Part
from provisioner.store.folders import failed
from provisioner.wire.http_parts import Stored

log = structlog.get_logger(__name__)

CONNECT_SECONDS, SILENT_SECONDS = 10.0, 60.0
# As many as browsers open to one server; an upstream is somebody else's.
CONNECTIONS_PER_UPSTREAM = 8
PIECE_BYTES = 256 * 1024
# A fetch that breaks off goes on where it stopped, so often in a row without a byte more.
MOST_RESUMES = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class UpstreamFailed(ProvisionerError):
    """The upstream repository cannot be reached, or answers what nobody can use."""

    code = "upstream-failed"
    status = 502


class UpstreamTimeout(UpstreamFailed):
    """The upstream repository does not answer."""

    code = "upstream-timeout"
    status = 504


class Repository(Struct, kw_only=True):
    """A repository that is passed on, and what became of requests since the server started.

    `hits` were answered from a copy, `fetches` by the upstream, `unchanged` of these by saying that the copy is right;
    `stale` are copies given out because the upstream was away.
    """

    name: str
    url: str
    path: str
    hits: int = 0
    fetches: int = 0
    unchanged: int = 0
    stale: int = 0
    failed: int = 0
    error: str = ""


class RepositoriesNow(Struct, frozen=True):
    """All repositories, and how many bytes their copies take together."""

    repositories: list[Repository]
    bytes: int


class _Fetch:
    """One fetch from an upstream, shared by all who want the file meanwhile."""

    def __init__(self) -> None:
        # None when a copy can be taken from the cache now; raises why there is nothing.
        self.begun: asyncio.Future[Note | None] = asyncio.get_running_loop().create_future()
        self.part: Part | None = None
        self.task: asyncio.Task[None] | None = None
        self.error: ProvisionerError | None = None
        # Its length and digest are right.
        self.is_whole = False
        self._grown = asyncio.Event()

    def grow(self) -> None:
        """Wake those who wait for more."""
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def more(self) -> None:
        """Wait until there is more, or an end."""
        await self._grown.wait()


class _GrowingBody:
    """The content of a file that is being fetched."""

    def __init__(self, fetch: _Fetch, file: BinaryIO, size: int) -> None:
        self.file = file
        self._fetch = fetch
        self._size = size

    async def ready(self, place: int) -> int:
        """What has come in by now, more than `place`. The last byte waits until all of it has proved right."""
        while (there := self._there()) <= place:
            if self._fetch.error is not None:
                raise self._fetch.error
            await self._fetch.more()
        return there

    def _there(self) -> int:
        if self._fetch.is_whole:
            return self._size
        return min(self._fetch.part.size, self._size - 1) if self._fetch.part is not None else 0

    def close(self) -> None:
        """Close our end; the fetch goes on."""
        self.file.close()


def open_session() -> ClientSession:
    """A client for upstreams: bytes as they are, and the proxy of the environment if there is one."""
    return ClientSession(
        auto_decompress=False,
        connector=TCPConnector(limit=0, limit_per_host=CONNECTIONS_PER_UPSTREAM),
        timeout=ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS),
        headers={"Accept-Encoding": "identity", "User-Agent": "provisioner"},
        trust_env=True,
    )


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
        self._cache = cache
        self._transfers = transfers
        self._open_session = session
        self._clock = clock
        self._fetches: dict[tuple[str, str], _Fetch] = {}
        self._session: ClientSession | None = None
        self._group: asyncio.TaskGroup | None = None
        self.started = asyncio.Event()

    def now(self) -> RepositoriesNow:
        """All of them by name, as they are."""
        return RepositoriesNow(list(self._all.values()), self._cache.size)

    async def run(self) -> None:
        """Fetch for those who ask, until cancelled."""
        if not self._all:
            await asyncio.Event().wait()
        await asyncio.to_thread(self._cache.open)
        async with self._open_session() as self._session, asyncio.TaskGroup() as self._group:
            self.started.set()
            try:
                await asyncio.Event().wait()
            finally:
                for fetch in self._fetches.values():
                    _fail(fetch, UpstreamFailed("the server stops"))

    def routes(self) -> list[web.RouteDef]:
        """The route of this service, for everybody on the provisioning network."""
        return [web.get("/repos/{name}/{path:.+}", self.get)]

    async def get(self, request: web.Request) -> web.StreamResponse:
        """A file of a repository, from a copy or from its upstream."""
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        client = client_of(peer)
        try:
            repository = self._find(request.match_info["name"])
            note, body = await self._obtain(repository, clean(request.match_info["path"]))
        except ProvisionerError as error:
            await self._transfers.recorder.served("http", request.path, client, 0, 0, error.message)
            raise
        stored = Stored(note.size, note.etag, _seconds(note.last_modified, self._clock()))
        follower = self._transfers.of(request.path, client)
        return StoredFile(request.method, request.headers, body, stored, note.content_type, follower)

    def _find(self, name: str) -> Repository:
        found = self._all.get(name)
        if found is None:
            raise NotFound(unknown("repository", name, self._all), object=f"repositories/{name}")
        return found

    async def _obtain(self, repository: Repository, path: str) -> tuple[Note, Body]:
        """What is known of the file, and its bytes as they come in."""
        fetch = self._fetches.get((repository.name, path))
        if fetch is None:
            kept = self._cache.find(repository.name, path)
            if kept is not None and is_fresh(path, kept.validated_at, kept.note.fresh_seconds, self._clock()):
                repository.hits += 1
                return kept.note, WholeBody(kept.file, kept.note.size)
            fetch = self._begin(repository, path, kept)
        note = await asyncio.shield(fetch.begun)
        if note is not None and fetch.part is not None:
            try:
                return note, _GrowingBody(fetch, fetch.part.path.open("rb"), note.size)
            except FileNotFoundError:  # it has just become a copy, or failed
                if fetch.error is not None:
                    raise fetch.error from None
        kept = self._cache.find(repository.name, path)
        if kept is None:
            raise UpstreamFailed(f"{repository.name}/{path} is not kept, and its fetch has just ended; ask again")
        return kept.note, WholeBody(kept.file, kept.note.size)

    # --- fetching ---------------------------------------------------------------------------------------------

    def _begin(self, repository: Repository, path: str, kept: Copy | None) -> _Fetch:
        if self._group is None or self._session is None:
            if kept is not None:
                kept.file.close()
            raise UpstreamFailed("the server is only just starting; ask again", status=503)
        fetch = self._fetches[repository.name, path] = _Fetch()
        # Nobody may be left to hear of it.
        fetch.begun.add_done_callback(lambda future: future.exception())
        fetch.task = self._group.create_task(self._fetch(fetch, repository, path, kept))
        return fetch

    async def settled(self) -> None:
        """Wait until the fetches that are under way have ended."""
        await asyncio.gather(*(fetch.task for fetch in self._fetches.values() if fetch.task is not None))

    async def _fetch(self, fetch: _Fetch, repository: Repository, path: str, kept: Copy | None) -> None:
        """One fetch from beginning to end; what goes wrong is for those who wait, and never ends the service."""
        url = url_of(repository.url, path)
        repository.fetches += 1
        try:
            try:
                await self._bring(fetch, repository, path, url, kept)
            except ProvisionerError:
                raise
            except TimeoutError as error:
                raise UpstreamTimeout(f"{url} does not answer") from error
            except ClientError as error:
                raise UpstreamFailed(f"{url} cannot be fetched: {error or type(error).__name__}") from error
            except OSError as error:
                raise failed(f"keep a copy of {url}", error) from error
            except Exception as error:
                log.exception("repository.fault", repository=repository.name, path=path)
                raise UpstreamFailed(f"{url}: this is our fault; the server's log has the details") from error
        except ProvisionerError as error:
            self._give_up(fetch, repository, path, error, kept)
        finally:
            self._fetches.pop((repository.name, path), None)
            if fetch.part is not None:
                fetch.part.drop()
            if kept is not None:
                kept.file.close()

    def _give_up(
        self, fetch: _Fetch, repository: Repository, path: str, error: ProvisionerError, kept: Copy | None
    ) -> None:
        gone = error.status == 404
        if gone and kept is not None:
            self._cache.forget(repository.name, path)
        if kept is not None and not gone and not fetch.begun.done():
            repository.stale += 1
            repository.error = error.message
            log.warning("repository.stale", repository=repository.name, path=path, error=error.message)
            fetch.begun.set_result(None)
            return
        if not gone:
            repository.failed += 1
            repository.error = error.message
            log.warning("repository.failed", repository=repository.name, path=path, error=error.message)
        _fail(fetch, error)

    async def _bring(self, fetch: _Fetch, repository: Repository, path: str, url: str, kept: Copy | None) -> None:
        headers = _conditions(kept.note) if kept is not None else {}
        async with await self._ask(repository, url, headers) as response:
            if response.status == 304 and kept is not None:
                repository.unchanged += 1
                await asyncio.to_thread(self._cache.validated, repository.name, path)
                fetch.begun.set_result(None)
                return
            _refuse(response, url)
            size = response.content_length
            part = fetch.part = await asyncio.to_thread(self._cache.begin, size or 0)
            note = _note(path, size or 0, response, self._clock())
            if size is not None:
                fetch.begun.set_result(note)
            await self._pour(fetch, part, response)
        # What has no validator may be another file by now: it cannot go on where it stopped.
        resumes = MOST_RESUMES if size is not None and (note.upstream_etag or note.last_modified) else 0
        while size is not None and part.size < size and resumes:
            before = part.size
            await self._resume(fetch, repository, part, url, note)
            resumes = MOST_RESUMES if part.size > before else resumes - 1
        await self._keep(fetch, repository, part, url, note, size)

    async def _keep(
        self, fetch: _Fetch, repository: Repository, part: Part, url: str, note: Note, size: int | None
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
        if not fetch.begun.done():
            fetch.begun.set_result(None)

    async def _pour(self, fetch: _Fetch, part: Part, response: ClientResponse) -> None:
        """Into the part, until it ends or breaks off; what came stays."""
        try:
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                await asyncio.to_thread(part.write, piece)
                fetch.grow()
        except (ClientError, TimeoutError):
            if response.content_length is None:
                raise

    async def _resume(self, fetch: _Fetch, repository: Repository, part: Part, url: str, note: Note) -> None:
        validator = note.upstream_etag if note.upstream_etag.startswith('"') else note.last_modified
        headers = {"Range": f"bytes={part.size}-", "If-Range": validator}
        async with await self._ask(repository, url, headers) as response:
            expected = f"bytes {part.size}-{note.size - 1}/{note.size}"
            from_anew = not part.size and response.status == 200 and response.content_length == note.size
            if not from_anew and (response.status != 206 or response.headers.get("Content-Range") != expected):
                raise UpstreamFailed(f"{url} broke off after {part.size} of {note.size} bytes and cannot be resumed")
            await self._pour(fetch, part, response)

    async def _ask(self, repository: Repository, url: str, headers: Mapping[str, str]) -> ClientResponse:
        """The answer of the upstream, after redirects on the same server."""
        assert self._session is not None
        for _ in range(MOST_REDIRECTS):
            response = await self._session.get(url, headers=headers, allow_redirects=False)
            if response.status not in _REDIRECTS:
                return response
            response.release()
            try:
                url = followed(repository.url, url, response.headers.get("Location", ""))
            except ProvisionerError as error:
                raise UpstreamFailed(error.message) from error
        raise UpstreamFailed(f"{url}: more than {MOST_REDIRECTS} redirects")


def _fail(fetch: _Fetch, error: ProvisionerError) -> None:
    fetch.error = error
    if not fetch.begun.done():
        fetch.begun.set_exception(error)
    fetch.grow()


def _refuse(response: ClientResponse, url: str) -> None:
    if response.status in (404, 410):
        raise NotFound(f"the repository has no {url}", object=url)
    if response.status == 504:
        raise UpstreamTimeout(f"{url} answers 504")
    if response.status != 200:
        raise UpstreamFailed(f"{url} answers {response.status} {response.reason or ''}".rstrip())
    if response.content_length is None and "chunked" not in response.headers.get("Transfer-Encoding", "").lower():
        # It would end where the connection does, for whatever reason: half a package, kept for ever.
        raise UpstreamFailed(f"{url} comes without its length, so nobody can tell whether all of it came")


def _conditions(note: Note) -> dict[str, str]:
    if note.upstream_etag:
        return {"If-None-Match": note.upstream_etag}
    return {"If-Modified-Since": note.last_modified} if note.last_modified else {}


def _note(path: str, size: int, response: ClientResponse, now: float) -> Note:
    headers = response.headers
    etag, modified = _said(headers, "ETag"), _said(headers, "Last-Modified")
    # Ours is strong also where theirs is not: a copy is the same bytes for as long as it is the same copy.
    same = f"{path}\0{etag}\0{modified}\0{size}" if etag or modified else f"{path}\0{size}\0{now}"
    kind = _said(headers, "Content-Type") or content_type(path)
    fresh = 0 if is_immutable(path) else fresh_seconds(headers)
    return Note(path, size, f'"{sha256(same.encode()).hexdigest()[:32]}"', etag, modified, kind, fresh)


def _said(headers: Mapping[str, str], name: str) -> str:
    """What a header says, '' for what nobody can repeat: it goes into our own answers and questions."""
    text = headers.get(name, "")
    return text if text.isascii() and text.isprintable() else ""


def _seconds(last_modified: str, default: float) -> int:
    try:
        return int(parsedate_to_datetime(last_modified).timestamp())
    except (ValueError, TypeError, OverflowError):
        return int(default)
