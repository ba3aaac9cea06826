"""What operators do with machines: make, change, grant, delete."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from provisioner.access import Principal
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.finding import decided
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.conductor.machine_changes import MachineChange, MachineChanges
from provisioner.conductor.record import save_machine
from provisioner.errors import FieldError, Invalid, NotFound, Refused, unknown
from provisioner.identity import normal_mac
from provisioner.lifecycle import cancel_job
from provisioner.model import EraseGrant, Job, JobState, Machine, Token
from provisioner.params import validate

_GRANT_HOURS_LIMIT = 24 * 14


class Machines:
    """Carries out what operators want of machines, each in one transaction."""

    def __init__(self, ledger: Ledger, catalog: Catalog) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._changes = MachineChanges(ledger, catalog)

    def find(self, name: str) -> Machine:
        """A machine on disk by id or name; raises NotFound."""
        named = self._ledger.machine_by_name(name)
        machine = self._ledger.read(Machine, name) or (self._ledger.read(Machine, named.id) if named else None)
        if machine is None:
            raise NotFound(f"there is no machine {name!r}", object=name)
        return machine

    async def create(self, name: str, macs: tuple[str, ...], description: str, by: Principal) -> Machine:
        """Make a machine before it has ever been seen; it is recognised by its MACs when it boots."""
        tx = self._ledger.transaction(by=str(by))
        known = tuple(dict.fromkeys(normal_mac(mac) for mac in macs))
        machine = Machine(
            id=str(uuid4()), name=name, macs=known, description=description, created_at=tx.now, updated_at=tx.now
        )
        self._changes.check_name(machine)
        self._changes.check_macs(machine)
        saved: Machine = tx.put(machine)
        tx.event("machine.create", machine=machine.id, key=name)
        await tx.commit()
        return saved

    async def change(self, machine_id: str, change: MachineChange, by: Principal, *, force: bool = False) -> Machine:
        """Change a machine as an operator (or its agent, within its rights); all or nothing."""
        machine = decided(self._ledger, Machine, machine_id)
        if machine.locked and change.locked is not False:
            raise Refused(f"machine {machine.name} is locked; unlock it first", object=machine.id, code="locked")
        new = self._changes.changed(machine, change, force=force)
        tx = self._ledger.transaction(by=str(by))
        if change.workflow is not msgspec.UNSET or change.stage is not msgspec.UNSET:
            self._drop_job(tx, machine)
        tx.event("machine.update", machine=machine.id, key=new.name, fields=change.fields)
        saved = save_machine(tx, machine, new)
        await tx.commit()
        return saved

    def _drop_job(self, tx: Transaction, machine: Machine) -> None:
        job = self._ledger.get(Job, machine.current_job)
        if job is not None and not job.final:
            tx.put(cancel_job(job, "the machine was given other work", tx.now))
            tx.event("job.cancel", machine=machine.id, key=job.id, task=job.task)

    async def set_param(self, machine_id: str, name: str, value: Any, by: Principal) -> None:
        """Set one param of the machine; raises Invalid when it does not fit its schema."""
        declared = self._catalog.view["params"]
        if name not in declared:
            raise Invalid(unknown("param", name, declared), object=machine_id)
        errors = validate(name, value, declared[name])
        if errors:
            raise Invalid(f"param {name}: {errors[0].message}", object=machine_id, fields=tuple(errors))
        machine = decided(self._ledger, Machine, machine_id)
        tx = self._ledger.transaction(by=str(by))
        tx.event("machine.update", machine=machine_id, key=machine.name, fields=[f"params.{name}"])
        save_machine(tx, machine, replace(machine, params={**machine.params, name: value}))
        await tx.commit()

    async def drop_param(self, machine_id: str, name: str, by: Principal) -> None:
        """Remove one param of the machine itself."""
        machine = decided(self._ledger, Machine, machine_id)
        if name not in machine.params:
            raise NotFound(f"machine {machine.name} itself has no param {name!r}", object=machine_id)
        tx = self._ledger.transaction(by=str(by))
        kept = {key: value for key, value in machine.params.items() if key != name}
        tx.event("machine.update", machine=machine_id, key=machine.name, fields=[f"params.{name}"])
        save_machine(tx, machine, replace(machine, params=kept))
        await tx.commit()

    async def grant_erase(self, machine_id: str, disk: str, hours: float, by: Principal) -> Machine:
        """Allow what is on this disk (WWN, serial, path, or `any`) to be destroyed, for some hours."""
        if not disk.strip():
            raise Invalid(
                "name the disk by WWN, serial or path, or say `any`", fields=(FieldError("disk", "is empty"),)
            )
        if not 0 < hours <= _GRANT_HOURS_LIMIT:
            message = f"{hours} is not more than 0 and at most {_GRANT_HOURS_LIMIT}"
            raise Invalid(f"hours: {message}", object=machine_id, fields=(FieldError("hours", message),))
        machine = decided(self._ledger, Machine, machine_id)
        tx = self._ledger.transaction(by=str(by))
        grant = EraseGrant(disk.strip(), tx.now + timedelta(hours=hours), str(by))
        kept = tuple(old for old in machine.erase_grants if old.expires_at > tx.now and old.disk != grant.disk)
        tx.event("machine.grant", machine=machine.id, key=machine.name, disk=grant.disk, expires_at=grant.expires_at)
        saved = save_machine(tx, machine, replace(machine, erase_grants=(*kept, grant)))
        await tx.commit()
        return saved

    async def delete(self, machine_id: str, by: Principal) -> None:
        """Forget a machine, its tokens and its jobs; refused while a job runs or it is locked."""
        machine = decided(self._ledger, Machine, machine_id)
        job = self._ledger.get(Job, machine.current_job)
        if machine.locked:
            raise Refused(f"machine {machine.name} is locked; unlock it first", object=machine.id, code="locked")
        if job is not None and job.state is JobState.RUNNING:
            raise Refused(f"machine {machine.name} is running job {job.id}; cancel that first", object=machine.id)
        tx = self._ledger.transaction(by=str(by))
        tx.delete(Machine, machine.id)
        for old in self._ledger.jobs_of(machine.id):
            tx.delete(Job, old.id)
        for token in self._ledger.tokens_of(machine.id):
            tx.delete(Token, token.digest)
        tx.event("machine.delete", machine=machine.id, key=machine.name)
        await tx.commit()
