"""Filters of lists: `field=value`, or `field:operator=value`. A filter on a list holds when it does for any item."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import Enum
from fnmatch import translate
from typing import Any

import msgspec

from provisioner.errors import FieldError, Invalid

Getter = Callable[[Any], Any]
Test = Callable[[Any], bool]
_LONGEST_PATTERN = 256


def predicate(get: Getter, operator: str, wanted: str, name: str) -> Test:
    """Whether what `get` takes from an object fits; `name` is the filter as it was sent. Raises Invalid (400)."""
    try:
        fits = OPERATORS[operator](wanted)
    except ValueError as error:
        raise Invalid(f"{name[:100]}: {error}", status=400, fields=(FieldError(name[:100], str(error)),)) from error
    return lambda each: fits(get(each))


def text_of(value: Any) -> str:
    """A value as it is compared: as JSON shows it, texts without their quotes, nothing as an empty text."""
    if isinstance(value, str):
        return value.value if isinstance(value, Enum) else value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    encoded = msgspec.json.encode(value).decode()
    return encoded.strip('"') if isinstance(value, datetime) else encoded


def _items(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (tuple, list)) else (value,)


def _equals(wanted: str) -> Test:
    moment = _moment(wanted)

    def fits(value: Any) -> bool:
        if isinstance(value, str):
            return value == wanted
        if isinstance(value, (tuple, list)):
            return any(map(fits, value)) or text_of(value) == wanted
        if isinstance(value, datetime) and moment is not None:
            return value == moment
        return text_of(value) == wanted

    return fits


def _differs(wanted: str) -> Test:
    equals = _equals(wanted)
    return lambda value: not equals(value)


def _one_of(wanted: str) -> Test:
    choices = frozenset(wanted.split(","))
    return lambda value: any(text_of(item) in choices for item in _items(value))


def _has(wanted: str) -> Test:
    part = wanted.casefold()
    return lambda value: any(part in text_of(item).casefold() for item in _items(value))


def _like(wanted: str) -> Test:
    if len(wanted) > _LONGEST_PATTERN:
        raise ValueError(f"a pattern has at most {_LONGEST_PATTERN} characters")
    matches = re.compile(translate(wanted.replace("[", "[[]")), re.IGNORECASE).match
    return lambda value: any(matches(text_of(item)) is not None for item in _items(value))


def _exists(wanted: str) -> Test:
    if wanted not in ("true", "false"):
        raise ValueError(f"{wanted[:40]!r} is not true or false")
    return lambda value: (value not in (None, "", (), [], {})) is (wanted == "true")


def _compared(holds: Callable[[Any, Any], bool]) -> Callable[[str], Test]:
    def operator(wanted: str) -> Test:
        number, moment = _number(wanted), _moment(wanted)

        def fits(value: Any) -> bool:
            if isinstance(value, str):
                return holds(text_of(value), wanted)
            if isinstance(value, datetime):
                return moment is not None and holds(value, moment)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return number is not None and holds(value, number)
            return isinstance(value, (tuple, list)) and any(map(fits, value))

        return fits

    return operator


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# name -> makes the test of a value from what was asked for; raises ValueError saying what is wrong with that.
OPERATORS: dict[str, Callable[[str], Test]] = {
    "eq": _equals,
    "ne": _differs,
    "lt": _compared(lambda value, wanted: bool(value < wanted)),
    "le": _compared(lambda value, wanted: bool(value <= wanted)),
    "gt": _compared(lambda value, wanted: bool(value > wanted)),
    "ge": _compared(lambda value, wanted: bool(value >= wanted)),
    "in": _one_of,
    "has": _has,
    "like": _like,
    "exists": _exists,
}
