"""The base of values that are made for each packet and never stored: plain classes, which machine code knows by heart.

To compiled code (pyproject.toml lists the modules) a struct of msgspec is a stranger, whose every field is looked up by
its name; the attributes of such a class are at places that it knows. What is read from JSON or written as such stays a
struct.
"""

from __future__ import annotations

from typing import ClassVar


class Native:
    """A value whose attributes nobody sets once it is made; `__match_args__` names those that make two equal."""

    __match_args__: ClassVar[tuple[str, ...]] = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == [getattr(other, name) for name in self.__match_args__]

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in zip(self.__match_args__, self._values(), strict=True))
        return f"{type(self).__name__}({', '.join(shown)})"

    def _values(self) -> list[object]:
        return [getattr(self, name) for name in self.__match_args__]
