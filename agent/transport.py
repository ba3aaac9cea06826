"""One HTTP request over one socket, with the standard library; every way it can fail becomes `ServerAway`.

Bodies may be files in either direction: those are streamed, so that their size does not matter.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import IO, Optional
from urllib.parse import urlsplit

from .errors import ConfigError, FileTrouble, ServerAway
from .messages import Reply, Request

CONNECT_TIMEOUT_SECONDS = 10.0
MAX_REPLY_BYTES = 64 * 1024 * 1024  # a work order carries templates; nothing honest is larger
_PIECE_BYTES = 256 * 1024
_WITH_BODY = ("POST", "PUT", "PATCH")
# A long poll is silent; these tell middle boxes that the connection is alive, and us when the server's host is gone.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 6))


class HttpTransport:
    """Sends requests to one server, each on a new connection: nothing stale to trip over when the server restarts."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"the server's address {url!r} is not a http:// or https:// URL")
        self._is_secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._prefix = parts.path.rstrip("/")
        self._waiting: Optional[HTTPConnection] = None
        self._is_interrupted = False

    def send(self, request: Request) -> Reply:
        """Raises `ServerAway` when no whole reply arrives in the request's time, `FileTrouble` for its body's file."""
        return self._send(request, None)

    def download(self, request: Request, target: IO[bytes]) -> Reply:
        """As `send`; the body of a 200 goes into a file, which is emptied first, and the reply's is its SHA-256."""
        return self._send(request, target)

    def _send(self, request: Request, target: Optional[IO[bytes]]) -> Reply:
        connection = self._connection()
        if request.interruptible:
            self._waiting = connection
        try:
            response = self._ask(connection, request)
            if target is not None and response.status == 200:
                return _save(response, target)
            return _read(response, time.monotonic() + request.timeout_seconds)
        except (OSError, HTTPException) as error:
            raise ServerAway(f"{request.method} {request.path}: {error or type(error).__name__}") from error
        finally:
            if request.interruptible:
                self._waiting = None
            connection.close()

    def interrupt(self) -> None:
        """Cut off the interruptible request that is under way and those to come; safe in a signal handler."""
        self._is_interrupted = True
        waiting = self._waiting
        if waiting is not None and waiting.sock is not None:
            try:
                waiting.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it ended by itself in this very moment

    def _connection(self) -> HTTPConnection:
        if self._is_secure:
            context = ssl.create_default_context()
            return HTTPSConnection(self._host, self._port, timeout=CONNECT_TIMEOUT_SECONDS, context=context)
        return HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT_SECONDS)

    def _ask(self, connection: HTTPConnection, request: Request) -> HTTPResponse:
        connection.connect()
        if request.interruptible and self._is_interrupted:
            raise HTTPException("interrupted")
        connection.sock.settimeout(request.timeout_seconds)
        _keep_alive(connection.sock)
        headers = {"Content-Type": request.content_type, "Connection": "close", **request.headers}
        path = self._prefix + request.path
        if request.body_file:
            _send_file(connection, request.method, path, request.body_file, headers)
        else:
            connection.request(request.method, path, request.body if request.method in _WITH_BODY else None, headers)
        return connection.getresponse()


def _send_file(connection: HTTPConnection, method: str, path: str, body_file: str, headers: Mapping[str, str]) -> None:
    with _open(body_file) as file:
        size = os.fstat(file.fileno()).st_size
        pieces = _pieces_of(file, body_file, size)
        # A server that wants none of it says so and closes before it has read it all; its answer is still to be had.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, pieces, {**headers, "Content-Length": str(size)})


def _keep_alive(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _open(path: str) -> IO[bytes]:
    try:
        return open(path, "rb")
    except OSError as error:
        raise FileTrouble(f"cannot read {path}: {error.strerror}") from error


def _pieces_of(file: IO[bytes], path: str, size: int) -> Iterator[bytes]:
    """Exactly `size` bytes of a file: what is appended meanwhile stays out, one that shrinks is told of."""
    left = size
    while left:
        try:
            piece = file.read(min(_PIECE_BYTES, left))
        except OSError as error:
            raise FileTrouble(f"cannot read {path}: {error.strerror}") from error
        if not piece:
            raise FileTrouble(f"{path} was cut to {size - left} of {size} bytes while it was being sent")
        left -= len(piece)
        yield piece


def _read(response: HTTPResponse, deadline: float) -> Reply:
    pieces = []
    size = 0
    while piece := response.read(_PIECE_BYTES):
        pieces.append(piece)
        size += len(piece)
        if time.monotonic() > deadline:
            raise TimeoutError("the reply took too long")
        if size > MAX_REPLY_BYTES:
            raise HTTPException(f"the reply is longer than {MAX_REPLY_BYTES} bytes")
    return _whole(response, b"".join(pieces))


def _save(response: HTTPResponse, target: IO[bytes]) -> Reply:
    """No limit of time for the whole: as long as bytes come, they come."""
    digest = sha256()
    target.seek(0)
    target.truncate()
    while piece := response.read(_PIECE_BYTES):
        digest.update(piece)
        _write(target, piece)
    _write(target, b"")
    return _whole(response, digest.hexdigest().encode())


def _write(target: IO[bytes], piece: bytes) -> None:
    try:
        target.write(piece)
        target.flush()
    except OSError as error:
        raise FileTrouble(f"cannot write {target.name}: {error.strerror}") from error


def _whole(response: HTTPResponse, body: bytes) -> Reply:
    """The reply, if nothing of it is missing."""
    # Reading piece by piece, http.client does not notice that a reply was cut off.
    if response.length:
        raise HTTPException(f"the reply broke off {response.length} bytes early")
    # Nor one that was cut off among its headers, which looks like an empty success.
    if response.length is None and not response.chunked:
        raise HTTPException("the reply does not say how long it is")
    lower = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, lower, body)
