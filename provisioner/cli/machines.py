"""`provisioner machines`: see them, give them work, hold them, allow erasure, set params."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from provisioner.cli.client import Client, at
from provisioner.cli.command import MACHINE, MACHINES, Argument, Command, Session, argument
from provisioner.cli.decoding import event_of, job_of, machine_of
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.naming import find_machine, short
from provisioner.cli.waiting import MACHINES_WAIT
from provisioner.model import Job
from provisioner.services.ui_events import tell
from provisioner.services.ui_machines import Row, row
from provisioner.services.ui_words import ago, clock, exact

MERGE_PATCH = "application/merge-patch+json"
_NEWEST_FIRST = {"sort": "-created_at"}


def change(client: Client, machine: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Change fields of a machine; answers it as it is afterwards."""
    changed: dict[str, Any] = client.send(
        "PATCH", at("machines", machine["id"]), fields, content_type=MERGE_PATCH
    ).json()
    return changed


# --- seeing ---------------------------------------------------------------------------------------------------


def _list(session: Session) -> None:
    client = session.client()
    query = dict(each.partition("=")[::2] for each in session.options.filter)
    machines = list(client.pages(at("machines"), query))
    if session.output.as_json:
        session.output.json(machines)
        return
    jobs = _current_jobs(client, {each["current_job"] for each in machines} - {""})
    rows = [row(machine_of(each), jobs.get(each["current_job"]), session.terminal.now()) for each in machines]
    session.output.table(
        ("NAME", "ID", "STATE", "POWER", "WORKFLOW", "STAGE", "TASKS", "ADDRESS", "SEEN"),
        (_line(each, session) for each in sorted(rows, key=lambda each: each.machine.name)),
        "no machines yet: boot one from the network, and it registers itself" if not query else "no machine fits",
    )


def _line(each: Row, session: Session) -> tuple[object, ...]:
    machine, progress = each.machine, each.progress
    return (
        machine.name,
        short(machine.id),
        each.standing.word,
        machine.power,
        machine.workflow,
        machine.stage,
        f"{progress.done}/{progress.total}" if progress.total else "",
        machine.address,
        ago(each.last_seen, session.terminal.now()) if each.last_seen else "",
    )


def _current_jobs(client: Client, wanted: set[str]) -> dict[str, Job]:
    """The jobs with these ids; current ones are the newest, so few pages are read."""
    found: dict[str, Job] = {}
    if wanted:
        for each in client.pages(at("jobs"), _NEWEST_FIRST):
            if each["id"] in wanted:
                found[each["id"]] = job_of(each)
                if len(found) == len(wanted):
                    break
    return found


def _show(session: Session) -> None:
    client = session.client()
    shown = find_machine(client, session.options.machine)
    if session.output.as_json:
        session.output.json(shown)
        return
    job = job_of(client.get(at("jobs", shown["current_job"]))) if shown["current_job"] else None
    each = row(machine_of(shown), job, session.terminal.now())
    session.output.fields(_fields(each, job, session))


def _fields(each: Row, job: Job | None, session: Session) -> dict[str, object]:
    machine, now = each.machine, session.terminal.now()
    grants = [
        f"{grant.disk} until {exact(grant.expires_at)}" for grant in machine.erase_grants if grant.expires_at > now
    ]
    return {
        "name": machine.name,
        "id": machine.id,
        "description": machine.description,
        "state": f"{each.standing.word}: {each.standing.sentence}",
        "advice": each.standing.advice,
        "power": machine.power,
        "runnable": machine.runnable,
        "workflow": machine.workflow,
        "stage": machine.stage,
        "bootenv": machine.bootenv,
        "tasks": f"{each.progress.done} of {each.progress.total} done" if each.progress.total else "",
        "next task": each.progress.following,
        "current job": f"{short(job.id)} {job.task} ({job.state.value})" if job else "",
        "errors": machine.errors,
        "locked": "yes" if machine.locked else "",
        "may erase": grants,
        "address": machine.address,
        "macs": machine.macs,
        "arch": " ".join(filter(None, (machine.arch, machine.firmware))),
        "serial": machine.identity.serial,
        "profiles": machine.profiles,
        "params": sorted(machine.params),
        "seen": ago(each.last_seen, now) if each.last_seen else "",
        "created": exact(machine.created_at),
    }


