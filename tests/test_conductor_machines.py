"""Machines: recognised when they register, made runnable when they come up, changed within the rules."""

from datetime import timedelta

import pytest

from provisioner.access import Principal, Who
from provisioner.conductor.machines import Hello, MachineChange, normal_mac, outcome_of
from provisioner.errors import Conflict, Denied, Invalid, NotFound, Refused
from provisioner.model import Identity, Job, JobState, Machine, Reservation, Stage, TokenPurpose, Workflow
from tests.parts import MAC, OPERATOR, OTHER_MAC, START, opened


@pytest.fixture
async def parts(tmp_path):
    async with opened(tmp_path) as parts:
        yield parts


# --- registering ----------------------------------------------------------------------------------------------


async def test_an_unknown_machine_is_made_and_given_the_default_workflow(parts):
    done = await parts.register(firmware="uefi")
    machine = parts.machine(done.machine.id)
    assert done.created and machine.name == "m-52-54-00-00-00-01"
    assert (machine.workflow, machine.stage, machine.bootenv) == ("discover", "discover", "discovery")
    assert machine.tasks == ("stage:discover", "bootenv:discovery", "one") and machine.current_task == -1
    assert (machine.firmware, machine.address, machine.macs) == ("uefi", "10.0.0.50", (MAC,))
    assert not machine.runnable


async def test_the_token_of_a_registration_is_for_that_machine_only(parts):
    done = await parts.register()
    assert parts.tokens.recognise(done.token) == Principal(Who.MACHINE, done.machine.id)


async def test_a_known_machine_keeps_its_work_when_it_registers_again(parts):
    machine = await parts.ready(name="n1", bootenv="local", params={"colour": "red"})
    done = await parts.register(address="10.0.0.51")
    assert not done.created and done.machine.id == machine
    known = parts.machine(machine)
    assert (known.name, known.bootenv, known.workflow, known.params) == ("n1", "local", "", {"colour": "red"})
    assert known.address == "10.0.0.51"


async def test_a_machine_with_other_network_cards_is_recognised_by_its_serial_numbers(parts):
    first = (await parts.register(MAC)).machine.id
    done = await parts.register(OTHER_MAC)
    assert done.machine.id == first and parts.machine(first).macs == (OTHER_MAC,)
    assert parts.ledger.machine_by_mac(MAC) is None


async def test_serial_numbers_that_contradict_a_known_mac_are_a_clash(parts):
    first = (await parts.register(MAC)).machine
    other = Identity(dmi_uuid="11111111-2222-3333-4444-555555555555", serial="SN0002")
    with pytest.raises(Conflict, match=f"MAC {MAC} belongs to machine {first.name}") as caught:
        await parts.register(MAC, OTHER_MAC, identity=other)
    assert (caught.value.code, caught.value.object) == ("identity-clash", first.id)
    assert list(parts.ledger.all(Machine)) == [parts.machine(first.id)]


async def test_a_machine_at_work_cannot_be_taken_over_by_one_with_its_serial_numbers(parts):
    machine = (await parts.register()).machine
    await parts.hello(machine.id)
    await parts.begin(machine.id)
    with pytest.raises(Conflict, match="running a job at this moment") as caught:
        await parts.register(OTHER_MAC)
    assert caught.value.code == "identity-clash" and parts.machine(machine.id).macs == (MAC,)


async def test_a_wrong_ticket_is_refused_and_makes_nothing(parts):
    with pytest.raises(Denied, match="boot from the network again") as caught:
        await parts.register(ticket="guessed")
    assert (caught.value.status, caught.value.code) == (403, "ticket-refused")
    assert list(parts.ledger.all(Machine)) == [] and await parts.events("agent", "machine") == []


async def test_another_tokens_secret_is_no_ticket(parts):
    with pytest.raises(Denied):
        await parts.register(ticket=await parts.secret(TokenPurpose.API))


async def test_a_ticket_ends(parts):
    ticket = await parts.ticket()
    parts.clock.pass_seconds(30 * 60)
    with pytest.raises(Denied):
        await parts.register(ticket=ticket)


async def test_a_used_ticket_is_good_for_the_repetition_of_a_lost_answer_only(parts):
    ticket = await parts.ticket()
    first = await parts.register(ticket=ticket)
    parts.clock.pass_seconds(100)
    assert (await parts.register(ticket=ticket)).machine.id == first.machine.id
    parts.clock.pass_seconds(100)
    with pytest.raises(Denied):
        await parts.register(ticket=ticket)


