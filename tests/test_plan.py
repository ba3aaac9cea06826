"""How workflows and stages become a machine's list of work, and where the change-stage map leads."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from provisioner.errors import Invalid, Refused
from provisioner.model.content import BootArch, Bootenv, Stage, Workflow
from provisioner.model.machines import AgentInfo, Hold, Machine
from provisioner.plan import (
    NextAction,
    clear_workflow,
    flatten,
    follow_map,
    move_back,
    ready_if_up,
    restart,
    resume,
    rewind,
    set_bootenv,
    set_runnable,
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
    assert (got.bootenv, got.waiting_for, got.not_before) == ("discovery", "its agent to come up", None)


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
    given = machine(
        **{"stage": stage, "bootenv": bootenv, "tasks": ("t",), "current_task": 1, "runnable": True} | fields
    )
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


def test_a_machine_that_is_held_does_not_follow_the_map():
    got = follow("settle", runnable=False, hold=Hold.PAUSED, waiting_for="an operator paused it")
    assert (got.stage, got.action) == ("", NextAction.WAIT)
    assert got.reason == "the machine is not runnable: an operator paused it"


# --- restart --------------------------------------------------------------------------------------------------


def counted(**fields):
    """A machine in the middle of a task that has been tried, repaired and stopped."""
    tried = {"attempts": 3, "retries": 2, "repaired": True, "repairs_left": ("mend",), "stopped_at": 5}
    return machine(**{"tasks": FLAT, "workflow": "deploy", "bootenv": "discovery", "current_task": 5} | tried | fields)


UNTRIED = {"attempts": 0, "retries": 0, "repaired": False, "repairs_left": (), "stopped_at": -1, "not_before": None}


def is_untried(got):
    return {name: getattr(got, name) for name in UNTRIED} == UNTRIED


def test_a_workflow_begins_anew_from_its_start():
    got = restart(counted(runnable=True), DEPLOY, STAGES)
    assert (got.tasks, got.current_task, got.stage, got.bootenv) == (FLAT, -1, "look", "discovery")
    assert is_untried(got)


@pytest.mark.parametrize(
    ("stage", "tasks", "bootenv"),
    [
        ("look", FLAT, "discovery"),
        ("wipe", ("stage:wipe", "bootenv:discovery", *FLAT[4:]), "discovery"),
        ("settle", ("stage:settle", "bootenv:discovery", "users", *FLAT[8:]), "discovery"),
        ("local", FLAT[8:], "local"),
    ],
)
def test_a_workflow_begins_anew_from_a_stage_in_the_bootenv_that_it_has_reached_there(stage, tasks, bootenv):
    for up_in in ("discovery", "local"):
        got = restart(counted(runnable=True, bootenv=up_in), DEPLOY, STAGES, stage)
        assert (got.tasks, got.current_task, got.stage, got.bootenv) == (tasks, -1, stage, bootenv)
        assert got.runnable is (up_in == bootenv) and is_untried(got)
        assert got.runnable or (got.hold, got.waiting_for) == (Hold.BOOT, f"boot of {bootenv}")


def test_a_stage_that_begins_a_list_names_its_bootenv_once():
    three = Workflow(name="w", stages=("look", "settle", "wipe"))
    got = restart(machine(), three, STAGES, "settle")
    assert got.tasks == ("stage:settle", "bootenv:discovery", "users", "stage:wipe", "erase", "check")


def test_a_workflow_does_not_begin_from_a_stage_that_is_not_its_own():
    with pytest.raises(Invalid, match=r"unknown stage 'empty'; there is: .*in workflow 'deploy'") as caught:
        restart(counted(), DEPLOY, STAGES, "empty")
    assert caught.value.fields[0].path == "stage"


def test_without_a_workflow_the_present_stage_begins_anew():
    given = machine(stage="wipe", tasks=("erase", "check"), current_task=1, bootenv="discovery", runnable=True)
    for stage in ("", "wipe"):
        got = restart(given, None, STAGES, stage)
        assert (got.tasks, got.current_task, got.runnable) == (("erase", "check"), -1, True)
    with pytest.raises(Invalid, match="only the present stage begins anew"):
        restart(given, None, STAGES, "look")


def test_a_machine_without_work_has_nothing_to_begin_anew():
    with pytest.raises(Refused, match="no workflow and no stage"):
        restart(machine(), None, STAGES)


# --- going on and waiting -------------------------------------------------------------------------------------


def test_an_operator_pauses_a_machine():
    got = set_runnable(counted(runnable=True, not_before=NOW), False)
    assert (got.runnable, got.hold, got.waiting_for, got.not_before) == (
        False,
        Hold.PAUSED,
        "an operator paused it",
        None,
    )


def test_an_operator_lets_a_machine_go_on_with_all_its_retries():
    got = set_runnable(counted(hold=Hold.FAILED, waiting_for="x", not_before=NOW), True)
    assert (got.runnable, got.hold, got.waiting_for, got.not_before, got.retries) == (True, Hold.NONE, "", None, 0)
    assert (got.current_task, got.attempts, got.repaired, got.stopped_at) == (5, 3, True, 5)


def test_resume_goes_on_at_the_failed_task_and_repairs_it_once_more():
    got = resume(counted(repairs_left=(), hold=Hold.FAILED, waiting_for="x"))
    assert (got.runnable, got.current_task, got.repaired, got.retries) == (True, 5, False, 0)


def test_resume_goes_on_with_the_repair_that_failed():
    got = resume(counted(hold=Hold.FAILED, waiting_for="x"))
    assert (got.runnable, got.repaired, got.repairs_left) == (True, True, ("mend",))


@pytest.mark.parametrize("given", [machine(), machine(tasks=("a",), current_task=1)])
def test_resume_is_refused_without_work(given):
    with pytest.raises(Refused, match="has no work to go on with"):
        resume(given)


def test_resume_is_refused_while_the_machine_cannot_be_used():
    with pytest.raises(Refused, match="cannot be used: unknown stage 'x'"):
        resume(counted(errors=("unknown stage 'x'",)))


def test_resume_is_refused_while_another_bootenv_is_to_come_up():
    with pytest.raises(Refused, match="waits for its boot of 'local'"):
        resume(set_bootenv(counted(agent=AgentInfo(bootenv="discovery")), "local"))


def test_resume_does_not_wait_for_a_boot_of_where_the_machine_is():
    assert resume(counted(hold=Hold.BOOT, agent=AgentInfo(bootenv="discovery"))).runnable


@pytest.mark.parametrize("place", [6, -2, 99])
def test_current_task_never_moves_forward_by_hand(place):
    with pytest.raises(Invalid, match=f"current_task {place} is not from -1 to 5: it never moves forward by hand"):
        move_back(counted(), place, STAGES, run=False)


def test_moving_back_forgets_what_was_counted_and_keeps_why_it_waits():
    got = move_back(counted(hold=Hold.FAILED, waiting_for="x"), 3, STAGES, run=False)
    assert (got.current_task, got.hold, got.waiting_for) == (3, Hold.FAILED, "x") and is_untried(got)


def test_moving_to_where_it_is_changes_nothing():
    given = counted()
    assert move_back(given, 5, STAGES, run=True) is given


def test_moving_to_the_start_and_running_rewinds():
    assert move_back(counted(), -1, STAGES, run=True) == rewind(counted(), STAGES)
    assert is_untried(rewind(counted(), STAGES))


@pytest.mark.parametrize(
    ("agent", "runnable"),
    [
        (AgentInfo(), False),
        (AgentInfo(bootenv="discovery", hello_at=NOW), True),
        (AgentInfo(bootenv="local", hello_at=NOW), False),
    ],
)
def test_new_work_begins_at_once_on_a_machine_that_is_up_in_the_right_bootenv(agent, runnable):
    assert ready_if_up(set_workflow(machine(bootenv="discovery", agent=agent), DEPLOY, STAGES)).runnable is runnable


def test_new_work_on_a_machine_that_is_not_up_waits_for_its_agent():
    got = set_workflow(machine(bootenv="discovery", hold=Hold.PAUSED, waiting_for="x"), DEPLOY, STAGES)
    assert (got.hold, got.waiting_for) == (Hold.BOOT, "its agent to come up")
