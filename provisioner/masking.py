"""Hiding secret values in text that has been made with them, such as rendered scripts."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from json import dumps
from shlex import quote
from typing import Any

from provisioner.params import REDACTED

# Anything shorter is found everywhere by chance, so that hiding it would spoil the text and betray the secret.
SHORTEST = 4
# A line of a key or certificate, which is often indented when it is rendered.
SHORTEST_LINE = 8


class Mask:
    """Hides these values: as they are, and as the filters `quote`, `tojson` and `b64encode` write them."""

    def __init__(self, values: Iterable[Any] = (), beside: Iterable[Mask] = ()) -> None:
        own = {form for value in values for text in _texts(value) for form in _forms(text)}
        self.forms: frozenset[str] = frozenset(own).union(*(mask.forms for mask in beside))
        # The longest first, so that what is part of another one does not leave the rest of it standing.
        ordered = sorted(self.forms, key=lambda form: (-len(form), form))
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
    yield quote(text).removeprefix("'").removesuffix("'")
    encoded = dumps(text, ensure_ascii=False)[1:-1]
    yield encoded
    yield dumps(encoded, ensure_ascii=False)[1:-1]
    yield b64encode(text.encode("utf-8", "surrogatepass")).decode()
