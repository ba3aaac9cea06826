"""`provisioner machines`: see them, make, change and forget them; the verbs of work and params are beside it."""

from __future__ import annotations

from provisioner.cli.archive import MACHINES as ARCHIVE
from provisioner.cli.bulk import MACHINES_BULK
from provisioner.cli.changing import change, confirmed, done, pair, value_of
from provisioner.cli.client import Client, at
from provisioner.cli.command import MACHINE, Command, Session, argument
from provisioner.cli.decoding import event_of, job_of, machine_of
from provisioner.cli.exits import Exit
from provisioner.cli.machine_params import COMMANDS as PARAMS
from provisioner.cli.machine_work import COMMANDS as WORK
from provisioner.cli.naming import find_machine, short
from provisioner.model.machines import Job
from provisioner.services.ui_events import tell
from provisioner.services.ui_machines import Row, row
from provisioner.services.ui_words import ago, clock, exact

_NEWEST_FIRST = {"sort": "-created_at"}


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
        "stops": "after every job" if machine.step else "",
        "stops before": machine.stop_before,
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


# --- changing -------------------------------------------------------------------------------------------------


def _create(session: Session) -> None:
    options = session.options
    body = {"name": options.name, "macs": options.mac, "description": options.description}
    made = session.client().send("POST", at("machines"), body).json()
    done(session, made, f"{made['name']} is known as {made['id']}")


def _delete(session: Session) -> Exit | None:
    client = session.client()
    machine = find_machine(client, session.options.machine)
    if not confirmed(session, f"forget machine {machine['name']} ({machine['id']})?"):
        return Exit.FAILED
    client.send("DELETE", at("machines", machine["id"]))
    done(session, machine, f"{machine['name']} is forgotten")
    return None


def _rename(session: Session) -> None:
    client = session.client()
    machine = find_machine(client, session.options.machine)
    changed = change(client, machine, {"name": session.options.name})
    done(session, changed, f"{machine['name']} is called {changed['name']} now")


def _set(session: Session) -> None:
    client, options = session.client(), session.options
    fields = {name: value_of(text) for name, text in (pair(each, "description=web server") for each in options.fields)}
    changed = change(client, find_machine(client, options.machine), fields)
    done(session, changed, f"{', '.join(fields)} of {changed['name']} {'are' if len(fields) > 1 else 'is'} changed")


# --- the table ------------------------------------------------------------------------------------------------

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
    *WORK,
    *PARAMS,
    *ARCHIVE,
    MACHINES_BULK,
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
        "set",
        "change fields of a machine, such as description, arch, macs, profiles or meta",
        _set,
        (MACHINE, argument("fields", metavar="FIELD=VALUE", nargs="+", help="the value is JSON, or else text")),
    ),
    Command(
        "delete",
        "forget a machine",
        _delete,
        (MACHINE, argument("--yes", action="store_true", help="without asking")),
    ),
)