def _timeline(session: Session) -> None:
    client, options = session.client(), session.options
    machine = find_machine(client, options.machine)
    query = {"machine": machine["id"], "order": "newest", "limit": options.limit}
    if options.kind:
        query["kind"] = ",".join(options.kind)
    events = list(reversed(client.get(at("events"), query)["items"]))
    if session.output.as_json:
        session.output.json(events)
        return
    rows = [(event_of(each), tell(event_of(each))) for each in events]
    session.output.table(
        ("DAY", "TIME (UTC)", "KIND", "WHAT HAPPENED", "BY"),
        ((exact(event.time)[:10], clock(event.time), event.kind, told.text, told.by) for event, told in rows),
        "nothing has happened to it yet",
    )


def _params(session: Session) -> None:
    client = session.client()
    machine = find_machine(client, session.options.machine)
    query = {"aggregate": "true"} if session.options.all else {}
    params = client.get(at("machines", machine["id"], "params"), query)
    if session.output.as_json:
        session.output.json(params)
        return
    session.output.table(
        ("PARAM", "VALUE"),
        ((name, json.dumps(value, ensure_ascii=False)) for name, value in sorted(params.items())),
        "it has no params of its own; --all shows those it gets from profiles, stage and defaults",
    )


# --- changing -------------------------------------------------------------------------------------------------


def _done(session: Session, machine: dict[str, Any], text: str) -> None:
    if session.output.as_json:
        session.output.json(machine)
    else:
        session.output.line(text)


def _set_workflow(session: Session) -> None:
    client, options = session.client(), session.options
    machine = find_machine(client, options.machine)
    if options.erase:
        _grant(client, machine, options.erase, options.hours)
    changed = change(client, machine, {"workflow": options.workflow})
    name, stage = changed["name"], changed["stage"]
    if not options.workflow:
        _done(session, changed, f"{name} has no workflow any more")
        return
    held = (
        "" if changed["runnable"] else f"; it is not runnable yet ({changed['waiting_for'] or 'its agent is not up'})"
    )
    _done(session, changed, f"{name} has workflow {changed['workflow']} and is in stage {stage}{held}")


def _run(session: Session) -> None:
    _set_runnable(session, True)


def _pause(session: Session) -> None:
    _set_runnable(session, False)


def _set_runnable(session: Session, runnable: bool) -> None:
    client = session.client()
    machines = [find_machine(client, word) for word in session.options.machines]
    changed = [change(client, machine, {"runnable": runnable}) for machine in machines]
    if session.output.as_json:
        session.output.json(changed)
        return
    for each in changed:
        session.output.line(f"{each['name']} is {'runnable' if runnable else 'paused'}")


def _grant_erase(session: Session) -> None:
    client, options = session.client(), session.options
    machine = find_machine(client, options.machine)
    granted = _grant(client, machine, options.disk, options.hours)
    _done(
        session, granted, f"what is on disk {options.disk} of {machine['name']} may be erased for {options.hours:g} h"
    )


def _grant(client: Client, machine: dict[str, Any], disk: str, hours: float) -> dict[str, Any]:
    granted: dict[str, Any] = client.send(
        "POST", at("machines", machine["id"], "grants"), {"disk": disk, "hours": hours}
    ).json()
    return granted


def _create(session: Session) -> None:
    options = session.options
    body = {"name": options.name, "macs": options.mac, "description": options.description}
    made = session.client().send("POST", at("machines"), body).json()
    _done(session, made, f"{made['name']} is known as {made['id']}")


def _delete(session: Session) -> Exit | None:
    client = session.client()
    machine = find_machine(client, session.options.machine)
    if not session.options.yes and session.terminal.stdin.isatty():
        session.terminal.stderr.write(f"forget machine {machine['name']} ({machine['id']})? [y/N] ")
        session.terminal.stderr.flush()
        if session.terminal.stdin.readline().strip().lower() not in ("y", "yes"):
            session.output.remark("nothing was changed")
            return Exit.FAILED
    client.send("DELETE", at("machines", machine["id"]))
    _done(session, machine, f"{machine['name']} is forgotten")
    return None


def _rename(session: Session) -> None:
    client = session.client()
    machine = find_machine(client, session.options.machine)
    changed = change(client, machine, {"name": session.options.name})
    _done(session, changed, f"{machine['name']} is called {changed['name']} now")


