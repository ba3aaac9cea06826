"""JSON as it comes from outside, made into typed values; whatever does not fit is named by its path, all of it at once.

msgspec stops at the first fault. When there is one, the document is walked along its type and every part is tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import EnumMeta
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct, UnsetType
from msgspec.structs import FieldInfo, fields

from provisioner.errors import FieldError, Invalid

T = TypeVar("T")
# Nothing honest is nested deeper, and what walks through it later must not run out of stack.
DEEPEST = 100
_FAULTS_SHOWN = 100
# What msgspec says of a value that does not fit, and how its words for JSON's types are called here.
_TIME = "a time such as 2030-05-01T12:00:00Z"
_WRONG_TYPE = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_OUT_OF_RANGE = re.compile(r"Expected `(\w+)`( of length)? (>=|<=|>|<) (\S+)")
_TYPES = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "datetime": _TIME,
}
_LIMITS = {">=": "{} or more", "<=": "at most {}", ">": "more than {}", "<": "less than {}"}


def parse(data: bytes) -> Any:
    """JSON bytes as plain values; raises Invalid (400) for what is no JSON or nested too deeply."""
    if data.count(b"[") + data.count(b"{") > DEEPEST and _depth(data) > DEEPEST:
        raise Invalid(f"the body is nested more than {DEEPEST} levels deep", status=400, code="not-json")
    try:
        return msgspec.json.decode(data)
    # ValueError: numbers with thousands of digits.
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Invalid(f"the body is not JSON: {error}", status=400, code="not-json") from error


def _depth(data: bytes) -> int:
    """How deeply brackets are nested, those in strings left out."""
    deepest = depth = 0
    in_string = escaped = False
    for byte in data:
        if escaped:
            escaped = False
        elif in_string:
            escaped, in_string = byte == 0x5C, byte != 0x22
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def decode(data: bytes, cls: type[T]) -> T:
    """JSON bytes as a value of this class; raises Invalid naming every field that does not fit."""
    return convert(parse(data or b"{}"), cls)


def convert(document: Any, cls: type[T]) -> T:
    """Plain values as a value of this class; raises Invalid naming every field that does not fit."""
    try:
        return msgspec.convert(document, cls)
    except (msgspec.ValidationError, ValueError) as error:
        found = tuple(_faults(document, cls, ""))[:_FAULTS_SHOWN] or (FieldError("body", str(error)),)
        message = "; ".join(f"{fault.path}: {fault.message}" for fault in found[:3])
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        raise Invalid(message + more, fields=found) from error


def _faults(value: Any, kind: Any, path: str) -> Iterator[FieldError]:
    if get_origin(kind) in (Union, UnionType):
        yield from _union_faults(value, kind, path)
    elif _is_struct(kind) and isinstance(value, dict):
        yield from _struct_faults(value, kind, path)
    elif get_origin(kind) in (list, tuple, set, frozenset) and isinstance(value, list):
        inner = get_args(kind)[0]
        for place, item in enumerate(value):
            yield from _faults(item, inner, f"{path}[{place}]")
    elif get_origin(kind) in (dict, Mapping) and isinstance(value, dict):
        for name, item in value.items():
            yield from _faults(item, get_args(kind)[1], _below(path, name))
    else:
        yield from _plain_faults(value, kind, path)


def _plain_faults(value: Any, kind: Any, path: str) -> Iterator[FieldError]:
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, ValueError) as error:
        said, _, where = str(error).partition(" - at `")
        message = _in_words(said)
        bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        if isinstance(bare, EnumMeta):
            message = f"{_short(value)} is not one of: {', '.join(str(each.value) for each in bare)}"  # type: ignore[var-annotated]
        yield FieldError((path + where.rstrip("`").removeprefix("$")).removeprefix(".") or "body", message)


def _in_words(said: str) -> str:
    """What the library says of a value, in ours. The value is left out: it may be a password."""
    if found := _WRONG_TYPE.fullmatch(said):
        wanted, got = (" or ".join(_TYPES.get(each, each) for each in part.split(" | ")) for part in found.groups())
        return f"must be {wanted}, not {got}"
    if found := _OUT_OF_RANGE.fullmatch(said):
        kind, length, sign, limit = found.groups()
        unit = {"str": " characters", "array": " entries"}.get(kind, "") if length else ""
        return f"must {'have' if length else 'be'} {_LIMITS[sign].format(limit)}{unit}"
    return f"must be {_TIME}" if said == "Invalid RFC3339 encoded datetime" else said


def _union_faults(value: Any, kind: Any, path: str) -> Iterator[FieldError]:
    choices = [each for each in get_args(kind) if each not in (UnsetType, NoneType)]
    if len(choices) == 1 and not (value is None and NoneType in get_args(kind)):
        yield from _faults(value, choices[0], path)
    else:
        yield from _plain_faults(value, kind, path)


def _struct_faults(value: Mapping[str, Any], kind: Any, path: str) -> Iterator[FieldError]:
    known: dict[str, FieldInfo] = {each.encode_name: each for each in fields(kind)}
    for name, item in value.items():
        if name in known:
            yield from _faults(item, known[name].type, _below(path, name))
        elif kind.__struct_config__.forbid_unknown_fields:
            yield FieldError(_below(path, name), f"unknown field; there is: {', '.join(sorted(known))}")
    for name, each in known.items():
        if each.required and name not in value:
            yield FieldError(_below(path, name), "is missing")


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _below(path: str, name: str) -> str:
    return f"{path}.{name[:100]}" if path else name[:100]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
