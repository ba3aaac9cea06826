"""What is wrong between objects: the checks that need the whole stack of layers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from msgspec import UNSET, Struct, field

from provisioner.content.faults import own_faults
from provisioner.content.located import Located, Problem
from provisioner.content.references import Reference, inline_sources, kind_of, references
from provisioner.content.templating import BOOT_NAMES, PARAM_NAMES, TASK_NAMES, Use, read_template
from provisioner.errors import unknown
from provisioner.model.content import CONTENT_KINDS, Bootenv, Content, Param, Profile, Stage, Task, Template
from provisioner.params import check_schema, template_texts, validate

_VERSION = re.compile(r"v?\d+(\.\d+)*")
_RANGE = re.compile(r"(>=|<=|!=|>|<|=)?(v?\d+(?:\.\d+)*)")


class Item(Struct, frozen=True):
    """An object and where it was written; an edit made through the API has no file."""

    object: Content
    file: str = ""
    located: Located = Located({}, {}, {})

    @property
    def name(self) -> str:
        """As problems name it: `tasks/hello`."""
        return f"{kind_of(self.object)}/{self.object.name}"

    def problem(
        self, path: str, message: str, *, line: int = 0, warning: bool = False, missing: bool = False
    ) -> Problem:
        """A problem with one field of it."""
        return Problem(self.file, line or self.located.line(path), self.name, path, message, warning, missing)


class Pack(Struct, frozen=True):
    """A pack as it was read. Its `problems` are what reading found; `requires` maps pack to a range of versions."""

    name: str
    file: str
    version: str = ""
    description: str = ""
    requires: dict[str, str] = field(default_factory=dict)
    items: tuple[Item, ...] = ()
    problems: tuple[Problem, ...] = ()
    requires_line: int = 0


class Stack:
    """All items of some layers, and the checks that need more than one of them."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.items: dict[str, dict[str, Item]] = {kind: {} for kind in CONTENT_KINDS}
        for item in items:
            self.items[kind_of(item.object)].setdefault(item.object.name, item)

    def problems(self, items: Iterable[Item]) -> Iterator[Problem]:
        """All that is wrong with these items, seen within the whole stack."""
        for item in items:
            value = item.object
            for error in own_faults(value):
                yield item.problem(error.path, error.message)
            for ref in references(value):
                if ref.name not in self.items[ref.kind]:
                    # A value whose param is not declared cannot be checked, so it is wrong rather than early.
                    early = not (ref.kind == "params" and ref.field.startswith("params."))
                    yield item.problem(ref.field, self._unknown(ref), missing=early)
            match value:
                case Profile():
                    yield from self._loop_problems(item, "profiles", "the profile includes itself")
                    yield from self._value_problems(item, value.params)
                case Stage():
                    yield from self._value_problems(item, value.params)
                case Param() if value.expand and value.default is not UNSET:
                    yield from self._expansion_problems(item, "default", value, value.default)
                case Template():
                    yield from self._source_problems(item, value.name, value.contents, "", self._names_for(value.name))
                case Task():
                    yield from self._loop_problems(item, "on_error", "the task is to repair itself")
                    yield from self._inline_problems(item, TASK_NAMES)
                    yield from self._secret_problems(item, value)
                case Bootenv():
                    yield from self._inline_problems(item, BOOT_NAMES)

    def _unknown(self, ref: Reference) -> str:
        known = self.items[ref.kind]
        close = get_close_matches(ref.name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return unknown(ref.kind.removesuffix("s"), ref.name, known) + hint

    def _value_problems(self, item: Item, values: Mapping[str, Any]) -> Iterator[Problem]:
        for name, value in values.items():
            found = self.items["params"].get(name)
            # A param whose own schema is wrong says so itself.
            if found is not None and isinstance(found.object, Param) and not check_schema(found.object):
                for error in validate(name, value, found.object):
                    yield item.problem(f"params.{error.path}", error.message)
                if found.object.expand:
                    yield from self._expansion_problems(item, f"params.{name}", found.object, value)

    def _expansion_problems(self, item: Item, path: str, param: Param, value: Any) -> Iterator[Problem]:
        """What is wrong with the templates inside of a value; of a secure one only whether they are templates."""
        for place, text in template_texts(path, value):
            name = f"{item.name} {place}"
            if not param.secure:
                yield from self._source_problems(item, name, text, place, PARAM_NAMES)
            elif read_template(name, text).fault:
                yield item.problem(place, "is not a template")

    def _loop_problems(self, item: Item, field: str, message: str) -> Iterator[Problem]:
        """`field` names objects of the same kind; it must not lead back to this one."""
        start = item.object.name
        for place, name in enumerate(getattr(item.object, field)):
            way = self._way(kind_of(item.object), field, name, start, (start,), set())
            if way:
                yield item.problem(f"{field}[{place}]", f"{message}: {' > '.join(way)}")

    def _way(
        self, kind: str, field: str, name: str, goal: str, way: tuple[str, ...], seen: set[str]
    ) -> tuple[str, ...]:
        """The way from `name` to `goal` through this field and what is not `seen` yet; empty when there is none."""
        if name == goal:
            return (*way, name)
        found = self.items[kind].get(name)
        if found is None or name in seen:
            return ()
        seen.add(name)
        ways = (self._way(kind, field, inner, goal, (*way, name), seen) for inner in getattr(found.object, field))
        return next((found_way for found_way in ways if found_way), ())

    def _inline_problems(self, item: Item, names: frozenset[str]) -> Iterator[Problem]:
        for path, source in inline_sources(item.object):
            yield from self._source_problems(item, f"{item.name} {path}", source, path, names)

    def _source_problems(
        self, item: Item, name: str, source: str, path: str, names: frozenset[str] | None
    ) -> Iterator[Problem]:
        """What is wrong with one template source, whether it is a template's or written inside another object."""
        first = item.located.texts.get(path, 1)

        def at(use: Use, message: str, *, warning: bool = False, missing: bool = False) -> Problem:
            line = first + use.line - 1 if use.line else first
            return item.problem(path, message, line=line, warning=warning, missing=missing)

        reading = read_template(name, source)
        if reading.fault:
            yield at(reading.fault, f"is not a template: {reading.fault.name}")
        for use in reading.templates:
            if use.needed and use.name not in self.items["templates"]:
                yield at(use, self._unknown(Reference(path, "templates", use.name)), missing=True)
        for use in reading.names:
            if names is not None and use.needed and use.name not in names:
                yield at(use, unknown("name", use.name, names), warning=True)
        for use in reading.params:
            if use.needed and use.name not in self.items["params"]:
                yield at(use, self._unknown(Reference(path, "params", use.name)), warning=True)

    def _names_for(self, template: str) -> frozenset[str] | None:
        """The names a template may count on; None for one that others include, which may set names for it."""
        if template in self._included:
            return None
        return self._names.get(template) or TASK_NAMES | BOOT_NAMES

    @cached_property
    def _names(self) -> Mapping[str, frozenset[str]]:
        """Template to the names that its users give it."""
        names: dict[str, frozenset[str]] = {}
        for kind, known in (("tasks", TASK_NAMES), ("bootenvs", BOOT_NAMES)):
            for item in self.items[kind].values():
                for ref in references(item.object):
                    if ref.kind == "templates":
                        names[ref.name] = names.get(ref.name, frozenset()) | known
        return names

    @cached_property
    def _included(self) -> frozenset[str]:
        items = self.items["templates"].values()
        sources = ((item.object.name, item.object.contents) for item in items if isinstance(item.object, Template))
        return frozenset(use.name for name, source in sources for use in read_template(name, source).templates)

    def _contents(self, template: str) -> str:
        found = self.items["templates"].get(template)
        return found.object.contents if found is not None and isinstance(found.object, Template) else ""

    def _secret_problems(self, item: Item, task: Task) -> Iterator[Problem]:
        """A secure param is given only to a task that declares it, so using it undeclared fails on the machine."""
        declared = {*task.required_params, *task.optional_params}
        for place, file in enumerate(task.files):
            if file.template and file.template not in self.items["templates"]:
                continue
            path = f"files[{place}].{'template' if file.template else 'contents'}"
            name = file.template or f"{item.name} {path}"
            reading = read_template(name, file.contents or self._contents(file.template))
            for use in reading.params:
                param = self.items["params"].get(use.name)
                secure = param is not None and isinstance(param.object, Param) and param.object.secure
                if secure and use.name not in declared:
                    message = f"uses the secure param {use.name!r}, which the task does not declare"
                    yield item.problem(path, message, warning=True)


def duplicate_problems(items: Iterable[Item]) -> Iterator[Problem]:
    """Objects whose name is taken already by an item before them."""
    first: dict[str, Item] = {}
    for item in items:
        other = first.setdefault(item.name, item)
        if other is item:
            continue
        owner = f"pack {other.object.pack!r}" if other.object.pack else "another edit"
        where = f" ({other.file})" if other.file else ""
        read_only = " and is read-only" if other.object.pack and not item.object.pack else ""
        message = f"this name is taken by {owner}{where}{read_only}; give yours another name"
        yield item.problem("name", message)


def pack_problems(packs: Sequence[Pack]) -> Iterator[Problem]:
    """Packs of one name, and packs that need others which are not there."""
    first: dict[str, Pack] = {}
    for pack in packs:
        other = first.setdefault(pack.name, pack)
        if other is not pack:
            yield Problem(pack.file, 1, f"pack {pack.name}", "name", f"there is a pack of this name in {other.file}")
    for pack in packs:
        for name, wanted in pack.requires.items():
            message = _requirement_fault(name, wanted, first)
            if message:
                yield Problem(pack.file, pack.requires_line, f"pack {pack.name}", f"requires.{name}", message)


def _requirement_fault(name: str, wanted: str, packs: Mapping[str, Pack]) -> str:
    if name not in packs:
        return unknown("pack", name, packs)
    for part in wanted.replace(",", " ").split():
        match = _RANGE.fullmatch(part)
        if match is None:
            return f"{part!r} is no range of versions; write it like '>=1.2 <2'"
        if not _in_range(packs[name].version, match[1] or "=", match[2]):
            return f"pack {name!r} has version {packs[name].version or 'none'}, needed is {wanted!r}"
    return ""


def _in_range(version: str, sign: str, limit: str) -> bool:
    have, want = _numbers(version), _numbers(limit)
    return {
        ">=": have >= want,
        "<=": have <= want,
        ">": have > want,
        "<": have < want,
        "!=": have != want,
        "=": have == want,
    }[sign]


def _numbers(version: str) -> tuple[int, ...]:
    """1.2.0 equals 1.2; what follows the numbers (`-rc1`) does not count."""
    match = _VERSION.match(version)
    numbers = [int(part) for part in match[0].removeprefix("v").split(".")] if match else []
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
