"""The state machine of jobs, as data.

JOB_TABLE says what each event does to a job in each state; a pair that it lacks raises Conflict and changes nothing.
Nothing here acts, looks at a clock or draws a random number: `now` and new ids are arguments, and what follows is
returned. What an agent that asks for work is answered is in `claims`, what a job's end does to its machine in
`standing`. docs/lifecycle.md has the tables drawn.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from provisioner.errors import Conflict
from provisioner.model.machines import ExitState, Job, JobState

# The boot that holds what the server itself carries out; no machine ever says it.
SERVER_BOOT_ID = "server"


class JobEvent(StrEnum):
    """What can happen to a job."""

    START = "start"
    FINISH = "finish"
    FAIL = "fail"
    SUSPEND = "suspend"
    LOSE = "lose"
    CANCEL = "cancel"


JOB_EVENTS: dict[JobEvent, str] = {
    JobEvent.START: "an agent begins it, or goes on with it",
    JobEvent.FINISH: "its run ended well",
    JobEvent.FAIL: "its run failed, or it could not be run",
    JobEvent.SUSPEND: "its run ended and there is more to do",
    JobEvent.LOSE: "contact with its run was lost for good",
    JobEvent.CANCEL: "an operator stops it, or its machine was given other work",
}


class JobAction(StrEnum):
    """What an event does to a job besides changing its state."""

    BEGIN = "begin"
    END = "end"
    PAUSE = "pause"
    ASK = "ask"
    KEEP = "keep"


JOB_ACTIONS: dict[JobAction, str] = {
    JobAction.BEGIN: "note who holds it and when it began; forget how it paused",
    JobAction.END: "note how and when it ended; it never changes again",
    JobAction.PAUSE: "note how it paused; it goes on as the same job",
    JobAction.ASK: "its agent is told to stop (TERM, then KILL); however it ends then, it is cancelled",
    JobAction.KEEP: "nothing: it was said before",
}


class JobStep(Struct, frozen=True):
    """What an event does, and the state afterwards."""

    action: JobAction
    next: JobState


JOB_TABLE: dict[tuple[JobState, JobEvent], JobStep] = {
    (JobState.CREATED, JobEvent.START): JobStep(JobAction.BEGIN, JobState.RUNNING),
    (JobState.CREATED, JobEvent.FAIL): JobStep(JobAction.END, JobState.FAILED),
    (JobState.CREATED, JobEvent.LOSE): JobStep(JobAction.END, JobState.ABANDONED),
    (JobState.CREATED, JobEvent.CANCEL): JobStep(JobAction.END, JobState.CANCELLED),
    (JobState.RUNNING, JobEvent.START): JobStep(JobAction.KEEP, JobState.RUNNING),
    (JobState.RUNNING, JobEvent.FINISH): JobStep(JobAction.END, JobState.FINISHED),
    (JobState.RUNNING, JobEvent.FAIL): JobStep(JobAction.END, JobState.FAILED),
    (JobState.RUNNING, JobEvent.SUSPEND): JobStep(JobAction.PAUSE, JobState.INCOMPLETE),
    (JobState.RUNNING, JobEvent.LOSE): JobStep(JobAction.END, JobState.ABANDONED),
    (JobState.RUNNING, JobEvent.CANCEL): JobStep(JobAction.ASK, JobState.RUNNING),
    (JobState.INCOMPLETE, JobEvent.START): JobStep(JobAction.BEGIN, JobState.RUNNING),
    (JobState.INCOMPLETE, JobEvent.SUSPEND): JobStep(JobAction.KEEP, JobState.INCOMPLETE),
    (JobState.INCOMPLETE, JobEvent.CANCEL): JobStep(JobAction.END, JobState.CANCELLED),
}


class Outcome(Struct, frozen=True):
    """How a run of a job ended, as the agent (or the server, for its own actions) reports it."""

    state: JobState
    exit_state: ExitState = ExitState.NONE
    exit_code: int | None = None
    message: str = ""


_EVENT_OF_OUTCOME = {
    JobState.FINISHED: JobEvent.FINISH,
    JobState.FAILED: JobEvent.FAIL,
    JobState.INCOMPLETE: JobEvent.SUSPEND,
}


def job_step(job: Job, event: JobEvent) -> JobStep:
    """The row for this job and event; raises Conflict when there is none."""
    step = JOB_TABLE.get((job.state, event))
    if step is None:
        raise Conflict(f"job {job.id} is {job.state.value} and cannot {event.value}", object=job.id, code="job-state")
    return step


def start_job(job: Job, boot_id: str, instance: str, now: datetime) -> Job:
    """An agent begins or resumes the job; the same agent may say so twice, another one is refused."""
    step = job_step(job, JobEvent.START)
    if step.action is JobAction.KEEP:
        if job.instance != instance:
            raise Conflict(f"job {job.id} is held by another agent", object=job.id, code="job-held")
        return job
    return replace(
        job,
        state=step.next,
        boot_id=boot_id,
        instance=instance,
        started_at=job.started_at or now,
        exit_state=ExitState.NONE,
        exit_code=None,
        message="",
        resumes=job.resumes + (job.state is JobState.INCOMPLETE),
    )


def end_job(job: Job, outcome: Outcome, now: datetime) -> Job:
    """Record how a run ended; a job that has ended already stays as it is.

    A run that was asked to stop ends cancelled, and keeps the exit code and message that its agent reports.
    """
    if job.final:
        return job
    event = _EVENT_OF_OUTCOME.get(outcome.state)
    if event is None:
        choices = ", ".join(state.value for state in _EVENT_OF_OUTCOME)
        raise Conflict(f"a result is one of {choices}, not {outcome.state.value}", object=job.id, code="job-result")
    step = job_step(job, event)
    if step.action is JobAction.KEEP:
        return job
    state = JobState.CANCELLED if job.cancel_requested else step.next
    return replace(
        job,
        state=state,
        exit_state=outcome.exit_state,
        exit_code=outcome.exit_code,
        message=outcome.message or job.message,
        ended_at=None if state is JobState.INCOMPLETE else now,
    )


def lose_job(job: Job, reason: str, now: datetime) -> Job:
    """Contact with the job's run is lost for good."""
    step = job_step(job, JobEvent.LOSE)
    state = JobState.CANCELLED if job.cancel_requested else step.next
    message = f"{job.message}; {reason}" if job.cancel_requested else reason
    return replace(job, state=state, message=message, ended_at=now)


def cancel_job(job: Job, reason: str, now: datetime) -> Job:
    """Cancel: at once when nothing runs, else its agent is asked to and reports the end."""
    step = job_step(job, JobEvent.CANCEL)
    if step.action is JobAction.ASK:
        return replace(job, cancel_requested=True, message=reason)
    return replace(job, state=step.next, message=reason, ended_at=now)
