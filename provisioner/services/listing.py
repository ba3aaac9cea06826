"""Lists of objects as the API answers them: filtered by any field, sorted, counted, and paged with a cursor.

A cursor says behind which sort key the next page begins, not how many objects came before: whatever is made or deleted
between two pages, no object that stays is shown twice or left out.
"""

from __future__ import annotations

import heapq
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from ipaddress import IPv6Address, ip_address
from operator import attrgetter
from types import UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Struct, field
from msgspec.structs import fields

from provisioner.errors import FieldError, Invalid
from provisioner.services.filters import OPERATORS, Getter, predicate, text_of

T = TypeVar("T")

DEFAULT_LIMIT = 100
HIGHEST_LIMIT = 1000
PAGING = ("limit", "cursor", "sort")
_MOST_SORTED = 8
# (rank, value): nothing comes before numbers and times, these before texts.
_Order = tuple[int, Any]
# Fields that are addresses in all classes that have them; as texts 10.0.0.10 would come before 10.0.0.9.
_ADDRESSES = frozenset({"address"})


class Page(Struct, Generic[T], frozen=True):
    """Part of a list: `total` counts all that fit the filter, `next` is the cursor of what follows, if anything."""

    items: list[T]
    total: int
    next: str | None


class Listing(Struct, frozen=True):
    """How objects of a class are listed.

    `key` tells them apart, `order` sorts them unless told otherwise. `computed` are fields that are shown and not
    stored; `maps` finds what is filtered by `params.NAME` where that is not simply a key of the field.
    """

    cls: type
    key: Callable[[Any], str]
    order: str
    computed: Mapping[str, Getter] = field(default_factory=dict)
    maps: Mapping[str, Callable[[str], Getter]] = field(default_factory=dict)

    def select(self, objects: Iterable[Any], query: Iterable[tuple[str, str]]) -> list[Any]:
        """The objects that fit all filters; raises Invalid (400) for fields and operators there are not."""
        tests = [self._filter(name, wanted) for name, wanted in query]
        if not tests:
            return list(objects)
        if len(tests) == 1:
            return list(filter(tests[0], objects))
        return [each for each in objects if all(fits(each) for fits in tests)]

    def page(self, objects: Iterable[Any], query: Mapping[str, str], view: Callable[[Any], Any]) -> Page[Any]:
        """The page of `objects` that the query asks for, each shown through `view`; raises Invalid (400)."""
        limit = _limit(query)
        order = query.get("sort") or self.order
        sorting = self._sorting(order)
        after = _read_cursor(query["cursor"], order, sorting) if "cursor" in query else None
        found = self.select(objects, [pair for pair in query.items() if pair[0] not in PAGING])
        keyed: Iterable[tuple[Any, Any]] = ((sorting.key(each), each) for each in found)
        if after is not None:
            keyed = (pair for pair in keyed if pair[0] > after)
        # The key tells objects apart: equal keys, and with them a comparison of objects, do not occur.
        shown = heapq.nsmallest(limit + 1, keyed)
        following = _cursor(order, sorting.values(shown[limit - 1][1])) if len(shown) > limit else None
        return Page([view(each) for _, each in shown[:limit]], len(found), following)

    def _filter(self, name: str, wanted: str) -> Callable[[Any], bool]:
        plain, colon, operator = name.rpartition(":")
        if colon and (operator in OPERATORS or self._knows(plain)):
            if operator not in OPERATORS:
                message = f"there is no operator {operator[:40]!r}; there is: {', '.join(OPERATORS)}"
                raise Invalid(f"{name[:100]}: {message}", status=400, fields=(FieldError(name[:100], message),))
            return predicate(self.getter(plain), operator, wanted, name)
        return predicate(self.getter(name), "eq", wanted, name)

    def _knows(self, name: str) -> bool:
        try:
            self.getter(name)
        except Invalid:
            return False
        return True

    def names(self) -> list[str]:
        """The fields there are; those that are maps end with `.NAME`."""
        plain = [each.name for each in fields(self.cls)]
        return sorted({*plain, *self.computed, *(f"{name}.NAME" for name in ("params", "meta") if name in plain)})

    def getter(self, name: str) -> Getter:
        """Takes the field of this name from an object; raises Invalid (400) naming the fields there are."""
        base, dot, inner = name.partition(".")
        if not dot and name in self.computed:
            return self.computed[name]
        known = {each.name: each.type for each in fields(self.cls)}
        found = None
        if base in known:
            found = attrgetter(base) if not dot else self._inner(base, known[base], inner)
        if found is None:
            message = f"there is no field {name[:100]!r}; there is: {', '.join(self.names())}"
            raise Invalid(message, status=400, fields=(FieldError(name[:100], "unknown field"),))
        return found

    def _inner(self, base: str, kind: Any, inner: str) -> Getter | None:
        if base in self.maps:
            return self.maps[base](inner)
        if get_origin(kind) is dict:
            return partial(_in_map, attrgetter(base), inner)
        return attrgetter(f"{base}.{inner}") if _leads_somewhere(kind, inner) else None

    def _sorting(self, order: str) -> _Sorting:
        names = [part for part in order.split(",") if part]
        if len(names) > _MOST_SORTED:
            message = f"at most {_MOST_SORTED} fields are sorted by"
            raise Invalid(f"sort: {message}", status=400, fields=(FieldError("sort", message),))
        plain = [name.removeprefix("-") for name in names]
        rules = [(_order_of(name), self.getter(name)) for name in plain]
        return _Sorting(self.key, rules, [name.startswith("-") for name in names])


