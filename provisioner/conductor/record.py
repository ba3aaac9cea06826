"""Save a machine together with the events that tell what changed about it."""

from __future__ import annotations

from provisioner.conductor.ledger import Transaction
from provisioner.model import Machine


def save_machine(tx: Transaction, old: Machine, new: Machine) -> Machine:
    """Put `new` in the place of `old` and tell the differences that people care about. Returns what was saved."""
    if new == old:
        return old
    tell = {"machine": new.id, "key": new.name}
    if new.workflow != old.workflow:
        tx.event("machine.workflow", **tell, workflow=new.workflow, before=old.workflow)
    if new.stage != old.stage:
        tx.event("machine.stage", **tell, stage=new.stage, before=old.stage)
    if new.bootenv != old.bootenv:
        tx.event("machine.bootenv", **tell, bootenv=new.bootenv, before=old.bootenv)
    if (new.runnable, new.waiting_for) != (old.runnable, old.waiting_for):
        tx.event("machine.runnable", **tell, runnable=new.runnable, waiting_for=new.waiting_for)
    if new.tasks and new.done and not (old.done and old.tasks == new.tasks):
        tx.event("machine.complete", **tell, workflow=new.workflow, stage=new.stage)
    saved: Machine = tx.put(new)
    return saved
