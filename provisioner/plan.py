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
from provisioner.model.content import NO_STAGE, Bootenv, Stage, Workflow
from provisioner.model.machines import Hold, Machine

PAUSED = "an operator paused it"
COMING_UP = "its agent to come up"
CHANGE_STAGE_MAP = "change-stage/map"


class NextAction(StrEnum):
    """What the agent does after a step of the change-stage map."""

    CONTINUE = "continue"
    REBOOT = "reboot"
    STOP = "stop"
    POWEROFF = "poweroff"
    WAIT = "wait"


_LEAVING = (NextAction.REBOOT, NextAction.STOP, NextAction.POWEROFF)
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
    machine = _anew(replace(machine, workflow=workflow.name, tasks=flatten(workflow, stages)))
    if not workflow.stages:
        return replace(machine, stage=NO_STAGE)
    first = find_stage(stages, workflow.stages[0])
    return set_bootenv(replace(machine, stage=first.name), first.bootenv or machine.bootenv)


def clear_workflow(machine: Machine) -> Machine:
    """Take all work away; the machine stays in the bootenv it is in."""
    return _anew(replace(machine, workflow="", stage=NO_STAGE, tasks=()))


def restart(machine: Machine, workflow: Workflow | None, stages: Mapping[str, Stage], stage: str = "") -> Machine:
    """Begin the machine's work anew: all of `workflow`, or from the stage of it that is named here.

    The list then begins with that stage, in the bootenv that the workflow has reached by then. Without a workflow the
    machine's present stage begins anew. Raises Invalid for a stage that is not part of the work, with the choices, and
    Refused when there is no work to begin.
    """
    if workflow is None:
        return _restart_stage(machine, stages, stage)
    if not stage:
        return set_workflow(machine, workflow, stages)
    if stage not in workflow.stages:
        message = f"{unknown('stage', stage, workflow.stages)} (in workflow {workflow.name!r})"
        raise Invalid(message, object=machine.id, fields=(FieldError("stage", message),))
    place = workflow.stages.index(stage)
    before = [find_stage(stages, name).bootenv for name in workflow.stages[: place + 1]]
    bootenv = next((name for name in reversed(before) if name), "")
    entries = flatten(replace(workflow, stages=workflow.stages[place:]), stages)
    if bootenv and not find_stage(stages, stage).bootenv:
        # The environment that an earlier stage asked for is asked for again, by this list's own beginning.
        entries = (entries[0], f"bootenv:{bootenv}", *_without_first(entries[1:], f"bootenv:{bootenv}"))
    machine = _anew(replace(machine, workflow=workflow.name, stage=stage, tasks=entries))
    return set_bootenv(machine, bootenv or machine.bootenv)


def _without_first(entries: tuple[str, ...], bootenv: str) -> tuple[str, ...]:
    """The entries without the first change of bootenv if it is this one, which would change nothing."""
    place = next((place for place, entry in enumerate(entries) if entry.startswith("bootenv:")), -1)
    if place < 0 or entries[place] != bootenv:
        return entries
    return entries[:place] + entries[place + 1 :]


def _restart_stage(machine: Machine, stages: Mapping[str, Stage], stage: str) -> Machine:
    if machine.stage == NO_STAGE:
        raise Refused(f"machine {machine.name} has no workflow and no stage to begin anew", object=machine.id)
    if stage not in ("", machine.stage):
        message = f"{unknown('stage', stage, (machine.stage,))} (without a workflow only the present stage begins anew)"
        raise Invalid(message, object=machine.id, fields=(FieldError("stage", message),))
    return set_stage(machine, find_stage(stages, machine.stage), force=True)


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
    machine = _anew(replace(machine, stage=stage.name, tasks=stage.tasks))
    return set_bootenv(machine, stage.bootenv or machine.bootenv)


def _has_work(machine: Machine) -> bool:
    """Whether tasks are left or under way. An empty list has no work, though a new one stands before its end."""
    return bool(machine.tasks) and not machine.done


def set_bootenv(machine: Machine, bootenv: str) -> Machine:
    """Change what the machine boots. It may not run until that environment has come up and said so."""
    if bootenv == machine.bootenv:
        return machine
    return hold(replace(machine, bootenv=bootenv), Hold.BOOT, f"boot of {bootenv}")


# --- going on and waiting -------------------------------------------------------------------------------------


def hold(machine: Machine, why: Hold, reason: str) -> Machine:
    """The machine waits: `why` in one word, `reason` as people read it."""
    return replace(machine, runnable=False, hold=why, waiting_for=reason)


def release(machine: Machine) -> Machine:
    """The machine may be given work; what has been counted of its current task stays."""
    return replace(machine, runnable=True, hold=Hold.NONE, waiting_for="")


