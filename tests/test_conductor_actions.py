"""Power actions: carried out, read back and told; a reboot is prepared and never hindered."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from provisioner.access import SERVER, Principal, Who
from provisioner.conductor.actions import Actions
from provisioner.errors import BmcUnreachable, Conflict, Invalid, NotFound, Refused
from provisioner.model.content import Param
from provisioner.model.machines import JobState
from provisioner.power.driver import PowerState
from provisioner.power.registry import PowerDrivers
from tests.parts import BMC, OPERATOR

ADDRESS = BMC["power/address"]
AGENT = Principal(Who.MACHINE, "m")


async def test_every_action_is_offered_with_the_reason_against_it(parts):
    machine = await parts.ready()
    choices = parts.actions.choices(machine)
    assert "power-cycle" in [choice.name for choice in choices]
    assert {(choice.available, choice.reason.partition(":")[0]) for choice in choices} == {
        (False, "power control is not set up")
    }
    await parts.change(machine, params=BMC)
    assert all(choice.available and not choice.reason for choice in parts.actions.choices(machine))


async def test_an_action_is_told_and_the_power_state_kept(parts):
    machine = await parts.ready(params=BMC)
    result = await parts.actions.perform(machine, "power-on", OPERATOR)
    assert (result.state, result.message) == ("on", "is on") and parts.machine(machine).power == "on"
    assert await parts.events("power") == [("power-on", {}), ("power-on", {"state": "on", "message": "is on"})]


async def test_an_action_that_fails_is_told_and_raised(parts):
    machine = await parts.ready(params=BMC)
    parts.power.faults[ADDRESS] = BmcUnreachable("no answer from 10.0.0.9")
    with pytest.raises(BmcUnreachable):
        await parts.actions.perform(machine, "power-on", OPERATOR)
    assert (await parts.events("power.error"))[0][1] == {
        "message": "no answer from 10.0.0.9",
        "code": "bmc-unreachable",
    }
    assert parts.machine(machine).power == ""


async def test_a_machine_that_is_off_is_not_reset(parts):
    machine = await parts.ready(params=BMC)
    with pytest.raises(Conflict, match="power it on instead"):
        await parts.actions.perform(machine, "power-reset", OPERATOR)


@pytest.mark.parametrize(
    ("params", "action", "message"),
    [
        (BMC, "dance", "unknown power action 'dance'; there is: next-boot-disk"),
        ({}, "power-on", "power control is not set up: power/address is not set"),
        (BMC | {"power/driver": "x"}, "power-on", "unknown power driver 'x'; there is: fake"),
    ],
)
async def test_what_cannot_be_done_is_refused_before_any_bmc_is_asked(parts, params, action, message):
    machine = await parts.ready(params=params)
    with pytest.raises(Invalid, match=message) as caught:
        await parts.actions.perform(machine, action, OPERATOR)
    assert caught.value.code == "action-unavailable" and not parts.power.calls
    assert await parts.events("power") == []


async def test_unknown_machines_have_no_actions(parts):
    with pytest.raises(NotFound):
        parts.actions.choices("ghost")


@pytest.mark.parametrize(("bootenv", "device"), [("discovery", "pxe"), ("local", "disk")])
async def test_a_reboot_is_prepared_for_what_the_machine_boots_next(parts, bootenv, device):
    machine = await parts.ready(bootenv=bootenv, params=BMC)
    answer = await parts.actions.prepare_reboot(machine, AGENT)
    assert answer == {"next_boot": device, "message": f"boots from {device} next time"}
    assert parts.power.next_boots[ADDRESS] == (device, False, False)
    assert await parts.events("agent.reboot") == [(bootenv, {"next_boot": device})]


async def test_a_reboot_without_a_bmc_is_left_to_the_boot_order(parts):
    machine = await parts.ready()
    answer = await parts.actions.prepare_reboot(machine, AGENT)
    assert answer == {"next_boot": "none", "message": "power control is not set up; the boot order decides"}


async def test_a_reboot_does_not_fail_with_its_bmc(parts):
    machine = await parts.ready(params=BMC)
    parts.power.faults[ADDRESS] = BmcUnreachable("no answer")
    assert await parts.actions.prepare_reboot(machine, AGENT) == {"next_boot": "none", "message": "no answer"}


# --- entries of a machine's tasks -----------------------------------------------------------------------------


async def test_a_locked_machine_is_switched_by_its_own_work_only(parts):
    machine = await parts.ready(params=BMC, locked=True)
    for action in ("power-on", "power-off", "next-boot-pxe"):
        with pytest.raises(Refused, match="is locked; unlock it first"):
            await parts.actions.perform(machine, action, OPERATOR)
        assert (await parts.actions.perform(machine, action, SERVER)).action == action
    assert (await parts.actions.perform(machine, "power-status", OPERATOR)).action == "power-status"
    available = [choice.name for choice in parts.actions.choices(machine) if choice.available]
    assert available == ["power-status"]


@asynccontextmanager
async def carrying_out(parts, **change):
    """A machine whose action:power-status is carried out; gives the machine's id and its ended job."""
    machine = await parts.ready(workflow="deploy", **change)
    await parts.end(await parts.begin(machine))
    assert await parts.claim(machine) is None
    job = parts.machine(machine).current_job
    running = asyncio.create_task(parts.actions.run())
    with parts.ledger.bus.subscribe() as subscription:
        async with asyncio.timeout(20):
            while (await subscription.next()).kind != "job.end":
                pass
    yield machine, parts.jobs.find(job)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_an_action_entry_is_done_as_a_job_with_its_log(parts):
    parts.power.states[ADDRESS] = PowerState.ON
    async with carrying_out(parts, params=BMC) as (machine, job):
        assert (job.state, job.message) == (JobState.FINISHED, "is on")
        assert (await parts.logs.read(job.id))[0] == b"[server] power-status: is on\n"
        assert parts.machine(machine).runnable and (await parts.begin(machine)).task == "redo"


