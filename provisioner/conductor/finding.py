"""Find what a decision is about, or say that there is no such thing, or that it is not what the caller thinks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from provisioner.conductor.ledger import Ledger
from provisioner.errors import Conflict, NotFound
from provisioner.model import Machine

T = TypeVar("T")
# Looks at a thing as it is right before it is changed, and raises what `moved_on` makes when it is another by now.
Expect = Callable[[Any], None]


def decided(ledger: Ledger, cls: type[T], key: str) -> T:
    """The newest decided value of this key, for rules; raises NotFound."""
    value = ledger.get(cls, key)
    if value is None:
        raise NotFound(f"there is no {cls.__name__.lower()} {key!r}", object=key)
    return value


def moved_on(what: str, key: str) -> Conflict:
    """The error for a change that was made for an earlier state of the thing (RFC 9110 section 13.1.1)."""
    message = f"{what} was changed by somebody else since you read it; read it again and decide anew"
    return Conflict(message, object=key, code="precondition-failed", status=412)


def at_revision(revision: int) -> Expect:
    """Expects a machine of this revision."""

    def check(machine: Machine) -> None:
        if machine.revision != revision:
            raise moved_on(f"machine {machine.name}", machine.id)

    return check
