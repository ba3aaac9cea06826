"""A machine in the middle of its workflow, and its jobs, for the pages that show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from provisioner.model.machines import AgentInfo, Job, JobState, Machine

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TASKS = ("stage:prepare", "bootenv:discovery", "check", "stage:write", "image", "settings", "stage:end", "report")


def machine(**fields):
    plain = {
        "id": "m1",
        "name": "rack1-n01",
        "created_at": NOW - timedelta(hours=2),
        "updated_at": NOW - timedelta(minutes=5),
        "workflow": "deploy",
        "stage": "write",
        "bootenv": "discovery",
        "tasks": TASKS,
        "current_task": 4,
        "current_job": "j4",
        "runnable": True,
        "agent": AgentInfo(boot_id="b1", bootenv="discovery", hello_at=NOW - timedelta(minutes=10)),
        "power": "on",
    }
    return Machine(**{**plain, **fields})


def job(state=JobState.RUNNING, index=4, **fields):
    plain = {
        "id": f"j{index}",
        "machine": "m1",
        "task": TASKS[index],
        "stage": "write",
        "workflow": "deploy",
        "index": index,
        "state": state,
        "created_at": NOW - timedelta(seconds=90),
        "started_at": NOW - timedelta(seconds=80),
    }
    return Job(**{**plain, **fields})


def ended(state, **fields):
    return job(state, ended_at=NOW - timedelta(seconds=20), **fields)
