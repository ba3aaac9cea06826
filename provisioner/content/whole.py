"""The content in force: layers put together after every check, or every problem told at once.

Layers: shipped < packs in order < edits made through the API. A name belongs to one of them; packs do not see edits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from provisioner.content.located import Problem
from provisioner.content.references import kind_of
from provisioner.content.stack import Item, Pack, Stack, duplicate_problems, pack_problems
from provisioner.errors import ContentError, FieldError
from provisioner.model import CONTENT_KINDS, Content

T = TypeVar("T", bound=Content)
# An object as it is kept (secure values sealed) to the same with its values plain, so that they can be checked.
Opened = Callable[[Content], Content]


class PackInfo(Struct, frozen=True):
    """What people are told of a pack in force."""

    name: str
    version: str
    description: str
    file: str
    counts: dict[str, int]


class ContentSet(Mapping[str, Mapping[str, Any]]):
    """All content in force: kind -> name -> object. Never changed; another one takes its place."""

    def __init__(
        self,
        objects: Mapping[str, Mapping[str, Any]],
        packs: tuple[PackInfo, ...] = (),
        warnings: tuple[Problem, ...] = (),
    ) -> None:
        self._objects = objects
        self.packs = packs
        self.warnings = warnings

    def __getitem__(self, kind: str) -> Mapping[str, Any]:
        return self._objects[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._objects)

    def __len__(self) -> int:
        return len(self._objects)

    def of(self, cls: type[T]) -> Mapping[str, T]:
        """All objects of one class by name."""
        return self._objects[cls.kind]  # type: ignore[attr-defined]


def _as_kept(value: Content) -> Content:
    return value


def problems(packs: Sequence[Pack], edits: Iterable[Content] = (), opened: Opened = _as_kept) -> list[Problem]:
    """All that is wrong with these layers, warnings included, in the order of packs, files and lines."""
    written = [_opened(item, opened) for pack in packs for item in pack.items]
    edited = [Item(opened(edit)) for edit in edits]
    found = [problem for pack in packs for problem in pack.problems]
    found += pack_problems(packs)
    found += duplicate_problems([*written, *edited])
    found += Stack(written).problems(written)
    found += Stack([*written, *edited]).problems(edited)
    order = {pack.file: place for place, pack in enumerate(packs)}
    place_of = {item.file: order[pack.file] for pack in packs for item in pack.items} | order
    return sorted(found, key=lambda each: (place_of.get(each.file, len(packs)), each.file, each.line))


def _opened(item: Item, opened: Opened) -> Item:
    value = opened(item.object)
    return item if value is item.object else replace(item, object=value)


def build(packs: Sequence[Pack], edits: Iterable[Content] = (), opened: Opened = _as_kept) -> ContentSet:
    """The content that these layers make. Raises ContentError with every problem; then nothing has changed."""
    edits = tuple(edits)
    found = problems(packs, edits, opened)
    errors = [problem for problem in found if not problem.warning]
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ContentError(f"{errors[0]}{more}", object=errors[0].object, fields=as_fields(errors))
    objects: dict[str, dict[str, Any]] = {kind: {} for kind in CONTENT_KINDS}
    for value in (*(item.object for pack in packs for item in pack.items), *edits):
        objects[kind_of(value)][value.name] = value
    return ContentSet(
        {kind: dict(sorted(named.items())) for kind, named in objects.items()},
        tuple(_info(pack) for pack in packs),
        tuple(problem for problem in found if problem.warning),
    )


def build_without_bad_edits(
    packs: Sequence[Pack], edits: Iterable[Content], opened: Opened = _as_kept
) -> tuple[ContentSet, list[Problem]]:
    """The same, but edits with problems are left out and told: an upgraded pack must not keep the server down.

    Raises ContentError when the packs themselves are wrong.
    """
    kept, left_out = tuple(edits), list[Problem]()
    while True:
        bad = [problem for problem in problems(packs, kept, opened) if not problem.file and not problem.warning]
        if not bad:
            return build(packs, kept, opened), left_out
        names = {problem.object for problem in bad}
        left_out += bad
        kept = tuple(edit for edit in kept if f"{kind_of(edit)}/{edit.name}" not in names)


def as_fields(found: Iterable[Problem]) -> tuple[FieldError, ...]:
    """Problems as errors carry them: the path is `file:line`, or for an edit, which has no file, its field."""
    return tuple(
        FieldError(each.place, ": ".join(part for part in (each.object, each.field, each.message) if part))
        if each.file
        else FieldError(each.field or "name", f"{each.object}: {each.message}")
        for each in found
    )


def _info(pack: Pack) -> PackInfo:
    counts = {kind: sum(kind_of(item.object) == kind for item in pack.items) for kind in CONTENT_KINDS}
    return PackInfo(pack.name, pack.version, pack.description, pack.file, counts)
