"""Questions to the upstreams of install repositories, and what is made of their answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from hashlib import sha256

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    InvalidURL,
    TCPConnector,
)
from msgspec import Struct

from provisioner.errors import NotFound, ProvisionerError
from provisioner.repositories import MOST_REDIRECTS, followed, fresh_seconds, is_immutable
from provisioner.services.stored import content_type
from provisioner.store.file_cache import Note
from provisioner.wire.http_parts import Stored

CONNECT_SECONDS, SILENT_SECONDS = 10.0, 60.0
# As many as browsers open to one server, for it is somebody else's, and a few for what is passed on without a copy.
FETCHES_PER_UPSTREAM, PASSED_PER_UPSTREAM = 8, 4
# A transfer that breaks off goes on where it stopped, so often in a row without a byte more.
MOST_RESUMES = 3
# After it could not be reached, an upstream is left alone for so long where there is a copy to give out.
AWAY_SECONDS = 15.0
# Of the year 9999 (UTC), after which no date can be written.
_LAST_SECOND = 253_402_300_799
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class UpstreamFailed(ProvisionerError):
    """The upstream repository cannot be reached, or answers what nobody can use."""

    code = "upstream-failed"
    status = 502


class UpstreamAway(UpstreamFailed):
    """The upstream repository cannot be reached."""


class UpstreamTimeout(UpstreamAway):
    """The upstream repository does not answer."""

    code = "upstream-timeout"
    status = 504


class Busy(ProvisionerError):
    """Too much is being fetched."""

    code = "busy"
    status = 503
    headers = {"Retry-After": "5"}  # noqa: RUF012 -- as those of other errors


class Repository(Struct, kw_only=True):
    """A repository that is passed on, and what became of requests since the server started.

    `hits` were answered from a copy, `fetches` by the upstream, `unchanged` of these by saying that the copy is right,
    `passed` of these without keeping a copy; `stale` are copies given out because the upstream was away. `bytes` is
    what its copies take.
    """

    name: str
    url: str
    path: str
    bytes: int = 0
    hits: int = 0
    fetches: int = 0
    unchanged: int = 0
    passed: int = 0
    stale: int = 0
    failed: int = 0
    error: str = ""


class Wish(Struct, frozen=True):
    """What a client asks for: a clean path, with the method and the headers of its request."""

    repository: Repository
    path: str
    client: str
    method: str
    headers: Mapping[str, str]


def open_session() -> ClientSession:
    """A client for upstreams: bytes as they are, and the proxy of the environment if there is one."""
    return ClientSession(
        auto_decompress=False,
        # What one file is answered with must not change what the next is.
        cookie_jar=DummyCookieJar(),
        connector=TCPConnector(limit=0, limit_per_host=FETCHES_PER_UPSTREAM + PASSED_PER_UPSTREAM),
        timeout=ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS),
        headers={"Accept-Encoding": "identity", "User-Agent": "provisioner"},
        trust_env=True,
    )


class Upstreams:
    """Asks upstreams through one client."""

    def __init__(self, session: ClientSession, seconds: Callable[[], float]) -> None:
        self._session = session
        self._seconds = seconds
        self._away: dict[str, float] = {}

    def is_away(self, repository: Repository) -> bool:
        """Whether it could not be reached a moment ago."""
        return self._seconds() < self._away.get(repository.name, float("-inf"))

    async def ask(
        self, repository: Repository, url: str, headers: Mapping[str, str], method: str = "GET"
    ) -> ClientResponse:
        """The answer of the upstream, after redirects on the same server; raises UpstreamFailed."""
        try:
            with told(url):
                response = await self._follow(repository, url, headers, method)
        except UpstreamAway:
            self._away[repository.name] = self._seconds() + AWAY_SECONDS
            raise
        self._away.pop(repository.name, None)
        return response

    async def resume(self, repository: Repository, url: str, note: Note, place: int) -> ClientResponse:
        """The rest of a file from a place on; raises UpstreamFailed, also when it is another file by now."""
        response = await self.ask(repository, url, {"Range": f"bytes={place}-", "If-Range": _validator(note)})
        expected = f"bytes {place}-{note.size - 1}/{note.size}"
        from_anew = not place and response.status == 200 and response.content_length == note.size
        is_rest = response.status == 206 and response.headers.get("Content-Range") == expected
        if not (from_anew or is_rest) or _is_another(response, note):
            response.close()
            raise UpstreamFailed(f"{url} broke off after {place} of {note.size} bytes and cannot be resumed")
        return response

    async def _follow(
        self, repository: Repository, url: str, headers: Mapping[str, str], method: str
    ) -> ClientResponse:
        for _ in range(MOST_REDIRECTS):
            response = await self._session.request(method, url, headers=headers, allow_redirects=False)
            if response.status not in _REDIRECTS:
                return response
            response.release()
            try:
                url = followed(repository.url, url, response.headers.get("Location", ""))
            except ProvisionerError as error:
                raise UpstreamFailed(error.message) from error
        raise UpstreamFailed(f"{url}: more than {MOST_REDIRECTS} redirects")


@contextmanager
def told(url: str) -> Iterator[None]:
    """Tell of what goes wrong with a connection as UpstreamAway, and of an address that is none as UpstreamFailed."""
    try:
        yield
    except TimeoutError as error:
        raise UpstreamTimeout(f"{url} does not answer") from error
    except InvalidURL as error:
        raise UpstreamFailed(f"{url} leads to what is no address: {error}") from error
    except ClientError as error:
        raise UpstreamAway(f"{url} cannot be fetched: {error or type(error).__name__}") from error


def refuse(response: ClientResponse, url: str, *, part: bool = False) -> None:
    """Raise NotFound, UpstreamFailed unless the answer is the file, or maybe a part of it where one was asked for."""
    if response.status in (404, 410):
        raise NotFound(f"the repository has no {url}", object=url)
    if response.status == 504:
        raise UpstreamTimeout(f"{url} answers 504")
    if response.status != 200 and not (part and response.status == 206):
        raise UpstreamFailed(f"{url} answers {response.status} {response.reason or ''}".rstrip())


def refuse_endless(response: ClientResponse, url: str) -> None:
    """Raise UpstreamFailed when nobody can tell whether all of it came."""
    if response.content_length is None and "chunked" not in response.headers.get("Transfer-Encoding", "").lower():
        # It would end where the connection does, for whatever reason: half a package, kept for ever.
        raise UpstreamFailed(f"{url} comes without its length, so nobody can tell whether all of it came")


def conditions(note: Note) -> dict[str, str]:
    """Headers that ask for a file only if it is another one."""
    if note.upstream_etag:
        return {"If-None-Match": note.upstream_etag}
    return {"If-Modified-Since": note.last_modified} if note.last_modified else {}


def can_resume(note: Note) -> bool:
    """Whether it can be told that it is still the same file: what has no validator may be another one by now."""
    return bool(_validator(note))


def _validator(note: Note) -> str:
    """What goes into `If-Range`, where a weak tag may not stand (RFC 9110, section 13.1.5)."""
    return note.upstream_etag if note.upstream_etag.startswith('"') else note.last_modified


def _is_another(response: ClientResponse, note: Note) -> bool:
    """Whether an answer tells of another file than the note: not all servers look at `If-Range`."""
    told_before = (("ETag", note.upstream_etag), ("Last-Modified", note.last_modified))
    return any(known and _said(response.headers, name) not in ("", known) for name, known in told_before)


def note_of(path: str, size: int, response: ClientResponse, now: float) -> Note:
    """What an answer tells of a file."""
    headers = response.headers
    etag, modified = _said(headers, "ETag"), _said(headers, "Last-Modified")
    # Ours is strong also where theirs is not: a copy is the same bytes for as long as it is the same copy.
    same = f"{path}\0{etag}\0{modified}\0{size}" if etag or modified else f"{path}\0{size}\0{now}"
    kind = _said(headers, "Content-Type") or content_type(path)
    fresh = 0 if is_immutable(path) else fresh_seconds(headers)
    return Note(path, size, f'"{sha256(same.encode()).hexdigest()[:32]}"', etag, modified, kind, fresh)


def stored(note: Note, now: float) -> Stored:
    """A file as our own answers tell of it."""
    return Stored(note.size, note.etag, _seconds(note.last_modified, now))


def _said(headers: Mapping[str, str], name: str) -> str:
    """What a header says, '' for what nobody can repeat: it goes into our own answers and questions."""
    text = headers.get(name, "")
    return text if text.isascii() and text.isprintable() else ""


def _seconds(last_modified: str, default: float) -> int:
    try:
        return min(int(parsedate_to_datetime(last_modified).timestamp()), _LAST_SECOND)
    except (ValueError, TypeError, OverflowError):
        return int(default)
