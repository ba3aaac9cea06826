"""What hellos of agents do to machines: every test is named after the row that decides in it."""

from __future__ import annotations

import re
from itertools import product

import pytest
from msgspec.structs import replace

from provisioner.endings import after_job
from provisioner.errors import Conflict
from provisioner.hellos import STAYING_HOLDS, UP_TABLE, CameUp, came_up, up_row
from provisioner.lifecycle import SERVER_BOOT_ID
from provisioner.model.content import Retry
from provisioner.model.machines import AgentInfo, ExitState, Hold, JobState
from tests.running_job import EARLIER, NOW, job, machine, wipe


@pytest.fixture(autouse=True)
def decided_by_the_row_in_its_name(request):
    """A test called test_up_ROW__what is about that row: it decided, every time."""
    used.clear()
    yield
    named = re.match(r"test_up_(.+?)__", request.node.name)
    if named is not None:
        assert used and {re.sub(r"\W", "_", name) for name in used} == {named[1]}


used: list[str] = []


def test_every_row_has_a_test_with_its_name():
    names = [name for name in globals() if name.startswith("test_up_")]
    rows = [re.sub(r"\W", "_", row.name) for row in UP_TABLE]
    assert [row for row in rows if not any(name.startswith(f"test_up_{row}__") for name in names)] == []
    assert len(set(rows)) == len(rows) and all(row.when and row.then for row in UP_TABLE)


AGENT = AgentInfo(boot_id="boot-1", instance="agent-1", bootenv="discovery", hello_at=EARLIER)
NEXT_BOOT = AgentInfo(boot_id="boot-2", instance="agent-2", bootenv="discovery", hello_at=NOW)


def up(current=None, agent=NEXT_BOOT, task=None, **fields):
    """The machine after the hello. The test's name begins with the row that must have decided."""
    at = machine(**{"agent": AGENT} | fields)
    got = came_up(at, current, task or wipe(), agent, NOW)
    # The row decides on the machine as it is after the loss.
    lost = after_job(at, got.lost, task or wipe(), NOW) if got.lost else at
    used.append(up_row(CameUp(lost, got.lost or current, agent)).name)
    return got.machine


def held(why, **fields):
    return {"runnable": False, "hold": why, "waiting_for": "a reason"} | fields


@pytest.mark.parametrize("agent", [replace(AGENT, instance="agent-2"), NEXT_BOOT])
def test_up_its_agent_is_back__goes_on(agent):
    got = up(job(JobState.INCOMPLETE, exit_state=ExitState.RESTART), agent, **held(Hold.AGENT))
    assert (got.runnable, got.hold, got.waiting_for) == (True, Hold.NONE, "")


def test_up_its_agent_is_back__also_in_single_step():
    assert up(job(JobState.INCOMPLETE, exit_state=ExitState.RESTART), step=True, **held(Hold.AGENT)).runnable


@pytest.mark.parametrize("why", [Hold.AGENT, Hold.BOOT, Hold.FAILED, Hold.PAUSED])
def test_up_said_before__changes_nothing_but_what_is_known_of_the_agent(why):
    got = up(agent=replace(AGENT, version="2"), **held(why))
    assert not got.runnable and got.hold is why and got.agent.version == "2"


def test_up_said_before__leaves_the_job_of_another_process_alone():
    at = machine(agent=AGENT)
    got = came_up(at, job(), wipe(), replace(AGENT, instance="agent-2"), NOW)
    used.append("said before")
    assert got.lost is None and got.machine.runnable


@pytest.mark.parametrize("why", [Hold.PAUSED, Hold.BOOT, Hold.FAILED])
def test_up_in_another_bootenv__waits_for_the_right_one(why):
    got = up(agent=replace(NEXT_BOOT, bootenv="local"), **held(why))
    assert (got.runnable, got.hold, got.waiting_for) == (False, Hold.BOOT, "boot of discovery")


