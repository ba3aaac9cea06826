"""Save machines and ended jobs together with the events that tell what changed about them."""

from __future__ import annotations

from provisioner.conductor.ledger import Transaction
from provisioner.model.machines import Job, Machine


def save_machine(tx: Transaction, old: Machine, new: Machine) -> Machine:
    """Put `new` in the place of `old` and tell the differences that people care about. Returns what was saved."""
    if new == old:
        return old
    tell = {"machine": new.id, "key": new.name}
    if new.workflow != old.workflow:
        tx.event("machine.workflow", **tell, workflow=new.workflow, before=old.workflow)
    if new.stage != old.stage:
        tx.event("machine.stage", **tell, stage=new.stage, before=old.stage)
    if new.bootenv != old.bootenv:
        tx.event("machine.bootenv", **tell, bootenv=new.bootenv, before=old.bootenv)
    if (new.runnable, new.waiting_for) != (old.runnable, old.waiting_for):
        tx.event("machine.runnable", **tell, runnable=new.runnable, hold=new.hold.value, waiting_for=new.waiting_for)
    if new.not_before is not None and new.not_before != old.not_before:
        tx.event("machine.retry", **tell, task=_present_task(new), retry=new.retries, not_before=new.not_before)
    if new.repaired and not old.repaired:
        tx.event("machine.repair", **tell, task=_present_task(new), repairs=new.repairs_left)
    if new.tasks and new.done and not (old.done and old.tasks == new.tasks):
        tx.event("machine.complete", **tell, workflow=new.workflow, stage=new.stage)
    saved: Machine = tx.put(new)
    return saved


def _present_task(machine: Machine) -> str:
    return machine.tasks[machine.current_task] if 0 <= machine.current_task < len(machine.tasks) else ""


def save_new_job(tx: Transaction, job: Job) -> None:
    """Save a job that was just made, whatever has become of it since, and tell that it was."""
    tx.put(job)
    tx.event(
        "job.create",
        machine=job.machine,
        key=job.id,
        task=job.task,
        stage=job.stage,
        attempt=job.attempt,
        repair=job.repair,
    )


def save_job_end(tx: Transaction, job: Job) -> None:
    """Save a job that ended or paused, and tell how."""
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
