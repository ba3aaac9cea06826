"""All of the API: its operations as routes, and the OpenAPI document that describes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from typing import Any

import msgspec
from aiohttp import web

from provisioner.conductor.replies import Replies
from provisioner.services.idempotency import once
from provisioner.services.openapi import document
from provisioner.services.operations import Operation, routes
from provisioner.services.preconditions import is_known, tag_of

DOCUMENT = "/api/v1/openapi.json"


class Surface:
    """What is served on both listeners, what only on one; one memory of Idempotency-Keys for all of it."""

    def __init__(
        self,
        replies: Replies,
        version: str,
        shared: Iterable[Operation],
        people: Sequence[Operation] = (),
        machines: Sequence[Operation] = (),
    ) -> None:
        own = Operation("GET", DOCUMENT, self.describe, "access", {200: dict[str, Any]}, tagged=True, public=True)
        self._shared = [*shared, own]
        self._people = people
        self._machines = machines
        self._once = partial(once, replies=replies)
        self._version = version

    @cached_property
    def document(self) -> dict[str, Any]:
        """The document, made when somebody first asks for it: the server starts without."""
        machines = [each for each in self._machines if each.place.startswith("/api/")]
        return document([*self._people, *self._shared, *machines], self._version)

    @cached_property
    def _encoded(self) -> tuple[bytes, str]:
        return msgspec.json.encode(self.document), tag_of(self.document)

    def for_machines(self) -> list[web.RouteDef]:
        """What the provisioning network is served."""
        return routes([*self._shared, *self._machines], self._once)

    def for_people(self) -> list[web.RouteDef]:
        """What operators are served."""
        return routes([*self._shared, *self._people], self._once)

    async def describe(self, request: web.Request) -> web.Response:
        """This document."""
        body, tag = self._encoded
        headers = {"ETag": tag}
        if is_known(request, tag):
            return web.Response(status=304, headers=headers)
        response = web.Response(body=body, content_type="application/json", headers=headers)
        response.enable_compression()
        return response
