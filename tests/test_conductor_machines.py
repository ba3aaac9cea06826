"""Machines: made, changed, granted and deleted by operators."""

from datetime import timedelta

import pytest

from provisioner.access import Principal, Who
from provisioner.conductor.machine_changes import MachineChange, NewMachine
from provisioner.conductor.registration import Hello
from provisioner.errors import Conflict, Invalid, NotFound, Refused
from provisioner.model.access import TokenPurpose
from provisioner.model.machines import Hold, Job, JobState, Machine
from tests.parts import MAC, OPERATOR, OTHER_MAC, START


async def test_a_machine_made_by_hand_is_recognised_by_its_macs(parts):
    made = await parts.machines.create(NewMachine("n1", macs=(MAC.upper(),)), OPERATOR)
    assert not (done := await parts.register()).created and done.machine.id == made.id


async def test_names_and_macs_belong_to_one_machine(parts):
    await parts.machines.create(NewMachine("n1", macs=(MAC,)), OPERATOR)
    for name, macs, code in (("n1", (), "name-taken"), ("n2", (MAC,), "mac-taken")):
        with pytest.raises(Conflict) as caught:
            await parts.machines.create(NewMachine(name, macs=macs), OPERATOR)
        assert caught.value.code == code
    second = await parts.machines.create(NewMachine("n2", macs=(OTHER_MAC,)), OPERATOR)
    for change, code in (({"name": "n1"}, "name-taken"), ({"macs": (MAC,)}, "mac-taken")):
        with pytest.raises(Conflict) as caught:
            await parts.change(second.id, **change)
        assert caught.value.code == code


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


async def test_a_change_tells_its_fields_and_raises_the_revision(parts):
    machine = await parts.ready()
    before = parts.machine(machine).revision
    assert (await parts.change(machine, description="x", meta={})).revision == before + 1
    assert (await parts.events("machine.update"))[-1][1] == {"fields": ["description", "meta"]}


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
    with pytest.raises(Invalid, match="count: 'x' is not of type 'integer'"):
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
        parts.registrations.hello("ghost", Hello(boot_id="b", bootenv="local"), OPERATOR),
        parts.machines.set_param("ghost", "count", 1, OPERATOR),
    ):
        with pytest.raises(NotFound, match="there is no machine 'ghost'"):
            await doing


# --- made with all fields, begun anew, gone on with -----------------------------------------------------------------


async def test_a_machine_is_made_with_all_that_is_said_of_it(parts):
    id = "0D9F3B1E-7C52-4B7E-9E3E-2F0C2B1A6D11"
    asked = NewMachine(
        "n1", id=id, description="top", macs=(MAC,), address="10.0.0.7", profiles=("rack",),
        params={"count": 7}, meta={"icon": "server"}, workflow="deploy", locked=True,
    )  # fmt: skip
    made = await parts.machines.create(asked, OPERATOR)
    assert parts.machine(id.lower()) == made
    assert (made.description, made.macs, made.address, made.profiles) == ("top", (MAC,), "10.0.0.7", ("rack",))
    assert (made.params, made.meta, made.locked) == ({"count": 7}, {"icon": "server"}, True)
    assert (made.workflow, made.stage, made.bootenv, made.runnable) == ("deploy", "prepare", "discovery", False)
    assert (made.hold, made.waiting_for) == (Hold.BOOT, "boot of discovery")
    idle = await parts.machines.create(NewMachine("idle"), OPERATOR)
    assert (idle.hold, idle.waiting_for) == (Hold.BOOT, "its agent to come up")
    assert [data["workflow"] for _, data in await parts.events("machine.workflow")] == ["deploy"]


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"id": "7"}, "id", "is not a UUID"),
        ({"name": "a/b"}, "name", "is not a name"),
        ({"name": "a..b"}, "name", "is not a name"),
        ({"arch": "x86_64"}, "arch", "unknown arch 'x86_64'.*write 'amd64' for it"),
        ({"address": "10.0.0.300"}, "address", "is not an IP address"),
        ({"macs": ("01:00:5e:00:00:01",)}, "macs[0]", "is no MAC of one network card"),
        ({"profiles": ("rack", "rack")}, "profiles[1]", "profile 'rack' is named twice"),
        ({"workflow": "deploy", "stage": "finish"}, "stage", "workflow 'deploy' sets the stage"),
        ({"workflow": "deploy", "bootenv": "local"}, "bootenv", "workflow 'deploy' sets the bootenv"),
        ({"bootenv": "discovery", "arch": "arm64"}, "bootenv", "has nothing for arm64; it has: amd64"),
        ({"workflow": "deploy", "arch": "arm64"}, "workflow", "has nothing for arm64; it has: amd64"),
        ({"params": {"count": "x"}}, "params.count", "'x' is not of type 'integer'"),
    ],
    ids=str,
)
async def test_a_wrong_field_of_a_new_machine_is_named_and_nothing_is_made(parts, fields, path, message):
    with pytest.raises(Invalid, match=message) as caught:
        await parts.machines.create(NewMachine(**{"name": "n1", **fields}), OPERATOR)
    assert [field.path for field in caught.value.fields] == [path]
    assert caught.value.object in ("", "n1", fields.get("name"))
    assert list(parts.ledger.all(Machine)) == []


