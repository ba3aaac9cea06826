"""A machine as an operator wants it: checked against all that is known, and built before anything is saved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from provisioner.arch import arch_fault
from provisioner.availability import bootenv_fault, with_availability
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.ledger import Ledger
from provisioner.errors import Conflict, FieldError, Invalid, ProvisionerError, Refused, unknown
from provisioner.identity import normal_mac, says_something
from provisioner.model.content import NO_STAGE, Workflow
from provisioner.model.machines import Hold, Machine
from provisioner.plan import (
    clear_workflow,
    find_stage,
    hold,
    move_back,
    ready_if_up,
    restart,
    set_bootenv,
    set_runnable,
    set_stage,
    set_workflow,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_WORK_FIELDS = ("workflow", "stage", "bootenv", "current_task", "runnable")
_CHECKED_FIELDS = ("params", "meta", "macs")


def is_machine_name(text: str) -> bool:
    """Whether a machine may be called so: it is a host name and part of a URL."""
    return _NAME.fullmatch(text) is not None and ".." not in text


def is_address(text: str) -> bool:
    """Whether this is an IP address as it is written."""
    try:
        return bool(text) and str(ip_address(text)) == text.lower()
    except ValueError:
        return False


class NewMachine(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A machine made before it was ever seen. Without `bootenv` and work it boots its own disk."""

    name: str
    id: str = ""
    description: str = ""
    macs: tuple[str, ...] = ()
    address: str = ""
    arch: str = "amd64"
    profiles: tuple[str, ...] = ()
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    meta: dict[str, str] = msgspec.field(default_factory=dict)
    workflow: str = ""
    stage: str = ""
    bootenv: str = ""
    locked: bool = False


