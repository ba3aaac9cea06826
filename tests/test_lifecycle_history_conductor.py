"""Random histories through the conductor over a real database, with crashes that leave only what is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from hypothesis import HealthCheck, settings

from provisioner.access import Principal, Who
from provisioner.conductor.machines import MachineChange
from provisioner.conductor.registration import Hello
from provisioner.errors import Conflict, ProvisionerError
from provisioner.lifecycle import Outcome
from provisioner.model.machines import Job, Machine
from provisioner.store.logs import LogGap
from tests.histories import STAGES, TASKS, WORKFLOWS, Engine, History
from tests.parts import OPERATOR, WHERE, Parts


class Conductor:
    """One machine in a conductor of its own; every answer is on disk before it is seen."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._folder = Path(mkdtemp())
        self._parts = Parts(self._folder)
        self._parts.jobs.use_actions(lambda machine, name, job: None)
        self._do(self._parts.open())
        for value in (*TASKS, *STAGES, *WORKFLOWS):
            self._do(self._parts.catalog.put(value, OPERATOR))
        self._id = self._do(self._parts.ready(params={"change-stage/map": {"middle": "end"}}))
        self._agent = Principal(Who.MACHINE, self._id)

    def _do(self, doing: Coroutine[Any, Any, Any] | asyncio.Future[Any]) -> Any:
        return self._loop.run_until_complete(doing)

    def machine(self) -> Machine:
        found = self._parts.ledger.read(Machine, self._id)
        assert found is not None and found == self._parts.ledger.get(Machine, self._id)
        return found

    def jobs(self) -> dict[str, Job]:
        found = {job.id: job for job in self._parts.ledger.jobs_of(self._id)}
        assert all(self._parts.ledger.read(Job, key) == job for key, job in found.items())
        return found

    def current(self) -> Job | None:
        return self._parts.ledger.get(Job, self.machine().current_job)

    def now(self) -> Any:
        return self._parts.clock()

    def hello(self, boot_id: str, instance: str, bootenv: str) -> None:
        said = Hello(boot_id=boot_id, instance=instance, bootenv=bootenv)
        self._do(self._parts.registrations.hello(self._id, said, self._agent))

    def claim(self, boot_id: str) -> Job | None:
        return self._do(self.claim_later(boot_id))

    async def claim_later(self, boot_id: str) -> Job | None:
        order = await self._parts.jobs.claim(self._id, boot_id, WHERE, self._agent)
        return order.job if order is not None else None

    def start(self, job: str, boot_id: str, instance: str) -> Job:
        return self._do(self._parts.jobs.start(job, boot_id, instance, self._agent))

    def log(self, job: str, offset: int, data: bytes) -> int:
        try:
            return self._do(self._parts.jobs.append_log(job, offset, data))
        except LogGap as gap:
            raise Conflict(str(gap)) from gap

    def read_log(self, job: str) -> bytes:
        return self._do(self._parts.logs.read(job))[0]

    def end(self, job: str, instance: str, outcome: Outcome) -> Job:
        return self._do(self.end_later(job, instance, outcome))

    async def end_later(self, job: str, instance: str, outcome: Outcome) -> Job:
        return (await self._parts.jobs.end(job, instance, outcome, self._agent))[0]

    def cancel(self, job: str) -> Job:
        return self._do(self._parts.jobs.cancel(job, "enough", OPERATOR))

    def change(self, **fields: Any) -> None:
        self._do(self.change_later(**fields))

    async def change_later(self, **fields: Any) -> None:
        await self._parts.machines.change(self._id, MachineChange(**fields), OPERATOR)

    def restart(self, stage: str) -> None:
        self._do(self._parts.machines.restart(self._id, stage, OPERATOR))

    def resume(self) -> None:
        self._do(self._parts.machines.resume(self._id, OPERATOR))

    def next_stage(self) -> None:
        self._do(self._parts.registrations.next_stage(self._id, self._agent))

    def pass_seconds(self, seconds: float) -> None:
        self._parts.clock.pass_seconds(seconds)

    def step_clock(self, seconds: float) -> None:
        self._parts.clock.step(seconds)

    def tick(self) -> None:
        self._do(self._parts.jobs.drop_silent())
        self._do(self._parts.jobs.mend_pauses())

    def crash(self, during: Callable[[Engine], Any] | None, turns: int) -> None:
        """End without a word, perhaps in the middle of something, and begin again with what is on disk."""
        if during is not None:
            self._do(self._part_of(during(self), turns))
        clock = self._parts.clock
        self._do(self._parts.close())
        self._parts = Parts(self._folder)
        self._parts.clock.now, self._parts.clock.passed = clock.now, clock.passed
        self._parts.jobs.use_actions(lambda machine, name, job: None)
        self._do(self._parts.open())
        self._do(self._parts.jobs.resume_actions())

    async def _part_of(self, doing: Coroutine[Any, Any, Any], turns: int) -> None:
        under_way = asyncio.create_task(doing)
        for _ in range(turns):
            await asyncio.sleep(0)
        under_way.cancel()
        with suppress(asyncio.CancelledError, ProvisionerError):
            await under_way

    def close(self) -> None:
        self._do(self._parts.close())
        self._loop.close()
        rmtree(self._folder)


class ConductorHistory(History):
    def make(self) -> Engine:
        return Conductor()


TestConductorHistory = ConductorHistory.TestCase
TestConductorHistory.settings = settings(
    max_examples=8, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
