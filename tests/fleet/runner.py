"""Does a job as the agent's runner does, step by step, but for the script itself: that is played from a plan.

The log goes out through the agent's own `JobLog`, within the time and size that it says; one strand writes, sends and
beats in turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from threading import Event

from agent.client import FOREVER, Client
from agent.errors import AgentError, Conflict, Missing, Nonsense, Refused, RenderError, ServerAway, TaskError
from agent.exits import COMPLETE_EXIT, FAILED, FAILED_EXIT, FINISHED, INCOMPLETE, Ending, after_script
from agent.heartbeat import interval_seconds, read_answer
from agent.job_protocol import (
    Holder,
    RenderedFile,
    WorkOrder,
    append_log,
    heartbeat,
    read_log_size,
    report_result,
    start_job,
    upload_actions,
)
from agent.logs import JobLog
from agent.protocol import set_param
from agent.render import Renderer
from agent.spool import Spool
from agent.steps import render_steps
from tests.fleet.plan import Act, Plan
from tests.fleet.strand import StrandClock

FOLDER = "/nowhere"


class RunLog:
    """What scripts wrote, byte for byte, by job, and the jobs whose agent has reported them finished or failed."""

    def __init__(self) -> None:
        self.written: dict[str, bytearray] = {}
        self.reported: set[str] = set()
        self.faults: list[str] = []

    def begin(self, job: str, size: int) -> bytearray:
        """A run writes behind the `size` bytes that the server says it has."""
        written = self.written.setdefault(job, bytearray())
        if len(written) != size:
            self.faults.append(f"job {job} goes on with {size} bytes of log, {len(written)} were written")
        return written


class RecordingSpool(Spool):
    """Keeps for the audit all that goes through it."""

    def __init__(self, start: int, record: bytearray) -> None:
        super().__init__(start)
        self._record = record

    def append(self, data: bytes) -> bool:
        """Keep the bytes, and keep them again."""
        self._record += data
        return super().append(data)


class FleetRunner:
    """`agent.session.JobRunner`. `runs` counts, for the whole life of the machine, how often each task was begun."""

    def __init__(
        self,
        client: Client,
        clock: StrandClock,
        renderer: Renderer,
        jitter: Callable[[], float],
        machine: str,
        number: int,
        holder: Holder,
        plan: Plan,
        runs: Counter[str],
        told: RunLog,
    ) -> None:
        self._client = client
        self._clock = clock
        self._renderer = renderer
        self._jitter = jitter
        self._machine = machine
        self._number = number
        self._holder = holder
        self._plan = plan
        self._runs = runs
        self._told = told

    def run(self, order: WorkOrder) -> Ending | None:
        """Do a work order. None: it was not ours, or is not any more."""
        try:
            self._client.call(start_job(order.job, self._holder))
        except (Conflict, Missing):
            return None
        self._runs[order.task] += 1
        log = JobLog(
            lambda offset, data: self._append(order.job, offset, data),
            RecordingSpool(order.log_size, self._told.begin(order.job, order.log_size)),
            self._clock,
            self._jitter,
        )
        try:
            ending = self._work(order, log)
            log.line(f"{ending.state} {ending.message}")
            self._deliver(log)
            return self._report(order, ending)
        finally:
            log.close()

    def _append(self, job: str, offset: int, data: bytes) -> int:
        try:
            return read_log_size(self._client.call(append_log(job, offset, data), tries=1))
        except Nonsense as error:
            raise ServerAway(str(error)) from error

    def _work(self, order: WorkOrder, log: JobLog) -> Ending:
        log.line(f"task {order.task} begins, attempt {order.attempt}")
        try:
            steps = render_steps(order, self._renderer, FOLDER)
        except (RenderError, TaskError) as error:
            return Ending(FAILED, FAILED_EXIT, None, str(error))
        files = [RenderedFile(step.file.name, step.path, step.content, step.file.mode) for step in steps]
        with suppress(Refused):
            self._client.call(upload_actions(order.job, files))
        for step in steps:
            if step.path:
                continue
            log.line(f"runs {step.file.name}")
            act = self._plan(self._number, order.task, step.file.name, self._runs[order.task])
            lost = self._play(order, act, log)
            if lost:
                return Ending(FAILED, FAILED_EXIT, None, lost)
            ending = after_script(act.code, step.is_last_script)
            if ending is not None:
                return ending
        return Ending(FINISHED, COMPLETE_EXIT, 0)

    def _play(self, order: WorkOrder, act: Act, log: JobLog) -> str:
        """A script's time: bytes go out and beats are sent when they are due. Why the job is to end, "" if not."""
        for name, value in (act.params or {}).items():
            with suppress(Refused):
                self._client.call(set_param(self._machine, name, value))
        log.write(act.log[: len(act.log) // 2])
        end = self._clock.now() + act.seconds
        every = interval_seconds(order.heartbeat_seconds)
        beat = self._clock.now() + every
        while (left := end - self._clock.now()) > 0:
            self._clock.sleep(min(left, max(0.0, beat - self._clock.now()), log.due_seconds()))
            if not log.is_delivered and log.due_seconds() == 0:
                self._clock.sleep(log.send())
            if self._clock.now() >= beat:
                beat = self._clock.now() + every
                reason = self._beat(order)
                if reason:
                    return reason
        log.write(act.log[len(act.log) // 2 :])
        return ""

    def _beat(self, order: WorkOrder) -> str:
        try:
            return read_answer(self._client.call(heartbeat(order.job, self._holder), tries=1))
        except (Conflict, Missing) as refusal:
            return f"the server has given the job up: {refusal}"
        except AgentError:
            return ""

    def _deliver(self, log: JobLog) -> None:
        nothing = Event()
        while not log.is_delivered:
            self._clock.wait(nothing, log.send())

    def _report(self, order: WorkOrder, ending: Ending) -> Ending | None:
        request = report_result(
            order.job,
            self._holder,
            ending.state,
            ending.exit_state,
            ending.exit_code,
            ending.message,
            ending.runnable,
        )
        try:
            answer = self._client.call(request, tries=FOREVER)
        except Refused:
            return None
        if ending.state != INCOMPLETE:
            self._told.reported.add(order.job)
        return ending if answer["job"]["state"] == ending.state else None
