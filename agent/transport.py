"""One HTTP request over one socket, with the standard library; every way it can fail becomes `ServerAway`."""

from __future__ import annotations

import socket
import ssl
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Optional
from urllib.parse import urlsplit

from .errors import ConfigError, ServerAway
from .protocol import Reply, Request

CONNECT_TIMEOUT_SECONDS = 10.0
MAX_REPLY_BYTES = 64 * 1024 * 1024  # a work order carries templates; nothing honest is larger
_PIECE_BYTES = 256 * 1024


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
        """Raises `ServerAway` when no whole reply arrives in the request's time."""
        connection = self._connection()
        deadline = time.monotonic() + request.timeout_seconds
        if request.interruptible:
            self._waiting = connection
        try:
            return self._converse(connection, request, deadline)
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

    def _converse(self, connection: HTTPConnection, request: Request, deadline: float) -> Reply:
        connection.connect()
        if request.interruptible and self._is_interrupted:
            raise HTTPException("interrupted")
        connection.sock.settimeout(request.timeout_seconds)
        headers = {"Content-Type": request.content_type, "Connection": "close", **request.headers}
        body = request.body if request.method in ("POST", "PUT") else None
        connection.request(request.method, self._prefix + request.path, body, headers)
        response = connection.getresponse()
        pieces = []
        size = 0
        while piece := response.read(_PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            if time.monotonic() > deadline:
                raise TimeoutError("the reply took too long")
            if size > MAX_REPLY_BYTES:
                raise HTTPException(f"the reply is longer than {MAX_REPLY_BYTES} bytes")
        lower = {name.lower(): value for name, value in response.getheaders()}
        # Reading piece by piece, http.client does not notice that a reply was cut off.
        if response.length:
            raise HTTPException(f"the reply broke off {response.length} bytes early")
        # Nor one that was cut off among its headers, which looks like an empty success.
        if response.length is None and not response.chunked:
            raise HTTPException("the reply does not say how long it is")
        return Reply(response.status, lower, b"".join(pieces))
