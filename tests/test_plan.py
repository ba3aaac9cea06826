"""How workflows and stages become a machine's list of work, and where the change-stage map leads."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from provisioner.errors import Invalid, Refused
from provisioner.model import BootArch, Bootenv, Machine, Stage, Workflow
from provisioner.plan import (
    NextAction,
    clear_workflow,
    flatten,
    follow_map,
    rewind,
    set_bootenv,
    set_stage,
    set_workflow,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STAGES = {
    stage.name: stage
    for stage in (
        Stage(name="look", bootenv="discovery", tasks=("inventory",)),
        Stage(name="wipe", bootenv="discovery", tasks=("erase", "check")),
        Stage(name="settle", tasks=("users",)),
        Stage(name="local", bootenv="local", tasks=("report",)),
        Stage(name="firmware", tasks=("flash",), reboot=True),
        Stage(name="empty"),
    )
}
BOOTENVS = {
    name: Bootenv(name=name, arch={"amd64": BootArch(kernel="k")}) for name in ("discovery", "debian-install")
} | {"local": Bootenv(name="local")}
DEPLOY = Workflow(name="deploy", stages=("look", "wipe", "settle", "local"))
FLAT = (
    *("stage:look", "bootenv:discovery", "inventory", "stage:wipe", "erase", "check", "stage:settle", "users"),
    *("stage:local", "bootenv:local", "report"),
)


def machine(**fields):
    return Machine(**{"id": "m1", "name": "m1", "created_at": NOW, "updated_at": NOW} | fields)


# --- workflows ------------------------------------------------------------------------------------------------


def test_a_workflow_flattens_with_a_bootenv_entry_only_where_it_changes():
    assert flatten(DEPLOY, STAGES) == FLAT


def test_an_unknown_stage_is_named_with_those_there_are():
    with pytest.raises(Invalid, match=r"unknown stage 'nowhere'; there is: empty, firmware"):
        flatten(Workflow(name="w", stages=("nowhere",)), STAGES)


def test_setting_a_workflow_begins_its_list_with_the_first_stage_and_bootenv():
    got = set_workflow(machine(current_task=7, waiting_for="x", not_before=NOW, runnable=True), DEPLOY, STAGES)
    assert (got.workflow, got.tasks, got.current_task) == ("deploy", FLAT, -1)
    assert (got.stage, got.bootenv, got.not_before) == ("look", "discovery", None)
    assert (got.runnable, got.waiting_for) == (False, "boot of discovery")


def test_a_workflow_in_the_present_bootenv_leaves_the_machine_runnable():
    got = set_workflow(machine(bootenv="discovery", runnable=True), DEPLOY, STAGES)
    assert (got.runnable, got.waiting_for) == (True, "")


def test_a_first_stage_without_a_bootenv_keeps_the_present_one():
    got = set_workflow(machine(bootenv="discovery"), Workflow(name="w", stages=("settle",)), STAGES)
    assert (got.stage, got.bootenv) == ("settle", "discovery")


def test_a_workflow_without_stages_has_no_stage():
    got = set_workflow(machine(stage="look"), Workflow(name="w"), STAGES)
    assert (got.workflow, got.stage, got.tasks) == ("w", "none", ())


def test_clearing_a_workflow_takes_all_work_and_keeps_the_bootenv():
    got = clear_workflow(set_workflow(machine(not_before=NOW), DEPLOY, STAGES))
    assert (got.workflow, got.stage, got.tasks, got.current_task) == ("", "none", (), -1)
    assert (got.bootenv, got.waiting_for, got.not_before) == ("discovery", "", None)


# --- stages ---------------------------------------------------------------------------------------------------


def test_a_machine_with_a_workflow_refuses_a_stage_also_by_force():
    busy = set_workflow(machine(), DEPLOY, STAGES)
    for force in (False, True):
        with pytest.raises(Refused, match="follows workflow 'deploy'"):
            set_stage(busy, STAGES["look"], force=force)


def test_a_stage_is_refused_while_tasks_are_left():
    with pytest.raises(Refused, match="1 task left in stage 'wipe'"):
        set_stage(machine(stage="wipe", tasks=("erase", "check"), current_task=0), STAGES["look"])


def test_a_stage_is_refused_while_the_last_task_is_under_way():
    with pytest.raises(Refused, match="last task"):
        set_stage(machine(stage="wipe", tasks=("erase", "check"), current_task=1), STAGES["look"])


def test_force_drops_the_tasks_that_are_left():
    got = set_stage(machine(stage="wipe", tasks=("erase",)), STAGES["look"], force=True)
    assert (got.stage, got.tasks, got.current_task) == ("look", ("inventory",), -1)


@pytest.mark.parametrize("given", [machine(), clear_workflow(set_workflow(machine(), DEPLOY, STAGES))])
def test_a_machine_that_has_no_work_takes_a_stage(given):
    got = set_stage(given, STAGES["look"])
    assert (got.stage, got.tasks, got.bootenv) == ("look", ("inventory",), "discovery")


def test_a_machine_that_is_done_takes_a_stage():
    got = set_stage(machine(tasks=("erase",), current_task=1, bootenv="discovery", runnable=True), STAGES["settle"])
    assert (got.tasks, got.current_task, got.bootenv, got.runnable) == (("users",), -1, "discovery", True)


def test_the_same_bootenv_is_no_change():
    given = machine(bootenv="discovery", runnable=True)
    assert set_bootenv(given, "discovery") is given


# --- rewinding ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bootenv", "current_task", "back_to"),
    [
        ("discovery", -1, -1),
        ("discovery", 2, -1),
        ("discovery", 5, -1),
        ("discovery", 7, -1),
        ("local", 8, 7),
        ("local", 10, 7),
        ("local", 11, 7),
    ],
)
def test_rewinding_goes_to_where_the_present_bootenv_began(bootenv, current_task, back_to):
    given = machine(bootenv=bootenv, tasks=FLAT, current_task=current_task, waiting_for="x", not_before=NOW)
    got = rewind(given, STAGES)
    assert got.current_task == back_to
    assert (got.runnable, got.waiting_for, got.not_before) == (True, "", None)


def test_rewinding_while_the_next_bootenv_is_not_applied_yet_stays_in_the_present_one():
    tasks = flatten(Workflow(name="w", stages=("local", "wipe", "local")), STAGES)
    assert rewind(machine(bootenv="discovery", tasks=tasks, current_task=7), STAGES).current_task == 2


def test_rewinding_a_stage_without_a_workflow_begins_it_anew():
    assert rewind(machine(tasks=("erase", "check"), current_task=1), STAGES).current_task == -1


def test_rewinding_passes_stages_that_no_longer_exist():
    assert rewind(machine(tasks=("stage:gone", "a"), current_task=1), STAGES).current_task == -1


# --- the change-stage map -------------------------------------------------------------------------------------


def follow(entry, *, stage="look", bootenv="discovery", **fields):
    given = machine(stage=stage, bootenv=bootenv, **{"tasks": ("t",), "current_task": 1} | fields)
    return follow_map(given, {} if entry is None else {stage: entry}, STAGES, BOOTENVS)


@pytest.mark.parametrize(
    ("entry", "stage", "action"),
    [
        ("settle", "settle", NextAction.CONTINUE),
        ("wipe", "wipe", NextAction.CONTINUE),
        ("local", "local", NextAction.REBOOT),
        ("settle:Success", "settle", NextAction.CONTINUE),
        ("local:Success", "local", NextAction.REBOOT),
        ("settle:Reboot", "settle", NextAction.REBOOT),
        ("local:Stop", "local", NextAction.STOP),
        ("settle:Stop", "settle", NextAction.STOP),
        ("local:Shutdown", "local", NextAction.POWEROFF),
        ("firmware", "firmware", NextAction.REBOOT),
        ("firmware:Success", "firmware", NextAction.REBOOT),
        ("firmware:Stop", "firmware", NextAction.REBOOT),
        ("firmware:Shutdown", "firmware", NextAction.REBOOT),
        (None, "", NextAction.WAIT),
        ("look", "", NextAction.WAIT),
        ("look:Reboot", "", NextAction.WAIT),
    ],
)
def test_the_map_leads_to_a_stage_and_an_action(entry, stage, action):
    got = follow(entry)
    assert (got.stage, got.action) == (stage, action)


@pytest.mark.parametrize(
    ("entry", "stage", "action"),
    [
        (None, "local", NextAction.STOP),
        ("local", "local", NextAction.STOP),
        ("settle", "settle", NextAction.CONTINUE),
        ("settle:Reboot", "settle", NextAction.STOP),
        ("firmware", "firmware", NextAction.STOP),
        ("local:Shutdown", "local", NextAction.POWEROFF),
    ],
)
def test_in_an_installer_the_agent_never_reboots(entry, stage, action):
    got = follow(entry, bootenv="debian-install")
    assert (got.stage, got.action) == (stage, action)


def test_a_workflow_is_not_led_by_the_map():
    got = follow("settle", workflow="deploy")
    assert (got.stage, got.action) == ("", NextAction.WAIT)


def test_tasks_that_are_left_come_before_the_map():
    got = follow("settle", current_task=0)
    assert (got.stage, got.action) == ("", NextAction.CONTINUE)


def test_a_machine_without_any_task_follows_the_map():
    assert follow("settle", stage="empty", tasks=(), current_task=-1).stage == "settle"


def test_a_map_that_leads_to_an_unknown_stage_is_invalid():
    with pytest.raises(Invalid, match="unknown stage 'nowhere'"):
        follow("nowhere")
