"""Find what a decision is about, or say that there is no such thing."""

from __future__ import annotations

from typing import TypeVar

from provisioner.conductor.ledger import Ledger
from provisioner.errors import NotFound

T = TypeVar("T")


def decided(ledger: Ledger, cls: type[T], key: str) -> T:
    """The newest decided value of this key, for rules; raises NotFound."""
    value = ledger.get(cls, key)
    if value is None:
        raise NotFound(f"there is no {cls.__name__.lower()} {key!r}", object=key)
    return value
