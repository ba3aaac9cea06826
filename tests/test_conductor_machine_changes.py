"""Changes of machines: checked as a whole, and built within the rules of work."""

import pytest

from provisioner.errors import Invalid, Refused
from provisioner.model.content import BootArch, Bootenv, Stage, Workflow
from provisioner.model.machines import Hold, Machine
from tests.parts import MAC, OPERATOR


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"name": "no name"}, "name", "begin with a letter or digit"),
        ({"name": ""}, "name", "is not a name"),
        ({"macs": ("x",)}, "macs", "is not a MAC"),
        ({"profiles": ("rack", "none")}, "profiles[1]", "unknown profile 'none'; there is: rack"),
        ({"params": {"colour": "green"}}, "params.colour", "'green' is not one of"),
        ({"params": {"size": 1}}, "params.size", "unknown param 'size'; there is: .*colour"),
        ({"workflow": "x"}, "workflow", "unknown workflow 'x'; there is: deploy, discover, greet, need"),
        ({"stage": "x"}, "stage", "unknown stage 'x'; there is: discover"),
        ({"bootenv": "x"}, "bootenv", "unknown bootenv 'x'; there is: discovery, local, picky"),
        ({"current_task": -2}, "current_task", "-2 is not from -1 to -1"),
        ({"current_task": 5}, "current_task", "never moves forward by hand"),
    ],
    ids=str,
)
async def test_a_wrong_change_names_its_field_and_changes_nothing(parts, change, path, message):
    machine = await parts.ready()
    before = parts.machine(machine)
    with pytest.raises(Invalid, match=message) as caught:
        await parts.change(machine, description="also this", **change)
    assert [field.path for field in caught.value.fields] == [path]
    assert parts.ledger.get(Machine, machine) == before


async def test_params_and_meta_merge_and_null_removes(parts):
    machine = await parts.ready(params={"colour": "red", "count": 1}, meta={"a": "1", "b": "2"})
    changed = await parts.change(machine, params={"colour": None, "needed": "x"}, meta={"a": None, "c": "3"})
    assert changed.params == {"count": 1, "needed": "x"} and changed.meta == {"b": "2", "c": "3"}


async def test_a_workflow_begins_at_once_on_a_machine_that_is_up_in_the_right_place(parts):
    machine = await parts.ready()
    changed = await parts.change(machine, workflow="deploy")
    assert changed.runnable and changed.bootenv == "discovery"
    assert changed.tasks == (
        *("stage:prepare", "bootenv:discovery", "one", "action:power-status", "redo"),
        *("stage:finish", "bootenv:local", "two"),
    )


async def test_a_workflow_that_begins_elsewhere_waits_for_the_boot(parts):
    machine = await parts.ready(bootenv="local")
    changed = await parts.change(machine, workflow="discover")
    assert (changed.bootenv, changed.runnable, changed.waiting_for) == ("discovery", False, "boot of discovery")


async def test_without_its_workflow_a_machine_has_no_work(parts):
    machine = await parts.ready(workflow="discover")
    changed = await parts.change(machine, workflow="")
    assert (changed.workflow, changed.stage, changed.tasks, changed.bootenv) == ("", "none", (), "discovery")


async def test_a_workflow_sets_stage_and_bootenv_alone(parts):
    machine = await parts.ready(workflow="discover")
    for change in ({"stage": "finish"}, {"bootenv": "local"}):
        with pytest.raises(Refused, match="follows workflow 'discover'.*clear the workflow first"):
            await parts.change(machine, **change)
    assert (await parts.change(machine, force=True, bootenv="local")).bootenv == "local"


async def test_a_stage_with_tasks_left_is_left_only_by_force(parts):
    machine = await parts.ready(stage="redo", force=True)
    with pytest.raises(Refused, match="has 2 tasks left in stage 'redo'; force it"):
        await parts.change(machine, stage="greet")
    assert (await parts.change(machine, force=True, stage="greet")).tasks == ("greet",)


async def test_a_machine_can_be_paused_and_go_on(parts):
    machine = await parts.ready(workflow="greet")
    paused = await parts.change(machine, runnable=False)
    assert not paused.runnable and paused.waiting_for == "an operator paused it"
    assert (await parts.change(machine, runnable=True)).waiting_for == ""


async def test_a_machine_is_set_back_to_where_its_bootenv_began(parts):
    machine = await parts.ready(stage="redo", force=True)
    await parts.end(await parts.begin(machine))
    assert parts.machine(machine).current_task == 0
    assert (await parts.change(machine, current_task=-1, runnable=True)).current_task == -1


async def test_a_machine_whose_workflow_names_are_gone_says_so(parts):
    machine = await parts.ready(bootenv="local")
    await parts.catalog.put(Stage(name="mine", tasks=("one",)), OPERATOR)
    await parts.catalog.put(Workflow(name="mine", stages=("mine",)), OPERATOR)
    changed = await parts.change(machine, workflow="mine")
    parts.catalog.view = {**parts.catalog.view, "workflows": {}}
    assert changed.available
    held = await parts.change(machine, description="x")
    assert not held.available and not held.runnable and held.waiting_for.startswith("unknown workflow")


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"arch": "aarch64"}, "arch", "write 'arm64' for it"),
        ({"address": "host"}, "address", "is not an IP address"),
        ({"profiles": ("rack", "rack")}, "profiles[1]", "named twice"),
        ({"stop_before": ("two", "room:5")}, "stop_before[1]", "'room:5' is no entry; there is: a task's name"),
        ({"bootenv": "strangers"}, "bootenv", "is for unknown machines only"),
    ],
    ids=str,
)
async def test_what_makes_no_sense_of_a_machine_is_refused(parts, change, path, message):
    machine = await parts.ready()
    strangers = Bootenv(name="strangers", arch={"amd64": BootArch("k")}, only_unknown=True)
    await parts.catalog.put(strangers, OPERATOR)
    with pytest.raises(Invalid, match=message) as caught:
        await parts.change(machine, **change)
    assert [field.path for field in caught.value.fields] == [path]


async def test_an_arch_that_its_bootenv_does_not_support_makes_a_machine_wait(parts):
    machine = await parts.ready(workflow="discover")
    changed = await parts.change(machine, arch="arm64")
    assert not changed.runnable and changed.hold is Hold.ERRORS
    assert changed.errors == ("bootenv 'discovery' has nothing for arm64; it has: amd64",)
    assert (await parts.change(machine, arch="amd64")).runnable


async def test_a_machine_goes_step_by_step_and_stops_where_it_is_told(parts):
    machine = await parts.ready(workflow="deploy", step=True, stop_before=("stage:finish", "two"))
    assert parts.machine(machine).step and parts.machine(machine).stop_before == ("stage:finish", "two")


async def test_a_machines_own_address_and_macs_are_no_conflict_with_itself(parts):
    machine = await parts.ready(address="10.0.0.7")
    assert (await parts.change(machine, address="10.0.0.7", macs=(MAC,))).address == "10.0.0.7"
