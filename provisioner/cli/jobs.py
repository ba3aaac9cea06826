"""`provisioner jobs`: see them, read and follow their logs, stop them."""

from __future__ import annotations

from typing import Any

from provisioner.cli.archive import JOBS as ARCHIVE
from provisioner.cli.client import Client, Refusal, at
from provisioner.cli.command import Command, Session, argument
from provisioner.cli.decoding import job_of
from provisioner.cli.exits import Exit
from provisioner.cli.logs import follow_or_print
from provisioner.cli.naming import find_job, find_machine, short
from provisioner.cli.waiting import JOBS_WAIT
from provisioner.model.machines import FINAL_STATES, JobState
from provisioner.services.ui_words import ago, duration, exact

_FINAL = {state.value for state in FINAL_STATES}


def _list(session: Session) -> None:
    client, options = session.client(), session.options
    query: dict[str, object] = {"sort": "-created_at", "limit": options.limit}
    if options.machine:
        query["machine"] = find_machine(client, options.machine)["id"]
    if options.state:
        query["state"] = options.state
    page = client.get(at("jobs"), query)
    if session.output.as_json:
        session.output.json(page["items"])
        return
    names = {each["id"]: each["name"] for each in client.pages(at("machines"))}
    session.output.table(
        ("ID", "MACHINE", "TASK", "STATE", "EXIT", "STAGE", "STARTED", "TOOK"),
        (_line(each, names, session) for each in page["items"]),
        "no jobs",
    )
    if page["total"] > len(page["items"]):
        session.output.remark(f"the newest {len(page['items'])} of {page['total']}; --limit shows more")


def _line(shown: dict[str, Any], names: dict[str, str], session: Session) -> tuple[object, ...]:
    job, now = job_of(shown), session.terminal.now()
    until = job.ended_at or now
    return (
        short(job.id),
        names.get(job.machine, short(job.machine)),
        job.task,
        job.state.value,
        "" if job.exit_code is None else job.exit_code,
        job.stage,
        ago(job.started_at, now) if job.started_at else "",
        duration((until - job.started_at).total_seconds()) if job.started_at else "",
    )


def _show(session: Session) -> None:
    client = session.client()
    shown = find_job(client, session.options.job)
    if session.output.as_json:
        session.output.json(shown)
        return
    job = job_of(shown)
    rendered = client.get(at("jobs", job.id, "actions"))
    session.output.fields(
        {
            "id": job.id,
            "machine": _machine_name(client, job.machine),
            "task": job.task,
            "stage": job.stage,
            "workflow": job.workflow,
            "bootenv": job.bootenv,
            "state": job.state.value,
            "exit": " ".join(filter(None, (job.exit_state.value, "" if job.exit_code is None else str(job.exit_code)))),
            "message": job.message,
            "attempt": job.attempt,
            "progress": shown.get("progress"),
            "created": exact(job.created_at),
            "started": exact(job.started_at) if job.started_at else "",
            "ended": exact(job.ended_at) if job.ended_at else "",
            "rendered": [each["name"] for each in rendered],
        }
    )


def _machine_name(client: Client, identity: str) -> str:
    """The machine's name, or its id when it has been forgotten."""
    try:
        return str(client.get(at("machines", identity))["name"])
    except Refusal as refusal:
        if refusal.exit is not Exit.NOT_FOUND:
            raise
    return identity


def _actions(session: Session) -> None:
    client = session.client()
    rendered = client.get(at("jobs", find_job(client, session.options.job)["id"], "actions"))
    if session.output.as_json:
        session.output.json(rendered)
        return
    for each in rendered:
        session.output.line(f"--- {each['name']}{' -> ' + each['path'] if each.get('path') else ''}")
        session.output.raw(each["content"].encode())
        if not each["content"].endswith("\n"):
            session.output.line()
    if not rendered:
        session.output.remark("nothing was rendered for this job")


def _cancel(session: Session) -> None:
    client = session.client()
    job = find_job(client, session.options.job)
    changed = client.send("POST", at("jobs", job["id"], "cancel"), {"reason": session.options.reason}).json()
    if session.output.as_json:
        session.output.json(changed)
        return
    stopped = changed["state"] in _FINAL
    session.output.line(f"job {short(job['id'])} is {changed['state'] if stopped else 'told to stop'}")


# --- the table ------------------------------------------------------------------------------------------------

_JOB = argument("job", metavar="JOB", complete="jobs", help="id of a job, or the first characters of it")

COMMANDS = (
    Command(
        "list",
        "jobs, newest first",
        _list,
        (
            argument("--machine", metavar="MACHINE", complete="machines", help="only those of this machine"),
            argument("--state", choices=[state.value for state in JobState], help="only those in this state"),
            argument("--limit", type=int, default=50, metavar="N", help="at most so many (default: 50)"),
        ),
    ),
    Command("show", "one job", _show, (_JOB,)),
    Command(
        "log",
        "a job's log, or that of a machine's current job",
        follow_or_print,
        (
            argument("what", metavar="JOB|MACHINE", complete="machines", help="a job's id, or a machine's name or id"),
            argument(
                "-f",
                "--follow",
                action="store_true",
                help="go on as the log grows: a job until it ends, a machine from job to job until its tasks are done",
            ),
        ),
    ),
    JOBS_WAIT,
    *ARCHIVE,
    Command("actions", "the files of a job exactly as they were rendered and run", _actions, (_JOB,)),
    Command(
        "cancel",
        "stop a job",
        _cancel,
        (_JOB, argument("--reason", default="", metavar="TEXT", help="shown with the job")),
    ),
)
