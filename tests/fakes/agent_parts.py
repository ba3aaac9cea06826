"""Stand-ins for what the agent's parts are given: time that passes at once, a transport that plays a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from threading import Event
from typing import Any

from agent.client import Client
from agent.errors import Stopped
from agent.messages import Reply, Request


class FakeClock:
    """Time passes only by waiting for it, and then at once. After `stop_after` sleeps the agent is told to stop."""

    def __init__(self, stop_after: int = 1_000_000) -> None:
        self.time = 1000.0
        self.sleeps: list[float] = []
        self._stop_after = stop_after

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self.sleeps.append(seconds)
        if len(self.sleeps) > self._stop_after:
            raise Stopped("told to stop")
        self.time += seconds

    def wait(self, event: Event, seconds: float) -> bool:
        if not event.is_set():
            self.time += seconds
        return event.is_set()


def reply(status: int = 200, value: Any = None, **headers: str) -> Reply:
    """A reply with a JSON body."""
    body = b"" if value is None else json.dumps(value).encode()
    return Reply(status, {name.replace("_", "-"): text for name, text in headers.items()}, body)


class PlayedTransport:
    """Answers one request after the other as written; the last answer stays. `requests` is what came."""

    def __init__(self, *answers: Reply | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []

    def send(self, request: Request) -> Reply:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class RoutedTransport:
    """Answers by function; `requests` is what came, as "METHOD path" with its decoded body."""

    def __init__(self, answer: Callable[[str, Any], Reply]) -> None:
        self._answer = answer
        self.requests: list[tuple[str, Any]] = []

    def send(self, request: Request) -> Reply:
        line = f"{request.method} {request.path}"
        is_json = request.content_type == "application/json" and request.body
        body = json.loads(request.body) if is_json else request.body
        self.requests.append((line, body))
        return self._answer(line, body)


class Notes:
    """Takes the lines meant for people."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, text: str) -> None:
        self.lines.append(text)

    def __contains__(self, part: str) -> bool:
        return any(part in line for line in self.lines)


def no_jitter() -> float:
    return 0.0


def client(transport: Any, clock: Any = None, notes: Any = None, token: str = "") -> Client:
    """A client whose pauses are the shortest."""
    return Client(transport, clock or FakeClock(), no_jitter, notes or Notes(), token)


def in_turn(values: Iterable[Any]) -> Callable[[], Any]:
    """A function that gives one value after the other."""
    source = iter(values)
    return lambda: next(source)
