"""`provisioner machines`, the verbs of work: give it, hold it, go on, begin anew, step through it, allow erasure."""

from __future__ import annotations

from typing import Any

from provisioner.cli.changing import change, done
from provisioner.cli.client import Client, at
from provisioner.cli.command import MACHINE, MACHINES, Argument, Command, Session, argument
from provisioner.cli.naming import find_machine
from provisioner.cli.waiting import MACHINES_WAIT


def _each(session: Session, fields: dict[str, Any], text: str) -> None:
    """The same change to every machine named; `text` has {name}."""
    client = session.client()
    machines = [find_machine(client, word) for word in session.options.machines]
    changed = [change(client, machine, fields) for machine in machines]
    if session.output.as_json:
        session.output.json(changed)
        return
    for each in changed:
        session.output.line(text.format(name=each["name"]))


def _set_workflow(session: Session) -> None:
    client, options = session.client(), session.options
    machine = find_machine(client, options.machine)
    if options.erase:
        _grant(client, machine, options.erase, options.hours)
    changed = change(client, machine, {"workflow": options.workflow})
    if not options.workflow:
        done(session, changed, f"{changed['name']} has no workflow any more")
        return
    done(session, changed, f"{changed['name']} has workflow {changed['workflow']} and is in stage {_stands(changed)}")


def _set_stage(session: Session) -> None:
    client, options = session.client(), session.options
    machine = find_machine(client, options.machine)
    query = {"force": "true"} if options.force else {}
    changed = change(client, machine, {"stage": options.stage}, **query)
    done(session, changed, f"{changed['name']} is in stage {_stands(changed)}")


def _stands(machine: dict[str, Any]) -> str:
    if machine["runnable"]:
        return str(machine["stage"])
    return f"{machine['stage']}; it is not runnable yet ({machine['waiting_for'] or 'its agent is not up'})"


def _restart(session: Session) -> None:
    client, options = session.client(), session.options
    body = {"stage": options.stage} if options.stage else {}
    machines = [find_machine(client, word) for word in options.machines]
    changed = [client.send("POST", at("machines", each["id"], "restart"), body).json() for each in machines]
    if session.output.as_json:
        session.output.json(changed)
        return
    for each in changed:
        session.output.line(f"{each['name']} begins {each['workflow'] or 'its work'} again in stage {_stands(each)}")


def _stop_before(session: Session) -> None:
    entries = session.options.entries
    client = session.client()
    machine = find_machine(client, session.options.machine)
    changed = change(client, machine, {"stop_before": entries})
    where = f"stops before {', '.join(entries)}" if entries else "stops before nothing any more"
    done(session, changed, f"{changed['name']} {where}")


def _grant_erase(session: Session) -> None:
    client, options = session.client(), session.options
    machine = find_machine(client, options.machine)
    granted = _grant(client, machine, options.disk, options.hours)
    done(
        session, granted, f"what is on {_disk(options.disk)} of {machine['name']} may be erased for {options.hours:g} h"
    )


def _grant(client: Client, machine: dict[str, Any], disk: str, hours: float) -> dict[str, Any]:
    granted: dict[str, Any] = client.send(
        "POST", at("machines", machine["id"], "grants"), {"disk": disk, "hours": hours}
    ).json()
    return granted


def _forbid_erase(session: Session) -> None:
    client, options = session.client(), session.options
    machine = find_machine(client, options.machine)
    client.send("DELETE", at("machines", machine["id"], "grants", options.disk))
    session.output.line(f"{_disk(options.disk)} of {machine['name']} may not be erased any more")


def _disk(name: str) -> str:
    return "any disk" if name == "any" else f"disk {name}"


_HOURS: Argument = argument("--hours", type=float, default=1.0, metavar="N", help="for how long (default: 1)")
_DISK = argument("disk", metavar="DISK", help="WWN, serial, path such as /dev/sda, or any")

COMMANDS = (
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
    Command(
        "set-stage",
        "give a machine without a workflow the tasks of one stage",
        _set_stage,
        (
            MACHINE,
            argument("stage", metavar="STAGE", complete="stages", help="the stage's name"),
            argument("--force", action="store_true", help="drop tasks that are left"),
        ),
    ),
    MACHINES_WAIT,
    Command(
        "run",
        "let machines work: they become runnable, and go on at the task they stand at",
        lambda session: _each(session, {"runnable": True}, "{name} is runnable"),
        (MACHINES,),
    ),
    Command(
        "pause",
        "hold machines: they get no new job",
        lambda session: _each(session, {"runnable": False}, "{name} is paused"),
        (MACHINES,),
    ),
    Command(
        "restart",
        "begin the workflow of machines again, from its start or from a stage",
        _restart,
        (MACHINES, argument("--stage", metavar="STAGE", complete="stages", help="begin at this stage of it")),
    ),
    Command(
        "step",
        "hold machines after every job, so that you go on job by job with `run`; --off ends that",
        lambda session: _each(
            session,
            {"step": not session.options.off},
            "{name} works without a break again" if session.options.off else "{name} stops after every job",
        ),
        (MACHINES, argument("--off", action="store_true", help="work without a break again")),
    ),
    Command(
        "stop-before",
        "hold a machine before these tasks or entries such as stage:deploy; none takes all such stops away",
        _stop_before,
        (MACHINE, argument("entries", metavar="TASK", nargs="*", complete="tasks", help="a task or an entry")),
    ),
    Command(
        "lock",
        "refuse every change by operators until machines are unlocked",
        lambda session: _each(session, {"locked": True}, "{name} is locked"),
        (MACHINES,),
    ),
    Command(
        "unlock",
        "allow changes again",
        lambda session: _each(session, {"locked": False}, "{name} is unlocked"),
        (MACHINES,),
    ),
    Command(
        "grant-erase",
        "allow what is on a disk to be destroyed, for some hours",
        _grant_erase,
        (MACHINE, _DISK, _HOURS),
    ),
    Command("forbid-erase", "take that leave back", _forbid_erase, (MACHINE, _DISK)),
)
