"""Hiding secret values in text that has been made with them, such as rendered scripts."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from json import dumps
from shlex import quote
from typing import Any
from urllib.parse import quote as url_quote

from provisioner.params import REDACTED

# Anything shorter is found everywhere by chance, so that hiding it would spoil the text and betray the secret.
SHORTEST = 4
# A line of a key or certificate, which is often indented when it is rendered.
SHORTEST_LINE = 8
# As Jinja2's filter `escape` writes them.
_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;"})


class Mask:
    """Hides these values: as they are, and as the filters of templates write them."""

    def __init__(self, values: Iterable[Any]) -> None:
        forms = {form for value in values for text in _texts(value) for form in _forms(text)}
        # The longest first, so that what is part of another one does not leave the rest of it standing.
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """The text without the secrets."""
        return self._pattern.sub(REDACTED, text) if self._pattern is not None else text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
        lines = value.splitlines()
        if len(lines) > 1:
            yield from (line.strip() for line in lines if len(line.strip()) >= SHORTEST_LINE)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def _forms(text: str) -> Iterator[str]:
    if len(text) < SHORTEST:
        return
    yield text
    yield text.strip() if len(text.strip()) >= SHORTEST else text
    encoded = dumps(text, ensure_ascii=False)[1:-1]
    for form in (text, encoded, dumps(encoded, ensure_ascii=False)[1:-1]):
        yield form
        yield quote(form).removeprefix("'").removesuffix("'")
    data = text.encode("utf-8", "surrogatepass")
    yield url_quote(data)
    yield url_quote(data, safe="")
    yield text.translate(_MARKUP)
    yield b64encode(data).decode()
    yield from _inside_base64(data)


def _inside_base64(data: bytes) -> Iterator[str]:
    """The characters that stand for the data alone where it is part of something longer, as in `user:password`."""
    for before in range(3):
        encoded = b64encode(bytes(before) + data).decode()
        core = encoded[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]
        if len(core) >= SHORTEST:
            yield core
