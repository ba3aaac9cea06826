"""Find what a decision is about, or say that there is no such thing, or that it is locked."""

from __future__ import annotations

from typing import TypeVar

from provisioner.access import Principal, Who
from provisioner.conductor.ledger import Ledger
from provisioner.errors import NotFound, Refused
from provisioner.model.machines import Machine

T = TypeVar("T")


def decided(ledger: Ledger, cls: type[T], key: str) -> T:
    """The newest decided value of this key, for rules; raises NotFound."""
    value = ledger.get(cls, key)
    if value is None:
        raise NotFound(f"there is no {cls.__name__.lower()} {key!r}", object=key)
    return value


def refuse_locked(machine: Machine, by: Principal) -> None:
    """Raise Refused when people may not touch the machine now; its agent and its work always go on."""
    if machine.locked and by.who is Who.USER:
        raise Refused(f"machine {machine.name} is locked; unlock it first", object=machine.id, code="locked")
