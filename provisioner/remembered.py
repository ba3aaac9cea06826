"""What a function has said lately.

`functools.lru_cache` does the same for code that is not compiled; compiled code asks this one without making a tuple of
the argument and a call of it. All is forgotten at once when it is too much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Said = TypeVar("Said")


class Remembered(Generic[Asked, Said]):
    """Answers of `function`, which takes one argument, never says None and always says the same; `most` are kept."""

    def __init__(self, function: Callable[[Asked], Said], most: int) -> None:
        self._function = function
        self._most = most
        self._known: dict[Asked, Said] = {}

    def of(self, asked: Asked) -> Said:
        """What the function says; raises what it raises."""
        said = self._known.get(asked)
        return said if said is not None else self._learned(asked)

    def _learned(self, asked: Asked) -> Said:
        said = self._function(asked)
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[asked] = said
        return said
