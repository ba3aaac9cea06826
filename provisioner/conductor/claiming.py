"""Claims: an agent asks for work, and the claim table says what it is given. This is the scheduler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from msgspec import Struct
from msgspec.structs import replace

from agent.render import Renderer
from provisioner.access import Principal
from provisioner.claims import Answer, Asked, Claim, claim
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.conductor.orders import Orders, Where, WorkOrder
from provisioner.conductor.record import save_job_end, save_machine, save_new_job
from provisioner.endings import after_job
from provisioner.erase import erase_problem
from provisioner.errors import FieldError, Invalid, Refused, unknown
from provisioner.expand import Expansion, declared_by
from provisioner.lifecycle import SERVER_BOOT_ID, Outcome, end_job, lose_job
from provisioner.model.content import Task
from provisioner.model.machines import ExitState, Hold, Job, JobState, Machine
from provisioner.params import missing
from provisioner.plan import hold, set_bootenv
from provisioner.store.logs import JobLogs

PerformAction = Callable[[Machine, str, Job], None]
# What an entry with a colon may begin with, and the kind of content it names; an action is the power drivers' word.
_ENTRIES = {"stage": "stages", "bootenv": "bootenvs"}


class Turn(Struct, frozen=True):
    """One claim under way: the machine as it was, as it is decided so far, and its current job."""

    tx: Transaction
    before: Machine
    machine: Machine
    job: Job | None
    boot_id: str
    where: Where

    def decide(self) -> Claim:
        """What the claim table says."""
        return claim(Asked(self.machine, self.job, self.boot_id, self.tx.now))

    def save(self, machine: Machine) -> Machine:
        """Save the machine as it has become."""
        return save_machine(self.tx, self.before, machine)


class Claims:
    """Answers claims, each in one transaction."""

    def __init__(
        self, ledger: Ledger, catalog: Catalog, logs: JobLogs, renderer: Renderer, jitter: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._logs = logs
        self._orders = Orders(ledger, catalog, logs, renderer)
        self._jitter = jitter
        self._perform: PerformAction | None = None
        # The plain secrets that jobs were given, so that they can be hidden in what agents send back.
        self.secrets: dict[str, list[Any]] = {}

    def use_actions(self, perform: PerformAction) -> None:
        """Say who carries out `action:` entries; called once, when the server is put together."""
        self._perform = perform

    def _task(self, name: str) -> Task | None:
        task: Task | None = self._catalog.view["tasks"].get(name)
        return task

    async def claim(self, machine_id: str, boot_id: str, where: Where, by: Principal) -> WorkOrder | None:
        """Give an agent its next work, None when there is none now; raises Refused with the reason to wait.

        None also follows when an entry that the server itself carries out was applied: the agent looks again.
        """
        if boot_id == SERVER_BOOT_ID:
            message = f"{boot_id!r} is no boot of a machine"
            raise Invalid(f"boot_id: {message}", object=machine_id, fields=(FieldError("boot_id", message),))
        machine = self._ledger.get(Machine, machine_id)
        if machine is None:
            raise Invalid(f"there is no machine {machine_id!r}", object=machine_id, code="unknown-machine")
        tx = self._ledger.transaction(by=str(by))
        turn = Turn(tx, machine, machine, self._ledger.get(Job, machine.current_job), boot_id, where)
        decision = turn.decide()
        if decision.answer is Answer.LOSE:
            turn = self._lose(turn, decision.reason)
            decision = turn.decide()
        return await self._answer(turn, decision)

    def _lose(self, turn: Turn, reason: str) -> Turn:
        assert turn.job is not None
        lost = lose_job(turn.job, reason, turn.tx.now)
        save_job_end(turn.tx, lost)
        machine = after_job(turn.machine, lost, self._task(lost.task), turn.tx.now, self._jitter())
        return replace(turn, machine=machine, job=lost)

    async def _answer(self, turn: Turn, decision: Claim) -> WorkOrder | None:
        match decision.answer:
            case Answer.NEW:
                return await self._new_job(turn, decision)
            case Answer.SAME:
                return await self._same_again(turn)
            case Answer.APPLY | Answer.ACTION:
                await self._server_entry(turn, decision)
            case Answer.NOTHING:
                await self._finish_list(turn)
            case _:
                await self._refuse(turn, decision)
        return None

    async def _refuse(self, turn: Turn, decision: Claim) -> None:
        machine = turn.machine
        if decision.answer is Answer.STOP:
            machine = replace(hold(machine, Hold.STOP_BEFORE, decision.reason), stopped_at=decision.index)
            turn.tx.event("machine.stop", machine=machine.id, key=machine.name, entry=decision.entry)
        turn.save(machine)
        await turn.tx.commit()
        raise Refused(decision.reason, object=machine.id, code="not-now")

    async def _finish_list(self, turn: Turn) -> None:
        machine = turn.machine
        turn.save(machine if machine.done else replace(machine, current_task=len(machine.tasks)))
        await turn.tx.commit()

    async def _same_again(self, turn: Turn) -> WorkOrder:
        job = turn.job
        assert job is not None
        task = self._task(job.task)
        if task is None:
            raise Refused(unknown("task", job.task, self._catalog.view["tasks"]), object=job.id)
        values = self._catalog.values.of(turn.machine, turn.where.as_context)
        self.secrets[job.id] = values.secrets(declared_by(task))
        resumed = job.state is JobState.INCOMPLETE
        # The first claim of this job may be on its way to the disk still.
        await turn.tx.commit()
        return await self._orders.make(turn.machine, job, task, turn.where, values, resumed=resumed, repeated=True)

    # --- new jobs ---------------------------------------------------------------------------------------------

    def _make(self, turn: Turn, decision: Claim, boot_id: str) -> tuple[Job, Machine]:
        """A new job for what was decided, and the machine as it is while the job is under way."""
        machine = turn.machine
        job = Job(
            id=str(uuid4()),
            machine=machine.id,
            task=decision.entry,
            stage=machine.stage,
            workflow=machine.workflow,
            bootenv=machine.bootenv,
            index=decision.index,
            attempt=_repair_attempt(turn.job, decision) if decision.repair else machine.attempts + 1,
            repair=decision.repair,
            previous=machine.current_job,
            boot_id=boot_id,
            created_at=turn.tx.now,
        )
        attempts = machine.attempts if decision.repair else machine.attempts + 1
        moved = replace(machine, current_job=job.id, current_task=job.index, not_before=None, attempts=attempts)
        return job, moved

    async def _new_job(self, turn: Turn, decision: Claim) -> WorkOrder | None:
        job, moved = self._make(turn, decision, turn.boot_id)
        task = self._task(job.task)
        values = self._catalog.values.of(moved, turn.where.as_context)
        problem = self._cannot_run(turn, moved, task, job, values)
        if problem or task is None:
            await self._fail_at_once(turn, moved, job, problem)
            raise Refused(problem, object=job.id, code="job-cannot-run")
        save_new_job(turn.tx, job)
        saved = turn.save(moved)
        self.secrets[job.id] = values.secrets(declared_by(task))
        await turn.tx.commit()
        return await self._orders.make(saved, job, task, turn.where, values)

    def _cannot_run(self, turn: Turn, machine: Machine, task: Task | None, job: Job, values: Expansion) -> str:
        """Why the job cannot be run as things stand; empty when it can."""
        view = self._catalog.view
        if task is None:
            return unknown("task", job.task, view["tasks"])
        stage = view["stages"].get(machine.stage)
        needs = missing(task.required_params, values.resolved, f"task {task.name!r}")
        if stage is not None:
            needs += missing(stage.required_params, values.resolved, f"stage {stage.name!r}")
        problems = [error.message for error in needs]
        problems += values.problems((*declared_by(task), *(stage.required_params if stage is not None else ())))
        return "; ".join(filter(None, (*problems, erase_problem(task, machine, turn.tx.now))))

    async def _fail_at_once(self, turn: Turn, machine: Machine, job: Job, problem: str) -> None:
        failed = end_job(job, Outcome(JobState.FAILED, ExitState.FAILED, None, problem), turn.tx.now)
        await self._end_at_once(turn, machine, job, failed)

    async def _end_at_once(self, turn: Turn, machine: Machine, job: Job, ended: Job) -> None:
        save_new_job(turn.tx, job)
        save_job_end(turn.tx, ended)
        # Without its task: what cannot be run will not run the better for retries and repairs.
        turn.save(after_job(machine, ended, None, turn.tx.now))
        await turn.tx.commit()
        await self._logs.append(job.id, 0, f"[server] {ended.message}\n".encode())

    # --- entries that the server carries out ------------------------------------------------------------------

    async def _server_entry(self, turn: Turn, decision: Claim) -> None:
        kind, _, name = decision.entry.partition(":")
        job, moved = self._make(turn, decision, SERVER_BOOT_ID)
        job = replace(job, started_at=turn.tx.now)
        if decision.answer is Answer.ACTION:
            await self._begin_action(turn, moved, job, name)
            return
        problem = self._entry_problem(decision.entry)
        if problem:
            await self._fail_at_once(turn, moved, job, problem)
            return
        changed = replace(moved, stage=name) if kind == "stage" else set_bootenv(moved, name)
        done = replace(
            job,
            state=JobState.FINISHED,
            exit_state=ExitState.COMPLETE,
            ended_at=turn.tx.now,
            message=f"{kind} is now {name!r}",
            exit_code=0,
        )
        await self._end_at_once(turn, changed, job, done)

    def _entry_problem(self, entry: str) -> str:
        kind, _, name = entry.partition(":")
        if kind not in _ENTRIES:
            return unknown("kind of entry", entry, ("stage:NAME", "bootenv:NAME", "action:NAME"))
        known = self._catalog.view[_ENTRIES[kind]]
        return "" if name in known else unknown(kind, name, known)

    async def _begin_action(self, turn: Turn, machine: Machine, job: Job, name: str) -> None:
        if self._perform is None:
            await self._fail_at_once(turn, machine, job, f"this server carries out no actions such as {name!r}")
            return
        running = replace(job, state=JobState.RUNNING)
        save_new_job(turn.tx, running)
        saved = turn.save(machine)
        await turn.tx.commit()
        self._perform(saved, name, running)


def _repair_attempt(previous: Job | None, decision: Claim) -> int:
    """A repair's attempts count by themselves: one more after a run of the same repair that did not finish."""
    if previous is None or not previous.repair or previous.state is JobState.FINISHED:
        return 1
    again = (previous.index, previous.task) == (decision.index, decision.entry)
    return previous.attempt + 1 if again else 1
