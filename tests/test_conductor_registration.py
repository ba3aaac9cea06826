"""Registration: machines are recognised or made, and made runnable when they come up where they should be."""

from datetime import timedelta

import pytest

from provisioner.access import Principal, Who
from provisioner.conductor.machine_changes import NewMachine
from provisioner.conductor.registration import Registrations, outcome_of
from provisioner.errors import Conflict, Denied, Invalid, NotFound, Refused
from provisioner.identity import SWAP_TIME, normal_mac
from provisioner.model.access import TokenPurpose
from provisioner.model.addresses import Reservation
from provisioner.model.machines import Clash, Identity, JobState, Machine
from tests.parts import IDENTITY, MAC, OPERATOR, OTHER_MAC, START

# --- registering ------------------------------------------------------------------------------------------------------


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
    parts.clock.pass_seconds(SWAP_TIME.total_seconds())
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


async def test_a_ticket_of_another_mac_is_refused_and_nothing_changes(parts):
    stolen = await parts.ticket(OTHER_MAC)
    with pytest.raises(Denied, match=OTHER_MAC):
        await parts.register(MAC, ticket=stolen)
    assert list(parts.ledger.read_all(Machine)) == []


async def test_a_newcomer_that_clashes_is_held_and_the_known_machine_goes_on_undisturbed(parts):
    known = (await parts.register(MAC)).machine
    with pytest.raises(Conflict, match="heard of less than a minute ago.*until an operator says who it is"):
        await parts.register(OTHER_MAC)
    clash = parts.clashes.find(OTHER_MAC)
    assert (clash.mac, clash.macs, clash.machines, clash.identity) == (OTHER_MAC, (OTHER_MAC,), (known.id,), IDENTITY)
    assert parts.machine(known.id) == known
    assert [key for key, _ in await parts.events("machine.clash")] == [OTHER_MAC]


async def test_a_newcomer_that_tries_again_is_told_of_once(parts):
    await parts.register(MAC)
    for _ in range(3):
        parts.clock.pass_seconds(60)
        with pytest.raises(Conflict):
            await parts.register(OTHER_MAC)
    clash = parts.clashes.find(OTHER_MAC)
    assert (clash.last_seen_at - clash.first_seen_at).total_seconds() == 120
    assert len(await parts.events("machine.clash")) == 1


async def test_a_clash_resolved_as_a_known_machine_moves_the_macs_there_and_is_believed(parts):
    known = (await parts.register(MAC)).machine
    board = Identity(dmi_uuid="11111111-2222-3333-4444-555555555555", serial="SN0002")
    with pytest.raises(Conflict):
        await parts.register(MAC, OTHER_MAC, identity=board)
    resolved = await parts.registrations.resolve(MAC, known.name, OPERATOR)
    assert resolved.id == known.id and resolved.macs == (MAC, OTHER_MAC) and resolved.identity == board
    assert list(parts.ledger.read_all(Clash)) == []
    assert (await parts.register(MAC, OTHER_MAC, identity=board)).machine.id == known.id


async def test_a_clash_resolved_as_a_new_machine_is_told_apart_by_its_macs_from_then_on(parts):
    known = (await parts.register(MAC)).machine
    with pytest.raises(Conflict):
        await parts.register(OTHER_MAC)
    twin = await parts.registrations.resolve(OTHER_MAC, "", OPERATOR)
    assert twin.id != known.id and twin.workflow == "discover" and parts.machine(known.id).macs == (MAC,)
    assert (await parts.register(OTHER_MAC)).machine.id == twin.id
    assert (await parts.register(MAC)).machine.id == known.id
    third = await parts.register("52:54:00:00:00:03")
    assert third.created, "serial numbers that two known machines share count for nothing"


async def test_a_network_card_that_moved_into_a_new_machine_moves_with_the_resolution(parts):
    known = (await parts.register(MAC, OTHER_MAC)).machine
    other = Identity(dmi_uuid="11111111-2222-3333-4444-555555555555", serial="SN0002")
    with pytest.raises(Conflict, match="say that this is another machine"):
        await parts.register(OTHER_MAC, identity=other)
    new = await parts.registrations.resolve(OTHER_MAC, "", OPERATOR)
    assert new.macs == (OTHER_MAC,) and parts.machine(known.id).macs == (MAC,)


async def test_a_clash_is_resolved_with_a_machine_that_exists_and_is_not_locked(parts):
    known = (await parts.register(MAC)).machine
    with pytest.raises(Conflict):
        await parts.register(OTHER_MAC)
    with pytest.raises(Invalid, match="there is no machine 'ghost'") as caught:
        await parts.registrations.resolve(OTHER_MAC, "ghost", OPERATOR)
    assert [field.path for field in caught.value.fields] == ["machine"]
    await parts.change(known.id, locked=True)
    with pytest.raises(Refused, match="is locked"):
        await parts.registrations.resolve(OTHER_MAC, known.id, OPERATOR)
    assert parts.clashes.find(OTHER_MAC).machines == (known.id,)


