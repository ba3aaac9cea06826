"""Jobs: claimed by agents, started, logged, ended, cancelled, lost."""

from __future__ import annotations

from collections.abc import Callable
from random import random
from time import monotonic

from msgspec.structs import replace

from agent.render import Renderer
from provisioner.access import SERVER, Principal
from provisioner.bus import Bus
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.claiming import Claims, PerformAction
from provisioner.conductor.finding import refuse_locked
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.conductor.orders import Where, WorkOrder
from provisioner.conductor.record import save_job_end, save_machine
from provisioner.endings import after_job, mend_pause
from provisioner.errors import NotFound, Refused
from provisioner.events import Event
from provisioner.expand import declared_by
from provisioner.lifecycle import SERVER_BOOT_ID, Outcome, cancel_job, end_job, lose_job, start_job
from provisioner.masking import Mask
from provisioner.model.content import Task
from provisioner.model.machines import ExitState, Job, JobState, Machine, RenderedFile
from provisioner.store.logs import JobLogs


class Jobs:
    """All that makes and changes jobs."""

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        logs: JobLogs,
        renderer: Renderer,
        jitter: Callable[[], float] = random,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._logs = logs
        self._jitter = jitter
        self._claims = Claims(ledger, catalog, logs, renderer, jitter)
        self._bus: Bus = ledger.bus
        # When each running job was last heard of, by a clock that nobody sets. Not durable: after a restart every agent
        # gets its full window anew.
        self._heard: dict[str, float] = {}
        self._seconds = seconds
        self._progress: dict[str, int] = {}
        # Of jobs that have written to their log since the start of the server.
        self._log_sizes: dict[str, int] = {}
        ledger.observe(Job, self._forget)

    def _forget(self, old: Job | None, new: Job | None) -> None:
        """What is kept of a running job only is dropped when it does not run any more."""
        if old is not None and (new is None or new.state is not JobState.RUNNING):
            for kept in (self._heard, self._progress, self._log_sizes, self._claims.secrets):
                kept.pop(old.id, None)

    def use_actions(self, perform: PerformAction) -> None:
        """Say who carries out `action:` entries; called once, when the server is put together."""
        self._claims.use_actions(perform)

    async def claim(self, machine_id: str, boot_id: str, where: Where, by: Principal) -> WorkOrder | None:
        """Give an agent its next work, None when there is none now; raises Refused with the reason to wait."""
        return await self._claims.claim(machine_id, boot_id, where, by)

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

    def _task(self, name: str) -> Task | None:
        task: Task | None = self._catalog.view["tasks"].get(name)
        return task

    # --- running ----------------------------------------------------------------------------------------------

    async def start(self, job_id: str, boot_id: str, instance: str, by: Principal) -> Job:
        """An agent begins the job, or goes on with it; harmless when repeated by the same agent."""
        job = self._decide(job_id)
        tx = self._ledger.transaction(by=str(by))
        started = start_job(job, boot_id, instance or boot_id, tx.now)
        machine = self._ledger.get(Machine, job.machine)
        if started is not job and (machine is None or machine.current_job != job.id):
            raise Refused(f"job {job.id} is no longer what its machine is to do", object=job.id, code="job-state")
        if job.state is JobState.INCOMPLETE and machine is not None and not _may_resume(machine, boot_id):
            # A copy of an earlier start that was long under way; nobody is there to run what it would set going.
            raise Refused(f"job {job.id} does not go on yet; claim it first", object=job.id, code="job-state")
        self._heard[job.id] = self._seconds()
        if started is not job:
            tx.put(started)
            tx.event("job.start", machine=job.machine, key=job.id, task=job.task, resumed=job.state.value)
        await tx.commit()
        return started

    async def append_log(self, job_id: str, offset: int, content: bytes) -> int:
        """Add to the job's log at an offset; returns its size. Whoever watches is told without a durable event."""
        job = self._decide(job_id)
        size = await self._logs.append(job_id, offset, content)
        if self._decide(job_id).state is JobState.RUNNING:
            self._heard[job.id] = self._seconds()
            self._log_sizes[job.id] = size
        data = {"size": size, "task": job.task}
        self._bus.publish(Event(time=self._ledger.clock(), kind="job.log", machine=job.machine, key=job.id, data=data))
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
        """Keep what the agent rendered, so that an operator can read what ran; the job's secrets are hidden in it."""
        job = self._decide(job_id)
        hidden = self._mask(job).text
        tx = self._ledger.transaction(by=str(by))
        shown = (replace(file, path=hidden(file.path), content=hidden(file.content)) for file in files)
        tx.put_actions(job.id, tuple(shown))
        await tx.commit()

    def _mask(self, job: Job) -> Mask:
        """Hides the secrets that the job was given, and those it would be given now."""
        task, machine = self._task(job.task), self._ledger.get(Machine, job.machine)
        secrets = list(self._claims.secrets.get(job.id, ()))
        if task is not None and machine is not None:
            secrets += self._catalog.values.of(machine).secrets(declared_by(task))
        return Mask(secrets)

    def heartbeat(self, job_id: str, instance: str, progress: int | None) -> Job:
        """The job is still being run; the answer tells the agent to go on or to stop."""
        job = self._decide(job_id)
        if job.state is JobState.RUNNING and job.instance == instance:
            self._heard[job.id] = self._seconds()
            if progress is not None:
                self._progress[job.id] = progress
        return job

    def progress(self, job_id: str) -> int | None:
        """How much of the job is done as it last said, in percent; None when it said nothing."""
        return self._progress.get(job_id)

    async def end(self, job_id: str, instance: str, outcome: Outcome, by: Principal) -> tuple[Job, Machine | None]:
        """A run ended. Saying it twice is harmless: a final job answers what it ended with first."""
        job = self._decide(job_id)
        if job.state is JobState.RUNNING and instance and job.instance != instance:
            raise Refused(f"job {job.id} is held by another agent", object=job.id, code="job-held")
        tx = self._ledger.transaction(by=str(by))
        ended = end_job(job, replace(outcome, message=self._mask(job).text(outcome.message)), tx.now)
        machine = self._ledger.get(Machine, job.machine)
        if ended is not job:
            machine = self._close(tx, ended)
        await tx.commit()
        return ended, machine

    def _close(self, tx: Transaction, job: Job) -> Machine | None:
        """Save an ended job and what its end does to its machine."""
        save_job_end(tx, job)
        machine = self._ledger.get(Machine, job.machine)
        if machine is None:
            return None
        return save_machine(tx, machine, after_job(machine, job, self._task(job.task), tx.now, self._jitter()))

    async def cancel(self, job_id: str, reason: str, by: Principal) -> Job:
        """Stop a job: its agent is told at the next heartbeat; one that nobody runs ends at once."""
        job = self._decide(job_id)
        machine = self._ledger.get(Machine, job.machine)
        if machine is not None:
            refuse_locked(machine, by)
        tx = self._ledger.transaction(by=str(by))
        cancelled = cancel_job(job, reason or f"asked for by {by}", tx.now)
        tx.event("job.cancel", machine=job.machine, key=job.id, task=job.task, reason=reason)
        if cancelled.final:
            self._close(tx, cancelled)
        else:
            tx.put(cancelled)
        await tx.commit()
        return cancelled

    # --- losing -----------------------------------------------------------------------------------------------

    def hear_anew(self) -> None:
        """Give every agent its full window again: while the server itself stood still it could hear nobody."""
        self._heard.clear()

    async def drop_silent(self) -> None:
        """Abandon running jobs whose agents have not been heard of within their task's window."""
        tx = self._ledger.transaction(by="clock")
        for job in self._ledger.live_jobs():
            if job.state is not JobState.RUNNING or job.boot_id == SERVER_BOOT_ID:
                continue
            task = self._task(job.task)
            window = task.heartbeat_seconds if task else 60
            now = self._seconds()
            if now - self._heard.setdefault(job.id, now) < window:
                continue
            reason = f"nothing was heard of its agent for {window:.0f} s"
            machine = self._close(tx, lose_job(job, reason, tx.now))
            key = machine.name if machine is not None else ""
            tx.event("agent.lost", machine=job.machine, key=key, task=job.task, reason=reason)
        await tx.commit()

    async def mend_pauses(self) -> None:
        """Let machines go on that the clock, which has been set back since, would keep waiting."""
        tx = self._ledger.transaction(by="clock")
        for machine in self._ledger.all(Machine):
            if machine.not_before is not None:
                job = self._ledger.get(Job, machine.current_job)
                task = self._task(job.task) if job is not None else None
                save_machine(tx, machine, mend_pause(machine, task, tx.now))
        await tx.commit()

    async def resume_actions(self) -> None:
        """At start: fail server actions that were under way when the server went down; nobody carries them out."""
        for job in self._ledger.live_jobs():
            if job.boot_id == SERVER_BOOT_ID:
                outcome = Outcome(
                    JobState.FAILED, ExitState.FAILED, None, "the server was restarted during this action"
                )
                await self.end(job.id, "", outcome, SERVER)


def _may_resume(machine: Machine, boot_id: str) -> bool:
    """Whether an agent of this boot may have been given the machine's incomplete job."""
    return machine.runnable and machine.agent.boot_id in ("", boot_id)
