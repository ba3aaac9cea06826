"""Registration and hello: what machines and their agents say of themselves when they come up, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Any
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from provisioner.access import Principal
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.finding import decided
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.conductor.machine_changes import is_machine_name
from provisioner.conductor.record import save_job_end, save_machine
from provisioner.conductor.tokens import Tokens
from provisioner.errors import Conflict, Denied, FieldError, Invalid
from provisioner.identity import best_match, clean, normal_mac
from provisioner.model import AgentInfo, Identity, Job, JobState, Machine, Token, TokenPurpose
from provisioner.plan import CHANGE_STAGE_MAP, NextAction, NextStage, follow_map, set_stage, set_workflow
from provisioner.standing import came_up


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


class Registrations:
    """All that machines and their agents say outside of jobs."""

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        tokens: Tokens,
        default_workflow: str,
        jitter: Callable[[], float] = random,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._tokens = tokens
        self._default_workflow = default_workflow
        self._jitter = jitter

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
            if is_machine_name(name) and self._ledger.machine_by_name(name) is None:
                return name
        return f"{fallback}-{uuid4().hex[:4]}"

    async def hello(self, machine_id: str, said: Hello, by: Principal) -> Machine:
        """An agent has come up. The first hello of a boot, in the right environment, makes the machine runnable."""
        machine = decided(self._ledger, Machine, machine_id)
        if not said.boot_id:
            raise Invalid("boot_id is empty", object=machine.id, fields=(FieldError("boot_id", "is empty"),))
        tx = self._ledger.transaction(by=str(by))
        agent = AgentInfo(
            boot_id=said.boot_id,
            instance=said.instance,
            version=said.version,
            bootenv=said.bootenv,
            hostname=said.hostname,
            addresses=said.addresses,
            capabilities=said.capabilities,
            hello_at=tx.now,
        )
        job = self._ledger.get(Job, machine.current_job)
        task = self._catalog.view["tasks"].get(job.task) if job is not None else None
        up = came_up(machine, job, task, agent, tx.now, self._jitter())
        if up.lost is not None:
            save_job_end(tx, up.lost)
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
        saved = save_machine(tx, machine, up.machine)
        await tx.commit()
        return saved

    async def report_inventory(self, machine_id: str, inventory: dict[str, Any], by: Principal) -> None:
        """Save what the machine is made of."""
        machine = decided(self._ledger, Machine, machine_id)
        tx = self._ledger.transaction(by=str(by))
        tx.event("machine.inventory", machine=machine.id, key=machine.name, changed=inventory != machine.inventory)
        save_machine(tx, machine, replace(machine, inventory=inventory))
        await tx.commit()

    async def next_stage(self, machine_id: str, by: Principal) -> NextStage:
        """A step of the change-stage map, for an agent whose tasks are done."""
        machine = decided(self._ledger, Machine, machine_id)
        view = self._catalog.view
        mapping = self._catalog.param(machine, CHANGE_STAGE_MAP) or {}
        step = follow_map(machine, mapping, view["stages"], view["bootenvs"])
        if not step.stage:
            return step
        tx = self._ledger.transaction(by=str(by))
        save_machine(tx, machine, set_stage(machine, view["stages"][step.stage]))
        await tx.commit()
        return step


def outcome_of(step: NextStage) -> dict[str, Any]:
    """A step of the map as the agent reads it."""
    return {"stage": step.stage, "action": step.action or NextAction.WAIT, "reason": step.reason}
