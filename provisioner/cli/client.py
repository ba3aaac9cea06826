"""The API as a client sees it: requests, pages, streams, and every failure as one sentence with advice."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, BinaryIO
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from provisioner.cli.exits import Exit, Failure

BASE = "/api/v1"
# The server answers within milliseconds unless it is asked to wait.
ANSWER_SECONDS = 30.0
# A page as large as the server gives: fewer round trips for whole lists.
PAGE_LIMIT = 1000
# A server that is restarted is back within this; whoever follows something waits for it instead of giving up.
PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 1.0
_PIECE_BYTES = 1 << 20
# What a server that is starting says, or a proxy in front of one that is not there yet.
_AWAY = frozenset({502, 503, 504})
_EXITS = {401: Exit.DENIED, 403: Exit.DENIED, 404: Exit.NOT_FOUND}


class Unreachable(Failure):
    """The server does not answer, or the connection broke."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(
            f"cannot reach the server at {server}: {reason}",
            "is it running (`provisioner serve`)? Another one is named with --server or PROVISIONER_SERVER",
            Exit.UNREACHABLE,
            code="unreachable",
            object=server,
        )


class Refusal(Failure):
    """The server answered with an error; `status` is HTTP's."""

    def __init__(self, status: int, problem: Mapping[str, Any], server: str) -> None:
        errors = problem.get("errors") or ()
        super().__init__(
            str(problem.get("detail") or problem.get("title") or f"the server answered with HTTP status {status}"),
            _advice(status, server) if problem.get("code") != "login-refused" else "",
            _EXITS.get(status, Exit.FAILED),
            code=str(problem.get("code") or status),
            object=str(problem.get("object") or ""),
            details=tuple(f"{each.get('path', '')}: {each.get('message', '')}" for each in errors),
        )
        self.status = status


def is_away(failure: Failure) -> bool:
    """Whether the server may answer again soon."""
    return isinstance(failure, Unreachable) or (isinstance(failure, Refusal) and failure.status in _AWAY)


@dataclass(frozen=True)
class Reply:
    """A whole answer: its headers in lower case, and its bytes."""

    headers: Mapping[str, str]
    data: bytes

    def json(self) -> Any:
        """The bytes as JSON; None when there are none."""
        return json.loads(self.data) if self.data else None


def at(*parts: str) -> str:
    """The path of something in the API; a name may hold slashes."""
    return "/".join((BASE, *(quote(part, safe="/") for part in parts)))


class Client:
    """Talks to one server. Every request has a connection of its own, so a restart of the server does no harm."""

    def __init__(self, server: str, token: str = "") -> None:
        self.server = server
        self._token = token

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        """The JSON that is there."""
        return self.send("GET", path, query=query).json()

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, object] | None = None,
        seconds: float = ANSWER_SECONDS,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request; raises Refusal for an error status and Unreachable when no answer comes within `seconds`."""
        typed = {"Content-Type": content_type} if body is not None else {}
        data = json.dumps(body).encode() if body is not None else None
        with self._open(method, path, query, {**typed, **(headers or {})}, seconds, data) as response:
            return Reply(_headers(response), self._read(response))

    def pages(self, path: str, query: Mapping[str, object] | None = None) -> Iterator[Any]:
        """Every item of a list, page after page."""
        asked = {"limit": PAGE_LIMIT, **(query or {})}
        while True:
            page = self.get(path, asked)
            yield from page["items"]
            if not page.get("next"):
                return
            asked["cursor"] = page["next"]

    @contextmanager
    def lines(self, path: str, query: Mapping[str, object], headers: Mapping[str, str]) -> Iterator[Iterator[str]]:
        """The lines of an answer that goes on for as long as the server likes."""
        # The server sends a sign of life every 15 s.
        with self._open("GET", path, query, headers, 60.0) as response:
            yield self._lines(response)

    def copy(self, path: str, to: BinaryIO, query: Mapping[str, object] | None = None) -> int:
        """Copy an answer of any size to a file; its size. Raises Unreachable when it ends too early."""
        with self._open("GET", path, query, {}, ANSWER_SECONDS) as response:
            size = 0
            while True:
                try:
                    piece = response.read(_PIECE_BYTES)
                except (OSError, HTTPException) as error:
                    raise Unreachable(self.server, "the connection broke in the middle of an answer") from error
                if not piece:
                    return size
                to.write(piece)
                size += len(piece)

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        headers: Mapping[str, str],
        seconds: float,
        body: bytes | None = None,
    ) -> Iterator[HTTPResponse]:
        address = _address(self.server)
        connection = _connection(address, seconds)
        target = address.path.rstrip("/") + path + (f"?{urlencode(query)}" if query else "")
        try:
            try:
                connection.request(method, target, body, {**headers, **self._authorization()})
                response = connection.getresponse()
            except (OSError, HTTPException) as error:
                raise Unreachable(self.server, _reason(error, seconds)) from error
            if response.status >= 300:
                raise Refusal(response.status, _problem(self._read(response)), self.server)
            yield response
        finally:
            connection.close()

    def _read(self, response: HTTPResponse) -> bytes:
        try:
            return response.read()
        except (OSError, HTTPException) as error:
            raise Unreachable(self.server, "the connection broke in the middle of an answer") from error

    def _lines(self, response: HTTPResponse) -> Iterator[str]:
        while True:
            try:
                line = response.readline()
            except (OSError, HTTPException) as error:
                raise Unreachable(self.server, "the connection broke") from error
            if not line:
                return
            yield line.decode(errors="replace").rstrip("\r\n")

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}


def _address(server: str) -> SplitResult:
    """The parts of a server's URL; raises Failure when it is none."""
    try:
        address = urlsplit(server)
        usable = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise Failure(f"{server!r} is no server", "it looks like http://127.0.0.1:8092", Exit.USAGE, code="usage")
    return address


def _connection(address: SplitResult, seconds: float) -> HTTPConnection:
    host = address.hostname or ""
    if address.scheme == "https":
        return HTTPSConnection(host, address.port, timeout=seconds)
    return HTTPConnection(host, address.port, timeout=seconds)


def _headers(response: HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _problem(data: bytes) -> Mapping[str, Any]:
    """The problem of an error answer; what stands in for it when something else than our server answered."""
    try:
        problem = json.loads(data)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _advice(status: int, server: str) -> str:
    if status == 401:
        return f"log in with `provisioner --server {server} login`"
    if status == 403:
        return "log in as somebody who may"
    if status >= 500:
        return "the server's log says more"
    return ""


def _reason(error: Exception, seconds: float) -> str:
    """Why there was no answer, in words. `SSLError` and `timeout` are OSErrors too, so the order counts."""
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or error})"
    if isinstance(error, HTTPException):
        return "what answers there does not speak HTTP, or broke off"
    return str(getattr(error, "strerror", None) or error)
