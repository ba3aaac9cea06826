"""What operators do with machines: make, change, restart, resume, grant, delete."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from provisioner.access import Principal
from provisioner.availability import with_availability
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.clashes import Clashes
from provisioner.conductor.finding import decided, refuse_locked
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.conductor.machine_changes import MachineChange, MachineChanges, NewMachine
from provisioner.conductor.record import save_job_end, save_machine
from provisioner.errors import FieldError, Invalid, NotFound, Refused, unknown
from provisioner.lifecycle import cancel_job
from provisioner.model.access import Token
from provisioner.model.machines import EraseGrant, Job, JobState, Machine
from provisioner.plan import resume

_GRANT_HOURS_LIMIT = 24 * 14


class Machines:
    """Carries out what operators want of machines, each in one transaction.

    With `rehearse` a verb decides and raises as it would, and then changes nothing.
    """

    def __init__(self, ledger: Ledger, catalog: Catalog, clashes: Clashes) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._clashes = clashes
        self._changes = MachineChanges(ledger, catalog)

    def find(self, name: str) -> Machine:
        """A machine on disk by id or name; raises NotFound."""
        named = self._ledger.machine_by_name(name)
        machine = self._ledger.read(Machine, name) or (self._ledger.read(Machine, named.id) if named else None)
        if machine is None:
            raise NotFound(f"there is no machine {name!r}", object=name)
        return machine

    def _unlocked(self, machine_id: str, by: Principal) -> Machine:
        """The machine, which its agent may always go on with, but people only while it is not locked."""
        machine = decided(self._ledger, Machine, machine_id)
        refuse_locked(machine, by)
        return machine

    async def create(self, asked: NewMachine, by: Principal) -> Machine:
        """Make a machine before it has ever been seen; it is recognised by its MACs when it boots."""
        tx = self._ledger.transaction(by=str(by))
        machine = self._changes.made(asked, tx.now)
        saved: Machine = tx.put(machine)
        self._clashes.settle(tx, machine.macs)
        tx.event("machine.create", machine=machine.id, key=machine.name)
        if machine.workflow:
            tx.event("machine.workflow", machine=machine.id, key=machine.name, workflow=machine.workflow, before="")
        await tx.commit()
        return saved

    async def change(
        self,
        machine_id: str,
        change: MachineChange,
        by: Principal,
        *,
        force: bool = False,
        rehearse: bool = False,
    ) -> Machine:
        """Change a machine as an operator (or its agent, within its rights); all or nothing."""
        if change.locked is False:
            machine = decided(self._ledger, Machine, machine_id)
        else:
            machine = self._unlocked(machine_id, by)
        new = self._changes.changed(machine, change, force=force)
        tx = self._ledger.transaction(by=str(by))
        given = change.workflow is not msgspec.UNSET or change.stage is not msgspec.UNSET
        if given or new.current_task != machine.current_task:
            self._drop_job(tx, machine)
        tx.event("machine.update", machine=machine.id, key=new.name, fields=change.fields)
        saved = save_machine(tx, machine, new)
        if not rehearse:
            await tx.commit()
        return saved

    async def restart(self, machine_id: str, stage: str, by: Principal, *, rehearse: bool = False) -> Machine:
        """Begin the machine's work anew, from its start or from the stage of its workflow that is named."""
        machine = self._unlocked(machine_id, by)
        new = self._changes.restarted(machine, stage)
        tx = self._ledger.transaction(by=str(by))
        self._drop_job(tx, machine)
        tx.event("machine.restart", machine=machine.id, key=machine.name, workflow=new.workflow, stage=new.stage)
        saved = save_machine(tx, machine, new)
        if not rehearse:
            await tx.commit()
        return saved

    async def resume(self, machine_id: str, by: Principal, *, rehearse: bool = False) -> Machine:
        """Let the machine go on at the task that failed or was held, with all its retries."""
        machine = self._unlocked(machine_id, by)
        new = resume(machine)
        tx = self._ledger.transaction(by=str(by))
        tx.event("machine.resume", machine=machine.id, key=machine.name)
        saved = save_machine(tx, machine, new)
        if not rehearse:
            await tx.commit()
        return saved

    def _drop_job(self, tx: Transaction, machine: Machine) -> None:
        job = self._ledger.get(Job, machine.current_job)
        if job is None or job.final:
            return
        reason = "the machine was given other work"
        tx.event("job.cancel", machine=machine.id, key=job.id, task=job.task, reason=reason)
        cancelled = cancel_job(job, reason, tx.now)
        if cancelled.final:
            save_job_end(tx, cancelled)
        else:
            tx.put(cancelled)

    async def set_param(self, machine_id: str, name: str, value: Any, by: Principal) -> None:
        """Set one param of the machine; raises Invalid when it does not fit its schema."""
        machine = self._unlocked(machine_id, by)
        taken = self._catalog.values.accept({name: value}, machine.params)
        tx = self._ledger.transaction(by=str(by))
        tx.event("machine.update", machine=machine_id, key=machine.name, fields=[f"params.{name}"])
        save_machine(tx, machine, replace(machine, params={**machine.params, **taken}))
        await tx.commit()

    async def reveal_param(self, machine_id: str, name: str, server: Mapping[str, str], by: Principal) -> Any:
        """The value of a param, opened; that a secure one was revealed is told in the machine's timeline first."""
        machine = decided(self._ledger, Machine, machine_id)
        found = self._catalog.values.reveal(machine, name, server)
        if found.secure:
            tx = self._ledger.transaction(by=str(by))
            tx.event("param.reveal", machine=machine.id, key=name)
            await tx.commit()
        return found.value

    async def drop_param(self, machine_id: str, name: str, by: Principal) -> None:
        """Remove one param of the machine itself."""
        machine = self._unlocked(machine_id, by)
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
        machine = self._unlocked(machine_id, by)
        tx = self._ledger.transaction(by=str(by))
        grant = EraseGrant(disk.strip(), tx.now + timedelta(hours=hours), str(by))
        kept = tuple(old for old in machine.erase_grants if old.expires_at > tx.now and old.disk != grant.disk)
        tx.event("machine.grant", machine=machine.id, key=machine.name, disk=grant.disk, expires_at=grant.expires_at)
        saved = save_machine(tx, machine, replace(machine, erase_grants=(*kept, grant)))
        await tx.commit()
        return saved

    async def revoke_erase(self, machine_id: str, disk: str, by: Principal) -> Machine:
        """Take the leave to erase this disk back; also of a locked machine, since it can only save what is there."""
        machine = decided(self._ledger, Machine, machine_id)
        kept = tuple(grant for grant in machine.erase_grants if grant.disk != disk)
        if len(kept) == len(machine.erase_grants):
            message = unknown("grant", disk, [grant.disk for grant in machine.erase_grants])
            raise NotFound(f"machine {machine.name}: {message}", object=machine.id)
        tx = self._ledger.transaction(by=str(by))
        tx.event("machine.revoke", machine=machine.id, key=machine.name, disk=disk)
        saved = save_machine(tx, machine, replace(machine, erase_grants=kept))
        await tx.commit()
        return saved

    async def delete(self, machine_id: str, by: Principal, *, rehearse: bool = False) -> None:
        """Forget a machine, its tokens and its jobs; refused while a job runs or it is locked."""
        machine = self._unlocked(machine_id, by)
        job = self._ledger.get(Job, machine.current_job)
        if job is not None and job.state is JobState.RUNNING:
            raise Refused(f"machine {machine.name} is running job {job.id}; cancel that first", object=machine.id)
        tx = self._ledger.transaction(by=str(by))
        tx.delete(Machine, machine.id)
        for old in self._ledger.jobs_of(machine.id):
            tx.delete(Job, old.id)
        for token in self._ledger.tokens_of(machine.id):
            tx.delete(Token, token.digest)
        self._clashes.forget_machine(tx, machine.id)
        tx.event("machine.delete", machine=machine.id, key=machine.name)
        if not rehearse:
            await tx.commit()

    async def refresh(self) -> int:
        """See anew of every machine whether it is available; for the start, when packs may have changed."""
        tx = self._ledger.transaction(by="server")
        changed = 0
        for machine in list(self._ledger.all(Machine)):
            new = with_availability(machine, self._catalog.view)
            if new != machine:
                save_machine(tx, machine, new)
                changed += 1
        await tx.commit()
        return changed
