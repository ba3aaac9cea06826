"""What jobs have left behind: files they handed in, words in their logs, a machine's whole history; and what may go."""

from __future__ import annotations

from typing import Any

from provisioner.cli.changing import confirmed, done
from provisioner.cli.client import at
from provisioner.cli.command import MACHINE, Command, Session, argument
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.fetching import to_file
from provisioner.cli.naming import find_job, find_machine, short
from provisioner.model.machines import JobState


def _assets(session: Session) -> None:
    client = session.client()
    job = find_job(client, session.options.job)
    items = client.get(at("jobs", job["id"], "assets"))["items"]
    if session.output.as_json:
        session.output.json(items)
        return
    session.output.table(
        ("NAME", "BYTES", "SHA-256"),
        ((each["name"], each["size"], each["sha256"]) for each in items),
        f"job {short(job['id'])} handed in no files",
    )


def _download(session: Session) -> None:
    client, options = session.client(), session.options
    job = find_job(client, options.job)
    to_file(session, client, at("jobs", job["id"], "assets", options.name), options.output or options.name)


def _export(session: Session) -> None:
    client, options = session.client(), session.options
    machine = find_machine(client, options.machine)
    to_file(session, client, at("machines", machine["id"], "export"), options.output or f"{machine['name']}.tar")


def _search(session: Session) -> None:
    client, options = session.client(), session.options
    query: dict[str, object] = {"q": options.text, "limit": options.limit}
    if options.machine:
        query["machine"] = find_machine(client, options.machine)["id"]
    chosen = {"task": options.task, "state": options.state, "since": options.since}
    query |= {name: value for name, value in chosen.items() if value}
    if options.case:
        query["case"] = "true"
    found = client.get(at("logs"), query)
    if session.output.as_json:
        session.output.json(found)
        return
    names = {each["id"]: each["name"] for each in client.pages(at("machines"))}
    for each in found["items"]:
        place = f"{names.get(each['machine'], short(each['machine']))} {short(each['job'])} {each['task']}"
        session.output.line(f"{place}:{each['line']}: {each['text']}")
    if not found["items"]:
        session.output.remark(f"no log says {options.text!r}")
    if found["truncated"]:
        session.output.remark("there may be more: choose a machine, a task or a time, or raise --limit")


def _prune(session: Session) -> Exit | None:
    client, options = session.client(), session.options
    limits: dict[str, Any] = {"older_than_days": options.older_than, "keep_per_machine": options.keep}
    limits = {name: value for name, value in limits.items() if value is not None}
    if not limits:
        raise Failure("say which jobs may go: --older-than DAYS, --keep N, or both", exit=Exit.USAGE, code="usage")
    would = client.send("POST", at("jobs", "prune"), {**limits, "dry_run": True}).json()
    if options.dry_run:
        done(session, would, f"{_amount(would)} would go")
        return None
    if not confirmed(session, f"remove {_amount(would)} for good?"):
        return Exit.FAILED
    gone = client.send("POST", at("jobs", "prune"), {**limits, "dry_run": False}, seconds=600).json()
    done(session, gone, f"{_amount(gone)} removed")
    return None


def _amount(found: dict[str, Any]) -> str:
    count = found["count"]
    return f"{count} job{'' if count == 1 else 's'} with {found['bytes']} bytes of logs and files"


def _delete(session: Session) -> Exit | None:
    client = session.client()
    job = find_job(client, session.options.job)
    if not confirmed(session, f"delete job {short(job['id'])} ({job['task']}, {_ended(job)}) with its log?"):
        return Exit.FAILED
    client.send("DELETE", at("jobs", job["id"]))
    done(session, job, f"job {short(job['id'])} is deleted")
    return None


def _ended(job: dict[str, Any]) -> str:
    return f"ended {job['ended_at']}" if job["ended_at"] else "not ended"


_JOB = argument("job", metavar="JOB", complete="jobs", help="id of a job, or the first characters of it")
_OUTPUT = argument("-o", "--output", metavar="FILE", help="write it there; - is standard output")
_YES = argument("--yes", action="store_true", help="without asking")

JOBS = (
    Command("assets", "the files that a job handed in", _assets, (_JOB,)),
    Command(
        "download",
        "fetch a file that a job handed in",
        _download,
        (_JOB, argument("name", metavar="NAME", help="the file's name, as `assets` shows it"), _OUTPUT),
    ),
    Command(
        "search",
        "search all logs for a text, newest jobs first",
        _search,
        (
            argument("text", metavar="TEXT", help="as it stands in the log; upper and lower case are the same"),
            argument("--case", action="store_true", help="upper and lower case are different"),
            argument("--machine", metavar="MACHINE", complete="machines", help="only logs of this machine"),
            argument("--task", metavar="TASK", complete="tasks", help="only logs of this task"),
            argument("--state", choices=[state.value for state in JobState], help="only jobs in this state"),
            argument("--since", metavar="TIME", help="only jobs made since, such as 2030-05-01T12:00:00Z"),
            argument("--limit", type=int, default=100, metavar="N", help="at most so many lines (default: 100)"),
        ),
    ),
    Command(
        "prune",
        "remove old jobs with their logs and files; live jobs and every machine's current one are kept",
        _prune,
        (
            argument("--older-than", type=float, metavar="DAYS", help="jobs that ended longer ago"),
            argument("--keep", type=int, metavar="N", help="all but the newest N of each machine"),
            argument("--dry-run", action="store_true", help="only say what would go"),
            _YES,
        ),
    ),
    Command("delete", "delete one job that has ended, with its log and files", _delete, (_JOB, _YES)),
)
MACHINES = (
    Command(
        "export",
        "a machine's whole history as a tar: jobs, logs, rendered files, assets, timeline",
        _export,
        (MACHINE, _OUTPUT),
    ),
)