class _Sorting:
    """Makes the keys by which objects are sorted, and what is kept of them in a cursor."""

    def __init__(
        self, key: Callable[[Any], str], rules: Sequence[tuple[Callable[[Any], _Order], Getter]], down: Sequence[bool]
    ) -> None:
        self._key = key
        self._rules = rules
        self._down = down

    def values(self, each: Any) -> list[Any]:
        """What the object is sorted by, before directions count, and its key."""
        return [*(order(get(each)) for order, get in self._rules), self._key(each)]

    def key(self, each: Any) -> tuple[Any, ...]:
        """The key of an object."""
        if len(self._rules) == 1 and not self._down[0]:
            # By far the most frequent, for which lists of thousands take half as long this way.
            order, get = self._rules[0]
            return (order(get(each)), self._key(each))
        return self.directed(self.values(each))

    def directed(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """The key of an object with these values."""
        turned = [_turned(value) if down else value for value, down in zip(values, self._down, strict=False)]
        return (*turned, values[-1])

    def read(self, values: Any) -> tuple[Any, ...] | None:
        """The key of an object with these values as a cursor has them; None when no object can have them."""
        if not isinstance(values, list) or len(values) != len(self._rules) + 1:
            return None
        if not isinstance(values[-1], str) or not all(map(_is_order, values[:-1])):
            return None
        return self.directed([*map(tuple, values[:-1]), values[-1]])


class _Down:
    """A text that is sorted the other way round."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __lt__(self, other: _Down) -> bool:
        return other.text < self.text

    def __gt__(self, other: _Down) -> bool:
        return other.text > self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Down) and other.text == self.text

    __hash__ = None  # type: ignore[assignment]


def _turned(value: _Order) -> _Order:
    rank, inner = value
    return (-rank, _Down(inner) if isinstance(inner, str) else -inner)


def _is_order(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and (value[0] == 2 and isinstance(value[1], str) or value[0] in (0, 1) and isinstance(value[1], (int, float)))
    )


def _order_of(name: str) -> Callable[[Any], _Order]:
    return _address_order if name in _ADDRESSES else _order


def _order(value: Any) -> _Order:
    if type(value) is str:
        return (2, value)
    if isinstance(value, str):
        return (2, value.value if isinstance(value, Enum) else value)
    if value is None:
        return (0, 0)
    if isinstance(value, datetime):
        return (1, value.timestamp())
    if isinstance(value, bool):
        return (1, int(value))
    # Numbers too large for a float are sorted with the texts rather than refused.
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 62):
        return (1, value)
    return (2, text_of(value))


def _address_order(value: Any) -> _Order:
    try:
        address = ip_address(value)
    except ValueError:
        return _order(value)
    # 128 bits are too many for a number in a cursor; written out in full, texts stand in the same order.
    return (2, address.exploded) if isinstance(address, IPv6Address) else (1, int(address))


def _in_map(get: Getter, inner: str, each: Any) -> Any:
    """A key of a map, or what dots lead to below it."""
    found = get(each)
    if inner in found:
        return found[inner]
    for name in inner.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def _leads_somewhere(kind: Any, inner: str) -> bool:
    for step in inner.split("."):
        plain = [each for each in get_args(kind) if isinstance(each, type)] if _is_union(kind) else [kind]
        known = [each for each in plain if isinstance(each, type) and issubclass(each, Struct)]
        if not known or _is_union(kind):
            return False
        types = {each.name: each.type for each in fields(known[0])}
        if step not in types:
            return False
        kind = types[step]
    return True


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)


def _cursor(order: str, values: Sequence[Any]) -> str:
    return urlsafe_b64encode(msgspec.json.encode([order, values])).decode().rstrip("=")


def _read_cursor(text: str, order: str, sorting: _Sorting) -> tuple[Any, ...]:
    """Raises Invalid for what is no cursor of this list."""
    try:
        said = msgspec.json.decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        said = None
    key = sorting.read(said[1]) if isinstance(said, list) and len(said) == 2 and said[0] == order else None
    if key is not None:
        return key
    message = "is not the `next` of a page of this list, sorted as it is now"
    raise Invalid(f"cursor: {message}", status=400, fields=(FieldError("cursor", message),))


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) <= 9) or not 1 <= int(text) <= HIGHEST_LIMIT:
        message = f"{text[:40]!r} is not a whole number from 1 to {HIGHEST_LIMIT}"
        raise Invalid(f"limit: {message}", status=400, fields=(FieldError("limit", message),))
    return int(text)


def flag(query: Mapping[str, str], name: str) -> bool:
    """A field of the query that is `true` or `false` (or absent); raises Invalid (400) for anything else."""
    text = query.get(name, "false")
    if text not in ("true", "false"):
        message = f"{text[:40]!r} is not true or false"
        raise Invalid(f"{name}: {message}", status=400, fields=(FieldError(name, message),))
    return text == "true"


def moment(query: Mapping[str, str], name: str) -> datetime | None:
    """A field of the query that is a time, of UTC unless it says another zone; None when absent, Invalid (400)."""
    text = query.get(name)
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        message = f"{text[:40]!r} is not a time such as 2026-01-31T12:00:00Z"
        raise Invalid(f"{name}: {message}", status=400, fields=(FieldError(name, message),)) from error


def without(query: Mapping[str, str], *names: str) -> Iterator[tuple[str, str]]:
    """The query without these fields and those that page and sort: the filters."""
    return (pair for pair in query.items() if pair[0] not in PAGING and pair[0] not in names)
