"""Random histories through the pure core alone: tables and plans, without a database, a clock or a conductor."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import settings
from msgspec.structs import replace

from provisioner.claims import Answer, Asked, claim
from provisioner.endings import after_job, mend_pause
from provisioner.errors import Conflict, Refused
from provisioner.hellos import came_up
from provisioner.lifecycle import SERVER_BOOT_ID, cancel_job, end_job, lose_job, start_job
from provisioner.model.machines import AgentInfo, ExitState, Hold, Job, JobState, Machine
from provisioner.plan import (
    clear_workflow,
    enter_stage,
    find_stage,
    follow_map,
    hold,
    move_back,
    ready_if_up,
    restart,
    resume,
    set_bootenv,
    set_runnable,
    set_stage,
    set_workflow,
)
from tests.histories import BOOTENVS, STAGES, TASKS, WORKFLOWS, Engine, History

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
TASK = {task.name: task for task in TASKS}
STAGE = {stage.name: stage for stage in STAGES}
WORKFLOW = {workflow.name: workflow for workflow in WORKFLOWS}
WINDOW_SECONDS = 60


class Core:
    """One machine and its jobs, changed by the pure functions as the conductor does."""

    def __init__(self) -> None:
        agent = AgentInfo(boot_id="boot-1", instance="agent-1", bootenv="discovery", hello_at=START)
        self._machine = Machine(
            id="m1", name="m1", created_at=START, updated_at=START, bootenv="discovery", runnable=True, agent=agent
        )
        self._jobs: dict[str, Job] = {}
        self._logs: dict[str, bytes] = {}
        self._heard: dict[str, float] = {}
        self._now, self._passed = START, 0.0
        self._ids = count(1)

    def machine(self):
        return self._machine

    def jobs(self):
        return dict(self._jobs)

    def current(self):
        return self._jobs.get(self._machine.current_job)

    def now(self):
        return self._now

    def hello(self, boot_id, instance, bootenv):
        agent = AgentInfo(boot_id=boot_id, instance=instance, bootenv=bootenv, hello_at=self._now)
        job = self.current()
        up = came_up(self._machine, job, TASK.get(job.task) if job else None, agent, self._now)
        self._machine = up.machine
        if up.lost is not None:
            self._jobs[up.lost.id] = up.lost

    def claim(self, boot_id):
        machine, job = self._machine, self.current()
        decision = claim(Asked(machine, job, boot_id, self._now))
        if decision.answer is Answer.LOSE:
            job = self._jobs[job.id] = lose_job(job, decision.reason, self._now)
            self._machine = machine = after_job(machine, job, TASK.get(job.task), self._now)
            decision = claim(Asked(machine, job, boot_id, self._now))
        match decision.answer:
            case Answer.BUSY:
                raise Refused(decision.reason)
            case Answer.STOP:
                held = hold(machine, Hold.STOP_BEFORE, decision.reason)
                self._machine = replace(held, stopped_at=decision.index)
                raise Refused(decision.reason)
            case Answer.NOTHING:
                self._machine = machine if machine.done else replace(machine, current_task=len(machine.tasks))
                return None
            case Answer.SAME:
                return job
        return self._new(decision, job, boot_id)

    def _new(self, decision, previous, boot_id):
        machine = self._machine
        ours = decision.answer is Answer.NEW
        again = decision.repair and previous.repair and previous.task == decision.entry
        again = again and previous.state is not JobState.FINISHED
        job = Job(
            id=f"job-{next(self._ids)}",
            machine="m1",
            task=decision.entry,
            index=decision.index,
            repair=decision.repair,
            attempt=(previous.attempt + 1 if again else 1) if decision.repair else machine.attempts + 1,
            previous=machine.current_job,
            boot_id=boot_id if ours else SERVER_BOOT_ID,
            state=JobState.CREATED if ours else JobState.RUNNING,
            started_at=None if ours else self._now,
            created_at=self._now,
        )
        machine = replace(
            machine,
            current_job=job.id,
            current_task=job.index,
            not_before=None,
            attempts=machine.attempts + (not decision.repair),
        )
        if decision.answer is Answer.APPLY:
            kind, _, name = decision.entry.partition(":")
            machine = set_bootenv(machine, name) if kind == "bootenv" else replace(machine, stage=name)
            job = replace(job, state=JobState.FINISHED, exit_state=ExitState.COMPLETE, ended_at=self._now)
            machine = after_job(machine, job, None, self._now)
        self._jobs[job.id], self._machine = job, machine
        return job if ours else None

    def start(self, job, boot_id, instance):
        old = self._jobs[job]
        started = start_job(old, boot_id, instance, self._now)
        if started is not old and self._machine.current_job != job:
            raise Refused("no longer what its machine is to do")
        self._heard[job] = self._passed
        self._jobs[job] = started
        return started

    def log(self, job, offset, data):
        held = self._logs.get(job, b"")
        if offset > len(held):
            raise Conflict("a gap")
        self._logs[job] = held + data[max(0, len(held) - offset) :]
        return len(self._logs[job])

    def read_log(self, job):
        return self._logs.get(job, b"")

    def end(self, job, instance, outcome):
        old = self._jobs[job]
        if old.state is JobState.RUNNING and instance and old.instance != instance:
            raise Refused("held by another agent")
        ended = end_job(old, outcome, self._now)
        if ended is not old:
            self._close(ended)
        return ended

    def _close(self, job):
        self._jobs[job.id] = job
        self._machine = after_job(self._machine, job, TASK.get(job.task), self._now)

    def cancel(self, job):
        cancelled = cancel_job(self._jobs[job], "enough", self._now)
        if cancelled.final:
            self._close(cancelled)
        self._jobs[job] = cancelled
        return cancelled

    def change(self, **fields):
        if self._machine.locked and fields.get("locked") is not False:
            raise Refused("locked")
        at = self._machine
        new = replace(at, **{name: fields[name] for name in ("step", "stop_before", "locked") if name in fields})
        if "workflow" in fields:
            name = fields["workflow"]
            new = ready_if_up(set_workflow(new, WORKFLOW[name], STAGE) if name else clear_workflow(new))
        if "stage" in fields:
            new = ready_if_up(set_stage(new, find_stage(STAGE, fields["stage"])))
        if "bootenv" in fields:
            if new.workflow:
                raise Refused("the workflow sets the bootenv")
            new = set_bootenv(new, fields["bootenv"])
        rewinds = fields.get("current_task") == -1 and fields.get("runnable")
        if "current_task" in fields:
            new = move_back(new, fields["current_task"], STAGE, run=bool(fields.get("runnable")))
        if "runnable" in fields and not rewinds:
            new = set_runnable(new, fields["runnable"])
        self._drop(new, "workflow" in fields or "stage" in fields)

    def _drop(self, new, given):
        job = self.current()
        if job is not None and not job.final and (given or new.current_task != self._machine.current_task):
            self._jobs[job.id] = cancel_job(job, "other work", self._now)
        self._machine = new

    def restart(self, stage):
        if self._machine.locked:
            raise Refused("locked")
        workflow = WORKFLOW.get(self._machine.workflow)
        self._drop(ready_if_up(restart(self._machine, workflow, STAGE, stage)), True)

    def resume(self):
        if self._machine.locked:
            raise Refused("locked")
        self._machine = resume(self._machine)

    def next_stage(self):
        step = follow_map(self._machine, {"middle": "end"}, STAGE, {each.name: each for each in BOOTENVS})
        if step.stage:
            self._machine = enter_stage(self._machine, step, STAGE)

    def pass_seconds(self, seconds):
        self._now += timedelta(seconds=seconds)
        self._passed += seconds

    def step_clock(self, seconds):
        self._now += timedelta(seconds=seconds)

    def tick(self):
        job = self.current()
        self._machine = mend_pause(self._machine, TASK.get(job.task) if job else None, self._now)
        if job is None or job.state is not JobState.RUNNING or job.boot_id == SERVER_BOOT_ID:
            return
        if self._passed - self._heard.setdefault(job.id, self._passed) >= WINDOW_SECONDS:
            self._close(lose_job(job, "silent", self._now))

    def crash(self, during, turns):
        """There is nothing that the core could lose."""

    def close(self):
        """There is nothing to close."""


class CoreHistory(History):
    def make(self) -> Engine:
        return Core()


TestCoreHistory = CoreHistory.TestCase
TestCoreHistory.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