async def test_an_action_entry_that_ends_while_the_disk_fails_is_recorded_once_it_works(parts, tmp_path):
    in_the_way = tmp_path / "logs"

    async def mended(seconds):
        in_the_way.unlink()

    drivers = PowerDrivers({}, {"fake": parts.power})
    parts.actions = Actions(parts.ledger, parts.catalog, parts.jobs, drivers, mended)
    in_the_way.write_bytes(b"")
    async with carrying_out(parts, params=BMC) as (_, job):
        assert job.state is JobState.FINISHED


async def test_an_action_entry_that_fails_stops_the_machine(parts):
    parts.power.faults[ADDRESS] = BmcUnreachable("no answer")
    async with carrying_out(parts, params=BMC) as (machine, job):
        assert (job.state, job.message) == (JobState.FAILED, "no answer")
        assert not parts.machine(machine).runnable


async def test_an_action_entry_without_power_control_stops_the_machine(parts):
    async with carrying_out(parts) as (machine, job):
        assert job.state is JobState.FAILED and "power control is not set up" in job.message


class Broken:
    """A driver whose author made a mistake."""

    async def status(self, bmc):
        raise RuntimeError("a driver's own mistake")


async def test_a_broken_driver_fails_its_job_only(parts):
    drivers = PowerDrivers({}, {"fake": Broken()})
    parts.actions = Actions(parts.ledger, parts.catalog, parts.jobs, drivers)
    async with carrying_out(parts, params=BMC) as (_, job):
        assert job.state is JobState.FAILED and job.message.startswith("the power driver is broken")


async def test_a_param_of_the_bmc_that_cannot_be_expanded_is_the_reason_why_not(parts):
    await parts.catalog.put(Param(name="power/port", expand=True, default="{{ gone }}"), OPERATOR)
    machine = await parts.ready(params=BMC)
    says = "param 'power/port' cannot be expanded: 'gone' is undefined"
    assert {choice.reason for choice in parts.actions.choices(machine)} == {says}
    with pytest.raises(Invalid, match=says):
        await parts.actions.perform(machine, "power-on", OPERATOR)
    assert (await parts.actions.prepare_reboot(machine, OPERATOR))["next_boot"] == "none"