async def test_ids_and_addresses_belong_to_one_machine_and_an_id_is_no_name(parts):
    first = await parts.machines.create(NewMachine("n1", address="10.0.0.7"), OPERATOR)
    for fields, code in (
        ({"id": first.id}, "id-taken"),
        ({"address": "10.0.0.7"}, "address-taken"),
        ({"name": first.id}, "name-taken"),
    ):
        with pytest.raises(Conflict) as caught:
            await parts.machines.create(NewMachine(**{"name": "n2", **fields}), OPERATOR)
        assert caught.value.code == code


async def test_work_begins_anew_from_its_start_or_from_a_stage_and_stops_its_job(parts):
    machine = await parts.ready(workflow="deploy")
    job = await parts.begin(machine)
    anew = await parts.machines.restart(machine, "", OPERATOR)
    assert anew.current_task == -1 and anew.tasks[0] == "stage:prepare" and anew.runnable
    assert parts.jobs.find(job.id).cancel_requested
    later = await parts.machines.restart(machine, "finish", OPERATOR)
    assert (later.tasks[0], later.stage, later.bootenv, later.runnable) == ("stage:finish", "finish", "local", False)
    assert [data["stage"] for _, data in await parts.events("machine.restart")] == ["prepare", "finish"]


async def test_work_begins_anew_only_at_a_stage_of_it(parts):
    machine = await parts.ready(workflow="deploy")
    with pytest.raises(Invalid, match="unknown stage 'redo'; there is: finish, prepare"):
        await parts.machines.restart(machine, "redo", OPERATOR)
    await parts.change(machine, workflow="")
    with pytest.raises(Refused, match="no workflow and no stage"):
        await parts.machines.restart(machine, "", OPERATOR)


async def test_a_machine_that_failed_goes_on_at_that_task(parts):
    machine = await parts.ready(stage="redo", force=True)
    job = await parts.begin(machine)
    await parts.end(job, JobState.FAILED)
    resumed = await parts.machines.resume(machine, OPERATOR)
    assert resumed.runnable and (await parts.begin(machine)).task == job.task
    with pytest.raises(Refused, match="no work to go on with"):
        await parts.machines.resume((await parts.machines.create(NewMachine("idle"), OPERATOR)).id, OPERATOR)


async def test_a_rehearsal_answers_the_same_and_changes_nothing(parts):
    machine = await parts.ready(workflow="deploy")
    before = parts.ledger.get(Machine, machine)
    seen = await parts.machines.change(machine, MachineChange(description="x"), OPERATOR, rehearse=True)
    await parts.machines.restart(machine, "finish", OPERATOR, rehearse=True)
    await parts.machines.resume(machine, OPERATOR, rehearse=True)
    await parts.machines.delete(machine, OPERATOR, rehearse=True)
    assert seen.description == "x" and parts.ledger.get(Machine, machine) is before


async def test_people_do_nothing_to_a_locked_machine_and_its_agent_goes_on(parts):
    machine = await parts.ready(workflow="deploy", params={"count": 1}, locked=True)
    for doing in (
        parts.machines.restart(machine, "", OPERATOR),
        parts.machines.resume(machine, OPERATOR),
        parts.machines.set_param(machine, "count", 2, OPERATOR),
        parts.machines.drop_param(machine, "count", OPERATOR),
        parts.machines.grant_erase(machine, "any", 1, OPERATOR),
    ):
        with pytest.raises(Refused, match="is locked; unlock it first") as caught:
            await doing
        assert caught.value.code == "locked"
    await parts.machines.set_param(machine, "count", 3, Principal(Who.MACHINE, machine))
    several = MachineChange(params={"count": 4, "colour": "red"})
    await parts.machines.change(machine, several, Principal(Who.MACHINE, machine))
    assert parts.machine(machine).params == {"count": 4, "colour": "red"}
    assert await parts.begin(machine)


async def test_a_grant_is_taken_back_also_from_a_locked_machine(parts):
    machine = await parts.ready()
    await parts.machines.grant_erase(machine, "any", 1, OPERATOR)
    await parts.machines.grant_erase(machine, "wwn-1", 1, OPERATOR)
    await parts.change(machine, locked=True)
    left = await parts.machines.revoke_erase(machine, "any", OPERATOR)
    assert [grant.disk for grant in left.erase_grants] == ["wwn-1"]
    with pytest.raises(NotFound, match="unknown grant 'any'; there is: wwn-1"):
        await parts.machines.revoke_erase(machine, "any", OPERATOR)
    assert [data["disk"] for _, data in await parts.events("machine.revoke")] == ["any"]


async def test_at_the_start_machines_are_seen_anew_under_the_content_in_force(parts):
    machine = await parts.ready(workflow="greet")
    parts.catalog.view = {**parts.catalog.view, "tasks": {}}
    assert await parts.machines.refresh() == 1 and await parts.machines.refresh() == 0
    assert parts.machine(machine).errors == ("its work names task 'greet', which does not exist",)
    parts.catalog.load()
    assert await parts.machines.refresh() == 1 and parts.machine(machine).runnable
