"""The plan of a machine's work: how workflows and stages become its list of tasks, and where it stands in it.

A list holds names of tasks and entries with a colon that the server carries out: `stage:X`, `bootenv:X`, `action:X`.
`current_task` is the last entry accounted for: -1 before the first, len(tasks) when all is done.
All functions are pure and return a new machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from provisioner.errors import FieldError, Invalid, Refused, unknown
from provisioner.model import NO_STAGE, Bootenv, Machine, Stage, Workflow

CHANGE_STAGE_MAP = "change-stage/map"


class NextAction(StrEnum):
    """What the agent does after a step of the change-stage map."""

    CONTINUE = "continue"
    REBOOT = "reboot"
    STOP = "stop"
    POWEROFF = "poweroff"
    WAIT = "wait"


_MAP_WORDS = {
    "Reboot": NextAction.REBOOT,
    "Stop": NextAction.STOP,
    "Shutdown": NextAction.POWEROFF,
}


class NextStage(Struct, frozen=True):
    """A step of the change-stage map: the stage to enter (empty: none) and what the agent does then."""

    stage: str
    action: NextAction
    reason: str


def find_stage(stages: Mapping[str, Stage], name: str) -> Stage:
    """The stage of this name; raises Invalid with those there are."""
    stage = stages.get(name)
    if stage is None:
        message = unknown("stage", name, stages)
        raise Invalid(message, object=name, fields=(FieldError("stage", message),))
    return stage


def flatten(workflow: Workflow, stages: Mapping[str, Stage]) -> tuple[str, ...]:
    """The workflow as one list: each stage's entry, its bootenv where that differs from the last one, its tasks."""
    entries: list[str] = []
    bootenv = ""
    for name in workflow.stages:
        stage = find_stage(stages, name)
        entries.append(f"stage:{name}")
        if stage.bootenv and stage.bootenv != bootenv:
            bootenv = stage.bootenv
            entries.append(f"bootenv:{bootenv}")
        entries.extend(stage.tasks)
    return tuple(entries)


def set_workflow(machine: Machine, workflow: Workflow, stages: Mapping[str, Stage]) -> Machine:
    """Give the machine all the work of a workflow; its first stage and bootenv apply at once."""
    machine = replace(
        machine,
        workflow=workflow.name,
        tasks=flatten(workflow, stages),
        current_task=-1,
        waiting_for="",
        not_before=None,
    )
    if not workflow.stages:
        return replace(machine, stage=NO_STAGE)
    first = find_stage(stages, workflow.stages[0])
    return set_bootenv(replace(machine, stage=first.name), first.bootenv or machine.bootenv)


def clear_workflow(machine: Machine) -> Machine:
    """Take all work away; the machine stays in the bootenv it is in."""
    return replace(machine, workflow="", stage=NO_STAGE, tasks=(), current_task=-1, waiting_for="", not_before=None)


def set_stage(machine: Machine, stage: Stage, *, force: bool = False) -> Machine:
    """Give the machine the work of one stage; only without a workflow, and not while tasks are left unless forced."""
    if machine.workflow:
        raise Refused(
            f"machine {machine.name} follows workflow {machine.workflow!r}, which sets its stage;"
            " clear the workflow first",
            object=machine.id,
        )
    if _has_work(machine) and not force:
        left = len(machine.tasks) - machine.current_task - 1
        what = f"has {left} task{'s' if left > 1 else ''} left" if left else "is at the last task"
        raise Refused(
            f"machine {machine.name} {what} in stage {machine.stage!r}; force it to drop what is left",
            object=machine.id,
        )
    machine = replace(machine, stage=stage.name, tasks=stage.tasks, current_task=-1, waiting_for="", not_before=None)
    return set_bootenv(machine, stage.bootenv or machine.bootenv)


def _has_work(machine: Machine) -> bool:
    """Whether tasks are left or under way. An empty list has no work, though a new one stands before its end."""
    return bool(machine.tasks) and not machine.done


def set_bootenv(machine: Machine, bootenv: str) -> Machine:
    """Change what the machine boots. It may not run until that environment has come up and said so."""
    if bootenv == machine.bootenv:
        return machine
    return replace(machine, bootenv=bootenv, runnable=False, waiting_for=f"boot of {bootenv}")


def rewind(machine: Machine, stages: Mapping[str, Stage]) -> Machine:
    """Go back to where the present bootenv began, so that an earlier environment's tasks are not done again."""
    start = 0
    for place in range(min(machine.current_task, len(machine.tasks) - 1), -1, -1):
        kind, _, name = machine.tasks[place].partition(":")
        # A stage without a bootenv ran in that of the stage before it, so it is never where one began.
        bootenv = stages[name].bootenv if kind == "stage" and name in stages else ""
        if bootenv == machine.bootenv:
            start = place
        elif bootenv and start:
            break
    return replace(machine, current_task=start - 1, runnable=True, waiting_for="", not_before=None)


def follow_map(
    machine: Machine, mapping: Mapping[str, str], stages: Mapping[str, Stage], bootenvs: Mapping[str, Bootenv]
) -> NextStage:
    """Look the machine's stage up in its change-stage map; for machines without a workflow whose tasks are done.

    A value is `stage` or `stage:Action` with Success, Reboot, Stop or Shutdown; Success (or none) means reboot when
    the next stage needs another bootenv, else go on. A next stage with `reboot: true` beats all.
    """
    if machine.workflow:
        return NextStage("", NextAction.WAIT, f"workflow {machine.workflow!r} leads this machine")
    if _has_work(machine):
        return NextStage("", NextAction.CONTINUE, "there are tasks left")
    current = bootenvs.get(machine.bootenv)
    installing = current is not None and current.installs
    name, _, word = str(mapping.get(machine.stage, "")).partition(":")
    if not name and installing:
        name = "local"
    if not name or name == machine.stage:
        return NextStage("", NextAction.WAIT, f"the change-stage map has nothing after stage {machine.stage!r}")
    stage = find_stage(stages, name)
    elsewhere = bool(stage.bootenv) and stage.bootenv != machine.bootenv
    action = _MAP_WORDS.get(word, NextAction.REBOOT if elsewhere else NextAction.CONTINUE)
    if stage.reboot:
        action = NextAction.REBOOT
    if action is NextAction.REBOOT and installing:
        action = NextAction.STOP
    return NextStage(name, action, f"the change-stage map leads from {machine.stage!r} to {name!r}")
