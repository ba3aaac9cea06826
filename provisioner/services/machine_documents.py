"""What a changed document of a machine asks for: its settable fields become a change, anything else is refused."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from msgspec.structs import fields

from provisioner.bodies import convert
from provisioner.conductor.machine_changes import MachineChange
from provisioner.errors import FieldError, Invalid

SETTABLE = tuple(each.name for each in fields(MachineChange))
# Maps of which a change names only what is new, changed or (as null) gone.
_MAPS = ("params", "meta")
# Where a machine stands in its work is no part of its description: what replaces that may leave it out.
_WORK = frozenset({"workflow", "stage", "bootenv", "current_task", "runnable", "step", "stop_before", "locked"})
DESCRIPTION = tuple(name for name in SETTABLE if name not in _WORK)


def change_of(shown: Mapping[str, Any], wanted: Any, spoken_of: Collection[str] = ()) -> MachineChange:
    """The change that makes `shown` into `wanted`; raises Invalid naming each field that cannot be set or does not fit.

    Fields that the request spoke of are asked for even if they are so already: a workflow that is set once more
    begins anew.
    """
    if not isinstance(wanted, Mapping):
        raise Invalid("the body is no object", fields=(FieldError("body", "is no object"),))
    faults = list(_unsettable(shown, wanted, spoken_of))
    asked = {
        name: _difference(shown[name], wanted[name]) if name in _MAPS else wanted[name]
        for name in SETTABLE
        if name in wanted and (name in spoken_of or wanted[name] != shown.get(name))
    }
    try:
        change = convert(asked, MachineChange)
    except Invalid as error:
        faults.extend(error.fields)
    if faults:
        raise Invalid("; ".join(f"{fault.path}: {fault.message}" for fault in faults[:3]), fields=tuple(faults))
    return change


def whole(shown: Mapping[str, Any], wanted: Any) -> MachineChange:
    """The change that replaces the machine's description; raises Invalid unless all of that is there."""
    missing = [name for name in DESCRIPTION if isinstance(wanted, Mapping) and name not in wanted]
    if missing:
        faults = tuple(FieldError(name, "is missing: PUT replaces it all, PATCH changes parts") for name in missing)
        raise Invalid(f"missing: {', '.join(missing)}; PUT replaces it all, PATCH changes parts", fields=faults)
    return change_of(shown, wanted)


def _unsettable(
    shown: Mapping[str, Any], wanted: Mapping[str, Any], spoken_of: Collection[str]
) -> Iterator[FieldError]:
    choices = f"what can be set: {', '.join(sorted(SETTABLE))}"
    for name, value in wanted.items():
        if name in SETTABLE:
            continue
        if name not in shown:
            yield FieldError(name[:100], f"unknown field; {choices}")
        elif value != shown[name]:
            yield FieldError(name, f"is read-only; {choices}")
    for name in spoken_of:
        if name in shown and name not in wanted:
            yield FieldError(name, "cannot be removed, only set" if name in SETTABLE else f"is read-only; {choices}")


def _difference(old: Any, new: Any) -> Any:
    """The members that differ, null for those that are gone; anything but two maps is left for the check of types."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    gone = {name: None for name in old if name not in new}
    return {name: value for name, value in new.items() if name not in old or old[name] != value} | gone
