"""One task from work order to ending: start it, render all of it, show what was rendered, run it, report.

Runner.run(order) -> Ending, or None when the job was not ours to do
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from tempfile import gettempdir, mkdtemp
from typing import Any, Callable, Optional

from .client import FOREVER, Client
from .clock import Clock
from .errors import Conflict, Denied, Missing, Nonsense, Refused, RenderError, ServerAway, Stopped, TaskError
from .exits import (
    COMPLETE_EXIT,
    FAILED,
    FAILED_EXIT,
    FINISHED,
    INCOMPLETE,
    INCOMPLETE_EXIT,
    RESTART_EXIT,
    Ending,
    after_script,
)
from .heartbeat import Heartbeat, interval_seconds
from .helpers import MODULE_DIR
from .interrupt import CANCELLED, STOPPED, Interrupt
from .job_protocol import (
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
from .kept import KeptResults
from .logs import JobLog, LogSender
from .messages import Request
from .provisioner_task import FAILURE_FILE, PROGRESS_FILE
from .render import Renderer
from .script import GRACE_SECONDS, TIMED_OUT, Script, ScriptExit, command_line
from .spool import Place as SpoolPlace
from .spool import Spool
from .steps import Step, mode_of, render_steps, script_name, write_file

UNPROCESSABLE = 422
STOP_LOG_SECONDS = 5.0  # told to stop, we deliver the log for so long and leave the rest; the supervisor waits longer

FAILURE_LETTERS = 1000  # of a script's own words on why it failed; the log has the rest

# A service manager may leave these out, and scripts count on them.
USUAL_ENV = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}


@dataclass(frozen=True)
class Place:
    """Where and as whom tasks run. `work_dir` "" is the system's place for temporary files.

    `spool` is where output waits for a server that is away; without a folder of its own it is `work_dir`. `results_dir`
    is where results wait for the next agent, "" nowhere.
    """

    machine: str
    url: str
    token: str = field(repr=False)
    holder: Holder
    agent_path: str
    helper_dir: str
    work_dir: str = ""
    spool: SpoolPlace = SpoolPlace()
    results_dir: str = ""

    def spool_place(self) -> SpoolPlace:
        """Where a job's output is kept."""
        return self.spool if self.spool.folder else replace(self.spool, folder=self.work_dir or None)