async def test_a_registration_names_at_least_one_true_mac(parts):
    for macs, message in ((("",), "'' is not a MAC"), (("52:54:00:00:00:zz",), "is not a MAC address such as")):
        with pytest.raises(Invalid, match=message) as caught:
            await parts.register(*macs)
        assert [field.path for field in caught.value.fields] == ["macs"]


async def test_macs_are_written_in_one_way_and_once(parts):
    done = await parts.register("52-54-00-00-00-0A", "52:54:00:00:00:0a")
    assert done.machine.macs == ("52:54:00:00:00:0a",)
    assert normal_mac(" 52-54-00-00-00-0A ") == "52:54:00:00:00:0a"


async def test_a_new_machine_is_called_as_its_reservation_says_unless_that_is_taken(parts):
    for mac, last in ((MAC, 5), (OTHER_MAC, 6)):
        reservation = Reservation(address=f"10.0.0.{last}", mac=mac, hostname="n5")
        await parts.networks.put_reservation(reservation, OPERATOR)
    assert (await parts.register(MAC)).machine.name == "n5"
    assert (await parts.register(OTHER_MAC, identity=Identity())).machine.name == "m-52-54-00-00-00-02"


# --- coming up ------------------------------------------------------------------------------------------------


async def test_a_machine_that_comes_up_where_it_should_be_may_run(parts):
    machine = (await parts.register()).machine.id
    saved = await parts.hello(machine)
    assert saved.runnable and saved.waiting_for == "" and saved.agent.boot_id == "boot-1"
    assert saved.agent.hello_at == START
    assert [data["boot_id"] for _, data in await parts.events("agent.hello")] == ["boot-1"]


async def test_a_machine_that_comes_up_elsewhere_waits_for_its_boot(parts):
    machine = (await parts.register()).machine.id
    saved = await parts.hello(machine, bootenv="local")
    assert not saved.runnable and saved.waiting_for == "boot of discovery"


async def test_a_paused_machine_stays_paused_when_its_agent_only_starts_again(parts):
    machine = await parts.ready(runnable=False)
    assert not (await parts.hello(machine)).runnable
    assert (await parts.hello(machine, boot_id="boot-2")).runnable


async def test_a_hello_without_a_boot_id_is_refused(parts):
    machine = (await parts.register()).machine.id
    with pytest.raises(Invalid) as caught:
        await parts.hello(machine, boot_id="")
    assert [field.path for field in caught.value.fields] == ["boot_id"]


async def test_a_job_that_a_reboot_cut_off_holds_the_machine(parts):
    machine = await parts.ready(stage="finish", force=True, bootenv="local")
    job = await parts.begin(machine)
    saved = await parts.hello(machine, boot_id="boot-2", bootenv="local")
    assert parts.jobs.find(job.id).state is JobState.ABANDONED
    assert not saved.runnable and "not marked idempotent" in saved.waiting_for
    assert (await parts.change(machine, runnable=True)).runnable
    assert (await parts.begin(machine, boot_id="boot-2")).attempt == 2