def _set_param(session: Session) -> None:
    client, options = session.client(), session.options
    value = _param_value(session)
    machine = find_machine(client, options.machine)
    client.send("PUT", at("machines", machine["id"], "params", options.param), value)
    session.output.line(f"param {options.param} of {machine['name']} is set")


def _param_value(session: Session) -> Any:
    """JSON where it is JSON, else text; a secret comes from a file or standard input, never from the command line."""
    options = session.options
    if (options.value is None) == (options.file is None):
        raise Failure("give either a value or --file", exit=Exit.USAGE, code="usage")
    text = options.value
    if options.file is not None:
        text = _read(session, options.file).removesuffix("\n")
    if options.text:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _read(session: Session, name: str) -> str:
    if name == "-":
        return session.terminal.stdin.read()
    try:
        return Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read {name}: {getattr(error, 'strerror', None) or error}", object=name) from error


def _unset_param(session: Session) -> None:
    client, options = session.client(), session.options
    machine = find_machine(client, options.machine)
    client.send("DELETE", at("machines", machine["id"], "params", options.param))
    session.output.line(f"{machine['name']} has no param {options.param} of its own any more")


# --- the table ------------------------------------------------------------------------------------------------

_HOURS: Argument = argument("--hours", type=float, default=1.0, metavar="N", help="for how long (default: 1)")

COMMANDS = (
    Command(
        "list",
        "all machines",
        _list,
        (
            argument(
                "--filter",
                action="append",
                default=[],
                metavar="FIELD=VALUE",
                help="only those whose field has this value, such as stage=discover or params.rack=7; may be repeated",
            ),
        ),
    ),
    Command("show", "one machine: where it stands and why, and what it is", _show, (MACHINE,)),
    Command(
        "timeline",
        "what has happened to a machine, oldest first, from its first DHCPDISCOVER on",
        _timeline,
        (
            MACHINE,
            argument("--limit", type=int, default=200, metavar="N", help="only the newest N (default: 200)"),
            argument("--kind", action="append", metavar="KIND", help="only these, such as job or dhcp.ack; repeatable"),
        ),
    ),
    Command(
        "params",
        "the params of a machine",
        _params,
        (MACHINE, argument("--all", action="store_true", help="those from profiles, stage and defaults as well")),
    ),
    Command(
        "set-workflow",
        "give a machine work; '' takes its workflow away",
        _set_workflow,
        (
            MACHINE,
            argument("workflow", metavar="WORKFLOW", complete="workflows", help="the workflow's name"),
            argument("--erase", metavar="DISK", help="allow erasing this disk first: WWN, serial, path, or any"),
            _HOURS,
        ),
    ),
    MACHINES_WAIT,
    Command("run", "let machines work: they become runnable", _run, (MACHINES,)),
    Command("pause", "hold machines: they get no new job", _pause, (MACHINES,)),
    Command(
        "grant-erase",
        "allow what is on a disk to be destroyed, for some hours",
        _grant_erase,
        (MACHINE, argument("disk", metavar="DISK", help="WWN, serial, path such as /dev/sda, or any"), _HOURS),
    ),
    Command(
        "set-param",
        "set a param of a machine: JSON, or else text",
        _set_param,
        (
            MACHINE,
            argument("param", metavar="PARAM", complete="params", help="the param's name"),
            argument("value", metavar="VALUE", nargs="?", help="the value; for a secret use --file instead"),
            argument("--file", metavar="FILE", help="take the value from this file, - is standard input"),
            argument("--text", action="store_true", help="take the value as text even if it looks like JSON"),
        ),
    ),
    Command(
        "unset-param",
        "remove a param of a machine",
        _unset_param,
        (MACHINE, argument("param", metavar="PARAM", complete="params", help="the param's name")),
    ),
    Command(
        "create",
        "make a machine known before it is seen",
        _create,
        (
            argument("name", metavar="NAME"),
            argument("--mac", action="append", default=[], metavar="MAC", help="one of its MACs; may be repeated"),
            argument("--description", default="", metavar="TEXT"),
        ),
    ),
    Command("rename", "give a machine another name", _rename, (MACHINE, argument("name", metavar="NAME"))),
    Command(
        "delete",
        "forget a machine",
        _delete,
        (MACHINE, argument("--yes", action="store_true", help="without asking")),
    ),
)
