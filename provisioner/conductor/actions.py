"""Power actions on machines: asked for, carried out by a driver, read back, and told in the machine's timeline."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from msgspec import Struct
from msgspec.structs import replace

from provisioner.access import SERVER, Principal
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.finding import refuse_locked
from provisioner.conductor.jobs import Jobs
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.saving import Wait, until_saved
from provisioner.errors import Invalid, NotFound, ProvisionerError, unknown
from provisioner.expand import CannotExpand
from provisioner.lifecycle import Outcome as JobOutcome
from provisioner.model.machines import ExitState, Job, JobState, Machine
from provisioner.power.driver import ACTIONS, PowerState
from provisioner.power.registry import PowerDrivers

log = structlog.get_logger(__name__)

# The one action that changes nothing.
_READING = "power-status"


class ActionChoice(Struct, frozen=True):
    """An action and whether it can be used on this machine now; `reason` says why not."""

    name: str
    description: str
    disruptive: bool
    available: bool
    reason: str = ""


class ActionResult(Struct, frozen=True):
    """What came of an action, as read back from the BMC."""

    action: str
    state: str
    message: str


class Actions:
    """Carries out power actions; several at once on different machines, one after the other on each BMC."""

    def __init__(
        self, ledger: Ledger, catalog: Catalog, jobs: Jobs, drivers: PowerDrivers, wait: Wait = asyncio.sleep
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._jobs = jobs
        self._drivers = drivers
        self._wait = wait
        self._waiting: asyncio.Queue[tuple[Machine, str, Job]] = asyncio.Queue()
        jobs.use_actions(lambda machine, name, job: self._waiting.put_nowait((machine, name, job)))

    def _machine(self, machine_id: str) -> Machine:
        machine = self._ledger.get(Machine, machine_id)
        if machine is None:
            raise NotFound(f"there is no machine {machine_id!r}", object=machine_id)
        return machine

    def _params(self, machine: Machine) -> dict[str, Any]:
        """What a driver needs to know of the machine's BMC, its password opened."""
        return self._catalog.values.below(machine, "power/")

    def _reason_against(self, action: str, machine: Machine) -> str:
        """Why the action cannot be used on this machine; empty when it can."""
        try:
            return self._drivers.reason_against(action, self._params(machine))
        except CannotExpand as error:
            return error.message

    def choices(self, machine_id: str) -> list[ActionChoice]:
        """All actions, each with the reason when it cannot be used on this machine."""
        machine = self._machine(machine_id)
        reasons = {name: self._reason_against(name, machine) for name in ACTIONS}
        if machine.locked:
            reasons |= {name: "the machine is locked; unlock it first" for name in ACTIONS if name != _READING}
        return [
            ActionChoice(name, action.description, action.disruptive, not reasons[name], reasons[name])
            for name, action in ACTIONS.items()
        ]

    async def perform(self, machine_id: str, action: str, by: Principal) -> ActionResult:
        """Do it and return what the BMC says afterwards; raises PowerError's children, Invalid or Conflict."""
        machine = self._machine(machine_id)
        if action not in ACTIONS:
            raise Invalid(unknown("power action", action, ACTIONS), object=machine.id, code="action-unavailable")
        if action != _READING:
            refuse_locked(machine, by)
        reason = self._reason_against(action, machine)
        if reason:
            raise Invalid(f"machine {machine.name}: {reason}", object=machine.id, code="action-unavailable")
        await self._tell("power.request", machine, action, by)
        try:
            outcome = await self._drivers.perform(action, self._params(machine), machine.firmware)
        except ProvisionerError as error:
            await self._tell("power.error", machine, action, by, message=error.message, code=error.code)
            raise
        await self._record(machine.id, action, outcome.state, outcome.message, by)
        return ActionResult(action, outcome.state.value, outcome.message)

    async def _tell(self, kind: str, machine: Machine, action: str, by: Principal, **data: Any) -> None:
        tx = self._ledger.transaction(by=str(by))
        tx.event(kind, machine=machine.id, key=action, **data)
        await tx.commit()

    async def _record(self, machine_id: str, action: str, state: PowerState, message: str, by: Principal) -> None:
        tx = self._ledger.transaction(by=str(by))
        tx.event("power.done", machine=machine_id, key=action, state=state.value, message=message)
        machine = self._ledger.get(Machine, machine_id)
        if machine is not None and state is not PowerState.UNKNOWN and machine.power != state.value:
            tx.put(replace(machine, power=state.value))
        await tx.commit()

    async def prepare_reboot(self, machine_id: str, by: Principal) -> dict[str, str]:
        """Tell the BMC what the machine is to boot next. Never fails: without a BMC the boot order decides."""
        machine = self._machine(machine_id)
        bootenv = self._catalog.view["bootenvs"].get(machine.bootenv)
        device = "pxe" if bootenv is not None and bootenv.netboots else "disk"
        await self._tell("agent.reboot", machine, machine.bootenv, by, next_boot=device)
        action = f"next-boot-{device}"
        if self._reason_against(action, machine):
            return {"next_boot": "none", "message": "power control is not set up; the boot order decides"}
        try:
            result = await self.perform(machine_id, action, by)
        except ProvisionerError as error:
            return {"next_boot": "none", "message": error.message}
        return {"next_boot": device, "message": result.message}

    async def run(self) -> None:
        """Carry out the `action:` entries of machines' tasks as they come, for as long as the server runs."""
        async with asyncio.TaskGroup() as group:
            while True:
                machine, name, job = await self._waiting.get()
                group.create_task(self._run_job(machine, name, job))

    async def _run_job(self, machine: Machine, name: str, job: Job) -> None:
        try:
            result = await self.perform(machine.id, name, SERVER)
            outcome = JobOutcome(JobState.FINISHED, ExitState.COMPLETE, 0, result.message)
        except ProvisionerError as error:
            outcome = JobOutcome(JobState.FAILED, ExitState.FAILED, None, error.message)
        except Exception:
            # A driver may come from anybody; its faults end this job, not the actions of all other machines.
            log.exception("action.broken", machine=machine.id, job=job.id, action=name)
            message = "the power driver is broken; the server's log has the details"
            outcome = JobOutcome(JobState.FAILED, ExitState.FAILED, None, message)

        async def record() -> None:
            await self._jobs.append_log(job.id, 0, f"[server] {name}: {outcome.message}\n".encode())
            await self._jobs.end(job.id, "", outcome, SERVER)

        try:
            # Nobody else ends this job: its machine would wait for it until the server's next start.
            await until_saved(record, self._wait)
        except ProvisionerError:
            log.exception("action.unrecorded", machine=machine.id, job=job.id, action=name)
