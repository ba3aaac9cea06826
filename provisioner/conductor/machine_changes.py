"""A machine as an operator wants it: checked against all that is known, and built before anything is saved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from provisioner.conductor.catalog import Catalog
from provisioner.conductor.ledger import Ledger
from provisioner.errors import Conflict, FieldError, Invalid, Refused, unknown
from provisioner.identity import normal_mac
from provisioner.model import Machine
from provisioner.params import validate_all
from provisioner.plan import clear_workflow, find_stage, rewind, set_bootenv, set_stage, set_workflow

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_WORK_FIELDS = ("workflow", "stage", "bootenv", "current_task", "runnable")


def is_machine_name(text: str) -> bool:
    """Whether a machine may be called so: it is a host name and part of a URL."""
    return _NAME.fullmatch(text) is not None


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

    @property
    def fields(self) -> list[str]:
        """The names of what is to change, sorted."""
        return sorted(name for name, value in asdict(self).items() if value is not msgspec.UNSET)


class MachineChanges:
    """Builds changed machines; saves nothing."""

    def __init__(self, ledger: Ledger, catalog: Catalog) -> None:
        self._ledger = ledger
        self._catalog = catalog

    def changed(self, machine: Machine, change: MachineChange, *, force: bool = False) -> Machine:
        """The machine after all of the change; raises Invalid, Conflict or Refused when any part of it is wrong."""
        new = self._work_changes(self._plain_changes(machine, change), change, force)
        new = replace(new, errors=self.problems(new))
        if new.errors and new.runnable:
            new = replace(new, runnable=False, waiting_for="; ".join(new.errors))
        return new

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
            self.check_name(new)
        if new.macs != machine.macs:
            self.check_macs(new)
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

    def check_name(self, machine: Machine) -> None:
        if not is_machine_name(machine.name):
            message = f"{machine.name!r} is not a name: begin with a letter or digit, then letters, digits and . _ -"
            raise Invalid(message, object=machine.id, fields=(FieldError("name", message),))
        other = self._ledger.machine_by_name(machine.name)
        if other is not None and other.id != machine.id:
            raise Conflict(f"there is a machine {machine.name!r} already", object=other.id, code="name-taken")

    def check_macs(self, machine: Machine) -> None:
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
