"""What all HTTP routes share: who is calling, how bodies are read, how errors are answered (RFC 9457).

Two applications are made of the routes: `http` faces the provisioning network (boot files, agents, API by token, no
passwords), `ui` faces operators (the same API, login and the web UI).
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from provisioner.access import NOBODY, Principal
from provisioner.conductor.tokens import Tokens
from provisioner.errors import Denied, FieldError, Invalid, ProvisionerError, TooLarge

log = structlog.get_logger(__name__)
T = TypeVar("T")

SESSION_COOKIE = "provisioner_session"
BODY_LIMIT = 16 << 20
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)
_encode = msgspec.json.Encoder().encode

ErrorPage = Callable[[web.Request, ProvisionerError], web.StreamResponse]


def json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A value as a JSON response."""
    return web.Response(body=_encode(value), status=status, content_type="application/json", headers=headers)


def problem(error: ProvisionerError) -> web.Response:
    """An error as `application/problem+json` (RFC 9457)."""
    body = {
        "type": "about:blank",
        "title": error.code.replace("-", " "),
        "status": error.status,
        "code": error.code,
        "detail": error.message,
        "object": error.object,
        "errors": error.fields,
        **{name: getattr(error, name) for name in ("size",) if hasattr(error, name)},
    }
    return web.Response(body=_encode(body), status=error.status, content_type="application/problem+json")


def principal(request: web.Request) -> Principal:
    """Who sent the request."""
    found: Principal = request.get(PRINCIPAL, NOBODY)
    return found


async def body_bytes(request: web.Request) -> bytes:
    """The whole body; raises TooLarge, or Invalid when it was cut off."""
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge(f"the body is larger than {BODY_LIMIT} bytes") from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise Invalid("the body ended too early", status=400, code="body-truncated") from error


async def body(request: web.Request, cls: type[T]) -> T:
    """The JSON body as a value of this class; raises Invalid naming the field."""
    return decode(await body_bytes(request), cls)


def decode(data: bytes, cls: type[T]) -> T:
    """JSON bytes as a value of this class; raises Invalid naming the field."""
    try:
        return msgspec.json.decode(data or b"{}", type=cls)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        where = path.rstrip("`").removeprefix("$").removeprefix(".") or "body"
        raise Invalid(f"{where}: {message}", fields=(FieldError(where, message),)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {error}", status=400, code="not-json") from error


def number(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number from the query; raises Invalid naming the range."""
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 18) or not low <= int(text) <= high:
        message = f"{text[:40]!r} is not a whole number from {low} to {high}"
        raise Invalid(f"{name}: {message}", status=400, fields=(FieldError(name, message),))
    return int(text)


class App:
    """Puts routes together into an application that knows its callers."""

    def __init__(self, tokens: Tokens, *, cookies: bool, error_page: ErrorPage | None = None) -> None:
        self._tokens = tokens
        self._cookies = cookies
        self._error_page = error_page

    def build(self, routes: Iterable[Iterable[web.AbstractRouteDef]]) -> web.Application:
        """The application with all these routes."""
        app = web.Application(middlewares=[self._errors, self._callers], client_max_size=BODY_LIMIT)
        for group in routes:
            app.router.add_routes(group)
        return app

    @property
    def _errors(self) -> Any:
        @web.middleware
        async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                return await handler(request)
            except ProvisionerError as error:
                return self._answer(request, error)
            except web.HTTPException as error:
                if error.status < 400:
                    raise
                return self._answer(request, _translated(request, error))
            except (ConnectionError, TimeoutError):
                raise
            except Exception as error:
                reference = secrets.token_hex(4)
                log.exception("http.failed", method=request.method, path=request.path, reference=reference)
                hidden = ProvisionerError(
                    f"this is our fault; the server's log has the details under {reference}", code="internal"
                )
                hidden.__cause__ = error
                return self._answer(request, hidden)

        return errors

    def _answer(self, request: web.Request, error: ProvisionerError) -> web.StreamResponse:
        if self._error_page is not None and not request.path.startswith("/api/"):
            return self._error_page(request, error)
        return problem(error)

    @property
    def _callers(self) -> Any:
        @web.middleware
        async def callers(request: web.Request, handler: Handler) -> web.StreamResponse:
            request[PRINCIPAL] = self._recognise(request)
            return await handler(request)

        return callers

    def _recognise(self, request: web.Request) -> Principal:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and secret:
            found = self._tokens.recognise(secret.strip())
            if found == NOBODY:
                raise Denied("the token is wrong or has ended; log in again", status=401, code="token-refused")
            return found
        cookie = request.cookies.get(SESSION_COOKIE, "") if self._cookies else ""
        if not cookie:
            return NOBODY
        if request.method not in _SAFE_METHODS and not _same_origin(request):
            raise Denied("this request comes from another site", code="cross-site")
        return self._tokens.recognise(cookie)


def _same_origin(request: web.Request) -> bool:
    """Browsers tell where a request comes from; a cookie counts only for our own pages."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin", "")
    return origin.partition("://")[2] == request.host


def _translated(request: web.Request, error: web.HTTPException) -> ProvisionerError:
    if error.status == 404:
        return ProvisionerError(f"there is nothing at {request.path}", code="not-found", status=404)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{request.path} does not take {request.method}; it takes {allowed}"
        return ProvisionerError(message, code="method-not-allowed", status=405)
    return ProvisionerError(error.reason or "refused", code="http", status=error.status)


Route = Callable[[web.Request], Awaitable[web.StreamResponse]]
