"""Whether a machine can be used as it stands: all that it refers to exists, and its boot environment suits it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from provisioner.errors import unknown
from provisioner.model.content import NO_STAGE
from provisioner.model.machines import Hold, Machine
from provisioner.plan import hold, release

View = Mapping[str, Mapping[str, Any]]
_ENTRIES = {"": ("task", "tasks"), "stage": ("stage", "stages"), "bootenv": ("bootenv", "bootenvs")}


def machine_problems(machine: Machine, view: View) -> tuple[str, ...]:
    """Why the machine cannot be used as it stands; empty when it can."""
    own = bootenv_fault(machine, machine.bootenv, view)
    return tuple(dict.fromkeys([*_missing(machine, view), *filter(None, [own]), *_missing_work(machine, view)]))


def _missing(machine: Machine, view: View) -> Iterator[str]:
    wanted = [
        ("workflow", "workflows", machine.workflow),
        ("stage", "stages", machine.stage if machine.stage != NO_STAGE else ""),
        ("bootenv", "bootenvs", machine.bootenv),
        *(("profile", "profiles", name) for name in machine.profiles),
    ]
    for word, kind, name in wanted:
        if name and name not in view[kind]:
            yield unknown(word, name, view[kind])


def bootenv_fault(machine: Machine, name: str, view: View) -> str:
    """Why this boot environment is not for this machine; empty when it is, or when there is none of that name."""
    bootenv = view["bootenvs"].get(name)
    if bootenv is None:
        return ""
    if bootenv.only_unknown:
        return f"bootenv {name!r} is for unknown machines only"
    if bootenv.netboots and machine.arch not in bootenv.arch:
        return f"bootenv {name!r} has nothing for {machine.arch}; it has: {', '.join(sorted(bootenv.arch))}"
    return ""


def _missing_work(machine: Machine, view: View) -> Iterator[str]:
    """Entries that are still to be done and name what does not exist (any more)."""
    for entry in machine.tasks[max(machine.current_task, 0) :]:
        word, colon, name = entry.partition(":")
        kind, objects = _ENTRIES.get(word if colon else "", ("", ""))
        name = name if colon else entry
        if objects and name not in view[objects]:
            yield f"its work names {kind} {name!r}, which does not exist"
        elif objects == "bootenvs" and (fault := bootenv_fault(machine, name, view)):
            yield fault


def with_availability(machine: Machine, view: View) -> Machine:
    """The machine with its `errors` as they are now: held because of them, and let go on when they are mended.

    A job that runs goes on; only what comes after it waits.
    """
    problems = machine_problems(machine, view)
    if problems != machine.errors:
        machine = replace(machine, errors=problems)
    if problems and (machine.runnable or machine.hold is Hold.ERRORS):
        reason = "; ".join(problems)
        return machine if machine.waiting_for == reason and not machine.runnable else hold(machine, Hold.ERRORS, reason)
    if not problems and machine.hold is Hold.ERRORS:
        return release(machine)
    return machine
