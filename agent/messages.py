"""A request and a reply as values, and the little that all words of the wire have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from json import dumps, loads
from typing import Any, Callable, TypeVar

from .errors import Nonsense

API = "/api/v1"
USUAL_TIMEOUT_SECONDS = 30.0
BYTES = "application/octet-stream"


@dataclass(frozen=True)
class Request:
    """One HTTP request. `interruptible`: it may be cut off at any moment without loss.

    `body_file` is the path of a file that is sent as the body, from its beginning with each try.
    """

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"
    timeout_seconds: float = USUAL_TIMEOUT_SECONDS
    interruptible: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    body_file: str = ""


@dataclass(frozen=True)
class Reply:
    """One HTTP reply; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The decoded body; None when there is none. Raises ValueError when it is not JSON."""
        try:
            return loads(self.body) if self.body else None
        except RecursionError as error:
            raise ValueError("JSON too deep to be read") from error


def json_request(method: str, path: str, value: Any, **more: Any) -> Request:
    """A request of the API with a JSON body."""
    return Request(method, API + path, dumps(value).encode(), **more)


_Value = TypeVar("_Value")


def understand(read: Callable[[Any], _Value], answer: Any, what: str) -> _Value:
    """What `read` makes of an answer. Raises `Nonsense` when that lacks what it must have."""
    try:
        return read(answer)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise Nonsense(f"cannot understand the server's {what}: {type(error).__name__} {error}") from error
