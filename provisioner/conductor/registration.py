"""Registration and hello: what machines and their agents say of themselves when they come up, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from typing import Any, NoReturn
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from provisioner.access import Principal
from provisioner.arch import canonical
from provisioner.availability import with_availability
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.clashes import Clashes
from provisioner.conductor.finding import decided
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.conductor.machine_changes import is_address, is_machine_name
from provisioner.conductor.recognition import Recognition
from provisioner.conductor.record import save_job_end, save_machine
from provisioner.conductor.tokens import Tokens
from provisioner.errors import Conflict, Denied, FieldError, Invalid, ProvisionerError
from provisioner.hellos import came_up
from provisioner.identity import clean, normal_mac, says_something
from provisioner.model.access import Token, TokenPurpose
from provisioner.model.content import LOCAL_BOOTENV
from provisioner.model.machines import AgentInfo, Clash, Hold, Identity, Job, Machine
from provisioner.plan import CHANGE_STAGE_MAP, NextAction, NextStage, enter_stage, follow_map, hold, set_workflow


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


def _seen(asked: Registration) -> dict[str, Any]:
    """What a registration tells of the machine itself."""
    return {
        "macs": asked.macs,
        "identity": asked.identity,
        "arch": asked.arch,
        "firmware": asked.firmware,
        "address": asked.address,
    }


def _first_mac(asked: Registration, ticket: Token) -> str:
    """The MAC that the machine booted from; its first one when it joins from its own system."""
    return ticket.subject if ticket.purpose is TokenPurpose.TICKET else asked.macs[0]


def _as_registration(clash: Clash) -> Registration:
    return Registration(
        ticket="",
        macs=clash.macs,
        arch=clash.arch,
        firmware=clash.firmware,
        bootenv=clash.bootenv,
        address=clash.address,
        identity=clash.identity,
    )


class Registrations:
    """All that machines and their agents say outside of jobs."""

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        tokens: Tokens,
        clashes: Clashes,
        default_workflow: str,
        jitter: Callable[[], float] = random,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._tokens = tokens
        self._clashes = clashes
        self._recognition = Recognition(ledger)
        self._default_workflow = default_workflow
        self._jitter = jitter

    async def register(self, asked: Registration, address: str) -> Registered:
        """Recognise a machine or make a new one, and give it a token bound to it.

        Raises Denied when the ticket is refused, and Conflict (`identity-clash`) after having held a newcomer that
        looks like a machine which it cannot be.
        """
        macs = tuple(filter(says_something, dict.fromkeys(normal_mac(mac) for mac in asked.macs)))
        if not macs:
            raise Invalid("a machine registers with at least one MAC", fields=(FieldError("macs", "is empty"),))
        tx = self._ledger.transaction(by=f"address:{address}")
        ticket = self._tokens.redeem_ticket(tx, asked.ticket, macs[0])
        self._refuse_stranger(ticket, macs)
        asked = replace(
            asked,
            macs=macs,
            arch=canonical(asked.arch),
            identity=clean(asked.identity),
            address=asked.address if is_address(asked.address) else address,
        )
        match = self._recognition.best(macs, asked.identity)
        reason, machines = self._clashes.against(match, macs, tx)
        if reason:
            await self._hold(tx, asked, ticket, reason, machines)
        machine = self._known(tx, match.machine, asked) if match else self._new_machine(tx, asked, ticket)
        self._clashes.settle(tx, macs)
        token = self._tokens.issue(tx, TokenPurpose.MACHINE, machine.id)
        tx.event(
            "agent.register",
            machine=machine.id,
            mac=_first_mac(asked, ticket),
            key=machine.name,
            score=match.score if match else 0,
        )
        await tx.commit()
        return Registered(machine, token, created=match is None)

    def _refuse_stranger(self, ticket: Token, macs: tuple[str, ...]) -> None:
        if ticket.purpose is TokenPurpose.TICKET and ticket.subject not in macs:
            raise Denied(
                f"the ticket is for {ticket.subject}, which is not among the machine's MACs",
                code="ticket-refused",
            )

    async def _hold(
        self, tx: Transaction, asked: Registration, ticket: Token, reason: str, machines: tuple[str, ...]
    ) -> NoReturn:
        newcomer = Clash(
            mac=_first_mac(asked, ticket),
            macs=asked.macs,
            identity=asked.identity,
            machines=machines,
            reason=reason,
            address=asked.address,
            arch=asked.arch,
            firmware=asked.firmware,
            bootenv=asked.bootenv,
            first_seen_at=tx.now,
            last_seen_at=tx.now,
        )
        clash = self._clashes.hold(tx, newcomer)
        await tx.commit()
        raise Conflict(
            f"{reason}; this machine is held until an operator says who it is (clash {clash.mac})",
            object=machines[0],
            code="identity-clash",
        )

    def _known(self, tx: Transaction, machine: Machine, asked: Registration) -> Machine:
        return save_machine(tx, machine, replace(machine, **_seen(asked), registered_at=tx.now))

    async def resolve(self, mac: str, machine: str, by: Principal) -> Machine:
        """Say who a held newcomer is: a known machine by id or name, or '' for a new one.

        Its MACs move there from wherever they are. Serial numbers that it shares with others count for nothing then.
        """
        held = self._clashes.find(mac)
        tx = self._ledger.transaction(by=str(by))
        clash = decided(self._ledger, Clash, held.mac)
        if machine:
            known = self._ledger.get(Machine, machine) or self._ledger.machine_by_name(machine)
            if known is None:
                message = f"there is no machine {machine!r}; leave it empty for a new one"
                raise Invalid(message, object=f"clashes/{clash.mac}", fields=(FieldError("machine", message),))
        else:
            known = self._made(tx, _as_registration(clash), workflow=self._default_workflow)
        saved = self._clashes.give(tx, clash, known)
        await tx.commit()
        return saved

    def _new_machine(self, tx: Transaction, asked: Registration, ticket: Token) -> Machine:
        """A machine that was never seen. One that joins from its own system has no work at first, and stays in it."""
        joins = ticket.purpose is not TokenPurpose.TICKET
        if joins:
            asked = replace(asked, bootenv=LOCAL_BOOTENV)
        machine = self._made(tx, asked, workflow="" if joins else self._default_workflow, hostname=joins)
        saved: Machine = tx.put(machine)
        return saved

    def _made(self, tx: Transaction, asked: Registration, *, workflow: str, hostname: bool = False) -> Machine:
        view = self._catalog.view
        machine = Machine(
            id=str(uuid4()),
            name=self._free_name(asked, hostname),
            created_at=tx.now,
            updated_at=tx.now,
            registered_at=tx.now,
            **_seen(asked),
        )
        if asked.bootenv in view["bootenvs"]:
            machine = replace(machine, bootenv=asked.bootenv)
        found = view["workflows"].get(workflow)
        if found is not None:
            machine = set_workflow(machine, found, view["stages"])
        if not machine.runnable:
            machine = hold(machine, Hold.BOOT, "its agent to come up")
        tx.event("machine.create", machine=machine.id, mac=asked.macs[0], key=machine.name)
        if machine.workflow:
            tx.event("machine.workflow", machine=machine.id, key=machine.name, workflow=machine.workflow, before="")
        return with_availability(machine, view)

    def _free_name(self, asked: Registration, hostname: bool) -> str:
        reserved = [r.hostname for mac in asked.macs for r in self._ledger.reservations_by_mac(mac) if r.hostname]
        own = [asked.hostname.partition(".")[0]] if hostname else []
        fallback = "m-" + asked.macs[0].replace(":", "-")
        for name in (*reserved, *own, fallback):
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
        view = self._catalog.view
        task = view["tasks"].get(job.task) if job else None
        up = came_up(machine, job, task, agent, tx.now, self._jitter())
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
        if up.lost is not None:
            save_job_end(tx, up.lost)
        saved = save_machine(tx, machine, with_availability(up.machine, view))
        await tx.commit()
        return saved

    def hear(self, machine_id: str) -> None:
        """The machine's agent is there, whatever it asks for."""
        self._clashes.hear(machine_id)

    async def report_inventory(self, machine_id: str, inventory: dict[str, Any], by: Principal) -> None:
        """Save what the machine is made of."""
        machine = decided(self._ledger, Machine, machine_id)
        tx = self._ledger.transaction(by=str(by))
        tx.event("machine.inventory", machine=machine.id, key=machine.name, changed=inventory != machine.inventory)
        save_machine(tx, machine, replace(machine, inventory=inventory))
        await tx.commit()

    def map_leads(self, machine: Machine) -> bool:
        """Whether it is worth asking for the next step: the map has one, or something is wrong with it."""
        if machine.workflow or not machine.runnable or not machine.done:
            return False
        view = self._catalog.view
        try:
            mapping = self._catalog.param(machine, CHANGE_STAGE_MAP) or {}
            return bool(follow_map(machine, mapping, view["stages"], view["bootenvs"]).stage)
        except ProvisionerError:
            return True

    async def next_stage(self, machine_id: str, by: Principal) -> NextStage:
        """A step of the change-stage map, for an agent whose tasks are done."""
        machine = decided(self._ledger, Machine, machine_id)
        view = self._catalog.view
        mapping = self._catalog.param(machine, CHANGE_STAGE_MAP) or {}
        step = follow_map(machine, mapping, view["stages"], view["bootenvs"])
        if not step.stage:
            return step
        tx = self._ledger.transaction(by=str(by))
        save_machine(tx, machine, with_availability(enter_stage(machine, step, view["stages"]), view))
        await tx.commit()
        return step


def outcome_of(step: NextStage) -> dict[str, Any]:
    """A step of the map as the agent reads it."""
    return {"stage": step.stage, "action": step.action or NextAction.WAIT, "reason": step.reason}
