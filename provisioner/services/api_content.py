"""Content: one set of routes serves all its kinds."""

from __future__ import annotations

from aiohttp import web
from msgspec.structs import replace

from provisioner.conductor.catalog import Catalog
from provisioner.errors import Invalid
from provisioner.model import CONTENT_KINDS, Content, Profile, Stage
from provisioner.params import redact
from provisioner.services.callers import named_body, require
from provisioner.services.http import body, json, principal
from provisioner.services.listing import page
from provisioner.services.operations import Operation

_ALL = f"/api/v1/{{kind:{'|'.join(CONTENT_KINDS)}}}"
_ONE = _ALL + "/{name:.+}"


class ContentRoutes:
    """The routes of params, profiles, templates, tasks, stages, workflows and bootenvs."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def operations(self) -> list[Operation]:
        """What can be done with content."""
        return [
            Operation("GET", _ALL, self.list_content, "content", lists=Content),
            Operation("POST", _ALL, self.create_content, "content", {201: Content}, body=Content),
            Operation("GET", _ONE, self.get_content, "content", {200: Content}),
            Operation("PUT", _ONE, self.put_content, "content", {200: Content}, body=Content),
            Operation("DELETE", _ONE, self.delete_content, "content", {200: Content}),
        ]

    async def list_content(self, request: web.Request) -> web.Response:
        """Objects of one kind."""
        require(request, "list content")
        kind = request.match_info["kind"]
        return json(page(self._catalog.view[kind].values(), CONTENT_KINDS[kind], request.query, self._show_content))

    def _show_content(self, value: Content) -> Content:
        """An object without the values of its secure params."""
        if isinstance(value, Profile | Stage):
            return replace(value, params=redact(value.params, self._catalog.view))
        return value

    async def get_content(self, request: web.Request) -> web.Response:
        """One object."""
        require(request, "read content")
        return json(self._show_content(self._catalog.find(request.match_info["kind"], request.match_info["name"])))

    async def create_content(self, request: web.Request) -> web.Response:
        """Make an object; its name must be new."""
        require(request, "change content")
        kind = request.match_info["kind"]
        value = await body(request, CONTENT_KINDS[kind])
        if value.name in self._catalog.view[kind]:
            raise Invalid(f"there is a {kind.removesuffix('s')} {value.name!r} already", status=409, code="name-taken")
        return json(self._show_content(await self._catalog.put(value, principal(request))), status=201)

    async def put_content(self, request: web.Request) -> web.Response:
        """Save an object under its name."""
        require(request, "change content")
        kind = request.match_info["kind"]
        value = await named_body(request, CONTENT_KINDS[kind], "name")
        return json(self._show_content(await self._catalog.put(value, principal(request))))

    async def delete_content(self, request: web.Request) -> web.Response:
        """Remove an object that nothing uses."""
        require(request, "change content")
        kind, name = request.match_info["kind"], request.match_info["name"]
        return json(await self._catalog.delete(kind, name, principal(request)))
