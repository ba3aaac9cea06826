"""What all HTTP routes share: who is calling, how bodies are read, how errors are answered (RFC 9457).

Two applications are made of the routes: `http` faces the provisioning network (boot files, agents, API by token, no
passwords), `ui` faces operators (the same API, login and the web UI).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from typing import Any, TypeVar

import msgspec
import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler

from provisioner.access import NOBODY, Principal
from provisioner.bodies import decode
from provisioner.conductor.tokens import Tokens
from provisioner.errors import Denied, FieldError, Invalid, ProvisionerError, TooLarge

log = structlog.get_logger(__name__)
T = TypeVar("T")

SESSION_COOKIE = "provisioner_session"
BODY_LIMIT = 16 << 20
# A body of which less than this comes in this time has been left by its sender. Agents send logs over poor links, and
# what TCP repeats may take half a minute.
BODY_SECONDS, BODY_LEAST_BYTES = 60.0, 1024
# Of why a request cannot be read, which quotes it.
_LONGEST_PROBLEM = 200
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
BODY_PATIENCE: web.AppKey[float] = web.AppKey("body_patience", float)
CLOSING: web.AppKey[asyncio.Event] = web.AppKey("closing", asyncio.Event)
PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)
_encode = msgspec.json.Encoder().encode

JSON_TYPES = ("application/json",)
MERGE_PATCH, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
# Plain JSON is taken for a merge-patch.
PATCH_TYPES = (MERGE_PATCH, JSON_PATCH, "application/json")
ErrorPage = Callable[[web.Request, ProvisionerError], web.StreamResponse]


class UnsupportedType(ProvisionerError):
    """The body is of a type that is not read here."""

    code = "unsupported-media-type"
    status = 415

    def __init__(self, message: str, choices: Collection[str]) -> None:
        super().__init__(message)
        self.headers = {"Accept": ", ".join(choices)}


class BodyTimeout(ProvisionerError):
    """The body does not come; how long it takes as a whole is nobody's business."""

    code = "request-timeout"
    status = 408


class NotAllowed(ProvisionerError):
    """The path is right and the method is not."""

    code = "method-not-allowed"
    status = 405

    def __init__(self, message: str, allowed: Collection[str]) -> None:
        super().__init__(message)
        self.headers = {"Allow": ", ".join(sorted(allowed))}


class RequestLog:
    """What aiohttp tells its logger: requests that nobody can read are counted, and only a fault of ours is told whole.

    Anybody can send nonsense, so not every one is a line: the first is, the tenth, the hundredth and so on.
    """

    def __init__(self) -> None:
        self.malformed = 0

    def exception(self, message: str, *args: object, exc_info: BaseException | None = None) -> None:
        """Something went wrong with a request, of which the first argument is the client."""
        client = str(args[0]) if args else ""
        if exc_info is not None and _is_nonsense(exc_info):
            self._count(exc_info, client)
        elif isinstance(exc_info, ConnectionError):
            log.debug("http.gone", client=client)
        else:
            log.error("http.failed", problem=message % args, exc_info=exc_info)

    # What was never HTTP; we tell of it no less and no more.
    debug = exception

    def warning(self, message: str, *args: object) -> None:
        """Something is odd."""
        log.warning("http.odd", problem=message % args)

    def _count(self, error: BaseException, client: str) -> None:
        self.malformed += 1
        level = log.info if str(self.malformed).strip("0") == "1" else log.debug
        problem = " ".join(str(getattr(error, "message", error)).split())[:_LONGEST_PROBLEM]
        level("http.malformed", client=client, problem=problem, count=self.malformed)


def _is_nonsense(error: BaseException) -> bool:
    """Whether a request cannot be read; aiohttp stumbles over an `Expect` that is no text."""
    if isinstance(error, UnicodeEncodeError):
        return error.object.startswith("Unknown Expect:")
    return isinstance(error, (HttpProcessingError, web.RequestPayloadError))


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
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else getattr(error, "headers", {})
    response = web.Response(
        body=_encode(body), status=error.status, content_type="application/problem+json", headers=headers
    )
    if error.status == BodyTimeout.status:
        # The rest of the body may still come, and is no request.
        response.force_close()
    return response


def principal(request: web.Request) -> Principal:
    """Who sent the request."""
    found: Principal = request.get(PRINCIPAL, NOBODY)
    return found


