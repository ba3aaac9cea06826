"""Machines: registering, coming up, being changed by operators, being deleted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from provisioner.access import Principal
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.jobs import SERVER_BOOT_ID
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.conductor.record import save_machine
from provisioner.conductor.tokens import Tokens
from provisioner.errors import Conflict, Denied, FieldError, Invalid, NotFound, Refused, unknown
from provisioner.identity import best_match, clean
from provisioner.lifecycle import cancel_job, lose_job, lost_reason, may_run_after_boot
from provisioner.model import LIVE_STATES, AgentInfo, EraseGrant, Identity, Job, JobState, Machine, Token, TokenPurpose
from provisioner.params import validate, validate_all
from provisioner.plan import (
    CHANGE_STAGE_MAP,
    NextAction,
    NextStage,
    clear_workflow,
    find_stage,
    follow_map,
    rewind,
    set_bootenv,
    set_stage,
    set_workflow,
)

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_GRANT_HOURS_LIMIT = 24 * 14


class Registration(Struct, frozen=True, kw_only=True):
    """What a machine says of itself when it first comes up in a netbooted environment."""

    ticket: str
    macs: tuple[str, ...]
    arch: str = "amd64"
    firmware: str = ""
    bootenv: str = ""
    hostname: str = ""
    address: str = ""
    identity: Identity = Identity()


class Hello(Struct, frozen=True, kw_only=True):
    """What an agent says when it comes up; `instance` tells one agent process from another."""

    boot_id: str
    bootenv: str
    instance: str = ""
    version: str = ""
    arch: str = ""
    hostname: str = ""
    addresses: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()


class Registered(Struct, frozen=True):
    """The answer to a registration; `token` is good for this machine and its jobs only."""

    machine: Machine
    token: str
    created: bool


class MachineChange(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What may be changed about a machine; absent fields stay as they are. `params` merge, null removes."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    macs: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    arch: str | msgspec.UnsetType = msgspec.UNSET
    profiles: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    params: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    meta: dict[str, str | None] | msgspec.UnsetType = msgspec.UNSET
    workflow: str | msgspec.UnsetType = msgspec.UNSET
    stage: str | msgspec.UnsetType = msgspec.UNSET
    bootenv: str | msgspec.UnsetType = msgspec.UNSET
    current_task: int | msgspec.UnsetType = msgspec.UNSET
    runnable: bool | msgspec.UnsetType = msgspec.UNSET
    locked: bool | msgspec.UnsetType = msgspec.UNSET


_WORK_FIELDS = ("workflow", "stage", "bootenv", "current_task", "runnable")


def normal_mac(text: str, path: str = "macs") -> str:
    """A MAC as lower-case hex with colons; raises Invalid naming the field `path` for anything else."""
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        message = f"{text!r} is not a MAC address such as 52:54:00:12:34:56"
        raise Invalid(f"{path}: {message}", fields=(FieldError(path, message),))
    return mac


class Machines:
    """All that changes machines, except their jobs' progress."""

    def __init__(self, ledger: Ledger, catalog: Catalog, tokens: Tokens, default_workflow: str) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._tokens = tokens
        self._default_workflow = default_workflow

    def find(self, name: str) -> Machine:
        """A machine on disk by id or name; raises NotFound."""
        named = self._ledger.machine_by_name(name)
        machine = self._ledger.read(Machine, name) or (self._ledger.read(Machine, named.id) if named else None)
        if machine is None:
            raise NotFound(f"there is no machine {name!r}", object=name)
        return machine

    def _decide(self, machine_id: str) -> Machine:
        machine = self._ledger.get(Machine, machine_id)
        if machine is None:
            raise NotFound(f"there is no machine {machine_id!r}", object=machine_id)
        return machine

    # --- coming up --------------------------------------------------------------------------------------------

    async def register(self, asked: Registration, address: str) -> Registered:
        """Recognise a machine or make a new one, and give it a token bound to it."""
        macs = tuple(dict.fromkeys(normal_mac(mac) for mac in asked.macs))
        if not macs:
            raise Invalid("a machine registers with at least one MAC", fields=(FieldError("macs", "is empty"),))
        identity = clean(asked.identity)
        tx = self._ledger.transaction(by=f"address:{address}")
        ticket = self._tokens.redeem_ticket(tx, asked.ticket)
        if ticket.subject not in macs:
            raise Denied(
                f"the ticket is for {ticket.subject}, which is not among the machine's MACs",
                code="ticket-refused",
            )
        match = best_match(self._ledger.all(Machine), macs, identity)
        self._refuse_clash(match.machine if match else None, macs, ticket)
        seen = {
            "macs": macs,
            "identity": identity,
            "arch": asked.arch,
            "firmware": asked.firmware,
            "address": asked.address or address,
        }
        if match is None:
            machine = self._new_machine(tx, asked, seen)
        else:
            machine = save_machine(tx, match.machine, replace(match.machine, **seen))
        token = self._tokens.issue(tx, TokenPurpose.MACHINE, machine.id)
        tx.event(
            "agent.register",
            machine=machine.id,
            mac=ticket.subject,
            key=machine.name,
            score=match.score if match else 0,
        )
        await tx.commit()
        return Registered(machine, token, created=match is None)

    def _refuse_clash(self, known: Machine | None, macs: tuple[str, ...], ticket: Token) -> None:
        for mac in macs:
            other = self._ledger.machine_by_mac(mac)
            if other is not None and (known is None or other.id != known.id):
                raise Conflict(
                    f"MAC {mac} belongs to machine {other.name}, but serial numbers say that this is another one;"
                    " delete or correct that machine first",
                    object=other.id,
                    code="identity-clash",
                )
        if known is None or ticket.subject in known.macs or known.agent.hello_at is None:
            return
        job = self._ledger.get(Job, known.current_job)
        if job is not None and job.state is JobState.RUNNING:
            raise Conflict(
                f"this looks like machine {known.name}, which is running a job at this moment from another network"
                " card; two machines seem to share serial numbers",
                object=known.id,
                code="identity-clash",
            )

    def _new_machine(self, tx: Transaction, asked: Registration, seen: dict[str, Any]) -> Machine:
        view = self._catalog.view
        bootenv = asked.bootenv if asked.bootenv in view["bootenvs"] else ""
        machine = Machine(
            id=str(uuid4()),
            name=self._free_name(asked, seen["macs"]),
            created_at=tx.now,
            updated_at=tx.now,
            waiting_for="its agent to come up",
            **(seen | {"bootenv": bootenv} if bootenv else seen),
        )
        workflow = view["workflows"].get(self._default_workflow)
        if workflow is not None:
            machine = set_workflow(machine, workflow, view["stages"])
        tx.event("machine.create", machine=machine.id, mac=seen["macs"][0], key=machine.name)
        if machine.workflow:
            tx.event("machine.workflow", machine=machine.id, key=machine.name, workflow=machine.workflow, before="")
        saved: Machine = tx.put(machine)
        return saved

    def _free_name(self, asked: Registration, macs: tuple[str, ...]) -> str:
        reserved = [r.hostname for mac in macs for r in self._ledger.reservations_by_mac(mac) if r.hostname]
        fallback = "m-" + macs[0].replace(":", "-")
        for name in (*reserved, fallback):
            if _NAME.fullmatch(name) and self._ledger.machine_by_name(name) is None:
                return name
        return f"{fallback}-{uuid4().hex[:4]}"

    async def hello(self, machine_id: str, said: Hello, by: Principal) -> Machine:
        """An agent has come up. The first hello of a boot, in the right environment, makes the machine runnable."""
        machine = self._decide(machine_id)
        if not said.boot_id:
            raise Invalid("boot_id is empty", object=machine.id, fields=(FieldError("boot_id", "is empty"),))
        tx = self._ledger.transaction(by=str(by))
        rebooted = said.boot_id != machine.agent.boot_id
        agent = AgentInfo(
            boot_id=said.boot_id,
            version=said.version,
            bootenv=said.bootenv,
            hostname=said.hostname,
            addresses=said.addresses,
            capabilities=said.capabilities,
            hello_at=tx.now,
        )
        new = replace(machine, agent=agent)
        if rebooted:
            new = self._after_boot(tx, new)
        tx.event(
            "agent.hello",
            machine=machine.id,
            key=machine.name,
            boot_id=said.boot_id,
            bootenv=said.bootenv,
            hostname=said.hostname,
            version=said.version,
            expected_bootenv=machine.bootenv,
        )
        saved = save_machine(tx, machine, new)
        await tx.commit()
        return saved

    def _after_boot(self, tx: Transaction, machine: Machine) -> Machine:
        job = self._ledger.get(Job, machine.current_job)
        tasks = self._catalog.view["tasks"]
        may_run = may_run_after_boot(machine, job, machine.agent.bootenv, tasks)
        if may_run:
            machine = replace(machine, runnable=True, waiting_for="")
        # A power action of the server may well be what caused this boot; it ends by itself.
        if job is not None and job.state in LIVE_STATES and job.boot_id != SERVER_BOOT_ID:
            reason = "the machine came back from another boot"
            lost = lose_job(job, reason, tx.now)
            tx.put(lost)
            tx.event("job.end", machine=machine.id, key=job.id, task=job.task, state=lost.state.value, message=reason)
            if not may_run:
                why = f"task {job.task!r} cancelled: {job.message}" if job.cancel_requested else lost_reason(job)
                machine = replace(machine, runnable=False, waiting_for=why)
        if machine.agent.bootenv != machine.bootenv:
            machine = replace(machine, runnable=False, waiting_for=f"boot of {machine.bootenv}")
        return machine

    async def report_inventory(self, machine_id: str, inventory: dict[str, Any], by: Principal) -> None:
        """Save what the machine is made of."""
        machine = self._decide(machine_id)
        tx = self._ledger.transaction(by=str(by))
        tx.event("machine.inventory", machine=machine.id, key=machine.name, changed=inventory != machine.inventory)
        save_machine(tx, machine, replace(machine, inventory=inventory))
        await tx.commit()

    async def next_stage(self, machine_id: str, by: Principal) -> NextStage:
        """A step of the change-stage map, for an agent whose tasks are done."""
        machine = self._decide(machine_id)
        view = self._catalog.view
        mapping = self._catalog.param(machine, CHANGE_STAGE_MAP) or {}
        step = follow_map(machine, mapping, view["stages"], view["bootenvs"])
        if not step.stage:
            return step
        tx = self._ledger.transaction(by=str(by))
        save_machine(tx, machine, set_stage(machine, view["stages"][step.stage]))
        await tx.commit()
        return step

    # --- operators --------------------------------------------------------------------------------------------

    async def create(self, name: str, macs: tuple[str, ...], description: str, by: Principal) -> Machine:
        """Make a machine before it has ever been seen; it is recognised by its MACs when it boots."""
        tx = self._ledger.transaction(by=str(by))
        known = tuple(dict.fromkeys(normal_mac(mac) for mac in macs))
        machine = Machine(
            id=str(uuid4()), name=name, macs=known, description=description, created_at=tx.now, updated_at=tx.now
        )
        self._check_name(machine)
        self._check_macs(machine)
        saved: Machine = tx.put(machine)
        tx.event("machine.create", machine=machine.id, key=name)
        await tx.commit()
        return saved

    async def change(self, machine_id: str, change: MachineChange, by: Principal, *, force: bool = False) -> Machine:
        """Change a machine as an operator (or its agent, within its rights); all or nothing."""
        machine = self._decide(machine_id)
        if machine.locked and change.locked is not False:
            raise Refused(f"machine {machine.name} is locked; unlock it first", object=machine.id, code="locked")
        new = self._plain_changes(machine, change)
        new = self._work_changes(new, change, force)
        new = replace(new, errors=self.problems(new))
        if new.errors and new.runnable:
            new = replace(new, runnable=False, waiting_for="; ".join(new.errors))
        tx = self._ledger.transaction(by=str(by))
        if change.workflow is not msgspec.UNSET or change.stage is not msgspec.UNSET:
            self._drop_job(tx, machine)
        fields = sorted(set(asdict(change)) - {k for k, v in asdict(change).items() if v is msgspec.UNSET})
        tx.event("machine.update", machine=machine.id, key=new.name, fields=fields)
        saved = save_machine(tx, machine, new)
        await tx.commit()
        return saved

    def _plain_changes(self, machine: Machine, change: MachineChange) -> Machine:
        wanted = {
            name: value
            for name, value in asdict(change).items()
            if value is not msgspec.UNSET and name not in (*_WORK_FIELDS, "params", "meta", "macs")
        }
        if change.macs is not msgspec.UNSET:
            wanted["macs"] = tuple(dict.fromkeys(normal_mac(mac) for mac in change.macs))
        if change.params is not msgspec.UNSET:
            wanted["params"] = self._merged_params(machine, change.params)
        if change.meta is not msgspec.UNSET:
            merged = {**machine.meta, **change.meta}
            wanted["meta"] = {name: value for name, value in merged.items() if value is not None}
        new = replace(machine, **wanted)
        if new.name != machine.name:
            self._check_name(new)
        if new.macs != machine.macs:
            self._check_macs(new)
        if new.profiles != machine.profiles:
            self._check_profiles(new)
        return new

    def _merged_params(self, machine: Machine, params: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in params.items() if value is not None}
        errors = validate_all(given, self._catalog.view)
        if errors:
            raise Invalid(
                f"params of machine {machine.name} are not valid: {errors[0].message}",
                object=machine.id,
                fields=tuple(FieldError(f"params.{error.path}", error.message) for error in errors),
            )
        kept = {name: value for name, value in machine.params.items() if name not in params}
        return {**kept, **given}

    def _work_changes(self, machine: Machine, change: MachineChange, force: bool) -> Machine:
        view = self._catalog.view
        if change.workflow is not msgspec.UNSET:
            if not change.workflow:
                machine = clear_workflow(machine)
            elif change.workflow not in view["workflows"]:
                raise Invalid(
                    unknown("workflow", change.workflow, view["workflows"]),
                    object=machine.id,
                    fields=(FieldError("workflow", unknown("workflow", change.workflow, view["workflows"])),),
                )
            else:
                machine = set_workflow(machine, view["workflows"][change.workflow], view["stages"])
                machine = self._ready_if_up(machine)
        if change.stage is not msgspec.UNSET:
            machine = set_stage(machine, find_stage(view["stages"], change.stage), force=force)
            machine = self._ready_if_up(machine)
        if change.bootenv is not msgspec.UNSET:
            machine = self._change_bootenv(machine, change.bootenv, force)
        return self._move(machine, change)

    def _ready_if_up(self, machine: Machine) -> Machine:
        """New work on a machine that is up in the right environment can begin at once."""
        up = machine.agent.hello_at is not None and machine.agent.bootenv == machine.bootenv
        return replace(machine, runnable=True, waiting_for="") if up else machine

    def _change_bootenv(self, machine: Machine, bootenv: str, force: bool) -> Machine:
        bootenvs = self._catalog.view["bootenvs"]
        if bootenv not in bootenvs:
            message = unknown("bootenv", bootenv, bootenvs)
            raise Invalid(message, object=machine.id, fields=(FieldError("bootenv", message),))
        if machine.workflow and not force:
            raise Refused(
                f"machine {machine.name} follows workflow {machine.workflow!r}, which sets its bootenv;"
                " clear the workflow first",
                object=machine.id,
            )
        return set_bootenv(machine, bootenv)

    def _move(self, machine: Machine, change: MachineChange) -> Machine:
        place = change.current_task
        if place is not msgspec.UNSET:
            if place > machine.current_task or place < -1:
                raise Invalid(
                    f"current_task {place} is not from -1 to {machine.current_task}: it never moves forward by hand",
                    object=machine.id,
                    fields=(FieldError("current_task", f"is {machine.current_task} now"),),
                )
            if place == -1 and change.runnable is True:
                return rewind(machine, self._catalog.view["stages"])
            machine = replace(machine, current_task=place)
        if change.runnable is msgspec.UNSET:
            return machine
        reason = "" if change.runnable else "an operator paused it"
        return replace(machine, runnable=change.runnable, waiting_for=reason, not_before=None)

    def _drop_job(self, tx: Transaction, machine: Machine) -> None:
        job = self._ledger.get(Job, machine.current_job)
        if job is not None and not job.final:
            tx.put(cancel_job(job, "the machine was given other work", tx.now))
            tx.event("job.cancel", machine=machine.id, key=job.id, task=job.task)

    def _check_name(self, machine: Machine) -> None:
        if not _NAME.fullmatch(machine.name):
            message = f"{machine.name!r} is not a name: begin with a letter or digit, then letters, digits and . _ -"
            raise Invalid(message, object=machine.id, fields=(FieldError("name", message),))
        other = self._ledger.machine_by_name(machine.name)
        if other is not None and other.id != machine.id:
            raise Conflict(f"there is a machine {machine.name!r} already", object=other.id, code="name-taken")

    def _check_macs(self, machine: Machine) -> None:
        for mac in machine.macs:
            other = self._ledger.machine_by_mac(mac)
            if other is not None and other.id != machine.id:
                raise Conflict(f"MAC {mac} belongs to machine {other.name}", object=other.id, code="mac-taken")

    def _check_profiles(self, machine: Machine) -> None:
        profiles = self._catalog.view["profiles"]
        errors = [
            FieldError(f"profiles[{place}]", unknown("profile", name, profiles))
            for place, name in enumerate(machine.profiles)
            if name not in profiles
        ]
        if errors:
            raise Invalid(errors[0].message, object=machine.id, fields=tuple(errors))

    def problems(self, machine: Machine) -> tuple[str, ...]:
        """Why the machine cannot be used as it stands: names it refers to that no longer exist."""
        view = self._catalog.view
        wanted = [
            ("workflow", "workflows", machine.workflow),
            ("stage", "stages", machine.stage if machine.stage != "none" else ""),
            ("bootenv", "bootenvs", machine.bootenv),
            *(("profile", "profiles", name) for name in machine.profiles),
        ]
        return tuple(unknown(word, name, view[kind]) for word, kind, name in wanted if name and name not in view[kind])

    async def set_param(self, machine_id: str, name: str, value: Any, by: Principal) -> None:
        """Set one param of the machine; raises Invalid when it does not fit its schema."""
        declared = self._catalog.view["params"]
        if name not in declared:
            raise Invalid(unknown("param", name, declared), object=machine_id)
        errors = validate(name, value, declared[name])
        if errors:
            raise Invalid(f"param {name}: {errors[0].message}", object=machine_id, fields=tuple(errors))
        machine = self._decide(machine_id)
        tx = self._ledger.transaction(by=str(by))
        tx.event("machine.update", machine=machine_id, key=machine.name, fields=[f"params.{name}"])
        save_machine(tx, machine, replace(machine, params={**machine.params, name: value}))
        await tx.commit()

    async def drop_param(self, machine_id: str, name: str, by: Principal) -> None:
        """Remove one param of the machine itself."""
        machine = self._decide(machine_id)
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
        machine = self._decide(machine_id)
        tx = self._ledger.transaction(by=str(by))
        grant = EraseGrant(disk.strip(), tx.now + timedelta(hours=hours), str(by))
        kept = tuple(old for old in machine.erase_grants if old.expires_at > tx.now and old.disk != grant.disk)
        tx.event("machine.grant", machine=machine.id, key=machine.name, disk=grant.disk, expires_at=grant.expires_at)
        saved = save_machine(tx, machine, replace(machine, erase_grants=(*kept, grant)))
        await tx.commit()
        return saved

    async def delete(self, machine_id: str, by: Principal) -> None:
        """Forget a machine, its tokens and its jobs; refused while a job runs or it is locked."""
        machine = self._decide(machine_id)
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


def outcome_of(step: NextStage) -> dict[str, Any]:
    """A step of the map as the agent reads it."""
    return {"stage": step.stage, "action": step.action or NextAction.WAIT, "reason": step.reason}