@pytest.mark.parametrize("why", sorted(STAYING_HOLDS))
def test_up_held_over_the_boot__goes_on_waiting(why):
    got = up(**held(why))
    assert (got.runnable, got.hold, got.waiting_for) == (False, why, "a reason")


@pytest.mark.parametrize("state", [JobState.RUNNING])
def test_up_held_over_the_boot__after_its_job_was_lost(state):
    assert up(job(state)).hold is Hold.LOST


def test_up_held_over_the_boot__after_its_cancelled_job_was_lost():
    got = up(job(cancel_requested=True, message="wrong disk"))
    assert got.hold is Hold.CANCELLED and "wrong disk" in got.waiting_for


def test_up_in_single_step__holds_a_machine_that_had_to_boot_after_a_job():
    got = up(job(JobState.FINISHED, exit_state=ExitState.REBOOT), step=True, **held(Hold.BOOT))
    assert (got.runnable, got.hold) == (False, Hold.STEP)


@pytest.mark.parametrize("why", sorted(set(Hold) - STAYING_HOLDS - {Hold.AGENT}))
def test_up_up__makes_the_machine_runnable(why):
    got = up(job(JobState.FAILED), **held(why))
    assert (got.runnable, got.hold, got.waiting_for) == (True, Hold.NONE, "")


def test_up_up__goes_on_with_an_incomplete_job_in_single_step():
    assert up(job(JobState.INCOMPLETE, exit_state=ExitState.REBOOT), step=True, **held(Hold.BOOT)).runnable


@pytest.mark.parametrize(
    ("current", "task"),
    [(job(), wipe(idempotent=True)), (job(), wipe(retry=Retry(max=1))), (job(JobState.CREATED), wipe())],
)
def test_up_up__does_a_lost_job_again_that_may_be_done_again(current, task):
    assert up(current, task=task).runnable


def test_up_up__leaves_a_job_of_the_server_alone():
    at, current = machine(agent=AGENT), job(boot_id=SERVER_BOOT_ID, task="action:cycle")
    got = came_up(at, current, None, NEXT_BOOT, NOW)
    used.append("up")
    assert got.lost is None and got.machine.runnable


def test_up_up__leaves_a_job_that_this_boot_has_claimed_already():
    got = came_up(machine(agent=AGENT), job(boot_id="boot-2"), wipe(), NEXT_BOOT, NOW)
    used.append("up")
    assert got.lost is None and got.machine.runnable


def test_up_up__forgets_a_job_that_was_lost_of_an_earlier_list():
    got = came_up(machine(agent=AGENT, current_task=-1), job(), wipe(), NEXT_BOOT, NOW)
    used.append("up")
    assert got.lost.state is JobState.ABANDONED and got.machine.runnable


def test_a_hello_of_a_boot_that_another_has_followed_is_refused():
    first = came_up(machine(agent=AGENT), None, None, NEXT_BOOT, NOW).machine
    with pytest.raises(Conflict, match="boot boot-1 of machine m1 is over") as caught:
        came_up(first, job(boot_id="boot-2"), wipe(), AGENT, NOW)
    assert caught.value.code == "boot-over"


def test_only_the_last_boots_are_remembered():
    at = machine(agent=AGENT)
    for number in range(2, 30):
        at = came_up(at, None, None, replace(NEXT_BOOT, boot_id=f"boot-{number}"), NOW).machine
    assert at.agent.past_boots == tuple(f"boot-{number}" for number in range(21, 29))


@pytest.mark.parametrize(("why", "boot"), list(product(Hold, ("boot-1", "boot-2"))))
def test_any_hello_leaves_a_machine_runnable_or_with_a_reason(why, boot):
    fields = held(why) if why else {"runnable": True}
    got = came_up(machine(agent=AGENT, **fields), None, None, replace(NEXT_BOOT, boot_id=boot), NOW).machine
    assert got.runnable is not bool(got.waiting_for) and got.runnable is (got.hold is Hold.NONE)
