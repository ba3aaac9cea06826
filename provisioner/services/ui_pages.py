"""Templates and static files of the web UI: read from disk once, rendered with everything escaped.

A page is a folder below `templates/ui` with `page.html.j2` and one template for each of its fragments, the parts that
the browser fetches anew when something changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from json import dumps
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from msgspec import Struct

from provisioner.errors import NotFound, unknown
from provisioner.services import ui_words
from provisioner.services.ui_work_events import action_words

STATIC = "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class Page(Struct, frozen=True):
    """A kind of page: its folder, its fragments, its place in the navigation, the kinds of events it listens to.

    A page without `listens` stays as it is. `path` is the navigation entry it belongs to.
    """

    name: str
    path: str
    fragments: tuple[str, ...] = ()
    listens: str = ""


class Asset(Struct, frozen=True):
    """A static file."""

    body: bytes
    content_type: str


class Assets:
    """The static files and their common version, which is part of their address so that browsers keep them."""

    def __init__(self, files: Mapping[str, Asset]) -> None:
        self._files = files
        digest = hashlib.sha256()
        for name in sorted(files):
            digest.update(name.encode() + b"\0" + files[name].body + b"\0")
        self.version = digest.hexdigest()[:12]

    @classmethod
    def read(cls, folder: Path) -> Assets:
        """All files of known types directly in the folder."""
        found = [path for path in sorted(folder.iterdir()) if path.suffix in _TYPES]
        return cls({path.name: Asset(path.read_bytes(), _TYPES[path.suffix]) for path in found})

    def url(self, name: str) -> str:
        """Where a file is served; raises NotFound when there is none of that name."""
        self.find(name)
        return f"/{STATIC}/{self.version}/{name}"

    def find(self, name: str) -> Asset:
        """A file; raises NotFound."""
        found = self._files.get(name)
        if found is None:
            raise NotFound(unknown("file", name, self._files), object=name)
        return found


class Templates:
    """Renders pages and their fragments."""

    def __init__(self, folder: Path, assets: Assets) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals["asset"] = assets.url
        self._environment.filters |= {
            "ago": ui_words.ago,
            "duration": ui_words.duration,
            "exact": ui_words.exact,
            "clock": ui_words.clock,
            "size": ui_words.size,
            "count": ui_words.count,
            "action": action_words,
            "pretty": _pretty,
        }
        self._environment.tests["number"] = _is_number

    def page(self, page: Page, values: Mapping[str, Any]) -> str:
        """A whole page; `values` has the moment it shows as `now`."""
        return self._environment.get_template(f"{page.name}/page.html.j2").render(values, page=page)

    def fragments(self, page: Page, names: Iterable[str], values: Mapping[str, Any]) -> str:
        """Some fragments of a page, one after the other; raises NotFound for a name it does not have."""
        rendered = []
        for name in names:
            if name not in page.fragments:
                raise NotFound(unknown("fragment", name, page.fragments), object=name)
            rendered.append(self._environment.get_template(f"{page.name}/{name}.html.j2").render(values, page=page))
        return "".join(rendered)


def _pretty(value: Any) -> str:
    return dumps(value, indent=2, ensure_ascii=False, default=str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