class Runner:
    """Does work orders one after the other. `told_to_stop` says whether the agent is to end."""

    def __init__(
        self,
        client: Client,
        place: Place,
        clock: Clock,
        renderer: Renderer,
        jitter: Callable[[], float],
        note: Callable[[str], None],
        told_to_stop: Callable[[], bool] = lambda: False,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._client = client
        self._place = place
        self._clock = clock
        self._renderer = renderer
        self._jitter = jitter
        self._note = note
        self._told_to_stop = told_to_stop
        self._grace_seconds = grace_seconds
        self._interrupt: Optional[Interrupt] = None
        self._kept = KeptResults(place.results_dir, place.machine)

    def interrupt(self, detail: str) -> None:
        """End the job that is running, if any, as incomplete; safe in a signal handler."""
        interrupt = self._interrupt
        if interrupt is not None:
            interrupt.give(STOPPED, detail)

    def run(self, order: WorkOrder) -> Optional[Ending]:
        """Do a work order. None: the job was not ours, or is not any more, so that nothing follows from it."""
        try:
            self._client.call(start_job(order.job, self._place.holder))
        except (Conflict, Missing) as refusal:
            self._note(f"job {order.job} is not ours to start: {refusal}")
            return None
        self._note(f"job {order.job}: task {order.task} starts")
        interrupt = self._interrupt = Interrupt()
        try:
            if self._told_to_stop():
                self.interrupt("told to stop")
            return self._run_started(order, interrupt)
        finally:
            self._interrupt = None
            interrupt.close()

    def _run_started(self, order: WorkOrder, interrupt: Interrupt) -> Optional[Ending]:
        log = JobLog(
            lambda offset, data: self._append(order.job, offset, data),
            Spool(order.log_size, self._place.spool_place()),
            self._clock,
            self._jitter,
        )
        sender = LogSender(log, self._clock)
        try:
            folder = mkdtemp(prefix="task-", dir=self._place.work_dir or None)
        except OSError as error:
            message = f"cannot make a folder for the task in {self._place.work_dir or gettempdir()}: {error.strerror}"
            return self._report(order, Ending(FAILED, FAILED_EXIT, None, message))
        pulse = Heartbeat(
            lambda: self._client.call(heartbeat(order.job, self._place.holder, _read_progress(folder)), tries=1),
            interrupt,
            self._clock,
            interval_seconds(order.heartbeat_seconds),
        )
        sender.start()
        pulse.start()
        try:
            ending = self._work(order, folder, log, interrupt)
            if interrupt.reason == CANCELLED:
                log.line(f"cancelled: {interrupt.detail}")
            log.line(_describe(ending))
            sender.close(self._patience())
            if log.refusal:
                self._note(f"job {order.job}: the server does not take its log: {log.refusal}")
            return self._report(order, _with_note(_with_note(ending, log.missing), log.untold))
        finally:
            pulse.stop()
            log.close()
            shutil.rmtree(folder, ignore_errors=True)

    def _patience(self) -> Callable[[], bool]:
        """Says when to give up delivering a log: never, unless the agent itself has to end."""
        began = self._clock.now()
        return lambda: self._told_to_stop() and self._clock.now() >= began + STOP_LOG_SECONDS

    def _append(self, job: str, offset: int, data: bytes) -> int:
        try:
            return read_log_size(self._client.call(append_log(job, offset, data), tries=1))
        except Nonsense as error:
            raise ServerAway(str(error)) from error

    def _work(self, order: WorkOrder, folder: str, log: JobLog, interrupt: Interrupt) -> Ending:
        """Everything between start and result; whatever goes wrong in it is the job's failure."""
        began = self._clock.now()
        begins = "goes on" if order.log_size else "begins"
        log.line(f"task {order.task} {begins} on {socket.gethostname()}, attempt {order.attempt}")
        try:
            steps = render_steps(order, self._renderer, folder)
            self._show(order, steps, log)
            deadline = began + order.timeout_seconds if order.timeout_seconds > 0 else None
            script = Script(log.write, interrupt, self._clock, deadline, self._grace_seconds)
            return self._run_steps(order, steps, folder, log, interrupt, script)
        except (RenderError, TaskError) as error:
            return Ending(FAILED, FAILED_EXIT, None, str(error))
        except Stopped:
            return Ending(INCOMPLETE, RESTART_EXIT, None, "the agent was stopped")
        except Exception as error:  # whatever it is, the job must end and its log must say why
            return Ending(FAILED, FAILED_EXIT, None, f"the agent could not run it: {type(error).__name__}: {error}")

    def _show(self, order: WorkOrder, steps: list[Step], log: JobLog) -> None:
        files = [RenderedFile(step.file.name, step.path, step.content, step.file.mode) for step in steps]
        try:
            self._client.call(upload_actions(order.job, files))
        except Refused as refusal:
            log.line(f"the server does not take the rendered files: {refusal}")

    def _run_steps(
        self, order: WorkOrder, steps: list[Step], folder: str, log: JobLog, interrupt: Interrupt, script: Script
    ) -> Ending:
        ending: Optional[Ending] = None
        for step in steps:
            if interrupt.reason:
                return _interrupted(interrupt.reason, interrupt.detail, None, order)
            if step.path:
                write_file(step.path, step.content, mode_of(step.file, 0o644))
                log.line(f"wrote {step.path}")
            elif ending is None:
                log.line(f"runs {step.file.name}")
                exited = self._run_script(order, step, folder, script)
                if exited.ended_for:
                    return _interrupted(exited.ended_for, interrupt.detail, exited.code, order)
                ending = _with_failure(after_script(exited.code, step.is_last_script), folder)
                if ending is not None and not (step.is_last_script and ending.state == FINISHED):
                    return _in_script(ending, step, steps)
        return ending or Ending(FINISHED, COMPLETE_EXIT, 0)

    def _run_script(self, order: WorkOrder, step: Step, folder: str, script: Script) -> ScriptExit:
        path = os.path.join(folder, script_name(step.file.name))
        write_file(path, step.content, mode_of(step.file, 0o700) | 0o500)
        words = command_line(step.content, step.file.interpreter, path)
        try:
            return script.run(words, folder, self._environment(order, folder))
        except OSError as error:
            raise TaskError(f"cannot run {step.file.name} by {words[0]}: {error.strerror or error}") from error

    def _environment(self, order: WorkOrder, folder: str) -> dict[str, str]:
        """What scripts see: our own environment, then what the order sets, then where they are."""
        place = self._place
        env = {**USUAL_ENV, **os.environ, **order.env}
        env["PATH"] = f"{place.helper_dir}:{env['PATH']}"
        env["PROVISIONER_URL"] = place.url
        env["PROVISIONER_TOKEN"] = place.token
        env["PROVISIONER_MACHINE"] = place.machine
        env["PROVISIONER_JOB"] = order.job
        env["PROVISIONER_TASK"] = order.task
        env["PROVISIONER_TASK_DIR"] = folder
        env["PROVISIONER_AGENT"] = place.agent_path
        env["PYTHONPATH"] = os.pathsep.join(filter(None, (f"{place.helper_dir}/{MODULE_DIR}", env.get("PYTHONPATH"))))
        return env

    def _report(self, order: WorkOrder, ending: Ending) -> Optional[Ending]:
        trouble = self._kept.keep(order.job, _result(order.job, self._place.holder, ending))
        if trouble:
            self._note(f"job {order.job}: should the agent end now, its result is lost: {trouble}")
        try:
            answer = self._deliver(order.job, ending)
        except Stopped:
            self._note(f"job {order.job}: {_describe(ending)}; the server is away, the next agent will tell it")
            return None
        except Refused as refusal:
            self._note(f"job {order.job}: its result was not taken: {refusal}")
            if not isinstance(refusal, Denied):  # with another token it may be
                self._kept.drop(order.job)
            return None
        self._kept.drop(order.job)
        kept = _kept_state(answer)
        self._note(f"job {order.job}: {_describe(ending)}")
        if kept and kept != ending.state:
            self._note(f"job {order.job}: the server keeps it as {kept}")
            return None
        return ending

    def _deliver(self, job: str, ending: Ending) -> Any:
        try:
            return self._client.call(_result(job, self._place.holder, ending), tries=FOREVER)
        except Refused as refusal:
            # A server of before this word was introduced.
            if refusal.status != UNPROCESSABLE or ending.exit_state != RESTART_EXIT:
                raise
            older = replace(ending, exit_state=INCOMPLETE_EXIT)
            return self._client.call(_result(job, self._place.holder, older), tries=FOREVER)


def _result(job: str, holder: Holder, ending: Ending) -> Request:
    return report_result(
        job, holder, ending.state, ending.exit_state, ending.exit_code, ending.message, ending.runnable
    )


def _read_progress(folder: str) -> Optional[int]:
    """The percentage that a script wrote, as a whole number from 0 to 100; None when it wrote none."""
    with suppress(OSError, ValueError), open(os.path.join(folder, PROGRESS_FILE), encoding="ascii") as file:
        return int(min(100.0, max(0.0, float(file.read()))))
    return None


def _with_failure(ending: Optional[Ending], folder: str) -> Optional[Ending]:
    """The ending with what a failed script itself said of why, by the word `fail`."""
    if ending is None or ending.state != FAILED:
        return ending
    with suppress(OSError), open(os.path.join(folder, FAILURE_FILE), encoding="utf-8", errors="replace") as file:
        said = file.read(FAILURE_LETTERS).strip()
        if said:
            return replace(ending, message=said)
    return ending


def _with_note(ending: Ending, note: str) -> Ending:
    """The ending with one more thing to know of it."""
    return replace(ending, message="; ".join(filter(None, (ending.message, note)))) if note else ending


def _interrupted(reason: str, detail: str, code: Optional[int], order: WorkOrder) -> Ending:
    if reason == TIMED_OUT:
        return Ending(FAILED, FAILED_EXIT, code, f"timed out after {order.timeout_seconds:g} s")
    if reason == CANCELLED:
        # The server knows who cancelled and why; that is the message to keep.
        return Ending(FAILED, FAILED_EXIT, code)
    return Ending(INCOMPLETE, RESTART_EXIT, code, f"the agent was stopped: {detail}")


def _in_script(ending: Ending, step: Step, steps: list[Step]) -> Ending:
    """The ending, with the script's name in its message when there are several."""
    if not ending.message or sum(not other.path for other in steps) < 2:
        return ending
    return Ending(ending.state, ending.exit_state, ending.exit_code, f"{step.file.name}: {ending.message}")


def _describe(ending: Ending) -> str:
    parts = [ending.state]
    if ending.exit_state not in (ending.state, COMPLETE_EXIT):
        parts.append(f"then {ending.exit_state}")
    if ending.message:
        parts.append(f"({ending.message})")
    return " ".join(parts)


def _kept_state(answer: Any) -> str:
    """The state the server has for the job after our report, "" when it does not say."""
    if not isinstance(answer, Mapping):
        return ""
    job = answer.get("job")
    return str(job.get("state") or "") if isinstance(job, Mapping) else ""
