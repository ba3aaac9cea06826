"""Content: one set of routes serves all its kinds."""

from __future__ import annotations

from typing import Any

import msgspec

from provisioner.access import Principal
from provisioner.conductor.catalog import Catalog
from provisioner.errors import Conflict
from provisioner.model.content import CONTENT_KINDS, Content
from provisioner.params import hide
from provisioner.services.operations import Operation
from provisioner.services.resources import Resource, Routes

_EXAMPLES: dict[str, dict[str, Any]] = {
    "params": {"name": "site/rack", "description": "Where it stands", "schema": {"type": "integer"}, "default": 1},
    "profiles": {"name": "rack-1", "params": {"site/rack": 1}},
    "templates": {"name": "site/motd", "contents": "This is {{ machine.name }}.\n"},
    "tasks": {"name": "site-motd", "files": [{"name": "motd", "path": "/etc/motd", "template": "site/motd"}]},
    "stages": {"name": "site-finish", "tasks": ["site-motd"]},
    "workflows": {"name": "site-deploy", "stages": ["discover", "site-finish"]},
    "bootenvs": {
        "name": "site-rescue",
        "arch": {"amd64": {"kernel": "rescue/vmlinuz", "initrds": ["rescue/initrd.img"], "boot_params": "quiet"}},
    },
}


def _shown(cls: type[Content]) -> Any:
    """An object as it is shown: with whether it can be used, and why not."""
    more = [("available", bool, True), ("errors", tuple[str, ...], ())]
    return msgspec.defstruct(f"{cls.__name__}View", more, bases=(cls,), frozen=True, kw_only=True)


class ContentRoutes:
    """The routes of params, profiles, templates, tasks, stages, workflows and bootenvs."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def operations(self) -> list[Operation]:
        """What can be done with content."""
        return [each for kind in CONTENT_KINDS for each in Routes(self._resource(kind)).operations()]

    def _resource(self, kind: str) -> Resource:
        return Resource(
            cls=CONTENT_KINDS[kind],
            plural=kind,
            key="name",
            tag="content",
            noun="content",
            deep=True,
            all=lambda: self._catalog.view[kind].values(),
            read=lambda name: self._catalog.view[kind].get(name),
            get=lambda name: self._catalog.view[kind].get(name),
            show=self._show,
            shown=_shown(CONTENT_KINDS[kind]),
            computed={"available": lambda each: not self._catalog.errors(each), "errors": self._catalog.errors},
            save=self._save,
            delete=lambda name, by: self._catalog.delete(kind, name, by),
            example=_EXAMPLES[kind],
        )

    def _show(self, value: Content) -> dict[str, Any]:
        """An object without the values of its secure params, with the reasons why it cannot be used, if any."""
        errors = self._catalog.errors(value)
        shown: dict[str, Any] = msgspec.to_builtins(hide(value), builtin_types=())
        return {**shown, "available": not errors, "errors": errors}

    async def _save(self, value: Content, by: Principal, new: bool) -> Any:
        kind: str = value.kind  # type: ignore[attr-defined]
        if new and value.name in self._catalog.view[kind]:
            message = f"there is a {kind.removesuffix('s')} {value.name!r} already"
            raise Conflict(message, object=f"{kind}/{value.name}", code="name-taken")
        return await self._catalog.put(value, by)
