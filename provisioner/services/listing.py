"""Lists of objects as the API answers them: filter by any field, sort, count, and page with a cursor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from msgspec import Struct
from msgspec.structs import fields

from provisioner.errors import FieldError, Invalid

DEFAULT_LIMIT = 100
HIGHEST_LIMIT = 10_000
_PAGING = frozenset({"limit", "cursor", "sort"})
# `params.X` and the like look into the map of that name.
_MAPS = ("params", "meta", "inventory")


class Page(Struct, frozen=True):
    """Part of a list: `total` counts all that fit the filter, `next` is the cursor of what follows, if anything."""

    items: list[Any]
    total: int
    next: str | None


def page(objects: Iterable[Any], cls: type, query: Mapping[str, str], view: Callable[[Any], Any]) -> Page:
    """The page of `objects` that the query asks for, each shown through `view`; raises Invalid for unknown fields."""
    known = {each.name for each in fields(cls)} | {name for name in ("available", "done") if hasattr(cls, name)}
    filters = _filters(query)
    for name, _ in filters:
        _check(name, known)
    found = [each for each in objects if all(_fits(each, name, wanted) for name, wanted in filters)]
    for name in reversed([part for part in query.get("sort", "").split(",") if part]):
        plain = name.removeprefix("-")
        _check(plain, known)
        found.sort(key=lambda each, plain=plain: _order(_value(each, plain)), reverse=name.startswith("-"))  # type: ignore[misc]
    start = _whole(query, "cursor", 0, 1 << 53)
    limit = _whole(query, "limit", DEFAULT_LIMIT, HIGHEST_LIMIT)
    shown = found[start : start + limit]
    following = start + len(shown)
    return Page([view(each) for each in shown], len(found), str(following) if following < len(found) else None)


def _filters(query: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, wanted) for name, wanted in query.items() if name not in _PAGING]


def _fits(value: Any, name: str, wanted: str) -> bool:
    found = _value(value, name)
    if isinstance(found, (tuple, list)):
        return wanted in map(_text, found)
    return _text(found) == wanted


def _check(name: str, known: set[str]) -> None:
    base = name.partition(".")[0]
    if base not in known or ("." in name and base not in _MAPS):
        message = f"there is no field {name!r}; there is: {', '.join(sorted(known))}, params.NAME, meta.NAME"
        raise Invalid(message, status=400, fields=(FieldError(name, "unknown field"),))


def _value(value: Any, name: str) -> Any:
    base, _, inner = name.partition(".")
    found = getattr(value, base)
    return found.get(inner) if inner else found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value.value if isinstance(value, Enum) else "" if value is None else value)


def _order(value: Any) -> tuple[int, Any]:
    if isinstance(value, datetime):
        return (1, value.timestamp())
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (1, value)
    return (2, _text(value)) if value is not None else (0, 0)


def _whole(query: Mapping[str, str], name: str, default: int, highest: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 18) or int(text) > highest:
        message = f"{text[:40]!r} is not a whole number up to {highest}"
        raise Invalid(f"{name}: {message}", status=400, fields=(FieldError(name, message),))
    return int(text)
