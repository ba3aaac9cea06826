"""What is wrong with a value by its JSON Schema, said with what would be right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jsonschema import SchemaError, ValidationError

_SHOWN = 60
_Error = ValidationError | SchemaError


def said_of(error: _Error) -> str:
    """One sentence without its end: the value, and the valid choices."""
    if error.validator in ("anyOf", "oneOf") and error.context:
        return "; or ".join(dict.fromkeys(_placed(each) for each in error.context))
    words = _WORDS.get(str(error.validator))
    return str(error.message) if words is None else words(error)


def _placed(error: _Error) -> str:
    """What one of several schemas says, with the place below the value that all of them are about."""
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.relative_path)
    return f"{place.removeprefix('.')}: {said_of(error)}" if place else said_of(error)


def _choices(error: _Error) -> str:
    choices: Any = error.validator_value
    return f"{_short(error.instance)} is not one of: {', '.join(map(str, choices))}"


def _missing(error: _Error) -> str:
    # One error for each name that is missing; only its words tell which.
    name = str(error.message).removesuffix(" is a required property")
    return f"{name} is missing"


def _unknown(error: _Error) -> str:
    schema: Any = error.schema
    value: Any = error.instance
    known = schema.get("properties", {})
    if error.validator_value is not False or "patternProperties" in schema or not known:
        return str(error.message)
    extra = ", ".join(repr(each) for each in value if each not in known)
    return f"unknown: {extra}; there is: {', '.join(sorted(known))}"


def _length(least: bool, unit: str) -> Callable[[_Error], str]:
    def words(error: _Error) -> str:
        bound = f"{error.validator_value} or more" if least else f"at most {error.validator_value}"
        return f"{_short(error.instance)} must have {bound} {unit}"

    return words


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


_WORDS: Mapping[str, Callable[[_Error], str]] = {
    "enum": _choices,
    "required": _missing,
    "additionalProperties": _unknown,
    "minLength": _length(True, "characters"),
    "maxLength": _length(False, "characters"),
    "minItems": _length(True, "entries"),
    "maxItems": _length(False, "entries"),
    "uniqueItems": lambda error: f"{_short(error.instance)} names something twice",
}
