"""The content in force: layers put together after every check, or every problem told at once.

Layers: shipped < packs in order < edits made through the API. A name belongs to one of them; packs do not see edits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from provisioner.content.located import Problem
from provisioner.content.references import kind_of, references
from provisioner.content.stack import Item, Pack, Stack, duplicate_problems, pack_problems
from provisioner.errors import ContentError, FieldError
from provisioner.model.content import CONTENT_KINDS, Content

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
        unavailable: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._objects = objects
        self.packs = packs
        self.warnings = warnings
        # Object, as `stages/mine`, to the reasons why it cannot be used yet.
        self.unavailable = unavailable or {}

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


class Layers:
    """Packs, and edits over them. What the packs are and what is wrong with them is worked out once for all edits."""

    def __init__(self, packs: Sequence[Pack], opened: Opened = _as_kept) -> None:
        self.packs = tuple(packs)
        self._opened = opened

    @cached_property
    def _written(self) -> tuple[Item, ...]:
        return tuple(_opened(item, self._opened) for pack in self.packs for item in pack.items)

    @cached_property
    def _pack_problems(self) -> tuple[Problem, ...]:
        """Packs do not see edits, so this is the same whatever is edited."""
        found = [problem for pack in self.packs for problem in pack.problems]
        found += pack_problems(self.packs)
        found += duplicate_problems(self._written)
        found += Stack(self._written).problems(self._written)
        return tuple(found)

    def problems(self, edits: Iterable[Content] = ()) -> list[Problem]:
        """All that is wrong with these layers, warnings included, in the order of packs, files and lines."""
        edited = [Item(self._opened(edit)) for edit in edits]
        found = [*self._pack_problems]
        found += (each for each in duplicate_problems([*self._written, *edited]) if not each.file)
        found += Stack([*self._written, *edited]).problems(edited)
        order = {pack.file: place for place, pack in enumerate(self.packs)}
        place_of = {item.file: order[pack.file] for pack in self.packs for item in pack.items} | order
        return sorted(found, key=lambda each: (place_of.get(each.file, len(order)), each.file, each.line))

    def build(self, edits: Iterable[Content] = ()) -> ContentSet:
        """The content that these layers make. Raises ContentError with every problem; then nothing has changed.

        An edit that names what does not exist (yet) is part of it, and not available.
        """
        edits = tuple(edits)
        found = self.problems(edits)
        errors = [problem for problem in found if not (problem.warning or _early(problem))]
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            raise ContentError(f"{errors[0]}{more}", object=errors[0].object, fields=as_fields(errors))
        objects: dict[str, dict[str, Any]] = {kind: {} for kind in CONTENT_KINDS}
        for value in (*(item.object for pack in self.packs for item in pack.items), *edits):
            objects[kind_of(value)][value.name] = value
        return ContentSet(
            {kind: dict(sorted(named.items())) for kind, named in objects.items()},
            self._infos,
            tuple(problem for problem in found if problem.warning),
            _unavailable(filter(_early, found), edits),
        )

    @cached_property
    def _infos(self) -> tuple[PackInfo, ...]:
        return tuple(_info(pack) for pack in self.packs)

    def build_without_bad_edits(self, edits: Iterable[Content]) -> tuple[ContentSet, list[Problem]]:
        """The same, but edits with problems are left out and told: an upgraded pack must not keep the server down.

        Raises ContentError when the packs themselves are wrong.
        """
        kept, left_out = tuple(edits), list[Problem]()
        while True:
            bad = [each for each in self.problems(kept) if not (each.file or each.warning or each.missing)]
            if not bad:
                return self.build(kept), left_out
            names = {problem.object for problem in bad}
            left_out += bad
            kept = tuple(edit for edit in kept if f"{kind_of(edit)}/{edit.name}" not in names)


def _early(problem: Problem) -> bool:
    """Whether it only makes an edit unavailable. Packs come as a whole: what they name must exist."""
    return problem.missing and not problem.file


def _unavailable(found: Iterable[Problem], edits: Sequence[Content]) -> dict[str, tuple[str, ...]]:
    """Object, as `stages/mine`, to the reasons why it cannot be used; what refers to such an object cannot either."""
    reasons: dict[str, tuple[str, ...]] = {}
    for problem in found:
        message = f"{problem.field}: {problem.message}" if problem.field else problem.message
        reasons[problem.object] = (*reasons.get(problem.object, ()), message)
    fresh = set(reasons)
    while fresh:
        following: dict[str, list[str]] = {}
        for edit in edits:
            for ref in references(edit):
                if f"{ref.kind}/{ref.name}" in fresh:
                    reason = f"{ref.field}: {ref.kind.removesuffix('s')} {ref.name!r} is not available"
                    following.setdefault(f"{kind_of(edit)}/{edit.name}", []).append(reason)
        fresh = following.keys() - reasons.keys()
        for name, more in following.items():
            reasons[name] = tuple(dict.fromkeys((*reasons.get(name, ()), *more)))
    return reasons


def _opened(item: Item, opened: Opened) -> Item:
    value = opened(item.object)
    return item if value is item.object else replace(item, object=value)


def problems(packs: Sequence[Pack], edits: Iterable[Content] = (), opened: Opened = _as_kept) -> list[Problem]:
    """All that is wrong with these layers, once."""
    return Layers(packs, opened).problems(edits)


def build(packs: Sequence[Pack], edits: Iterable[Content] = (), opened: Opened = _as_kept) -> ContentSet:
    """The content that these layers make, once. Raises ContentError with every problem."""
    return Layers(packs, opened).build(edits)


def build_without_bad_edits(
    packs: Sequence[Pack], edits: Iterable[Content], opened: Opened = _as_kept
) -> tuple[ContentSet, list[Problem]]:
    """The same without the edits that are wrong, once."""
    return Layers(packs, opened).build_without_bad_edits(edits)


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
