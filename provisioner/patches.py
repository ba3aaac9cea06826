"""Patches of JSON documents: merge-patch (RFC 7396) and json-patch (RFC 6902). Documents are never changed in place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from provisioner.bodies import DEEPEST
from provisioner.errors import Conflict, FieldError, Invalid

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
# More than any change by hand or program needs; each one copies a part of the document.
_OPERATIONS_LIMIT = 1000
# A document that is copied into itself doubles, so that a few lines of patch would otherwise fill all memory.
_COPIED_LIMIT = 1_000_000
# What is put at the end of what was put before goes deeper than any body may; what walks through it must end.
_DEEPEST_RESULT = 2 * DEEPEST


def merge(document: Any, patch: Any) -> Any:
    """The document with the patch merged in: maps key by key, null removes, anything else replaces (RFC 7396)."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(document) if isinstance(document, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


class Step(NamedTuple):
    """One operation of a json-patch, as it was sent at `place`."""

    place: int
    sent: Mapping[str, Any]

    def text(self, name: str) -> str:
        """A member that must be text; raises Invalid."""
        value = self.sent.get(name)
        if not isinstance(value, str):
            raise self.invalid(name, "is missing or no text")
        return value

    def pointer(self, name: str) -> list[str]:
        """A JSON pointer (RFC 6901) as its steps; raises Invalid."""
        text = self.text(name)
        if text and not text.startswith("/"):
            raise self.invalid(name, f"{text[:60]!r} is no JSON pointer such as /params/rack~1row")
        if re.search(r"~(?![01])", text):
            raise self.invalid(name, f"{text[:60]!r} has a ~ that is not followed by 0 or 1")
        steps = text.split("/")[1:]
        if len(steps) > _DEEPEST_RESULT:
            raise self.invalid(name, f"leads more than {_DEEPEST_RESULT} levels down")
        return [each.replace("~1", "/").replace("~0", "~") for each in steps]

    @property
    def value(self) -> Any:
        """The value to be put or compared; raises Invalid when there is none."""
        if "value" not in self.sent:
            raise self.invalid("value", "is missing")
        return self.sent["value"]

    def invalid(self, name: str, message: str) -> Invalid:
        """What is wrong with this operation, named by its place in the patch."""
        path = f"[{self.place}].{name}"
        return Invalid(f"{path}: {message}", fields=(FieldError(path, message),), code="patch-invalid")


def apply(document: Any, patch: Any) -> Any:
    """The document after all operations, or none of them (RFC 6902).

    Raises Invalid naming the operation that cannot be done, Conflict when a `test` does not hold.
    """
    if not isinstance(patch, Sequence) or isinstance(patch, str):
        raise Invalid("a json-patch is a list of operations", fields=(FieldError("body", "is no list"),))
    if len(patch) > _OPERATIONS_LIMIT:
        raise Invalid(f"a json-patch has at most {_OPERATIONS_LIMIT} operations", code="patch-invalid")
    room = _COPIED_LIMIT
    for place, sent in enumerate(patch):
        if not isinstance(sent, Mapping):
            raise Invalid(f"[{place}]: is no object", fields=(FieldError(f"[{place}]", "is no object"),))
        step = Step(place, sent)
        name = step.text("op")
        if name not in _OPERATIONS:
            raise step.invalid("op", f"{name[:60]!r} is not one of: {', '.join(_OPERATIONS)}")
        if name == "copy":
            room -= _weight(_find(document, step.pointer("from"), step, "from"))
            if room < 0:
                raise step.invalid("from", f"the patch copies more than {_COPIED_LIMIT} characters in all")
        document = _OPERATIONS[name](document, step)
    _refuse_depth(document)
    return document


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


def _weight(value: Any) -> int:
    """Roughly how many characters of JSON it is."""
    weight, left = 0, [value]
    while left:
        each = left.pop()
        weight += 1 + (len(each) if isinstance(each, str) else 0)
        if isinstance(each, Mapping):
            weight += sum(map(len, each))
        left.extend(_inside(each))
    return weight


def _refuse_depth(document: Any) -> None:
    level = [document]
    for _ in range(_DEEPEST_RESULT):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return
    raise Invalid(f"the result is nested more than {_DEEPEST_RESULT} levels deep", code="patch-invalid")


def _add(document: Any, step: Step) -> Any:
    return _put(document, step.pointer("path"), step.value, step)


def _remove(document: Any, step: Step) -> Any:
    return _take(document, step.pointer("path"), step, "path")


def _replace(document: Any, step: Step) -> Any:
    path = step.pointer("path")
    _find(document, path, step, "path")
    return _swap(document, path, step.value)


def _move(document: Any, step: Step) -> Any:
    source, target = step.pointer("from"), step.pointer("path")
    if target[: len(source)] == source and target != source:
        raise step.invalid("path", "is inside of what is to be moved")
    value = _find(document, source, step, "from")
    return _put(_take(document, source, step, "from"), target, value, step)


def _copy(document: Any, step: Step) -> Any:
    value = _find(document, step.pointer("from"), step, "from")
    return _put(document, step.pointer("path"), value, step)


def _test(document: Any, step: Step) -> Any:
    if not _same(_find(document, step.pointer("path"), step, "path"), step.value):
        path = f"[{step.place}].value"
        message = f"{step.sent['path'][:100]!r} has another value"
        raise Conflict(f"{path}: {message}", fields=(FieldError(path, message),), code="patch-test-failed")
    return document


_OPERATIONS: dict[str, Callable[[Any, Step], Any]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _child(document: Any, name: str, step: Step, member: str) -> Any:
    if isinstance(document, Mapping) and name in document:
        return document[name]
    if isinstance(document, (list, tuple)) and _INDEX.fullmatch(name) and int(name) < len(document):
        return document[int(name)]
    raise step.invalid(member, f"there is nothing at {name[:60]!r}")


def _find(document: Any, path: Sequence[str], step: Step, member: str) -> Any:
    for name in path:
        document = _child(document, name, step, member)
    return document


def _swap(document: Any, path: Sequence[str], value: Any) -> Any:
    """The document with another value at a place that is there."""
    if not path:
        return value
    name, rest = path[0], path[1:]
    if isinstance(document, Mapping):
        return {**document, name: _swap(document[name], rest, value)}
    place = int(name)
    return [*document[:place], _swap(document[place], rest, value), *document[place + 1 :]]


def _put(document: Any, path: Sequence[str], value: Any, step: Step) -> Any:
    if not path:
        return value
    *above, name = path
    parent = _find(document, above, step, "path")
    if isinstance(parent, Mapping):
        return _swap(document, above, {**parent, name: value})
    if isinstance(parent, (list, tuple)):
        place = len(parent) if name == "-" else int(name) if _INDEX.fullmatch(name) else len(parent) + 1
        if place <= len(parent):
            return _swap(document, above, [*parent[:place], value, *parent[place:]])
    raise step.invalid("path", f"nothing can be put at {name[:60]!r}")


def _take(document: Any, path: Sequence[str], step: Step, member: str) -> Any:
    if not path:
        raise step.invalid(member, "the whole document cannot be removed")
    *above, name = path
    parent = _find(document, above, step, member)
    _child(parent, name, step, member)
    if isinstance(parent, Mapping):
        return _swap(document, above, {key: value for key, value in parent.items() if key != name})
    place = int(name)
    return _swap(document, above, [*parent[:place], *parent[place + 1 :]])
