"""Routes as data: what each operation of the API takes and answers. Routing and the OpenAPI document are made of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from aiohttp import web
from msgspec import Struct, field

from provisioner.errors import FieldError, Invalid

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Guard = Callable[[Handler], Handler]
_PLACEHOLDER = re.compile(r"\{(\w+)(?::[^{}]*)?\}")


class Query(Struct, frozen=True):
    """A field of the query that an operation understands; `type` gives its JSON Schema."""

    name: str
    meaning: str
    type: Any = str


class Raw(Struct, frozen=True):
    """A body that is not JSON."""

    content_type: str = "application/octet-stream"


class Operation(Struct, frozen=True):
    """One thing that can be done: `{name:.+}` in its `path` stands for a name that may hold slashes.

    `answers` maps each status of success to the type of its body: None for no body, `Raw` for bytes. `errors` are
    statuses of failure beyond the usual ones. `lists` is the class whose fields filter and sort the answer.
    A `tagged` answer has an ETag, and what changes the object heeds If-Match. `body` is the type of what is sent,
    `example` shows one. `agents` are spoken by agents, `public` needs no token.
    """

    method: str
    path: str
    handler: Handler
    tag: str = "agents"
    answers: Mapping[int, Any] = field(default_factory=lambda: {200: Any})
    query: tuple[Query, ...] = ()
    body: Any = None
    example: Any = None
    errors: tuple[int, ...] = ()
    lists: type | None = None
    tagged: bool = False
    agents: bool = False
    public: bool = False
    summary: str = ""

    @property
    def words(self) -> str:
        """What it does, in a sentence: the summary, or what the handler says of itself."""
        return self.summary or (self.handler.__doc__ or "").strip()

    @property
    def place(self) -> str:
        """The path as people write it: `{name}` for each placeholder."""
        return _PLACEHOLDER.sub(r"{\1}", self.path)

    @property
    def keyed(self) -> bool:
        """Whether it heeds an Idempotency-Key."""
        return self.method == "POST" and not self.agents and not self.public

    @property
    def placeholders(self) -> tuple[str, ...]:
        """Names of the parts of the path that vary."""
        return tuple(_PLACEHOLDER.findall(self.path))


def routes(operations: Iterable[Operation], once: Guard | None = None) -> list[web.RouteDef]:
    """aiohttp's routes for the operations; a GET answers HEAD too. `once` guards operators' POSTs."""
    found = []
    for each in operations:
        handler = _guarded(each)
        if each.keyed and once is not None:
            handler = once(handler)
        add = web.get if each.method == "GET" else partial(web.route, each.method)
        found.append(add(each.path, handler))
    return found


def _guarded(operation: Operation) -> Handler:
    known = [query.name for query in operation.query]

    async def guarded(request: web.Request) -> web.StreamResponse:
        if operation.lists is None:
            refuse_unknown(request.query, known)
        return await operation.handler(request)

    return guarded


def refuse_unknown(query: Iterable[str], known: Iterable[str]) -> None:
    """Raise Invalid for fields of the query that nobody would look at, naming those there are."""
    there = sorted(known)
    choices = f"there is: {', '.join(there)}" if there else "it takes none"
    wrong = tuple(FieldError(name[:100], f"unknown query field; {choices}") for name in query if name not in there)
    if wrong:
        message = f"unknown query field {wrong[0].path!r}; {choices}"
        raise Invalid(message, status=400, fields=wrong, code="unknown-query")
