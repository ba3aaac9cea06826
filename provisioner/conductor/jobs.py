"""Jobs: claimed by agents, started, logged, ended, lost. The claim is the scheduler."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from msgspec.structs import replace

from agent.render import Renderer
from provisioner.access import SERVER, Principal
from provisioner.bus import Bus
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.conductor.orders import Orders, Where, WorkOrder
from provisioner.conductor.record import save_machine
from provisioner.errors import FieldError, Invalid, NotFound, Refused, unknown
from provisioner.events import Event
from provisioner.lifecycle import (
    Answer,
    Asked,
    Claim,
    Outcome,
    after_job,
    cancel_job,
    claim,
    end_job,
    lose_job,
    retriable,
    start_job,
)
from provisioner.model import ExitState, Job, JobState, Machine, RenderedFile, Retry, Task
from provisioner.params import missing, resolve
from provisioner.plan import set_bootenv
from provisioner.store.logs import JobLogs

SERVER_BOOT_ID = "server"
PerformAction = Callable[[Machine, str, Job], None]


class Jobs:
    """All that makes and changes jobs."""

    def __init__(self, ledger: Ledger, catalog: Catalog, logs: JobLogs, renderer: Renderer) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._logs = logs
        self._orders = Orders(ledger, catalog, logs, renderer)
        self._bus: Bus = ledger.bus
        # When each running job was last heard of. Not durable: after a restart every agent gets its full window anew.
        self._heard: dict[str, datetime] = {}
        self._progress: dict[str, Any] = {}
        # Of jobs that have written to their log since the start of the server.
        self._log_sizes: dict[str, int] = {}
        self._perform: PerformAction | None = None

    def use_actions(self, perform: PerformAction) -> None:
        """Say who carries out `action:` entries; called once, when the server is put together."""
        self._perform = perform

    def find(self, job_id: str) -> Job:
        """A job on disk; raises NotFound."""
        job = self._ledger.read(Job, job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id!r}", object=job_id)
        return job

    def _decide(self, job_id: str) -> Job:
        job = self._ledger.get(Job, job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id!r}", object=job_id)
        return job

    def _machine(self, machine_id: str) -> Machine:
        machine = self._ledger.get(Machine, machine_id)
        if machine is None:
            raise Invalid(f"there is no machine {machine_id!r}", object=machine_id, code="unknown-machine")
        return machine

    def _task(self, name: str) -> Task | None:
        task: Task | None = self._catalog.view["tasks"].get(name)
        return task

    # --- claiming ---------------------------------------------------------------------------------------------

    async def claim(self, machine_id: str, boot_id: str, where: Where, by: Principal) -> WorkOrder | None:
        """Give an agent its next work, None when there is none now; raises Refused with the reason to wait.

        None also follows when an entry that the server itself carries out was applied: the agent looks again.
        """
        if boot_id == SERVER_BOOT_ID:
            raise Invalid(f"boot_id: {boot_id!r} is no boot of a machine", fields=(FieldError("boot_id", boot_id),))
        machine = self._machine(machine_id)
        job = self._ledger.get(Job, machine.current_job)
        tx = self._ledger.transaction(by=str(by))
        if job is not None and job.boot_id == SERVER_BOOT_ID and not job.final:
            raise Refused(f"the server is carrying out {job.task!r}", object=machine.id, code="not-now")
        may_redo = job is not None and retriable(self._task(job.task), job)
        decision = claim(Asked(machine, job, boot_id, tx.now, may_redo))
        if decision.lost and job is not None:
            job = self._lose(tx, job, "the machine came back from another boot")
        if decision.answer is Answer.BUSY:
            if decision.lost:
                save_machine(tx, machine, replace(machine, runnable=False, waiting_for=decision.reason))
            await tx.commit()
            raise Refused(decision.reason, object=machine.id, code="not-now")
        if decision.answer is Answer.NOTHING:
            await self._finish_list(tx, machine)
            return None
        if decision.answer is Answer.SAME and job is not None:
            return await self._same_again(machine, job, where)
        if decision.answer is Answer.NEW:
            return await self._new_job(tx, machine, job, decision, boot_id, where)
        await self._server_entry(tx, machine, job, decision)
        return None

    async def _finish_list(self, tx: Transaction, machine: Machine) -> None:
        if not machine.done:
            save_machine(tx, machine, replace(machine, current_task=len(machine.tasks)))
        await tx.commit()

    async def _same_again(self, machine: Machine, job: Job, where: Where) -> WorkOrder:
        task = self._task(job.task)
        if task is None:
            raise Refused(unknown("task", job.task, self._catalog.view["tasks"]), object=job.id)
        return await self._orders.make(machine, job, task, where, resumed=job.state is JobState.INCOMPLETE)

    def _make_job(self, tx: Transaction, machine: Machine, previous: Job | None, decision: Claim) -> Job:
        again = previous is not None and (previous.index, previous.task) == (decision.index, decision.entry)
        again = again and previous is not None and previous.state is not JobState.FINISHED
        again = again and machine.current_task == decision.index
        return Job(
            id=str(uuid4()),
            machine=machine.id,
            task=decision.entry,
            stage=machine.stage,
            workflow=machine.workflow,
            bootenv=machine.bootenv,
            index=decision.index,
            attempt=previous.attempt + 1 if again and previous is not None else 1,
            previous=machine.current_job,
            created_at=tx.now,
        )

    async def _new_job(
        self, tx: Transaction, machine: Machine, previous: Job | None, decision: Claim, boot_id: str, where: Where
    ) -> WorkOrder | None:
        job = replace(self._make_job(tx, machine, previous, decision), boot_id=boot_id)
        moved = replace(machine, current_job=job.id, current_task=job.index, not_before=None)
        tx.event("job.create", machine=machine.id, key=job.id, task=job.task, stage=job.stage, attempt=job.attempt)
        task = self._task(job.task)
        problem = self._cannot_run(moved, job, task)
        if problem or task is None:
            await self._fail_at_once(tx, machine, moved, job, problem)
            raise Refused(problem, object=job.id, code="job-cannot-run")
        tx.put(job)
        saved = save_machine(tx, machine, moved)
        await tx.commit()
        return await self._orders.make(saved, job, task, where)

    def _cannot_run(self, machine: Machine, job: Job, task: Task | None) -> str:
        if task is None:
            return unknown("task", job.task, self._catalog.view["tasks"])
        view = self._catalog.view
        resolved = resolve(machine, view)
        stage = view["stages"].get(machine.stage)
        needs = missing(task.required_params, resolved, f"task {task.name!r}")
        if stage is not None:
            needs += missing(stage.required_params, resolved, f"stage {stage.name!r}")
        return "; ".join(error.message for error in needs)

    async def _fail_at_once(self, tx: Transaction, old: Machine, machine: Machine, job: Job, problem: str) -> None:
        failed = end_job(job, Outcome(JobState.FAILED, ExitState.FAILED, None, problem), tx.now)
        tx.put(failed)
        tx.event("job.end", machine=machine.id, key=job.id, task=job.task, state="failed", message=problem)
        save_machine(tx, old, after_job(machine, failed, Retry(), tx.now))
        await tx.commit()
        await self._logs.append(job.id, 0, f"[server] {problem}\n".encode())

    async def _server_entry(self, tx: Transaction, machine: Machine, previous: Job | None, decision: Claim) -> None:
        kind, _, name = decision.entry.partition(":")
        job = replace(self._make_job(tx, machine, previous, decision), boot_id=SERVER_BOOT_ID, started_at=tx.now)
        moved = replace(machine, current_job=job.id, current_task=job.index, not_before=None)
        tx.event("job.create", machine=machine.id, key=job.id, task=job.task, stage=job.stage, attempt=job.attempt)
        known = {"stage": "stages", "bootenv": "bootenvs"}.get(kind)
        if kind == "action":
            await self._begin_action(tx, machine, moved, job, name)
        elif known is None or name not in self._catalog.view[known]:
            choices = self._catalog.view[known] if known else ("stage:NAME", "bootenv:NAME", "action:NAME")
            problem = unknown(kind if known else "kind of entry", name if known else decision.entry, choices)
            await self._fail_at_once(tx, machine, moved, job, problem)
        else:
            changed = replace(moved, stage=name) if kind == "stage" else set_bootenv(moved, name)
            await self._close_entry(tx, machine, changed, job, f"{kind} is now {name!r}")

    async def _close_entry(self, tx: Transaction, old: Machine, machine: Machine, job: Job, line: str) -> None:
        done = replace(
            job, state=JobState.FINISHED, exit_state=ExitState.COMPLETE, ended_at=tx.now, message=line, exit_code=0
        )
        tx.put(done)
        tx.event("job.end", machine=machine.id, key=job.id, task=job.task, state="finished", message=line)
        save_machine(tx, old, after_job(machine, done, Retry(), tx.now))
        await tx.commit()
        await self._logs.append(job.id, 0, f"[server] {line}\n".encode())

    async def _begin_action(self, tx: Transaction, old: Machine, machine: Machine, job: Job, name: str) -> None:
        if self._perform is None:
            await self._fail_at_once(tx, old, machine, job, f"this server carries out no actions such as {name!r}")
            return
        running = replace(job, state=JobState.RUNNING)
        tx.put(running)
        saved = save_machine(tx, old, machine)
        await tx.commit()
        self._perform(saved, name, running)

    # --- running ----------------------------------------------------------------------------------------------

    async def start(self, job_id: str, boot_id: str, instance: str, by: Principal) -> Job:
        """An agent begins the job, or goes on with it; harmless when repeated by the same agent."""
        job = self._decide(job_id)
        tx = self._ledger.transaction(by=str(by))
        started = start_job(job, boot_id, instance or boot_id, tx.now)
        machine = self._ledger.get(Machine, job.machine)
        if started is not job and (machine is None or machine.current_job != job.id):
            raise Refused(f"job {job.id} is no longer what its machine is to do", object=job.id, code="job-state")
        self._heard[job.id] = tx.now
        if started is not job:
            tx.put(started)
            tx.event("job.start", machine=job.machine, key=job.id, task=job.task, resumed=job.state.value)
        await tx.commit()
        return started

    async def append_log(self, job_id: str, offset: int, data: bytes) -> int:
        """Add to the job's log at an offset; returns its size. Whoever watches is told without a durable event."""
        job = self._decide(job_id)
        size = await self._logs.append(job_id, offset, data)
        now = self._ledger.clock()
        self._heard[job.id] = now
        self._log_sizes[job.id] = size
        self._bus.publish(
            Event(time=now, kind="job.log", machine=job.machine, key=job.id, data={"size": size, "task": job.task})
        )
        self._ledger.wake(Job, job_id)
        return size

    async def read_log(self, job_id: str, offset: int, limit: int, wait_seconds: float) -> tuple[bytes, int]:
        """Log bytes from `offset`; waits for more while there are none and the job goes on."""
        self.find(job_id)
        data, size = await self._logs.read(job_id, offset, limit)
        if not data and wait_seconds > 0:
            # What happened while the file was being read has woken nobody who begins to wait now.
            if not self.find(job_id).final and self._log_sizes.get(job_id, 0) <= size:
                await self._ledger.changed(Job, job_id, wait_seconds)
            data, size = await self._logs.read(job_id, offset, limit)
        return data, size

    async def report_actions(self, job_id: str, files: tuple[RenderedFile, ...], by: Principal) -> None:
        """Keep what the agent rendered, so that an operator can read exactly what ran."""
        job = self._decide(job_id)
        tx = self._ledger.transaction(by=str(by))
        tx.put_actions(job.id, files)
        await tx.commit()

    def heartbeat(self, job_id: str, instance: str, progress: Any) -> Job:
        """The job is still being run; the answer tells the agent to go on or to stop."""
        job = self._decide(job_id)
        if not job.final and job.instance in ("", instance):
            self._heard[job.id] = self._ledger.clock()
            if progress is not None:
                self._progress[job.id] = progress
        return job

    def progress(self, job_id: str) -> Any:
        """What the job last said of its progress, None when nothing."""
        return self._progress.get(job_id)

    async def end(self, job_id: str, instance: str, outcome: Outcome, by: Principal) -> tuple[Job, Machine | None]:
        """A run ended. Saying it twice is harmless: a final job answers what it ended with first."""
        job = self._decide(job_id)
        if job.state is JobState.RUNNING and instance and job.instance != instance:
            raise Refused(f"job {job.id} is held by another agent", object=job.id, code="job-held")
        tx = self._ledger.transaction(by=str(by))
        ended = end_job(job, outcome, tx.now)
        machine = self._ledger.get(Machine, job.machine)
        if ended is not job:
            machine = self._close(tx, ended)
        await tx.commit()
        return ended, machine

    def _close(self, tx: Transaction, job: Job) -> Machine | None:
        """Save an ended job and what its end does to its machine."""
        self._heard.pop(job.id, None)
        self._progress.pop(job.id, None)
        self._log_sizes.pop(job.id, None)
        tx.put(job)
        tx.event(
            "job.end",
            machine=job.machine,
            key=job.id,
            task=job.task,
            state=job.state.value,
            exit_state=job.exit_state.value,
            exit_code=job.exit_code,
            message=job.message,
        )
        machine = self._ledger.get(Machine, job.machine)
        if machine is None:
            return None
        task = self._task(job.task)
        return save_machine(tx, machine, after_job(machine, job, task.retry if task else Retry(), tx.now))

    async def cancel(self, job_id: str, reason: str, by: Principal) -> Job:
        """Stop a job: its agent is told at the next heartbeat; one that nobody runs ends at once."""
        job = self._decide(job_id)
        tx = self._ledger.transaction(by=str(by))
        cancelled = cancel_job(job, reason or f"cancelled by {by}", tx.now)
        tx.event("job.cancel", machine=job.machine, key=job.id, task=job.task, reason=reason)
        if cancelled.final:
            self._close(tx, cancelled)
        else:
            tx.put(cancelled)
        await tx.commit()
        return cancelled

    # --- losing -----------------------------------------------------------------------------------------------

    def _lose(self, tx: Transaction, job: Job, reason: str) -> Job:
        lost = lose_job(job, reason, tx.now)
        self._heard.pop(job.id, None)
        tx.put(lost)
        tx.event("job.end", machine=job.machine, key=job.id, task=job.task, state=lost.state.value, message=reason)
        return lost

    async def drop_silent(self) -> None:
        """Abandon running jobs whose agents have not been heard of within their task's window."""
        tx = self._ledger.transaction(by="clock")
        for job in self._ledger.live_jobs():
            if job.state is not JobState.RUNNING or job.boot_id == SERVER_BOOT_ID:
                continue
            task = self._task(job.task)
            window = timedelta(seconds=task.heartbeat_seconds if task else 60)
            if tx.now - self._heard.setdefault(job.id, tx.now) < window:
                continue
            reason = f"nothing was heard of its agent for {window.total_seconds():.0f} s"
            self._abandon(tx, job, task, reason)
        await tx.commit()

    def _abandon(self, tx: Transaction, job: Job, task: Task | None, reason: str) -> None:
        lost = self._lose(tx, job, reason)
        machine = self._ledger.get(Machine, job.machine)
        if machine is None:
            return
        tx.event("agent.lost", machine=machine.id, key=machine.name, task=job.task, reason=reason)
        if not retriable(task, job):
            save_machine(tx, machine, after_job(machine, lost, Retry(), tx.now))

    async def resume_actions(self) -> None:
        """At start: fail server actions that were under way when the server went down; nobody carries them out."""
        for job in self._ledger.live_jobs():
            if job.boot_id == SERVER_BOOT_ID:
                outcome = Outcome(
                    JobState.FAILED, ExitState.FAILED, None, "the server was restarted during this action"
                )
                await self.end(job.id, "", outcome, SERVER)
