"""Random histories of one machine: operators, agents, lost and late messages, crashes; and what must always hold.

`History` is a Hypothesis state machine over an engine: the pure core alone, or the conductor over a real database.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from provisioner.errors import ProvisionerError
from provisioner.lifecycle import SERVER_BOOT_ID, Outcome
from provisioner.model.content import Bootenv, Retry, Stage, Task, TaskFile, Workflow
from provisioner.model.machines import FINAL_STATES, LIVE_STATES, ExitState, Hold, Job, JobState, Machine
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
CHANGES: tuple[dict[str, Any], ...] = (
    {"workflow": "whole"},
    {"workflow": "there-and-back"},
    {"workflow": ""},
    {"stage": "middle"},
    {"bootenv": "local"},
    {"step": True},
    {"step": False},
    {"step": False},
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
    def tick(self) -> None: ...
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

    # --- what happens -----------------------------------------------------------------------------------------

    @initialize(step=st.sampled_from([False, False, False, True]))
    def given_work(self, step: bool) -> None:
        self.by_hand = True
        self.engine.change(workflow="whole", step=step)

    @rule(outcomes=st.lists(st.sampled_from([*OUTCOMES, *OUTCOMES[:1] * 8]), min_size=1, max_size=6))
    def works(self, outcomes: list[Outcome]) -> None:
        """All goes as it should for a while: the agent that is up claims, does and reports."""
        for outcome in outcomes:
            self.works_once(outcome)
            self.check()

    @rule(outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=4))
    def works_badly(self, outcomes: list[Outcome]) -> None:
        """Ends of all kinds, and an operator who lets the machine go on after each."""
        for outcome in outcomes:
            self.works_once(outcome)
            self.check()
            if not self.engine.machine().runnable and self.engine.machine().hold is not Hold.BOOT:
                self.attempt(lambda: self.engine.change(runnable=True))

    @rule(
        which=st.sampled_from(["claim", "claim", "start", "report", "report", "write", "hello", "map"]), data=st.data()
    )
    def an_agent_says(self, which: str, data: st.DataObject) -> None:
        """An agent says something: the present one, or one of the past, late or twice."""
        agent = self.agents[max(0, len(self.agents) - data.draw(st.sampled_from([1, 1, 1, 2, 3])))]
        if which == "claim":
            self.claims(agent, starts=data.draw(st.booleans()))
        elif which == "hello":
            bootenv = data.draw(st.sampled_from(["discovery", "local"]))
            self.attempt(lambda: self.engine.hello(*agent, bootenv))
        elif which == "map":
            self.attempt(self.engine.next_stage)
        elif self.engine.jobs():
            key = self.some_job(data)
            if which == "start":
                self.attempt(lambda: self.engine.start(key, *agent))
            elif which == "write":
                self.writes(key, data.draw(st.integers(0, 40)), data.draw(st.integers(0, 30)))
            else:
                instance = agent[1] if data.draw(st.booleans()) else self.engine.jobs()[key].instance
                self.reports(key, instance, data.draw(st.sampled_from(OUTCOMES)), data.draw(st.booleans()))

    @rule(
        what=st.sampled_from(["move", "move", "release", "pause", "cancel", "resume", "debug", "change", "restart"]),
        data=st.data(),
    )
    def an_operator_does(self, what: str, data: st.DataObject) -> None:
        """An operator does something; none of it moves the machine forward in its list."""
        before, self.by_hand = self.engine.machine(), True
        if what == "move":
            self.moves(data.draw(st.sampled_from([-1, 1, 1, 2, 3, 99])), data.draw(st.booleans()))
        elif what in ("release", "pause"):
            self.attempt(lambda: self.engine.change(runnable=what == "release"))
        elif what == "cancel" and self.engine.jobs():
            key = self.some_job(data)
            self.attempt(lambda: self.engine.cancel(key))
        elif what == "resume":
            self.attempt(self.engine.resume)
        elif what == "debug":
            stops = tuple(data.draw(st.lists(st.sampled_from(STOPS), max_size=2)))
            self.attempt(lambda: self.engine.change(stop_before=stops))
        elif what == "change":
            change = data.draw(st.sampled_from(CHANGES))
            self.attempt(lambda: self.engine.change(**change))
        elif what == "restart":
            stage = data.draw(st.sampled_from(["", "begin", "middle", "end", "gone"]))
            self.attempt(lambda: self.engine.restart(stage))
        after = self.engine.machine()
        assert after.tasks != before.tasks or after.current_task <= before.current_task

    @rule(what=st.sampled_from(["boot", "elsewhere", "restart", "time", "time", "clock", "lock"]), data=st.data())
    def the_world_turns(self, what: str, data: st.DataObject) -> None:
        """Machines boot, agents restart, time passes, clocks are set."""
        if what in ("boot", "elsewhere"):
            self.boots_up(elsewhere=what == "elsewhere")
        elif what == "restart":
            self.instances += 1
            self.agents.append((self.agents[-1][0], f"agent-{self.instances}"))
            at = self.engine.machine()
            self.attempt(lambda: self.engine.hello(*self.agents[-1], at.agent.bootenv or at.bootenv))
        elif what == "time":
            self.engine.pass_seconds(data.draw(st.sampled_from([1, 10, 31, 61])))
            self.engine.tick()
        elif what == "clock":
            self.clock_is_set(data.draw(st.sampled_from([-3600, -1, 3600])))
        else:
            self.a_locked_machine_refuses_operators()

    @rule(which=st.sampled_from(["", "claim", "end", "pause"]), turns=st.integers(0, 3))
    def crashes(self, which: str, turns: int) -> None:
        """The server ends without a word, perhaps in the middle of something, and begins again."""
        self.by_hand = True
        job, boot_id = self.engine.current(), self.agents[-1][0]
        during: dict[str, Callable[[Any], Any]] = {
            "claim": lambda engine: engine.claim_later(boot_id),
            "pause": lambda engine: engine.change_later(runnable=False),
        }
        if job is not None:
            during["end"] = lambda engine: engine.end_later(job.id, job.instance, OUTCOMES[0])
        self.engine.crash(during.get(which), turns)

    # --- how it happens ---------------------------------------------------------------------------------------

    def boots_up(self, *, elsewhere: bool) -> None:
        self.boots, self.instances = self.boots + 1, self.instances + 1
        self.agents.append((f"boot-{self.boots}", f"agent-{self.instances}"))
        bootenv = self.engine.machine().bootenv
        other = {"discovery": "local", "local": "discovery"}[bootenv]
        self.engine.hello(*self.agents[-1], other if elsewhere else bootenv)

    def works_once(self, outcome: Outcome) -> None:
        at, (boot_id, instance) = self.engine.machine(), self.agents[-1]
        if at.hold is Hold.BOOT or at.agent.bootenv != at.bootenv:
            self.boots_up(elsewhere=False)
            return
        self.attempt(lambda: self.engine.claim(boot_id))
        job = self.engine.current()
        if job is None or job.final:
            return
        if job.boot_id == SERVER_BOOT_ID:
            self.engine.end(job.id, "", OUTCOMES[0])
        elif self.attempt(lambda: self.engine.start(job.id, boot_id, instance)) is not None:
            self.reports(job.id, instance, outcome, twice=False)

    def claims(self, agent: tuple[str, str], *, starts: bool) -> None:
        job = self.attempt(lambda: self.engine.claim(agent[0]))
        if job is not None and starts:
            self.attempt(lambda: self.engine.start(job.id, *agent))

    def some_job(self, data: st.DataObject) -> str:
        """The newest job mostly, else any."""
        keys = list(self.engine.jobs())
        return data.draw(st.sampled_from([keys[-1], keys[-1], keys[-1], *keys]))

    def writes(self, key: str, start: int, size: int) -> None:
        job = self.engine.jobs()[key]
        if job.started_at is None or job.boot_id == SERVER_BOOT_ID:
            return
        held = len(self.engine.read_log(key))
        got = self.attempt(lambda: self.engine.log(key, start, written(key, start, start + size)))
        assert got == (None if start > held else max(held, start + size))

    def reports(self, key: str, instance: str, outcome: Outcome, twice: bool) -> None:
        job = self.engine.jobs()[key]
        if job.boot_id == SERVER_BOOT_ID:
            if outcome.state is JobState.INCOMPLETE:
                return
            instance = ""
        first = self.attempt(lambda: self.engine.end(key, instance, outcome))
        if job.final:
            assert first == job
        if twice and first is not None:
            assert self.engine.end(key, instance, replace(outcome, message="again")) == first

    def moves(self, back: int, runnable: bool) -> None:
        at = self.engine.machine().current_task
        place = max(at - back, -1)
        self.attempt(lambda: self.engine.change(current_task=place, runnable=runnable))
        assert self.engine.machine().current_task <= at

    def a_locked_machine_refuses_operators(self) -> None:
        self.attempt(lambda: self.engine.change(locked=True))
        before = self.engine.machine()
        for refused in ({"runnable": True}, {"workflow": "whole"}, {"current_task": -1}, {"step": True}):
            assert self.attempt(lambda change=refused: self.engine.change(**change)) is None
        self.attempt(self.engine.resume)
        self.attempt(lambda: self.engine.restart(""))
        assert self.engine.machine() == before
        self.engine.change(locked=False)

    def clock_is_set(self, seconds: float) -> None:
        live = {key for key, job in self.engine.jobs().items() if job.state in LIVE_STATES}
        self.engine.step_clock(seconds)
        self.engine.tick()
        assert live == {key for key, job in self.engine.jobs().items() if job.state in LIVE_STATES}

    def check(self) -> None:
        """All invariants, in the middle of a rule."""
        self.never_two_live_jobs()
        self.a_job_that_is_not_final_is_the_current_one()
        self.final_jobs_never_change()
        self.what_waits_has_a_reason()
        self.no_entry_is_left_out()

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
                jobs = list(self.engine.jobs().values())
                since = jobs[[each.id for each in jobs].index(job.id) :]
                last = [each for each in since if each.index == was.current_task][-1]
                assert last.state is JobState.FINISHED and not last.repair
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

    @invariant()
    def repairs_come_in_order_and_all_of_them(self) -> None:
        jobs = self.engine.jobs()
        for job in jobs.values():
            before = jobs.get(job.previous)
            if before is None or not (job.repair or job.attempt > 1):
                continue
            assert before.index == job.index
            went = (before.task, job.task, before.state is JobState.FINISHED)
            again = before.task == job.task and before.state is not JobState.FINISHED
            assert again or went in (("fragile", "mend", False), ("mend", "check", True), ("check", "fragile", True))
            assert job.repair is (job.task in ("mend", "check"))

    # --- the end ----------------------------------------------------------------------------------------------

    def drive_to_the_end(self) -> None:
        """Whatever has happened, an operator who lets it go on and agents that do well bring it to its end."""
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
            self.engine.tick()
            boot_id, instance = at.agent.boot_id, self.agents[-1][1]
            claimed = self.engine.claim(boot_id)
            if claimed is not None:
                self.engine.start(claimed.id, boot_id, instance)
        raise AssertionError(f"stuck: {self.engine.machine()}")
