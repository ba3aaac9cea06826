"""The OpenAPI 3.1 document, made of the operations and of the types that they take and answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct, field

from provisioner.errors import FieldError
from provisioner.services.filters import OPERATORS
from provisioner.services.http import JSON_PATCH, MERGE_PATCH
from provisioner.services.idempotency import HEADER
from provisioner.services.listing import DEFAULT_LIMIT, HIGHEST_LIMIT
from provisioner.services.operations import Operation, Query, Raw

TAGS = {
    "access": "Logging in, users and tokens.",
    "machines": "Servers, physical or virtual.",
    "params": "The params of a machine: its own, and what it has from anywhere.",
    "jobs": "Attempts at tasks.",
    "operations": "Long actions that go on after their request was answered.",
    "events": "What happened, numbered and durable.",
    "addresses": "Subnets, reservations and leases.",
    "downloads": "Who downloads large files and who waits for a turn; repositories passed through.",
    "packets": "The flight recorder: the last DHCP packets of every client.",
    "doctor": "What is wrong with the boot network.",
    "content": "Params, profiles, templates, tasks, stages, workflows and boot environments.",
    "agents": "What agents speak. All but `register` need the machine's token.",
}
_PROBLEM_TYPE = "application/problem+json"
_PAGING = (
    Query("sort", "fields by commas, `-` before one for the other way round"),
    Query("limit", f"at most so many, {DEFAULT_LIMIT} unless told"),
    Query("cursor", "`next` of the page before"),
)
_FILTERS = (
    "Any field filters: `field=value`, or `field:operator=value` with an operator of "
    + ", ".join(f"`{name}`" for name in OPERATORS)
    + ". `params.NAME`, `meta.NAME` and fields of fields (`agent.version`) filter too."
)
_NEVER_THERE = frozenset({"GET", "HEAD"})


class Problem(Struct, frozen=True):
    """What is wrong (RFC 9457): `code` is stable, `object` names the thing, `errors` every wrong field."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    object: str = ""
    errors: tuple[FieldError, ...] = ()
    size: int | None = None


class PatchStep(Struct, frozen=True):
    """One operation of a json-patch (RFC 6902)."""

    op: str
    path: str
    value: Any = None
    source: str = field(name="from", default="")


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The whole document; operations come in the order that they are given in."""
    schemas = _Schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        paths.setdefault(each.place, {})[each.method.lower()] = _operation(each, schemas)
    used = {each.tag for each in operations}
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Provisioner",
            "version": version,
            "description": "A bare-metal provisioning state machine server.",
        },
        "tags": [{"name": name, "description": words} for name, words in TAGS.items() if name in used],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A user's, machine's or API token."},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "provisioner_session",
                    "description": "The web UI's session; counts for requests from its own pages only.",
                },
            },
        },
        "security": [{"bearer": []}, {"session": []}],
    }


class _Schemas:
    """The schemas of all types that the operations speak of."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._types: list[Any] = [Problem, list[PatchStep]]
        for each in operations:
            self._types += [kind for kind in _types(each) if kind not in self._types]
        made, self.components = msgspec.json.schema_components(self._types, ref_template="#/components/schemas/{name}")
        self._made = list(made)

    def of(self, kind: Any) -> dict[str, Any]:
        """The schema of a type, mostly a reference."""
        return dict(self._made[self._types.index(kind)])


def _types(operation: Operation) -> Iterator[Any]:
    for kind in (operation.body, *operation.answers.values(), *(query.type for query in operation.query)):
        if kind is not None and not isinstance(kind, Raw):
            yield kind


def _operation(each: Operation, schemas: _Schemas) -> dict[str, Any]:
    words = each.words
    found: dict[str, Any] = {
        "operationId": f"{each.method.lower()}{_name(each.place)}",
        "summary": words.partition("\n")[0],
        "tags": [each.tag],
        "parameters": list(_parameters(each, schemas)),
        "responses": _responses(each, schemas),
    }
    if each.lists is not None:
        found["description"] = f"{words}\n\n{_FILTERS}"
    if each.public:
        found["security"] = []
    if each.body is not None:
        found["requestBody"] = _body(each, schemas)
    return found


def _name(place: str) -> str:
    words = place.removeprefix("/api/v1").replace("{", "by-").replace("}", "").replace(".", "-")
    return "-".join(["", *filter(None, words.split("/"))])


def _parameters(each: Operation, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    for name in each.placeholders:
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    queries = (*each.query, *_PAGING) if each.lists is not None else each.query
    for query in queries:
        schema = schemas.of(query.type) if query in each.query else {"type": "string"}
        if query.name == "limit" and query in _PAGING:
            schema = {"type": "integer", "minimum": 1, "maximum": HIGHEST_LIMIT}
        yield {"name": query.name, "in": "query", "description": query.meaning, "schema": schema}
    if each.tagged:
        header = "If-None-Match" if each.method in _NEVER_THERE else "If-Match"
        yield {"name": header, "in": "header", "description": "an ETag, or `*`", "schema": {"type": "string"}}
    if each.keyed:
        yield {
            "name": HEADER,
            "in": "header",
            "description": "sent again under the same key within a day, the request is answered as the first time",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        }


def _body(each: Operation, schemas: _Schemas) -> dict[str, Any]:
    if isinstance(each.body, Raw):
        return {"required": True, "content": {each.body.content_type: {"schema": {}}}}
    media: dict[str, Any] = {"schema": schemas.of(each.body)}
    if each.example is not None:
        media["example"] = each.example
    if each.method == "PATCH" and each.tagged:
        patch = {"schema": schemas.of(list[PatchStep]), "example": [{"op": "test", "path": "/name", "value": "x"}]}
        return {"required": True, "content": {"application/json": media, MERGE_PATCH: media, JSON_PATCH: patch}}
    return {"required": True, "content": {"application/json": media}}


def _responses(each: Operation, schemas: _Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, kind in each.answers.items():
        found[str(status)] = _success(each, status, kind, schemas)
    if each.tagged and each.method == "GET":
        found["304"] = {"description": "The caller has it already.", "headers": _headers(each, 304)}
    for status in sorted(_failures(each)):
        words = HTTPStatus(status).phrase
        found[str(status)] = {"description": words, "content": {_PROBLEM_TYPE: {"schema": schemas.of(Problem)}}}
    return found


def _success(each: Operation, status: int, kind: Any, schemas: _Schemas) -> dict[str, Any]:
    found: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if isinstance(kind, Raw):
        found["content"] = {kind.content_type: {"schema": {}}}
    elif kind is not None:
        found["content"] = {"application/json": {"schema": schemas.of(kind)}}
    headers = _headers(each, status)
    return {**found, "headers": headers} if headers else found


def _headers(each: Operation, status: int) -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    found: dict[str, Any] = {}
    if each.tagged and each.method != "DELETE":
        found["ETag"] = {"description": "names the object as it is", **text}
    if status == 201 and each.tagged:
        found["Location"] = {"description": "where it is", **text}
    return found


def _failures(each: Operation) -> set[int]:
    """The statuses that problems come with, from what the operation is."""
    found = {400, *each.errors}
    if not each.public:
        found |= {401, 403}
    if each.placeholders:
        found.add(404)
    if each.query or each.lists is not None:
        found.add(404)
    if each.method != "GET":
        found |= {409, 413, 422, 503}
    if each.body is not None and not isinstance(each.body, Raw):
        found.add(415)
    if each.tagged and each.method != "GET":
        found.add(412)
    return found
