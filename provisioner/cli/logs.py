"""`provisioner jobs log`: a job's log, or with -f all logs of a machine as they grow, from job to job.

The log is read by byte offset, so a follower loses and doubles nothing when the server is restarted under it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from provisioner.cli.client import ANSWER_SECONDS, PATIENCE_SECONDS, PAUSE_SECONDS, Client, at
from provisioner.cli.command import Session
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.naming import find_job, find_machine, short
from provisioner.model.machines import FINAL_STATES, JobState
from provisioner.services.ui_work import is_work

Json = dict[str, Any]

_FINAL = {state.value for state in FINAL_STATES}
# How long the server holds a request for more of a log.
_WAIT_SECONDS = 25
# More jobs than a machine ends while one log is copied.
_NEWEST = 100


def follow_or_print(session: Session) -> Exit | None:
    """The log of a job, or of a machine's current job; with `follow`, on to the end."""
    if session.output.as_json:
        raise Failure("a log is bytes, not JSON", "leave --json out", Exit.USAGE, code="usage")
    reader = _Reader(session, session.client())
    machine = _machine(reader.client, session.options.what)
    if machine is None:
        job = _job(reader.client, session.options.what)
        state = reader.copy(job, wait=session.options.follow)
        return reader.ending(job, state) if session.options.follow else None
    if session.options.follow:
        return _follow(reader, machine)
    reader.copy(_current(reader, machine), wait=False)
    return None


def _machine(client: Client, word: str) -> Json | None:
    try:
        return find_machine(client, word)
    except Failure as failure:
        if failure.exit is not Exit.NOT_FOUND:
            raise
    return None


def _job(client: Client, word: str) -> Json:
    try:
        return find_job(client, word)
    except Failure as failure:
        if failure.exit is not Exit.NOT_FOUND:
            raise
        raise Failure(
            f"there is no machine and no job {word!r}",
            "`provisioner machines list` and `provisioner jobs list` show those there are",
            Exit.NOT_FOUND,
            code="not-found",
            object=word,
        ) from failure


def _current(reader: _Reader, machine: Json) -> Json:
    """The job that the machine is at, or its last one."""
    jobs = reader.jobs(machine["id"])
    if not jobs:
        raise Failure(
            f"machine {machine['name']} has had no job yet", "-f waits for the first", Exit.NOT_FOUND, code="no-job"
        )
    return next((job for job in jobs if job["id"] == machine["current_job"]), jobs[0])


def _follow(reader: _Reader, machine: Json) -> Exit | None:
    """Every job of the machine from its newest on, until all tasks are done or one failed for good."""
    seen = {job["id"] for job in reader.jobs(machine["id"])[1:]} - {machine["current_job"]}
    while True:
        # The machine first: when it is done by then, the jobs that are listed after it are all there will be.
        machine = reader.session.patiently(partial(reader.client.get, at("machines", machine["id"])))
        fresh = [job for job in reversed(reader.jobs(machine["id"])) if job["id"] not in seen]
        for job in fresh:
            seen.add(job["id"])
            ended = _follow_one(reader, machine, job)
            if ended:
                return ended
        if machine["done"] and not fresh:
            reader.session.output.remark(f"==> {machine['name']} has done all its tasks <==")
            return None
        if not fresh:
            reader.session.terminal.sleep(PAUSE_SECONDS)


def _follow_one(reader: _Reader, machine: Json, job: Json) -> Exit | None:
    if is_work(job["task"]):
        reader.session.output.remark(f"==> {machine['name']}: {job['task']} (job {short(job['id'])}) <==")
    ended = reader.ending(job, reader.copy(job, wait=True))
    if ended is None:
        return None
    # A task may be tried again by itself; then the machine is still runnable.
    now = reader.session.patiently(partial(reader.client.get, at("machines", machine["id"])))
    return None if now["runnable"] else ended


class _Reader:
    """Copies logs to the output; a server that is restarted is waited for."""

    def __init__(self, session: Session, client: Client) -> None:
        self.session = session
        self.client = client

    def jobs(self, machine: str) -> list[Json]:
        """The machine's jobs, newest first."""
        # A job that only records that a stage was entered is as old as the one after it.
        query = {"machine": machine, "sort": "-created_at,-index,-attempt", "limit": _NEWEST}
        found: list[Json] = self.session.patiently(partial(self.client.get, at("jobs"), query))["items"]
        return found

    def copy(self, job: Json, wait: bool) -> str:
        """Copy the log; with `wait`, until the job is final. Answers the job's state."""
        offset, final = 0, False
        while True:
            data, size, state = self._piece(job["id"], offset, wait and not final)
            self.session.output.raw(data)
            offset += len(data)
            if wait and (data or not final):
                # Its last bytes may have come after the piece that was sent along with its final state: look once more.
                final = state in _FINAL
            elif offset >= size:
                return state

    def ending(self, job: Json, state: str) -> Exit | None:
        """None for a job that finished; else says how it ended."""
        if state == JobState.FINISHED.value:
            return None
        message = self.session.patiently(partial(self.client.get, at("jobs", job["id"])))["message"]
        self.session.output.remark(f"job {short(job['id'])} {state}{': ' + message if message else ''}")
        return Exit.FAILED

    def _piece(self, job: str, offset: int, wait: bool) -> tuple[bytes, int, str]:
        """More of the log, its size, and the job's state."""
        query = {"offset": offset, "wait": _WAIT_SECONDS if wait else 0}
        send = partial(
            self.client.send, "GET", at("jobs", job, "log"), query=query, seconds=ANSWER_SECONDS + _WAIT_SECONDS
        )
        # Only a follower is patient: whoever wants to see the log now wants to know now that it cannot be had.
        reply = self.session.patiently(send, PATIENCE_SECONDS if wait else 0.0)
        state = reply.headers.get("x-job-state") or self.client.get(at("jobs", job))["state"]
        return reply.data, int(reply.headers.get("x-log-size", offset + len(reply.data))), state