class MachineChange(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What may be changed about a machine; absent fields stay as they are. `params` and `meta` merge, null removes."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    macs: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    address: str | msgspec.UnsetType = msgspec.UNSET
    arch: str | msgspec.UnsetType = msgspec.UNSET
    profiles: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    params: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    meta: dict[str, str | None] | msgspec.UnsetType = msgspec.UNSET
    workflow: str | msgspec.UnsetType = msgspec.UNSET
    stage: str | msgspec.UnsetType = msgspec.UNSET
    bootenv: str | msgspec.UnsetType = msgspec.UNSET
    current_task: int | msgspec.UnsetType = msgspec.UNSET
    runnable: bool | msgspec.UnsetType = msgspec.UNSET
    step: bool | msgspec.UnsetType = msgspec.UNSET
    stop_before: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    locked: bool | msgspec.UnsetType = msgspec.UNSET

    @property
    def fields(self) -> list[str]:
        """The names of what is to change, sorted."""
        return sorted(name for name, value in asdict(self).items() if value is not msgspec.UNSET)


class MachineChanges:
    """Builds new and changed machines; saves nothing."""

    def __init__(self, ledger: Ledger, catalog: Catalog) -> None:
        self._ledger = ledger
        self._catalog = catalog

    def made(self, asked: NewMachine, now: datetime) -> Machine:
        """The machine that was asked for; raises Invalid or Conflict when any part of it is wrong."""
        if asked.workflow and asked.stage not in ("", NO_STAGE):
            raise _invalid("stage", f"workflow {asked.workflow!r} sets the stage; leave it empty")
        if asked.workflow and asked.bootenv:
            raise _invalid("bootenv", f"workflow {asked.workflow!r} sets the bootenv; leave it empty")
        machine = Machine(id=self._new_id(asked.id), name=asked.name, created_at=now, updated_at=now)
        unset = msgspec.UNSET
        change = MachineChange(
            description=asked.description,
            macs=asked.macs,
            address=asked.address,
            arch=asked.arch,
            profiles=asked.profiles,
            params=dict(asked.params),
            meta=dict(asked.meta),
            workflow=asked.workflow or unset,
            stage=asked.stage if asked.stage not in ("", NO_STAGE) else unset,
            bootenv=asked.bootenv or unset,
            locked=asked.locked,
        )
        try:
            self.check_name(machine)
            new = self.changed(machine, change)
        except ProvisionerError as error:
            # The id was drawn a moment ago and says nothing to anybody.
            error.object = asked.name if error.object == machine.id else error.object
            raise
        return new if new.runnable or new.hold else hold(new, Hold.BOOT, "its agent to come up")

    def _new_id(self, wanted: str) -> str:
        if not wanted:
            return str(uuid4())
        try:
            name = str(UUID(wanted))
        except ValueError:
            raise _invalid("id", f"{wanted!r} is not a UUID; leave it out to be given one") from None
        if self._ledger.get(Machine, name) is not None:
            raise Conflict(f"there is a machine with the id {name} already", object=name, code="id-taken")
        return name

    def changed(self, machine: Machine, change: MachineChange, *, force: bool = False) -> Machine:
        """The machine after all of the change; raises Invalid, Conflict or Refused when any part of it is wrong."""
        new = self._work_changes(self._plain_changes(machine, change), change, force)
        return with_availability(new, self._catalog.view)

    def restarted(self, machine: Machine, stage: str) -> Machine:
        """The machine with its work begun anew, from its start or from this stage of it."""
        view = self._catalog.view
        workflow = self._workflow(machine, machine.workflow) if machine.workflow else None
        return with_availability(ready_if_up(restart(machine, workflow, view["stages"], stage)), view)

    def _plain_changes(self, machine: Machine, change: MachineChange) -> Machine:
        wanted = {
            name: value
            for name, value in asdict(change).items()
            if value is not msgspec.UNSET and name not in (*_WORK_FIELDS, *_CHECKED_FIELDS)
        }
        if change.macs is not msgspec.UNSET:
            wanted["macs"] = tuple(dict.fromkeys(normal_mac(mac) for mac in change.macs))
        if change.params is not msgspec.UNSET:
            wanted["params"] = self._merged_params(machine, change.params)
        if change.meta is not msgspec.UNSET:
            merged = {**machine.meta, **change.meta}
            wanted["meta"] = {name: value for name, value in merged.items() if value is not None}
        new = replace(machine, **wanted)
        self._check_plain(machine, new)
        return new

    def _check_plain(self, old: Machine, new: Machine) -> None:
        if new.name != old.name:
            self.check_name(new)
        if new.macs != old.macs:
            self._check_macs(new)
        if new.address != old.address:
            self._check_address(new)
        if new.arch != old.arch and (fault := arch_fault(new.arch)):
            raise _invalid("arch", fault, new)
        if new.profiles != old.profiles:
            self._check_profiles(new)
        if new.stop_before != old.stop_before:
            _check_stops(new)

    def _merged_params(self, machine: Machine, params: Mapping[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in params.items() if value is not None}
        try:
            taken = self._catalog.values.accept(given, machine.params)
        except Invalid as error:
            raise Invalid(
                f"params of machine {machine.name} are not valid: {error.fields[0].message}",
                object=machine.id,
                fields=tuple(FieldError(f"params.{each.path}", each.message) for each in error.fields),
            ) from error
        kept = {name: value for name, value in machine.params.items() if name not in params}
        return {**kept, **taken}

    def _workflow(self, machine: Machine, name: str) -> Workflow:
        workflows = self._catalog.view["workflows"]
        if name not in workflows:
            raise _invalid("workflow", unknown("workflow", name, workflows), machine)
        found: Workflow = workflows[name]
        return found

    def _work_changes(self, machine: Machine, change: MachineChange, force: bool) -> Machine:
        stages = self._catalog.view["stages"]
        if change.workflow is not msgspec.UNSET:
            if change.workflow:
                machine = set_workflow(machine, self._workflow(machine, change.workflow), stages)
                machine = self._suitable(ready_if_up(machine), "workflow")
            else:
                machine = ready_if_up(clear_workflow(machine))
        if change.stage is not msgspec.UNSET:
            machine = set_stage(machine, find_stage(stages, change.stage), force=force)
            machine = self._suitable(ready_if_up(machine), "stage")
        if change.bootenv is not msgspec.UNSET:
            machine = self._suitable(self._change_bootenv(machine, change.bootenv, force), "bootenv")
        return self._move(machine, change)

    def _suitable(self, machine: Machine, path: str) -> Machine:
        fault = bootenv_fault(machine, machine.bootenv, self._catalog.view)
        if fault:
            raise _invalid(path, fault, machine)
        return machine

    def _change_bootenv(self, machine: Machine, bootenv: str, force: bool) -> Machine:
        bootenvs = self._catalog.view["bootenvs"]
        if bootenv not in bootenvs:
            raise _invalid("bootenv", unknown("bootenv", bootenv, bootenvs), machine)
        if machine.workflow and not force:
            raise Refused(
                f"machine {machine.name} follows workflow {machine.workflow!r}, which sets its bootenv;"
                " clear the workflow first",
                object=machine.id,
            )
        return set_bootenv(machine, bootenv)

    def _move(self, machine: Machine, change: MachineChange) -> Machine:
        rewinds = change.current_task == -1 and change.runnable is True
        if change.current_task is not msgspec.UNSET:
            stages = self._catalog.view["stages"]
            machine = move_back(machine, change.current_task, stages, run=change.runnable is True)
        if change.runnable is msgspec.UNSET or rewinds:
            return machine
        return set_runnable(machine, change.runnable)

    def check_name(self, machine: Machine) -> None:
        """Raise Invalid for what is no name, Conflict for one that is taken."""
        if not is_machine_name(machine.name):
            message = f"{machine.name!r} is not a name: begin with a letter or digit, then letters, digits and . _ -"
            raise _invalid("name", message, machine)
        other = self._ledger.machine_by_name(machine.name)
        if other is not None and other.id != machine.id:
            raise Conflict(f"there is a machine {machine.name!r} already", object=other.id, code="name-taken")
        if self._ledger.get(Machine, machine.name.lower()) is not None:
            raise Conflict(f"{machine.name!r} is the id of a machine", object=machine.name, code="name-taken")

    def _check_macs(self, machine: Machine) -> None:
        for place, mac in enumerate(machine.macs):
            if not says_something(mac):
                raise _invalid(f"macs[{place}]", f"{mac} is no MAC of one network card", machine)
            other = self._ledger.machine_by_mac(mac)
            if other is not None and other.id != machine.id:
                raise Conflict(f"MAC {mac} belongs to machine {other.name}", object=other.id, code="mac-taken")

    def _check_address(self, machine: Machine) -> None:
        if not machine.address:
            return
        if not is_address(machine.address):
            message = f"{machine.address!r} is not an IP address such as 192.168.1.10"
            raise _invalid("address", message, machine)
        for other in self._ledger.machines_by_address(machine.address):
            if other.id != machine.id:
                message = f"address {machine.address} belongs to machine {other.name}"
                raise Conflict(message, object=other.id, code="address-taken")

    def _check_profiles(self, machine: Machine) -> None:
        profiles = self._catalog.view["profiles"]
        errors = [
            FieldError(f"profiles[{place}]", unknown("profile", name, profiles))
            for place, name in enumerate(machine.profiles)
            if name not in profiles
        ]
        errors += [
            FieldError(f"profiles[{place}]", f"profile {name!r} is named twice")
            for place, name in enumerate(machine.profiles)
            if name in machine.profiles[:place]
        ]
        if errors:
            raise Invalid(errors[0].message, object=machine.id, fields=tuple(errors))


def _check_stops(machine: Machine) -> None:
    for place, entry in enumerate(machine.stop_before):
        word, colon, name = entry.partition(":")
        if not entry or (colon and (word not in ("stage", "bootenv", "action") or not name)):
            message = f"{entry!r} is no entry; there is: a task's name, stage:NAME, bootenv:NAME, action:NAME"
            raise _invalid(f"stop_before[{place}]", message, machine)


def _invalid(path: str, message: str, machine: Machine | None = None) -> Invalid:
    return Invalid(message, object=machine.id if machine else "", fields=(FieldError(path, message),))