async def test_a_machine_says_its_arch_and_address_in_any_way(parts):
    machine = (await parts.register(arch="x86_64", address="nonsense")).machine
    assert (machine.arch, machine.address) == ("amd64", "10.0.0.50")


async def test_macs_that_say_nothing_are_not_counted(parts):
    machine = (await parts.register(MAC, "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff")).machine
    assert machine.macs == (MAC,)


# --- coming up --------------------------------------------------------------------------------------------------------


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


async def test_a_paused_machine_stays_paused_when_its_agent_starts_again_or_it_boots(parts):
    machine = await parts.ready(runnable=False)
    assert not (await parts.hello(machine)).runnable
    assert not (await parts.hello(machine, boot_id="boot-2")).runnable


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
        await parts.registrations.report_inventory(machine, {"cpu": 4}, Principal(Who.MACHINE, machine))
    assert parts.machine(machine).inventory == {"cpu": 4}
    assert [data["changed"] for _, data in await parts.events("machine.inventory")] == [True, False]


async def test_the_change_stage_map_leads_on_when_tasks_are_done(parts):
    machine = await parts.ready(stage="greet", force=True, params={"change-stage/map": {"greet": "finish:Reboot"}})
    by = Principal(Who.MACHINE, machine)
    assert outcome_of(await parts.registrations.next_stage(machine, by))["action"] == "continue"
    await parts.end(await parts.begin(machine))
    step = outcome_of(await parts.registrations.next_stage(machine, by))
    assert (step["stage"], step["action"]) == ("finish", "reboot")
    after = parts.machine(machine)
    assert (after.stage, after.bootenv, after.runnable, after.tasks) == ("finish", "local", False, ("two",))
    assert after.waiting_for == "reboot to enter stage 'finish' in local"


@pytest.mark.parametrize(("word", "action"), [("Reboot", "reboot"), ("Stop", "stop"), ("Shutdown", "poweroff")])
async def test_a_map_that_says_to_leave_holds_the_machine_until_its_next_boot_and_says_so_again(parts, word, action):
    machine = await parts.ready(stage="greet", force=True, params={"change-stage/map": {"greet": f"redo:{word}"}})
    by = Principal(Who.MACHINE, machine)
    await parts.end(await parts.begin(machine))
    for stage in ("redo", ""):  # the first answer is lost
        step = outcome_of(await parts.registrations.next_stage(machine, by))
        assert (step["stage"], step["action"]) == (stage, action)
    with pytest.raises(Refused, match="to enter stage 'redo' in discovery"):
        await parts.claim(machine)
    await parts.hello(machine, boot_id="boot-2")
    assert outcome_of(await parts.registrations.next_stage(machine, by))["action"] == "continue"
    assert (await parts.begin(machine, "boot-2")).task == "redo"


async def test_a_host_that_joins_from_its_own_system_has_no_work_and_stays_in_it(parts):
    token, secret = await parts.tokens.issue_join(1, 2, "", OPERATOR)
    done = await parts.register(MAC, ticket=secret, hostname="web-1.example.org")
    machine = parts.machine(done.machine.id)
    assert done.created and machine.name == "web-1"
    assert (machine.bootenv, machine.workflow, machine.stage) == ("local", "", "none")
    assert (await parts.hello(machine.id, bootenv="local")).runnable


async def test_a_known_machine_that_joins_keeps_its_name_and_work(parts):
    known = await parts.machines.create(NewMachine("n1", macs=(MAC,), workflow="deploy"), OPERATOR)
    _, secret = await parts.tokens.issue_join(1, 1, "", OPERATOR)
    done = await parts.register(MAC, ticket=secret, hostname="web-1")
    assert not done.created and done.machine.id == known.id
    assert (done.machine.name, done.machine.workflow, done.machine.bootenv) == ("n1", "deploy", "discovery")


async def test_a_host_that_joins_and_clashes_is_held_too(parts):
    await parts.register(MAC)
    _, secret = await parts.tokens.issue_join(1, 1, "", OPERATOR)
    with pytest.raises(Conflict, match=f"clash {OTHER_MAC}"):
        await parts.register(OTHER_MAC, ticket=secret)


async def test_a_task_lost_to_a_boot_is_tried_again_after_a_pause_that_chance_makes_shorter(parts):
    machine = await parts.ready(stage="stubborn")
    await parts.begin(machine)
    shared = parts.ledger, parts.catalog, parts.tokens, parts.clashes
    parts.registrations = Registrations(*shared, "", jitter=lambda: 1.0)
    await parts.hello(machine, "boot-2")
    assert parts.machine(machine).not_before == START + timedelta(seconds=5)
