"""One set of routes for every class of objects that is listed, read, made, saved, patched and removed by its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType, defstruct
from msgspec.structs import fields

from provisioner.access import Principal
from provisioner.bodies import convert, parse
from provisioner.errors import FieldError, Invalid, NotFound, unknown
from provisioner.patches import apply, merge
from provisioner.services.callers import require
from provisioner.services.filters import Getter
from provisioner.services.http import (
    JSON_PATCH,
    JSON_TYPES,
    MERGE_PATCH,
    PATCH_TYPES,
    body_bytes,
    json,
    missing_body,
    principal,
    require_type,
    type_of,
)
from provisioner.services.listing import Listing, Page
from provisioner.services.operations import Operation
from provisioner.services.preconditions import check, is_known, tag_of


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Resource:
    """A class of objects as the API has it.

    `all` and `read` find what is on disk, `get` what has been decided. `save` is told whether the object must be new.
    `noun` completes the verbs that rights are checked by: "list NOUN". With `deep`, names may hold slashes. `computed`
    are fields that are shown and not stored: they filter lists, and count for nothing in what is sent.
    """

    cls: type
    plural: str
    key: str
    tag: str
    all: Callable[[], Iterable[Any]]
    read: Callable[[str], Any]
    get: Callable[[str], Any]
    noun: str = ""
    deep: bool = False
    show: Callable[[Any], Any] = _as_it_is
    shown: Any = None
    order: str = ""
    save: Callable[[Any, Principal, bool], Awaitable[Any]] | None = None
    delete: Callable[[str, Principal], Awaitable[Any]] | None = None
    example: Mapping[str, Any] | None = None
    computed: Mapping[str, Getter] = field(default_factory=dict)

    @property
    def word(self) -> str:
        """One of them."""
        return self.plural.removesuffix("s").removesuffix("e" if self.plural.endswith("shes") else "")

    def find(self, name: str) -> Any:
        """One object on disk; raises NotFound with the names there are."""
        found = self.read(name)
        if found is None:
            raise self.missing(name)
        return found

    def missing(self, name: str) -> NotFound:
        """There is no such object; there are these."""
        names = [getattr(each, self.key) for each in self.all()]
        return NotFound(unknown(self.word, name[:200], names), object=f"{self.plural}/{name[:200]}")


class Routes:
    """The routes of one resource; each checks its caller first."""

    def __init__(self, resource: Resource) -> None:
        self._of = resource
        self._listing = Listing(
            resource.cls,
            lambda each: getattr(each, resource.key),
            resource.order or resource.key,
            resource.computed,
        )

    def operations(self) -> list[Operation]:
        """What can be done with these objects."""
        of = self._of
        every = f"/api/v1/{of.plural}"
        one = f"{every}/{{{of.key}{':.+' if of.deep else ''}}}"
        make = partial(Operation, tag=of.tag)
        shown = of.shown or of.cls
        found = [
            make("GET", every, self.list, answers={200: Page[shown]}, lists=of.cls, summary=f"List {of.plural}."),  # type: ignore[valid-type]
            make("GET", one, self.read, answers={200: shown}, tagged=True, summary=f"Read one {of.word}."),
        ]
        if of.save is not None:
            send = partial(make, body=of.cls, example=of.example)
            saved = {200: shown, 201: shown}
            found += [
                send("POST", every, self.create, answers={201: shown}, summary=f"Make a {of.word}; it must be new."),
                send("PUT", one, self.put, answers=saved, tagged=True, summary=f"Make or replace a {of.word}."),
                make(
                    "PATCH",
                    one,
                    self.patch,
                    answers={200: shown},
                    body=partial_of(of.cls),
                    example={"description": "as it is now"},
                    tagged=True,
                    summary=f"Change a {of.word}.",
                ),
            ]
        if of.delete is not None:
            words = f"Remove a {of.word}; answers what it was."
            found.append(make("DELETE", one, self.remove, answers={200: shown}, tagged=True, summary=words))
        return found

    def _require(self, request: web.Request, verb: str) -> None:
        require(request, f"{verb} {self._of.noun or self._of.plural}")

    def _answer(self, value: Any, status: int = 200) -> web.Response:
        shown = self._of.show(value)
        headers = {"ETag": tag_of(shown)}
        if status == 201:
            headers["Location"] = f"/api/v1/{self._of.plural}/{quote(str(getattr(value, self._of.key)))}"
        return json(shown, status, headers)

    async def list(self, request: web.Request) -> web.Response:
        """Objects that fit the filters."""
        self._require(request, "list")
        return json(self._listing.page(self._of.all(), request.query, self._of.show))

    async def read(self, request: web.Request) -> web.Response:
        """One object; 304 when the caller has it already."""
        self._require(request, "read")
        shown = self._of.show(self._of.find(request.match_info[self._of.key]))
        tag = tag_of(shown)
        if is_known(request, tag):
            return web.Response(status=304, headers={"ETag": tag})
        return json(shown, headers={"ETag": tag})

    async def create(self, request: web.Request) -> web.Response:
        """Make an object."""
        self._require(request, "change")
        value: Any = convert(self._stored(await sent(request)), self._of.cls)
        return self._answer(await self._save(value, request, new=True), 201)

    async def put(self, request: web.Request) -> web.Response:
        """Save an object under its name."""
        self._require(request, "change")
        name, document = request.match_info[self._of.key], await sent(request)
        value: Any = convert(self._named(document, name), self._of.cls)
        old = self._of.get(name)
        check(request, None if old is None else tag_of(self._of.show(old)), name)
        return self._answer(await self._save(value, request, new=False), 201 if old is None else 200)

    async def patch(self, request: web.Request) -> web.Response:
        """Change an object by a merge-patch or a json-patch."""
        self._require(request, "change")
        change = await patch_of(request)
        name = request.match_info[self._of.key]
        old = self._of.get(name)
        if old is None:
            raise self._of.missing(name)
        shown = self._of.show(old)
        check(request, tag_of(shown), name)
        changed = self._named(change.apply(msgspec.to_builtins(shown)), name)
        return self._answer(await self._save(convert(changed, self._of.cls), request, new=False))

    async def remove(self, request: web.Request) -> web.Response:
        """Remove an object."""
        self._require(request, "change")
        name = request.match_info[self._of.key]
        old = self._of.get(name)
        if old is None or self._of.delete is None:
            raise self._of.missing(name)
        check(request, tag_of(self._of.show(old)), name)
        return json(self._of.show(await self._of.delete(name, principal(request))))

    async def _save(self, value: Any, request: web.Request, *, new: bool) -> Any:
        if self._of.save is None:
            raise self._of.missing(str(getattr(value, self._of.key)))
        return await self._of.save(value, principal(request), new)

    def _named(self, document: Any, name: str) -> Any:
        """The document with the name from the path; it need not say that, but must not say another one."""
        if not isinstance(document, Mapping):
            raise Invalid("the body is no object", fields=(FieldError("body", "is no object"),))
        key = self._of.key
        if document.get(key, name) != name:
            message = f"the body says {str(document[key])[:100]!r}, the address of the request says {name[:100]!r}"
            raise Invalid(f"{key}: {message}", object=name, fields=(FieldError(key, message),))
        return {**self._stored(document), key: name}

    def _stored(self, document: Any) -> Any:
        """The document without what is computed, so that what was read can be sent back."""
        if not isinstance(document, Mapping):
            return document
        return {name: value for name, value in document.items() if name not in self._of.computed}


def partial_of(cls: type) -> type:
    """What a merge-patch of a class may hold: any of its fields, null to put one back to what it is by default."""
    optional = [(each.encode_name, each.type | UnsetType | None, UNSET) for each in fields(cls)]
    return defstruct(f"{cls.__name__}Patch", optional, frozen=True, forbid_unknown_fields=True)


async def sent(request: web.Request, choices: Collection[str] = JSON_TYPES) -> Any:
    """The JSON body as plain values; raises Invalid when there is none, UnsupportedType for none of these types."""
    data = await body_bytes(request)
    if not data:
        raise missing_body()
    require_type(request, choices)
    return parse(data)


@dataclass(frozen=True)
class Patch:
    """A patch as it was sent: of which kind, and what it says."""

    kind: str
    said: Any

    def apply(self, document: Any) -> Any:
        """The document after the patch; raises Invalid, or Conflict when a `test` does not hold."""
        if self.kind == JSON_PATCH:
            return apply(document, self.said)
        if not isinstance(self.said, Mapping):
            raise Invalid("a merge-patch is an object", fields=(FieldError("body", "is no object"),))
        return merge(document, self.said)

    @property
    def fields(self) -> set[str]:
        """The outermost fields that it speaks of."""
        if self.kind != JSON_PATCH:
            return set(self.said) if isinstance(self.said, Mapping) else set()
        paths = [
            step[name]
            for step in self.said
            if isinstance(step, Mapping) and step.get("op") != "test"
            for name in ("path", "from")
            if isinstance(step.get(name), str) and not (name == "from" and step.get("op") == "copy")
        ]
        return {path.split("/")[1].replace("~1", "/").replace("~0", "~") for path in paths if "/" in path}


async def patch_of(request: web.Request) -> Patch:
    """The patch in the body, by its content type; plain JSON is a merge-patch. Raises UnsupportedType, Invalid."""
    said = await sent(request, PATCH_TYPES)
    return Patch(JSON_PATCH if type_of(request) == JSON_PATCH else MERGE_PATCH, said)
