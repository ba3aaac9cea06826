"""Requests with retries: what the server cannot answer now is asked again, what it refuses becomes an error."""

from __future__ import annotations

from dataclasses import replace
from typing import IO, Any, Callable, Protocol, TypeVar

from .backoff import pause_seconds
from .clock import Clock
from .errors import Conflict, Denied, Missing, Refused, ServerAway
from .messages import Reply, Request

FOREVER = 0

# Refusals that pass by themselves: request timeout, too early, too many requests.
_TRY_AGAIN = frozenset({408, 425, 429})
_REFUSALS: dict[int, type[Refused]] = {401: Denied, 403: Denied, 404: Missing, 409: Conflict, 410: Missing}
# What a proxy, a portal or another program on the port says while the server behind it is away. The server gives every
# refusal a code.
_OFTEN_FOREIGN = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 410})
_LONGEST_RETRY_AFTER_SECONDS = 300.0
_T = TypeVar("_T")


class Transport(Protocol):
    """Carries one request and brings its reply, or raises `ServerAway`."""

    def send(self, request: Request) -> Reply:
        """Send and wait."""

    def download(self, request: Request, target: IO[bytes]) -> Reply:
        """Send, and save the body of a 200; the reply's is then its SHA-256 in hexadecimal."""


class Client:
    """Speaks for one machine. `note` takes lines for people; `jitter` gives numbers in [0, 1)."""

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        jitter: Callable[[], float],
        note: Callable[[str], None],
        token: str = "",
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._jitter = jitter
        self._note = note
        self._token = token

    def with_token(self, token: str) -> Client:
        """The same client, with a token to show."""
        return Client(self._transport, self._clock, self._jitter, self._note, token)

    def call(self, request: Request, tries: int = FOREVER) -> Any:
        """The decoded JSON of a 2xx answer, None when it has no body.

        Raises `Refused` for a 4xx, `ServerAway` after `tries` tries, `Stopped` when told to stop between tries.
        """
        return self._try(lambda: _decoded(request, self._once(request)), tries)

    def save(self, request: Request, target: IO[bytes], tries: int = FOREVER) -> str:
        """Save the body of a 200 into a file; its SHA-256 in hexadecimal. Raises as `call`, and `FileTrouble`."""

        def once() -> str:
            return self._check(request, self._transport.download(self._signed(request), target)).body.decode("ascii")

        return self._try(once, tries)

    def _try(self, once: Callable[[], _T], tries: int) -> _T:
        began = self._clock.now()
        failed = 0
        while True:
            try:
                answer = once()
            except ServerAway as away:
                failed += 1
                if failed == tries:
                    raise
                if failed == 1:
                    self._note(f"server away, trying again: {away}")
                self._clock.sleep(max(pause_seconds(failed, self._jitter), away.retry_after_seconds))
                continue
            if failed:
                self._note(f"server is back after {self._clock.now() - began:.0f} s and {failed} failed tries")
            return answer

    def _once(self, request: Request) -> Reply:
        return self._check(request, self._transport.send(self._signed(request)))

    def _signed(self, request: Request) -> Request:
        if not self._token:
            return request
        return replace(request, headers={**request.headers, "Authorization": f"Bearer {self._token}"})

    def _check(self, request: Request, reply: Reply) -> Reply:
        if reply.status >= 500 or reply.status in _TRY_AGAIN:
            raise ServerAway(f"{request.method} {request.path}: {_refusal(reply)}", _retry_after(reply))
        if reply.status >= 300:
            refusal = _refusal(reply)
            if reply.status in _OFTEN_FOREIGN and not refusal.code:
                raise ServerAway(f"{request.method} {request.path}: {refusal}; no server of ours says it like that")
            raise refusal
        return reply


def _decoded(request: Request, reply: Reply) -> Any:
    try:
        return reply.json()
    except ValueError as error:
        raise ServerAway(f"{request.method} {request.path}: the answer is not JSON") from error


def _refusal(reply: Reply) -> Refused:
    """The error that a reply carries as `application/problem+json`, as far as it does."""
    try:
        body = reply.json()
    except ValueError:
        body = None
    problem: dict[str, Any] = body if isinstance(body, dict) else {}
    detail = problem.get("detail") or problem.get("reason") or problem.get("title") or f"status {reply.status}"
    kind = _REFUSALS.get(reply.status, Refused)
    return kind(reply.status, str(problem.get("code") or ""), str(detail), problem)


def _retry_after(reply: Reply) -> float:
    """Seconds the server asked to wait; the date form of the header is not worth its code here."""
    text = reply.headers.get("retry-after", "")
    return min(float(text), _LONGEST_RETRY_AFTER_SECONDS) if text.isdecimal() else 0.0
