"""YAML text as values that know their lines, and objects decoded from them: every complaint names file and line.

Only what JSON can say is read: text keys, no dates (they stay text), no infinities, one document. Anchors and `<<`
work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from types import UnionType
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec import Struct, UnsetType, ValidationError, convert
from msgspec.structs import FieldInfo, fields
from yaml import CSafeLoader, MappingNode, Node, ScalarNode, SequenceNode, YAMLError, compose, parse
from yaml.error import MarkedYAMLError
from yaml.events import CollectionEndEvent, CollectionStartEvent
from yaml.reader import ReaderError

T = TypeVar("T", bound=Struct)

# Anchors may repeat each other, so a short text can stand for a huge value; no honest pack comes near this.
VALUES_LIMIT = 500_000
DEPTH_LIMIT = 100

_CORE = "tag:yaml.org,2002:"

_TYPE_WORDS = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "a map",
    list: "a list",
    type(None): "nothing",
}


class Problem(Struct, frozen=True):
    """One thing wrong in a pack. `object` is as in `tasks/hello`, `field` as in `files[0].template`.

    A `warning` is shown to authors and stops nothing. `missing` is something named that does not exist: an edit made
    through the API may be saved before it does, and is not available until then.
    """

    file: str
    line: int
    object: str
    field: str
    message: str
    warning: bool = False
    missing: bool = False

    def __str__(self) -> str:
        message = f"warning: {self.message}" if self.warning else self.message
        return ": ".join(part for part in (self.place, self.object, self.field, message) if part)

    @property
    def place(self) -> str:
        """`file:line`, or the file alone when no line is known."""
        return f"{self.file}:{self.line}" if self.line else self.file


class Located(NamedTuple):
    """A value with the line of each of its parts; `texts` has the line on which a part's own text begins."""

    value: Any
    lines: dict[str, int]
    texts: dict[str, int]

    def line(self, path: str) -> int:
        """The line of this part, or of the nearest one around it that is known."""
        while path and path not in self.lines:
            path = _parent(path)
        return self.lines.get(path, 0)

    def part(self, key: str) -> Located:
        """One entry of this map as a value of its own."""
        return Located(self.value[key], _below(self.lines, key), _below(self.texts, key))


def _parent(path: str) -> str:
    cut = max(path.rfind("."), path.rfind("["))
    return path[:cut] if cut > 0 else ""


def _below(lines: Mapping[str, int], key: str) -> dict[str, int]:
    """The lines of one entry of a map, with the paths they have seen from there."""
    return {
        path[len(key) :].removeprefix("."): line
        for path, line in lines.items()
        if path == key or path.startswith((f"{key}.", f"{key}["))
    }


# --- text to values -------------------------------------------------------------------------------------------


def read(text: str, file: str) -> tuple[Located | None, list[Problem]]:
    """The value of a YAML text; None with the problems when it cannot be had whole."""
    try:
        too_deep = _too_deep(text)
        node = None if too_deep else compose(text, Loader=CSafeLoader)
    except YAMLError as error:
        return None, [_syntax_problem(error, text, file)]
    if too_deep:
        return None, [Problem(file, too_deep, "", "", f"is nested more than {DEPTH_LIMIT} levels deep")]
    if node is None:
        return None, [Problem(file, 1, "", "", "is empty")]
    reader = _Reader(file)
    try:
        value = reader.value(node, "")
    except _EndlessError as error:
        return None, [Problem(file, error.line, "", error.path, "repeats itself without end through its anchors")]
    if reader.problems:
        return None, reader.problems
    return Located(value, reader.lines, reader.texts), []


def _too_deep(text: str) -> int:
    """The line on which the text exceeds DEPTH_LIMIT, else 0. libyaml's composer recurses in C and would crash."""
    depth = 0
    for event in parse(text, Loader=CSafeLoader):
        if isinstance(event, CollectionStartEvent):
            depth += 1
            if depth > DEPTH_LIMIT:
                return event.start_mark.line + 1 if event.start_mark else 1
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
    return 0


def _syntax_problem(error: YAMLError, text: str, file: str) -> Problem:
    if isinstance(error, ReaderError):
        before = text.encode("utf-8", "surrogatepass")[: error.position]
        return Problem(file, before.count(b"\n") + 1, "", "", f"is not YAML: {error.reason}")
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    if not isinstance(error, MarkedYAMLError) or mark is None:
        return Problem(file, 1, "", "", f"is not YAML: {error}")
    rows = text.splitlines()
    row = rows[mark.line] if mark.line < len(rows) else ""
    if "\t" in row[: mark.column + 1]:
        message = "is not YAML: a tab; indent with spaces"
    else:
        message = f"is not YAML: {error.problem}" + (f" ({error.context})" if error.context else "")
    return Problem(file, mark.line + 1, "", "", message)


class _EndlessError(Exception):
    """An anchor holds itself, or anchors multiply past all bounds."""

    def __init__(self, path: str, line: int) -> None:
        super().__init__(path, line)
        self.path = path
        self.line = line


