"""A machine with a job of its third entry running, for the rules of the state machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from provisioner.model.content import Task
from provisioner.model.machines import Job, JobState, Machine

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=5)
TASKS = ("stage:install", "bootenv:discovery", "wipe", "write", "action:cycle", "report")


def job(state=JobState.RUNNING, **fields):
    started = {} if state is JobState.CREATED else {"started_at": EARLIER}
    return Job(
        **{"id": "j1", "machine": "m1", "task": "wipe", "index": 2, "boot_id": "boot-1", "created_at": EARLIER}
        | {"state": state, "instance": "agent-1"}
        | started
        | fields
    )


def machine(**fields):
    return Machine(
        **{"id": "m1", "name": "m1", "created_at": EARLIER, "updated_at": EARLIER, "tasks": TASKS}
        | {"current_task": 2, "current_job": "j1", "runnable": True, "stage": "install", "bootenv": "discovery"}
        | {"attempts": 1}
        | fields
    )


def wipe(**fields):
    return Task(name="wipe", **fields)