async def test_an_idempotent_job_that_a_reboot_cut_off_is_simply_done_again(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    saved = await parts.hello(machine, boot_id="boot-2")
    assert parts.jobs.find(job.id).state is JobState.ABANDONED and saved.runnable
    assert (await parts.begin(machine, boot_id="boot-2")).task == "redo"


async def test_a_cancelled_job_that_a_reboot_cut_off_is_not_done_again(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    await parts.jobs.cancel(job.id, "enough", OPERATOR)
    saved = await parts.hello(machine, boot_id="boot-2")
    assert parts.jobs.find(job.id).state is JobState.CANCELLED and not saved.runnable


async def test_only_known_machines_say_hello(parts):
    with pytest.raises(NotFound, match="there is no machine 'ghost'"):
        await parts.hello("ghost")


async def test_the_inventory_is_kept_and_a_change_of_it_told(parts):
    machine = await parts.ready()
    for _ in range(2):
        await parts.machines.report_inventory(machine, {"cpu": 4}, Principal(Who.MACHINE, machine))
    assert parts.machine(machine).inventory == {"cpu": 4}
    assert [data["changed"] for _, data in await parts.events("machine.inventory")] == [True, False]


async def test_the_change_stage_map_leads_on_when_tasks_are_done(parts):
    machine = await parts.ready(stage="greet", force=True, params={"change-stage/map": {"greet": "finish:Reboot"}})
    by = Principal(Who.MACHINE, machine)
    assert outcome_of(await parts.machines.next_stage(machine, by))["action"] == "continue"
    await parts.end(await parts.begin(machine))
    step = outcome_of(await parts.machines.next_stage(machine, by))
    assert (step["stage"], step["action"]) == ("finish", "reboot")
    after = parts.machine(machine)
    assert (after.stage, after.bootenv, after.runnable, after.tasks) == ("finish", "local", False, ("two",))


# --- changing -------------------------------------------------------------------------------------------------


async def test_a_machine_made_by_hand_is_recognised_by_its_macs(parts):
    made = await parts.machines.create("n1", (MAC.upper(),), "made by hand", OPERATOR)
    assert not (done := await parts.register()).created and done.machine.id == made.id


async def test_names_and_macs_belong_to_one_machine(parts):
    await parts.machines.create("n1", (MAC,), "", OPERATOR)
    for name, macs, code in (("n1", (), "name-taken"), ("n2", (MAC,), "mac-taken")):
        with pytest.raises(Conflict) as caught:
            await parts.machines.create(name, macs, "", OPERATOR)
        assert caught.value.code == code
    second = await parts.machines.create("n2", (OTHER_MAC,), "", OPERATOR)
    for change, code in (({"name": "n1"}, "name-taken"), ({"macs": (MAC,)}, "mac-taken")):
        with pytest.raises(Conflict) as caught:
            await parts.change(second.id, **change)
        assert caught.value.code == code


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


@pytest.mark.parametrize("begun", ["created", "running", "incomplete"])
async def test_a_job_of_the_work_before_is_stopped(parts, begun):
    machine = await parts.ready(stage="redo", force=True)
    job = (await parts.claim(machine)).job if begun == "created" else await parts.begin(machine)
    if begun == "incomplete":
        await parts.end(job, JobState.INCOMPLETE)
    await parts.change(machine, workflow="greet")
    stopped = parts.jobs.find(job.id)
    assert stopped.cancel_requested if begun == "running" else stopped.state is JobState.CANCELLED
    assert stopped.message == "the machine was given other work"


async def test_the_same_stage_once_more_stops_its_job_as_well(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    await parts.change(machine, force=True, stage="redo")
    assert parts.jobs.find(job.id).cancel_requested


async def test_other_changes_leave_a_job_alone(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    await parts.change(machine, description="x", params={"count": 1})
    assert not parts.jobs.find(job.id).cancel_requested


async def test_a_locked_machine_takes_no_change_but_its_unlocking(parts):
    machine = await parts.ready(locked=True)
    with pytest.raises(Refused, match="is locked; unlock it first") as caught:
        await parts.change(machine, description="x")
    assert caught.value.code == "locked"
    with pytest.raises(Refused, match="locked"):
        await parts.machines.delete(machine, OPERATOR)
    assert (await parts.change(machine, locked=False, description="x")).description == "x"


async def test_a_machine_whose_workflow_names_are_gone_says_so(parts):
    machine = await parts.ready(bootenv="local")
    await parts.catalog.put(Stage(name="mine", tasks=("one",)), OPERATOR)
    await parts.catalog.put(Workflow(name="mine", stages=("mine",)), OPERATOR)
    changed = await parts.change(machine, workflow="mine")
    parts.catalog.view = {**parts.catalog.view, "workflows": {}}
    assert parts.machines.problems(changed) == ("unknown workflow 'mine'; there is none yet",)
    held = await parts.change(machine, description="x")
    assert not held.available and not held.runnable and held.waiting_for.startswith("unknown workflow")


async def test_a_change_tells_its_fields_and_raises_the_revision(parts):
    machine = await parts.ready()
    before = parts.machine(machine).revision
    assert (await parts.change(machine, description="x", meta={})).revision == before + 1
    assert (await parts.events("machine.update"))[-1][1] == {"fields": ["description", "meta"]}


# --- params, grants, the end ----------------------------------------------------------------------------------


async def test_one_param_is_set_and_removed(parts):
    machine = await parts.ready()
    await parts.machines.set_param(machine, "count", 7, OPERATOR)
    assert parts.machine(machine).params == {"count": 7}
    await parts.machines.drop_param(machine, "count", OPERATOR)
    assert parts.machine(machine).params == {}
    with pytest.raises(NotFound, match="itself has no param 'count'"):
        await parts.machines.drop_param(machine, "count", OPERATOR)


async def test_a_param_that_is_unknown_or_does_not_fit_is_not_set(parts):
    machine = await parts.ready()
    with pytest.raises(Invalid, match="unknown param 'size'; there is: "):
        await parts.machines.set_param(machine, "size", 1, OPERATOR)
    with pytest.raises(Invalid, match="param count: 'x' is not of type 'integer'"):
        await parts.machines.set_param(machine, "count", "x", OPERATOR)
    assert parts.machine(machine).params == {}


async def test_an_erase_grant_says_which_disk_until_when_and_by_whom(parts):
    machine = await parts.ready()
    granted = await parts.machines.grant_erase(machine, " wwn-1 ", 2, OPERATOR)
    (grant,) = granted.erase_grants
    assert (grant.disk, grant.expires_at, grant.granted_by) == ("wwn-1", START + timedelta(hours=2), "user:admin")


async def test_a_grant_takes_the_place_of_an_older_one_and_of_ended_ones(parts):
    machine = await parts.ready()
    await parts.machines.grant_erase(machine, "short", 1, OPERATOR)
    await parts.machines.grant_erase(machine, "any", 9, OPERATOR)
    parts.clock.pass_seconds(3601)
    granted = await parts.machines.grant_erase(machine, "any", 1, OPERATOR)
    assert [grant.disk for grant in granted.erase_grants] == ["any"]


@pytest.mark.parametrize(
    ("disk", "hours", "path"),
    [
        (" ", 1, "disk"),
        ("any", 0, "hours"),
        ("any", -1, "hours"),
        ("any", 337, "hours"),
        ("any", float("nan"), "hours"),
    ],
)
async def test_a_grant_without_a_disk_or_an_end_is_refused(parts, disk, hours, path):
    machine = await parts.ready()
    with pytest.raises(Invalid) as caught:
        await parts.machines.grant_erase(machine, disk, hours, OPERATOR)
    assert [field.path for field in caught.value.fields] == [path] and parts.machine(machine).erase_grants == ()


async def test_a_deleted_machine_is_forgotten_with_its_jobs_and_tokens(parts):
    machine = await parts.ready(stage="greet", force=True)
    token = await parts.secret(TokenPurpose.MACHINE, machine)
    await parts.end(await parts.begin(machine))
    await parts.machines.delete(machine, OPERATOR)
    assert list(parts.ledger.read_all(Job)) == [] and parts.tokens.recognise(token).who is Who.NOBODY
    with pytest.raises(NotFound):
        parts.machines.find(machine)
    assert (await parts.register()).created


async def test_a_machine_that_runs_a_job_is_not_deleted(parts):
    machine = await parts.ready(stage="greet", force=True)
    job = await parts.begin(machine)
    with pytest.raises(Refused, match=f"is running job {job.id}; cancel that first"):
        await parts.machines.delete(machine, OPERATOR)


async def test_machines_are_found_by_id_and_name(parts):
    machine = await parts.ready(name="n1")
    assert parts.machines.find("n1") == parts.machines.find(machine)
    with pytest.raises(NotFound, match="there is no machine 'n2'"):
        parts.machines.find("n2")


async def test_work_of_an_unknown_machine_cannot_be_changed(parts):
    for doing in (
        parts.machines.change("ghost", MachineChange(), OPERATOR),
        parts.machines.delete("ghost", OPERATOR),
        parts.machines.hello("ghost", Hello(boot_id="b", bootenv="local"), OPERATOR),
        parts.machines.set_param("ghost", "count", 1, OPERATOR),
    ):
        with pytest.raises(NotFound, match="there is no machine 'ghost'"):
            await doing


async def test_a_ticket_of_another_mac_is_refused_and_nothing_changes(parts):
    stolen = await parts.ticket(OTHER_MAC)
    with pytest.raises(Denied, match=OTHER_MAC):
        await parts.register(MAC, ticket=stolen)
    assert list(parts.ledger.read_all(Machine)) == []
