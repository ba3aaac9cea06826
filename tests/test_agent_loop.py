"""The loop: playbooks of replies and actions, and every pair of phase and reply."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.job_protocol import WorkOrder
from agent.loop import (
    TABLE,
    AskNextStage,
    Claim,
    Conflicted,
    Dropped,
    Ended,
    Finish,
    Loaded,
    LoadKernel,
    Look,
    NotAdmitted,
    NothingToDo,
    Ordered,
    Outcome,
    Phase,
    Prepared,
    PrepareReboot,
    Rejected,
    Rest,
    Rested,
    RunJob,
    Seen,
    Staged,
    Standing,
    UnexpectedReply,
    Update,
    Updated,
    begin,
    step,
)
from agent.protocol import AgentFile, Kernel, Work

ORDER = WorkOrder("j", "t", "s", "w", 1, 0, 0, 0, (), {}, {}, {})
WORK = Work(7, True, "w", "s", "discovery", 3, 1, True)
IDLE = replace(WORK, claimable=False, current_task=3)


def play(*replies: Any, bootenv: str = "discovery", once: bool = False) -> list[Any]:
    """The actions that follow from replies, the first one included."""
    standing, action = begin(bootenv, once)
    actions = [action]
    for reply in replies:
        standing, action = step(standing, reply)
        actions.append(action)
    return actions


def last(*replies: Any, **how: Any) -> Any:
    return play(*replies, **how)[-1]


def test_jobs_follow_each_other_until_none_is_left_then_it_waits() -> None:
    actions = play(Ordered(ORDER), Ended("complete"), Ordered(ORDER), Ended("complete"), NothingToDo(), Seen(IDLE))
    assert actions == [Claim(), RunJob(ORDER), Claim(), RunJob(ORDER), Claim(), Look(), Look(7)]


@pytest.mark.parametrize(
    ("exit_state", "action"),
    [
        ("complete", Claim()),
        ("failed", Look()),
        ("incomplete", Look()),
        ("reboot", PrepareReboot()),
        ("poweroff", Finish(Outcome.POWEROFF)),
        ("stop", Finish(Outcome.EXIT)),
    ],
)
def test_what_follows_a_job(exit_state: str, action: Any) -> None:
    assert last(Ordered(ORDER), Ended(exit_state)) == action


def test_a_reboot_is_prepared_first() -> None:
    assert play(Ordered(ORDER), Ended("reboot"), Prepared())[-2:] == [PrepareReboot(), Finish(Outcome.REBOOT)]


def test_in_an_installer_a_reboot_is_an_exit() -> None:
    assert last(Ordered(ORDER), Ended("reboot"), bootenv="debian-12-install") == Finish(Outcome.EXIT)


def test_a_change_of_boot_environment_reboots() -> None:
    assert play(NothingToDo(), Seen(replace(WORK, bootenv="local")), Prepared())[-2:] == [
        PrepareReboot(),
        Finish(Outcome.REBOOT),
    ]


def test_a_change_of_boot_environment_while_waiting_reboots() -> None:
    assert last(NothingToDo(), Seen(IDLE), Seen(replace(WORK, bootenv="local"))) == PrepareReboot()


def test_a_change_of_boot_environment_in_an_installer_is_an_exit() -> None:
    assert last(NothingToDo(), Seen(replace(WORK, bootenv="local")), bootenv="x-install") == Finish(Outcome.EXIT)


def test_after_a_server_side_entry_it_claims_again() -> None:
    assert last(NothingToDo(), Seen(WORK)) == Claim()


def test_when_claiming_brought_nothing_and_nothing_changed_it_waits_instead_of_asking_in_a_circle() -> None:
    assert play(NothingToDo(), Seen(WORK), NothingToDo(), Seen(WORK))[-1] == Look(7)


def test_after_a_wait_it_claims_again_even_if_nothing_changed() -> None:
    assert last(NothingToDo(), Seen(WORK), NothingToDo(), Seen(WORK), Seen(WORK)) == Claim()


def test_refused_it_waits_for_the_machine_to_change_and_claims_then() -> None:
    held = replace(WORK, runnable=False, claimable=False)
    assert play(Conflicted("held"), Seen(held), Seen(replace(WORK, revision=8)))[1:] == [Look(), Look(7), Claim()]


def test_a_dropped_job_is_not_asked_for_in_a_circle() -> None:
    actions = play(Ordered(ORDER), Dropped(), Seen(WORK), Ordered(ORDER), Dropped(), Seen(WORK))
    assert actions[-1] == Look(7)


NO_WORKFLOW = replace(IDLE, workflow="")


def test_done_without_a_workflow_it_asks_the_change_stage_map() -> None:
    assert last(NothingToDo(), Seen(NO_WORKFLOW)) == AskNextStage()


def test_with_a_workflow_it_does_not_ask_the_change_stage_map() -> None:
    assert last(NothingToDo(), Seen(IDLE)) == Look(7)


def test_not_runnable_it_does_not_ask_the_change_stage_map() -> None:
    assert last(Conflicted("held"), Seen(replace(NO_WORKFLOW, runnable=False))) == Look(7)


@pytest.mark.parametrize(
    ("answer", "bootenv", "action"),
    [
        ("continue", "discovery", Look()),
        ("wait", "discovery", Look(7)),
        ("reboot", "discovery", PrepareReboot()),
        ("reboot", "x-install", Finish(Outcome.EXIT)),
        ("stop", "discovery", Finish(Outcome.EXIT)),
        ("poweroff", "discovery", Finish(Outcome.POWEROFF)),
        ("a word of a newer server", "discovery", Look(7)),
    ],
)
def test_what_follows_a_step_of_the_map(answer: str, bootenv: str, action: Any) -> None:
    assert last(NothingToDo(), Seen(replace(NO_WORKFLOW, bootenv=bootenv)), Staged(answer), bootenv=bootenv) == action


def test_a_map_that_leads_nowhere_is_not_asked_in_a_circle() -> None:
    assert last(NothingToDo(), Seen(NO_WORKFLOW), Staged("continue"), Seen(NO_WORKFLOW)) == Look(7)


def test_a_map_is_asked_again_when_the_machine_changed() -> None:
    changed = replace(NO_WORKFLOW, revision=8)
    assert last(NothingToDo(), Seen(NO_WORKFLOW), Staged("wait"), Seen(changed)) == AskNextStage()


def test_rejected_it_rests_and_looks_again() -> None:
    actions = play(Rejected("500 lines of nonsense"), Rested())
    assert isinstance(actions[1], Rest)
    assert actions[2] == Look()


def test_not_admitted_it_ends() -> None:
    assert last(NotAdmitted("token")) == Finish(Outcome.DENIED)


def test_once_it_ends_instead_of_waiting() -> None:
    assert last(NothingToDo(), Seen(IDLE), once=True) == Finish(Outcome.EXIT)


# --- every pair -----------------------------------------------------------------------------------------------

works = st.builds(
    Work,
    revision=st.integers(0, 3),
    runnable=st.booleans(),
    workflow=st.sampled_from(["", "w"]),
    stage=st.just("s"),
    bootenv=st.sampled_from(["discovery", "local", "x-install"]),
    task_count=st.integers(0, 3),
    current_task=st.integers(-1, 3),
    claimable=st.booleans(),
)
REPLIES: dict[type, st.SearchStrategy[Any]] = {
    Seen: st.builds(Seen, works),
    Ordered: st.just(Ordered(ORDER)),
    NothingToDo: st.just(NothingToDo()),
    Conflicted: st.just(Conflicted("r")),
    Ended: st.builds(Ended, st.sampled_from(["complete", "failed", "reboot", "poweroff", "stop", "incomplete", ""])),
    Dropped: st.just(Dropped()),
    Staged: st.builds(Staged, st.sampled_from(["continue", "reboot", "stop", "poweroff", "wait", "?"])),
    Prepared: st.just(Prepared()),
    Rested: st.just(Rested()),
    Rejected: st.just(Rejected("r")),
    NotAdmitted: st.just(NotAdmitted("r")),
}
replies = st.one_of(*REPLIES.values())
revisions = st.none() | st.integers(0, 3)
standings = st.builds(
    Standing,
    bootenv=st.sampled_from(["discovery", "local", "x-install"]),
    once=st.booleans(),
    phase=st.sampled_from(Phase),
    revision=revisions,
    claimed_at=revisions,
    staged_at=revisions,
)
# What may come of an action; `_perform` of the session can also bring what is true for all requests.
BRINGS: dict[type, set[type]] = {
    Look: {Seen, Rejected, NotAdmitted},
    Claim: {Ordered, NothingToDo, Conflicted, Rejected, NotAdmitted},
    RunJob: {Ended, Dropped, Rejected, NotAdmitted},
    AskNextStage: {Staged, Conflicted, Rejected, NotAdmitted},
    PrepareReboot: {Prepared},
    Rest: {Rested},
    Finish: set(),
}


@settings(deadline=None)
@given(standings, replies)
def test_every_pair_is_a_row_or_raises_and_changes_nothing(standing: Standing, reply: Any) -> None:
    before = replace(standing)
    if (standing.phase, type(reply)) in TABLE:
        step(standing, reply)
    else:
        with pytest.raises(UnexpectedReply):
            step(standing, reply)
    assert standing == before


@settings(deadline=None)
@given(standings, replies)
def test_the_table_has_a_row_for_whatever_an_action_may_bring(standing: Standing, reply: Any) -> None:
    if (standing.phase, type(reply)) in TABLE:
        following, action = step(standing, reply)
        assert BRINGS[type(action)] == {kind for phase, kind in TABLE if phase is following.phase}


@settings(deadline=None)
@given(standings, replies)
def test_only_an_action_that_waits_or_works_can_follow_itself(standing: Standing, reply: Any) -> None:
    """No action is repeated at once, unless the server itself took its time or the job did."""
    if (standing.phase, type(reply)) in TABLE:
        following, action = step(standing, reply)
        if following.phase is standing.phase and standing.revision is not None:
            assert action == Look(following.revision) or isinstance(action, RunJob)


@settings(deadline=None)
@given(works, st.data())
def test_while_nothing_changes_it_comes_to_a_wait_or_an_end_in_a_few_steps(work: Work, data: Any) -> None:
    standing, action = begin("discovery")
    for _ in range(8):
        if isinstance(action, Finish) or standing.phase is Phase.WAITING:
            return
        # A job and a rest take time, so they do not make a circle.
        kinds = BRINGS[type(action)] - {Ordered, Rejected, NotAdmitted}
        kind = data.draw(st.sampled_from(sorted(kinds, key=lambda each: each.__name__)))
        standing, action = step(standing, Seen(work) if kind is Seen else data.draw(REPLIES[kind]))
    raise AssertionError(f"still busy: {standing} {action}")


# --- a kernel to go on with, and another agent

KERNEL = Kernel("http://s/k", ("http://s/i",), "quiet")
OURS, THEIRS = AgentFile("1.2", "aa"), AgentFile("1.10", "bb")


def plays(*replies: Any, ours: AgentFile | None = OURS, offered: AgentFile | None = None, once: bool = False) -> Any:
    """As `play`, for an agent that may replace itself."""
    standing, action = begin("local", once, ours, offered)
    actions = [action]
    for reply in replies:
        standing, action = step(standing, reply)
        actions.append(action)
    return actions


def test_a_kernel_that_the_server_names_is_loaded_and_started_instead_of_a_reboot() -> None:
    assert play(Ordered(ORDER), Ended("reboot"), Prepared(KERNEL), Loaded(True))[-2:] == [
        LoadKernel(KERNEL),
        Finish(Outcome.KEXEC),
    ]


def test_a_kernel_that_does_not_load_is_an_ordinary_reboot() -> None:
    assert last(Ordered(ORDER), Ended("reboot"), Prepared(KERNEL), Loaded(False)) == Finish(Outcome.REBOOT)


def test_a_newer_agent_is_taken_over_before_the_first_job() -> None:
    assert plays(Updated(True), offered=THEIRS) == [Update(THEIRS), Finish(Outcome.UPDATED)]


def test_a_newer_agent_that_turns_up_later_is_taken_over_when_no_job_runs() -> None:
    seen = Seen(replace(IDLE, bootenv="local", agent=THEIRS))
    assert plays(NothingToDo(), seen) == [Claim(), Look(), Update(THEIRS)]
    assert plays(NothingToDo(), Seen(replace(IDLE, bootenv="local")), seen)[-1] == Update(THEIRS)


def test_an_agent_that_cannot_take_our_place_is_not_tried_again() -> None:
    seen = Seen(replace(IDLE, bootenv="local", agent=THEIRS))
    assert plays(Updated(False), seen, seen, offered=THEIRS) == [Update(THEIRS), Look(), Look(7), Look(7)]


def test_yet_another_agent_is_tried_again() -> None:
    third = AgentFile("1.10", "cc")
    assert plays(Updated(False), Seen(replace(IDLE, agent=third, bootenv="local")), offered=THEIRS)[-1] == Update(third)


@pytest.mark.parametrize(
    ("ours", "offered", "once"),
    [
        (None, THEIRS, False),  # a netbooted machine, or a source tree
        (OURS, None, False),  # a server that does not tell
        (OURS, OURS, False),
        (OURS, AgentFile("1.1", "bb"), False),  # an older server
        (OURS, THEIRS, True),
    ],
)
def test_otherwise_it_stays_as_it_is(ours: AgentFile | None, offered: AgentFile | None, once: bool) -> None:
    assert plays(ours=ours, offered=offered, once=once) == [Claim()]


def test_a_boot_environment_that_changed_comes_before_another_agent() -> None:
    assert plays(NothingToDo(), Seen(replace(IDLE, agent=THEIRS)))[-1] == PrepareReboot()


@settings(deadline=None)
@given(st.data())
def test_no_job_is_ever_interrupted_by_an_update(data: st.DataObject) -> None:
    works = [replace(work, bootenv="local", agent=THEIRS) for work in (WORK, IDLE, NO_WORKFLOW)]
    replies = [Ordered(ORDER), NothingToDo(), Ended("complete"), Ended("failed"), Dropped(), *map(Seen, works)]
    standing, action = begin("local", False, OURS)
    for _ in range(20):
        known = [
            reply for reply in [*replies, Updated(False), Staged("wait")] if (standing.phase, type(reply)) in TABLE
        ]
        if not known:
            return
        before = standing.phase
        standing, action = step(standing, data.draw(st.sampled_from(known)))
        assert not (before is Phase.RUNNING and isinstance(action, Update))


def test_a_map_that_leads_nowhere_is_not_asked() -> None:
    assert last(NothingToDo(), Seen(replace(NO_WORKFLOW, map_leads=False))) == Look(7)
    assert last(NothingToDo(), Seen(replace(NO_WORKFLOW, map_leads=True))) == AskNextStage()


@pytest.mark.parametrize(
    ("other", "follows"),
    [("1.2", True), ("1.10", True), ("2.0", True), ("1.1.9", False), ("0.9", False), ("1.2.dev1", True), ("", True)],
)
def test_an_agent_succeeds_one_that_is_not_newer(other: str, follows: bool) -> None:
    assert AgentFile(other, "bb").succeeds(OURS) is follows