async def body_bytes(request: web.Request) -> bytes:
    """The whole body; raises TooLarge, BodyTimeout, or Invalid when it was cut off."""
    try:
        return await unless_left(request, request.read())
    except web.HTTPRequestEntityTooLarge as error:
        raise TooLarge(f"the body is larger than {BODY_LIMIT} bytes") from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise Invalid("the body ended too early", status=400, code="body-truncated") from error


async def unless_left(request: web.Request, reading: Coroutine[Any, Any, T]) -> T:
    """What is read from the body of a request; raises BodyTimeout when next to nothing comes in for a while."""
    content = request.content
    if content.is_eof():
        return await reading
    seconds = request.app.get(BODY_PATIENCE, BODY_SECONDS)
    task = asyncio.ensure_future(reading)
    try:
        while True:
            before = content.total_bytes
            await asyncio.wait((task,), timeout=seconds)
            if task.done():
                return task.result()
            if content.total_bytes - before < BODY_LEAST_BYTES:
                raise BodyTimeout(
                    f"of the body came {content.total_bytes} bytes and then next to nothing for {seconds:g} seconds;"
                    " send it again"
                )
    finally:
        task.cancel()
        # Also of one that has failed at this moment: nobody else hears why.
        await asyncio.gather(task, return_exceptions=True)


async def body(request: web.Request, cls: type[T]) -> T:
    """The JSON body as a value of this class; raises Invalid naming every wrong field."""
    data = await body_bytes(request)
    if data:
        require_type(request, (*JSON_TYPES, MERGE_PATCH) if request.method == "PATCH" else JSON_TYPES)
    elif cls is Any:
        raise missing_body()
    return decode(data, cls)


def missing_body() -> Invalid:
    """There is no body where one is needed."""
    return Invalid("the body is empty; send JSON", status=400, code="body-missing")


def type_of(request: web.Request) -> str:
    """The type of the body, empty when it is not said."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def require_type(request: web.Request, choices: Collection[str]) -> None:
    """Raise UnsupportedType naming the choices when the body is said to be none of them."""
    said = type_of(request)
    if said and said not in choices:
        raise UnsupportedType(f"the body is {said[:80]!r}; send one of: {', '.join(choices)}", choices)


def number(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number from the query; raises Invalid naming the range."""
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 18) or not low <= int(text) <= high:
        message = f"{text[:40]!r} is not a whole number from {low} to {high}"
        raise Invalid(f"{name}: {message}", status=400, fields=(FieldError(name, message),))
    return int(text)


class App:
    """Puts routes together into an application that knows its callers."""

    def __init__(
        self, tokens: Tokens, *, cookies: bool, error_page: ErrorPage | None = None, body_seconds: float = BODY_SECONDS
    ) -> None:
        self._body_seconds = body_seconds
        self._tokens = tokens
        self._cookies = cookies
        self._error_page = error_page

    def build(self, routes: Iterable[Iterable[web.AbstractRouteDef]]) -> web.Application:
        """The application with all these routes."""
        app = web.Application(middlewares=[self._errors, self._callers], client_max_size=BODY_LIMIT)
        app[BODY_PATIENCE] = self._body_seconds
        app[CLOSING] = asyncio.Event()
        app.on_shutdown.append(_close)
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
                if request.method == "OPTIONS" and isinstance(error, web.HTTPMethodNotAllowed):
                    return _options(error)
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


async def _close(app: web.Application) -> None:
    app[CLOSING].set()


async def unless_closing(request: web.Request, waiting: Awaitable[T]) -> T | None:
    """What is waited for, or None at once when the server stops: streams and long polls must not hold it up."""
    task = asyncio.ensure_future(waiting)
    closing = asyncio.ensure_future(request.app[CLOSING].wait())
    try:
        await asyncio.wait((task, closing), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        closing.cancel()
        if not task.done():
            task.cancel()


def _same_origin(request: web.Request) -> bool:
    """Browsers tell where a request comes from; a cookie counts only for our own pages."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin", "")
    return origin.partition("://")[2] == request.host


def _options(error: web.HTTPMethodNotAllowed) -> web.Response:
    """What a path takes."""
    headers = {"Allow": ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))}
    if "PATCH" in error.allowed_methods:
        headers["Accept-Patch"] = ", ".join(PATCH_TYPES)
    return web.Response(status=204, headers=headers)


def _translated(request: web.Request, error: web.HTTPException) -> ProvisionerError:
    if error.status == 404:
        return ProvisionerError(f"there is nothing at {request.path}", code="not-found", status=404)
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{request.path} does not take {request.method}; it takes {allowed}"
        return NotAllowed(message, error.allowed_methods)
    return ProvisionerError(error.reason or "refused", code="http", status=error.status)
