"""One request for many machines: each is changed in a transaction of its own and has a result of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct

from provisioner.access import Principal
from provisioner.conductor.actions import Actions
from provisioner.conductor.finding import decided, refuse_locked
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machine_changes import MachineChange
from provisioner.conductor.machines import Machines
from provisioner.conductor.operations import Operations
from provisioner.errors import FieldError, Invalid, NotFound, ProvisionerError, Refused, unknown
from provisioner.model.machines import Job, Machine
from provisioner.model.operations import ItemResult, Operation
from provisioner.power.driver import ACTIONS

# So many share commits; other requests get their turn between two groups.
_GROUP = 64


class BulkWork(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is done to each machine: exactly one of `change`, `verb` and `action`.

    `stage` is for the verb restart, `reason` for cancel; `force` drops work that is left when `change` sets a stage.
    With `dry_run` every machine is answered as it would be and nothing changes.
    """

    change: MachineChange | None = None
    verb: str = ""
    action: str = ""
    stage: str = ""
    reason: str = ""
    force: bool = False
    dry_run: bool = False


class BulkResult(Struct, frozen=True):
    """What came of it: `done` and `failed` count `items`, which come in the order of the machines."""

    total: int
    done: int
    failed: int
    dry_run: bool
    items: tuple[ItemResult, ...]


_Verb = Callable[["Bulk", Machine, BulkWork, Principal], Awaitable[object]]


class Bulk:
    """Changes many machines, or does the same to all of them."""

    def __init__(
        self, ledger: Ledger, machines: Machines, jobs: Jobs, actions: Actions, operations: Operations
    ) -> None:
        self._ledger = ledger
        self._machines = machines
        self._jobs = jobs
        self._actions = actions
        self._operations = operations

    def check(self, work: BulkWork) -> None:
        """Raise Invalid when this is not one thing to do."""
        given = [name for name in ("change", "verb", "action") if getattr(work, name)]
        if len(given) != 1:
            message = f"say exactly one of change, verb and action; there is: {', '.join(given) or 'none'}"
            raise Invalid(message, fields=(FieldError(given[1] if given else "change", message),))
        if work.verb and work.verb not in VERBS:
            message = unknown("verb", work.verb, VERBS)
            raise Invalid(message, fields=(FieldError("verb", message),))
        if work.action and work.action not in ACTIONS:
            message = unknown("action", work.action, ACTIONS)
            raise Invalid(message, fields=(FieldError("action", message),))
        for name, verb in (("stage", "restart"), ("reason", "cancel")):
            if getattr(work, name) and work.verb != verb:
                message = f"is for the verb {verb} only"
                raise Invalid(f"{name} {message}", fields=(FieldError(name, message),))

    async def do(self, machines: Sequence[str], work: BulkWork, by: Principal) -> BulkResult:
        """Change these machines (ids or names) or do the verb to each; actions are only rehearsed here."""
        self.check(work)
        items: list[ItemResult] = []
        for start in range(0, len(machines), _GROUP):
            group = machines[start : start + _GROUP]
            items += await asyncio.gather(*(self._one(name, work, by) for name in group))
        failed = sum(item.status >= 400 for item in items)
        return BulkResult(len(items), len(items) - failed, failed, work.dry_run, tuple(items))

    async def begin(self, machines: Sequence[str], work: BulkWork, by: Principal) -> Operation:
        """Begin the action on all these machines (ids or names), as an operation to follow."""
        self.check(work)

        async def one(machine: str) -> ItemResult:
            return await self._one(machine, work, by)

        ids = [self._machines.find(name).id for name in machines]
        return await self._operations.begin(work.action, ids, one, by)

    async def _one(self, name: str, work: BulkWork, by: Principal) -> ItemResult:
        try:
            machine = self._machines.find(name)
        except NotFound as error:
            return ItemResult("", name, error.status, error.code, error.message)
        try:
            detail = await self._do(machine, work, by)
        except ProvisionerError as error:
            return ItemResult(machine.id, machine.name, error.status, error.code, error.message)
        return ItemResult(machine.id, machine.name, 200, detail=detail)

    async def _do(self, machine: Machine, work: BulkWork, by: Principal) -> str:
        if work.change is not None:
            await self._machines.change(machine.id, work.change, by, force=work.force, rehearse=work.dry_run)
        elif work.verb:
            await VERBS[work.verb](self, machine, work, by)
        elif work.dry_run:
            choice = next(each for each in self._actions.choices(machine.id) if each.name == work.action)
            if not choice.available:
                raise Invalid(choice.reason, object=machine.id, code="action-unavailable")
        else:
            return (await self._actions.perform(machine.id, work.action, by)).message
        return ""

    async def restart(self, machine: Machine, work: BulkWork, by: Principal) -> None:
        """Begin its work anew, or from a stage."""
        await self._machines.restart(machine.id, work.stage, by, rehearse=work.dry_run)

    async def resume(self, machine: Machine, work: BulkWork, by: Principal) -> None:
        """Let it go on at the task that failed or was held."""
        await self._machines.resume(machine.id, by, rehearse=work.dry_run)

    async def delete(self, machine: Machine, work: BulkWork, by: Principal) -> None:
        """Forget it."""
        await self._machines.delete(machine.id, by, rehearse=work.dry_run)

    async def cancel(self, machine: Machine, work: BulkWork, by: Principal) -> None:
        """Stop the job it has."""
        job = self._ledger.get(Job, decided(self._ledger, Machine, machine.id).current_job)
        if job is None or job.final:
            raise Refused(f"machine {machine.name} has no job to cancel", object=machine.id)
        refuse_locked(machine, by)
        if not work.dry_run:
            await self._jobs.cancel(job.id, work.reason, by)


VERBS: Mapping[str, _Verb] = {
    "restart": Bulk.restart,
    "resume": Bulk.resume,
    "cancel": Bulk.cancel,
    "delete": Bulk.delete,
}