class _Reader:
    """Turns a tree of nodes into plain values and notes lines and problems on the way."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._constructor = CSafeLoader("")
        self._count = 0
        self._open: set[int] = set()
        self.problems: list[Problem] = []
        self.lines: dict[str, int] = {}
        self.texts: dict[str, int] = {}

    def value(self, node: Node, path: str) -> Any:
        self.lines.setdefault(path, _line(node))
        self._count += 1
        if self._count > VALUES_LIMIT or id(node) in self._open:
            raise _EndlessError(path, _line(node))
        self._open.add(id(node))
        try:
            if isinstance(node, MappingNode) and node.tag == _CORE + "map":
                return self._map(node, path)
            if isinstance(node, SequenceNode) and node.tag == _CORE + "seq":
                return [self.value(item, f"{path}[{place}]") for place, item in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._open.discard(id(node))

    def _map(self, node: MappingNode, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            inner = f"{path}.{key}" if path else key
            if key_node.tag == _CORE + "merge":
                merged = {**self._merge(value_node, path), **merged}
            elif key in found:
                first = self.lines[inner]
                self._complain(key_node, inner, f"is given twice; the first is on line {first}")
            elif key is not None:
                self.lines[inner] = _line(key_node)
                found[key] = self.value(value_node, inner)
        return {**merged, **found}

    def _key(self, node: Node, path: str) -> Any:
        if isinstance(node, ScalarNode) and node.tag in (_CORE + "str", _CORE + "merge"):
            return node.value
        shown = repr(node.value) if isinstance(node, ScalarNode) else "a map or list"
        self._complain(node, path, f"key {shown} is not text; put it in quotes")
        return None

    def _merge(self, node: Node, path: str) -> dict[str, Any]:
        sources = node.value if isinstance(node, SequenceNode) else [node]
        merged: dict[str, Any] = {}
        for source in sources:
            if isinstance(source, MappingNode):
                merged = {**self.value(source, path), **merged}
            else:
                self._complain(source, path, "'<<' must point to a map or a list of maps")
        return merged

    def _scalar(self, node: Node, path: str) -> Any:
        if not isinstance(node, ScalarNode):
            self._complain(node, path, f"the tag {node.tag!r} has no meaning here")
            return None
        self.texts[path] = _line(node) + (1 if node.style in ("|", ">") else 0)
        if node.tag in (_CORE + "str", _CORE + "timestamp"):
            return node.value
        try:
            value = self._constructor.construct_object(node)
        except (YAMLError, ValueError) as error:
            problem = error.problem if isinstance(error, MarkedYAMLError) else str(error)
            self._complain(node, path, f"cannot be read: {problem}")
            return None
        if isinstance(value, bytes) or (isinstance(value, float) and not isfinite(value)):
            shown = node.value.strip()[:40]
            self._complain(node, path, f"{shown!r} has no meaning here; put it in quotes to make it text")
            return None
        return value

    def _complain(self, node: Node, path: str, message: str) -> None:
        self.problems.append(Problem(self._file, _line(node), "", path, message))


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


# --- values to objects ----------------------------------------------------------------------------------------


def decode(cls: type[T], located: Located, file: str, name: str) -> tuple[T | None, list[Problem]]:
    """The object of class `cls` that a value describes, or None with all that is wrong; `name` is its name there."""
    problems = [
        Problem(file, located.line(path), name, path, message) for path, message in _faults(cls, located.value, "")
    ]
    if problems:
        return None, problems
    try:
        return convert(located.value, cls), []
    except ValidationError as error:
        return None, [Problem(file, located.line(""), name, "", str(error))]


def _faults(wanted: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every part of `value` that does not fit the type `wanted`, as (path, message)."""
    origin, inner = get_origin(wanted), get_args(wanted)
    if wanted is Any or UnsetType in inner:
        return
    if origin in (Union, UnionType):
        if all(any(True for _ in _faults(choice, value, path)) for choice in inner):
            yield path, _mismatch(wanted, value)
    elif isinstance(wanted, type) and issubclass(wanted, Struct):
        yield from _struct_faults(wanted, value, path)
    elif origin is tuple:
        if not isinstance(value, list):
            yield path, _mismatch(list, value)
            return
        for place, item in enumerate(value):
            yield from _faults(inner[0], item, f"{path}[{place}]")
    elif origin is dict:
        if not isinstance(value, dict):
            yield path, _mismatch(dict, value)
            return
        for key, item in value.items():
            yield from _faults(inner[1], item, f"{path}.{key}" if path else key)
    elif not _fits(wanted, value):
        yield path, _mismatch(wanted, value)


def _struct_faults(cls: type[Struct], value: Any, path: str) -> Iterator[tuple[str, str]]:
    if not isinstance(value, dict):
        yield path, _mismatch(dict, value)
        return
    known: dict[str, FieldInfo] = {info.encode_name: info for info in fields(cls)}
    types = get_type_hints(cls)
    for key, item in value.items():
        inner = f"{path}.{key}" if path else key
        if key in known:
            yield from _faults(types[known[key].name], item, inner)
        else:
            yield inner, f"unknown field; there is: {', '.join(_settable(known))}"
    for key, info in known.items():
        if info.required and key not in value:
            yield path, f"lacks the field {key!r}"


def _settable(known: Mapping[str, FieldInfo]) -> list[str]:
    """The fields an author may write; the pack's name is put in by the loader."""
    return sorted(key for key in known if key != "pack")


def _fits(wanted: Any, value: Any) -> bool:
    if wanted is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is wanted


def _mismatch(wanted: Any, value: Any) -> str:
    got = _TYPE_WORDS.get(type(value), type(value).__name__)
    shown = f"{got} {value!r}" if isinstance(value, (str, int, float)) and len(repr(value)) <= 60 else got
    if isinstance(value, bool):
        shown = repr(value).lower()
    hint = "; put it in quotes" if wanted is str and isinstance(value, (bool, int, float)) else ""
    return f"must be {_TYPE_WORDS.get(wanted, str(wanted))}, is {shown}{hint}"