def at_place(machine: Machine, place: int) -> Machine:
    """The machine with `place` as the last entry accounted for, and nothing counted of the one after it.

    Whether it is runnable stays as it was; a reason that belonged to the former place is gone.
    """
    return replace(
        machine,
        current_task=place,
        hold=Hold.NONE,
        waiting_for="",
        not_before=None,
        attempts=0,
        retries=0,
        repairs_left=(),
        repaired=False,
        stopped_at=-1,
    )


def _anew(machine: Machine) -> Machine:
    """The machine at the beginning of a new list; what it waited for is over, and it waits at most for its agent."""
    machine = at_place(machine, -1)
    return machine if machine.runnable else hold(machine, Hold.BOOT, COMING_UP)


def ready_if_up(machine: Machine) -> Machine:
    """New work on a machine that is up in the right environment can begin at once."""
    up = machine.agent.hello_at is not None and machine.agent.bootenv == machine.bootenv
    return release(machine) if up and not machine.runnable else machine


def set_runnable(machine: Machine, runnable: bool) -> Machine:
    """An operator lets the machine go on, with all retries of its task anew and without a pause, or pauses it."""
    if not runnable:
        return replace(hold(machine, Hold.PAUSED, PAUSED), not_before=None)
    return release(replace(machine, not_before=None, retries=0))


def resume(machine: Machine) -> Machine:
    """Go on at the task that failed or was held, with all its retries and its on_error tasks anew.

    Raises Refused with the reason when there is nothing to go on with, or the machine is still to boot elsewhere.
    """
    if not _has_work(machine):
        raise Refused(f"machine {machine.name} has no work to go on with; give it some", object=machine.id)
    if machine.errors:
        raise Refused(f"machine {machine.name} cannot be used: {'; '.join(machine.errors)}", object=machine.id)
    if machine.hold is Hold.BOOT and machine.agent.bootenv != machine.bootenv:
        raise Refused(
            f"machine {machine.name} waits for its boot of {machine.bootenv!r}; it goes on by itself then",
            object=machine.id,
        )
    if not machine.repairs_left:
        machine = replace(machine, repaired=False)
    return set_runnable(machine, True)


def move_back(machine: Machine, place: int, stages: Mapping[str, Stage], *, run: bool) -> Machine:
    """An operator moves the machine back to an earlier place; -1 together with `run` rewinds.

    Raises Invalid for a place ahead of where it is: no task is left out by hand.
    """
    if place > machine.current_task or place < -1:
        raise Invalid(
            f"current_task {place} is not from -1 to {machine.current_task}: it never moves forward by hand",
            object=machine.id,
            fields=(FieldError("current_task", f"is {machine.current_task} now"),),
        )
    if place == -1 and run:
        return rewind(machine, stages)
    return machine if place == machine.current_task else _moved(machine, place)


def _moved(machine: Machine, place: int) -> Machine:
    """As `at_place`, but a machine that waits goes on waiting for the same reason."""
    return replace(at_place(machine, place), hold=machine.hold, waiting_for=machine.waiting_for)


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
    return release(at_place(machine, start - 1))


def follow_map(
    machine: Machine, mapping: Mapping[str, str], stages: Mapping[str, Stage], bootenvs: Mapping[str, Bootenv]
) -> NextStage:
    """Look the machine's stage up in its change-stage map; for machines without a workflow whose tasks are done.

    A value is `stage` or `stage:Action` with Success, Reboot, Stop or Shutdown; Success (or none) means reboot when
    the next stage needs another bootenv, else go on. A next stage with `reboot: true` beats all.
    """
    if machine.workflow:
        return NextStage("", NextAction.WAIT, f"workflow {machine.workflow!r} leads this machine")
    for action in _LEAVING:
        if machine.hold is Hold.BOOT and machine.waiting_for == _leaving(action, machine):
            # The answer that said so was lost.
            return NextStage("", action, machine.waiting_for)
    if _has_work(machine):
        return NextStage("", NextAction.CONTINUE, "there are tasks left")
    if not machine.runnable:
        return NextStage("", NextAction.WAIT, f"the machine is not runnable: {machine.waiting_for or COMING_UP}")
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


def enter_stage(machine: Machine, step: NextStage, stages: Mapping[str, Stage]) -> Machine:
    """The machine in the stage that a step of its map leads to; held until the next boot if its agent is to leave."""
    machine = set_stage(machine, find_stage(stages, step.stage))
    return hold(machine, Hold.BOOT, _leaving(step.action, machine)) if step.action in _LEAVING else machine


def _leaving(action: NextAction, machine: Machine) -> str:
    return f"{action.value} to enter stage {machine.stage!r} in {machine.bootenv}"
