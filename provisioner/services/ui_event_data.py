"""What an event says, for those who put it into words: data is whatever was known when it happened, of any shape."""

from __future__ import annotations

from typing import Any

from provisioner.events import Event

# Within what a float can hold; an agent may send anything.
_HIGHEST = 1e21


def text(event: Event, name: str) -> str:
    """What the event says under this name; empty when it says nothing."""
    value = event.data.get(name)
    return "" if value is None else str(value)


def number(value: Any) -> float | None:
    """The value, if it is a number that can be reckoned with."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _HIGHEST
    return value if known else None


def bracketed(words: str, *extras: str) -> str:
    """The words, with what else is known in brackets."""
    known = [extra for extra in extras if extra]
    return f"{words} ({', '.join(known)})" if known else words


def is_marker(event: Event) -> bool:
    """Whether the job only records a change of stage or boot environment, which has an event of its own."""
    return str(event.data.get("task")).startswith(("stage:", "bootenv:"))
