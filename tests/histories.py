"""Random histories of one machine: operators, agents, lost and late messages, crashes; and what must always hold.

`History` is a Hypothesis state machine over an engine: the pure core alone, or the conductor over a real database.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from provisioner.errors import ProvisionerError
from provisioner.lifecycle import SERVER_BOOT_ID, Outcome
from provisioner.model import (
    FINAL_STATES,
    LIVE_STATES,
    Bootenv,
    ExitState,
    Hold,
    Job,
    JobState,
    Machine,
    Retry,
    Stage,
    Task,
    TaskFile,
    Workflow,
)
from provisioner.standing import Standing, standing


def task(name: str, **fields: Any) -> Task:
    """A task with one script."""
    return Task(name=name, files=(TaskFile("run", contents=f"echo {name}\n"),), **fields)


TASKS = (
    task("plain"),
    task("safe", idempotent=True, heartbeat_seconds=30),
    task("dogged", retry=Retry(max=2, backoff_seconds=10)),
    task("mend", retry=Retry(max=1, backoff_seconds=5)),
    task("check"),
    task("fragile", on_error=("mend", "check"), retry=Retry(max=1, backoff_seconds=10), max_resumes=2),
)
STAGES = (
    Stage(name="begin", bootenv="discovery", tasks=("plain", "fragile", "action:power-status")),
    Stage(name="middle", tasks=("dogged", "stage:middle", "safe")),
    Stage(name="end", bootenv="local", tasks=("plain", "safe")),
)
WORKFLOWS = (
    Workflow(name="whole", stages=("begin", "middle", "end")),
    Workflow(name="there-and-back", stages=("end", "begin")),
)
BOOTENVS = (Bootenv(name="local"),)
OUTCOMES = (
    Outcome(JobState.FINISHED, ExitState.COMPLETE, 0),
    Outcome(JobState.FINISHED, ExitState.REBOOT, 64),
    Outcome(JobState.FINISHED, ExitState.STOP, 16),
    Outcome(JobState.FAILED, ExitState.FAILED, 1, "exit code 1"),
    Outcome(JobState.INCOMPLETE, ExitState.REBOOT, 192),
    Outcome(JobState.INCOMPLETE, ExitState.POWEROFF, 160),
    Outcome(JobState.INCOMPLETE, ExitState.INCOMPLETE, 128),
    Outcome(JobState.INCOMPLETE, ExitState.RESTART),
)
STOPS = ("plain", "fragile", "stage:middle", "bootenv:local", "action:power-status")


class Engine(Protocol):
    """What a history happens to. Whatever it refuses is a ProvisionerError and changes nothing."""

    def machine(self) -> Machine: ...
    def jobs(self) -> dict[str, Job]: ...
    def current(self) -> Job | None: ...
    def now(self) -> Any: ...
    def hello(self, boot_id: str, instance: str, bootenv: str) -> None: ...
    def claim(self, boot_id: str) -> Job | None: ...
    def start(self, job: str, boot_id: str, instance: str) -> Job: ...
    def log(self, job: str, offset: int, data: bytes) -> int: ...
    def read_log(self, job: str) -> bytes: ...
    def end(self, job: str, instance: str, outcome: Outcome) -> Job: ...
    def cancel(self, job: str) -> Job: ...
    def change(self, **fields: Any) -> None: ...
    def restart(self, stage: str) -> None: ...
    def resume(self) -> None: ...
    def next_stage(self) -> None: ...
    def pass_seconds(self, seconds: float) -> None: ...
    def step_clock(self, seconds: float) -> None: ...
    def drop_silent(self) -> None: ...
    def crash(self, during: Callable[[Engine], Any] | None, turns: int) -> None: ...
    def close(self) -> None: ...


def written(job: str, start: int, end: int) -> bytes:
    """What the script of a job writes from one byte to another, the same however often it is sent."""
    text = f"{job} says something in its log, always the same. ".encode()
    return bytes(text[place % len(text)] for place in range(start, end))


class History(RuleBasedStateMachine):
    """The rules are what can happen; the invariants are what must always hold."""

    def make(self) -> Engine:
        """The engine that the history happens to."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.engine = self.make()
        self.boots = 1
        self.instances = 1
        self.agents: list[tuple[str, str]] = [("boot-1", "agent-1")]
        self.finals: dict[str, Job] = {}
        self.before = self.engine.machine()
        self.job_before: Job | None = None
        self.by_hand = False

    def teardown(self) -> None:
        try:
            self.drive_to_the_end()
        finally:
            self.engine.close()

    def attempt(self, doing: Callable[[], Any]) -> Any:
        """Do it; being refused changes nothing that an agent or an operator can see of the machine."""
        try:
            return doing()
        except ProvisionerError as error:
            assert error.message and 400 <= error.status < 500
            return None

    # --- agents -----------------------------------------------------------------------------------------------

    @initialize(step=st.booleans())
    def given_work(self, step: bool) -> None:
        self.by_hand = True
        self.engine.change(workflow="whole", step=step)

    @rule(elsewhere=st.booleans())
    def boots_up(self, elsewhere: bool) -> None:
        self.boots, self.instances = self.boots + 1, self.instances + 1
        self.agents.append((f"boot-{self.boots}", f"agent-{self.instances}"))
        bootenv = self.engine.machine().bootenv
        other = {"discovery": "local", "local": "discovery"}[bootenv]
        self.attempt(lambda: self.engine.hello(*self.agents[-1], other if elsewhere else bootenv))

    @rule()
    def agent_restarts(self) -> None:
        self.instances += 1
        self.agents.append((self.agents[-1][0], f"agent-{self.instances}"))
        at = self.engine.machine()
        self.attempt(lambda: self.engine.hello(*self.agents[-1], at.agent.bootenv or at.bootenv))

    @rule(which=st.integers(1, 4), data=st.data())
    def hello_again(self, which: int, data: st.DataObject) -> None:
        agent = self.agents[max(0, len(self.agents) - which)]
        self.attempt(lambda: self.engine.hello(*agent, data.draw(st.sampled_from(["discovery", "local"]))))

    def agent(self, which: int) -> tuple[str, str]:
        return self.agents[max(0, len(self.agents) - which)]

    @rule(which=st.sampled_from([1, 1, 1, 2, 3]))
    def claims(self, which: int) -> None:
        self.attempt(lambda: self.engine.claim(self.agent(which)[0]))

    @rule(which=st.sampled_from([1, 1, 1, 2, 3]))
    def claims_and_starts(self, which: int) -> None:
        boot_id, instance = self.agent(which)
        job = self.attempt(lambda: self.engine.claim(boot_id))
        if job is not None:
            self.attempt(lambda: self.engine.start(job.id, boot_id, instance))

    def some_job(self, data: st.DataObject) -> str:
        """The newest job mostly, else any."""
        keys = list(self.engine.jobs())
        return data.draw(st.sampled_from([keys[-1], keys[-1], keys[-1], *keys]))

    @precondition(lambda self: self.engine.jobs())
    @rule(which=st.sampled_from([1, 1, 2, 3]), data=st.data())
    def starts(self, which: int, data: st.DataObject) -> None:
        boot_id, instance = self.agent(which)
        key = self.some_job(data)
        self.attempt(lambda: self.engine.start(key, boot_id, instance))

    @precondition(lambda self: self.engine.jobs())
    @rule(start=st.integers(0, 40), size=st.integers(0, 30), data=st.data())
    def writes(self, start: int, size: int, data: st.DataObject) -> None:
        key = self.some_job(data)
        if self.engine.jobs()[key].started_at is None or self.engine.jobs()[key].boot_id == SERVER_BOOT_ID:
            return
        held = len(self.engine.read_log(key))
        got = self.attempt(lambda: self.engine.log(key, start, written(key, start, start + size)))
        assert got == (None if start > held else max(held, start + size))

    @precondition(lambda self: self.engine.jobs())
    @rule(which=st.sampled_from([0, 0, 1, 2]), outcome=st.sampled_from(OUTCOMES), twice=st.booleans(), data=st.data())
    def reports(self, which: int, outcome: Outcome, twice: bool, data: st.DataObject) -> None:
        key = self.some_job(data)
        job = self.engine.jobs()[key]
        servers = job.boot_id == SERVER_BOOT_ID
        if servers and outcome.state is JobState.INCOMPLETE:
            return
        instance = "" if servers else job.instance if which == 0 else self.agent(which)[1]
        first = self.attempt(lambda: self.engine.end(key, instance, outcome))
        if job.final:
            assert first == job
        if twice and first is not None:
            assert self.engine.end(key, instance, replace(outcome, message="again")) == first

    @rule()
    def follows_the_map(self) -> None:
        self.attempt(self.engine.next_stage)

    # --- operators --------------------------------------------------------------------------------------------

    @precondition(lambda self: self.engine.jobs())
    @rule(data=st.data())
    def cancels(self, data: st.DataObject) -> None:
        key = self.some_job(data)
        self.attempt(lambda: self.engine.cancel(key))

    @rule(runnable=st.booleans())
    def pauses_or_releases(self, runnable: bool) -> None:
        self.by_hand = True
        self.attempt(lambda: self.engine.change(runnable=runnable))

    @rule(place=st.integers(-1, 14), runnable=st.booleans())
    def moves(self, place: int, runnable: bool) -> None:
        at = self.engine.machine().current_task
        self.by_hand = True
        self.attempt(lambda: self.engine.change(current_task=place, runnable=runnable))
        assert self.engine.machine().current_task <= at

    @rule()
    def resumes(self) -> None:
        self.by_hand = True
        self.attempt(self.engine.resume)

    @rule(stage=st.sampled_from(["", "begin", "middle", "end", "gone"]))
    def restarts(self, stage: str) -> None:
        self.by_hand = True
        self.attempt(lambda: self.engine.restart(stage))

    @rule(
        change=st.sampled_from(
            [
                {"workflow": "whole"},
                {"workflow": "there-and-back"},
                {"workflow": ""},
                {"stage": "middle"},
                {"bootenv": "local"},
                {"step": True},
                {"step": False},
                {"locked": True},
                {"locked": False},
            ]
        )
    )
    def changes(self, change: dict[str, Any]) -> None:
        self.by_hand = True
        self.attempt(lambda: self.engine.change(**change))

    @rule(stops=st.lists(st.sampled_from(STOPS), max_size=2))
    def debugs(self, stops: list[str]) -> None:
        self.by_hand = True
        self.attempt(lambda: self.engine.change(stop_before=tuple(stops)))

    # --- the world --------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 10, 31, 61]))
    def time_passes(self, seconds: float) -> None:
        self.engine.pass_seconds(seconds)
        self.engine.drop_silent()

    @rule(seconds=st.sampled_from([-3600, -1, 3600]))
    def clock_is_set(self, seconds: float) -> None:
        live = {key for key, job in self.engine.jobs().items() if job.state in LIVE_STATES}
        self.engine.step_clock(seconds)
        self.engine.drop_silent()
        assert live == {key for key, job in self.engine.jobs().items() if job.state in LIVE_STATES}

    @rule(which=st.sampled_from([None, "claim", "end", "pause"]), turns=st.integers(0, 3))
    def crashes(self, which: str | None, turns: int) -> None:
        self.by_hand = True
        job, boot_id = self.engine.current(), self.agents[-1][0]
        during: dict[str, Callable[[Any], Any]] = {
            "claim": lambda engine: engine.claim_later(boot_id),
            "pause": lambda engine: engine.change_later(runnable=False),
        }
        if job is not None:
            during["end"] = lambda engine: engine.end_later(job.id, job.instance, OUTCOMES[0])
        self.engine.crash(during.get(which or ""), turns)

    # --- what must always hold --------------------------------------------------------------------------------

    @invariant()
    def never_two_live_jobs(self) -> None:
        live = [job for job in self.engine.jobs().values() if job.state in LIVE_STATES]
        assert len(live) <= 1
        assert all(job.id == self.engine.machine().current_job for job in live)

    @invariant()
    def a_job_that_is_not_final_is_the_current_one(self) -> None:
        left = [job.id for job in self.engine.jobs().values() if not job.final]
        assert left in ([], [self.engine.machine().current_job])

    @invariant()
    def final_jobs_never_change(self) -> None:
        jobs = self.engine.jobs()
        for key, job in self.finals.items():
            assert jobs[key] == job
        self.finals |= {key: job for key, job in jobs.items() if job.state in FINAL_STATES}
        assert all(job.ended_at is not None for job in self.finals.values())

    @invariant()
    def the_chain_of_jobs_is_whole(self) -> None:
        jobs, key, seen = self.engine.jobs(), self.engine.machine().current_job, set[str]()
        while key:
            assert key not in seen
            seen.add(key)
            key = jobs[key].previous
        assert seen == set(jobs)

    @invariant()
    def what_waits_has_a_reason(self) -> None:
        at = self.engine.machine()
        assert at.runnable is (at.hold is Hold.NONE) and at.runnable is (at.waiting_for == "")
        assert standing(at, self.engine.current(), self.engine.now()) in Standing

    @invariant()
    def logs_hold_every_byte_once(self) -> None:
        for key, job in self.engine.jobs().items():
            log = self.engine.read_log(key)
            if not log.startswith(b"[server]"):
                assert log == written(key, 0, len(log)), job

    @invariant()
    def no_entry_is_left_out(self) -> None:
        at, was, job = self.engine.machine(), self.before, self.job_before
        if not self.by_hand and at.tasks == was.tasks and at.current_task > was.current_task:
            if job is not None and job.index == was.current_task:
                ended = self.engine.jobs()[job.id]
                assert ended.state is JobState.FINISHED
            skipped = at.tasks[was.current_task + 1 : at.current_task]
            assert all(entry.startswith(("stage:", "bootenv:")) for entry in skipped[: -1 if at.done else None])
        self.before, self.job_before, self.by_hand = at, self.engine.current(), False

    @invariant()
    def what_is_counted_fits(self) -> None:
        at, job = self.engine.machine(), self.engine.current()
        assert -1 <= at.current_task <= len(at.tasks)
        assert at.retries <= 2 and (not at.repairs_left or at.repaired)
        assert job is None or (job.attempt >= 1 and job.resumes >= 0)
        if job is not None and job.state in LIVE_STATES and job.index == at.current_task:
            assert job.task in ((at.repairs_left[:1] or ("",))[0], at.tasks[job.index])

    # --- the end ----------------------------------------------------------------------------------------------

    def drive_to_the_end(self) -> None:
        """Whatever has happened, an operator who lets it go on and agents that do well bring it to its end."""
        self.attempt(lambda: self.engine.change(locked=False))
        self.engine.change(step=False, stop_before=())
        if not self.engine.machine().tasks:
            self.engine.change(workflow="whole")
        for _ in range(80):
            at, job = self.engine.machine(), self.engine.current()
            if at.done:
                return
            if job is not None and job.state is JobState.RUNNING:
                self.engine.end(job.id, "" if job.boot_id == SERVER_BOOT_ID else job.instance, OUTCOMES[0])
                continue
            if not at.runnable and at.hold is not Hold.BOOT:
                self.engine.change(runnable=True)
                continue
            if at.agent.bootenv != at.bootenv or not at.runnable:
                self.boots_up(elsewhere=False)
                continue
            self.engine.pass_seconds(700)
            boot_id, instance = at.agent.boot_id, self.agents[-1][1]
            claimed = self.engine.claim(boot_id)
            if claimed is not None:
                self.engine.start(claimed.id, boot_id, instance)
        raise AssertionError(f"stuck: {self.engine.machine()}")
