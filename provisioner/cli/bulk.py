"""The same for many machines in one request, and the operations that go on after it."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlencode

from provisioner.cli.changing import confirmed, done, pair, value_of
from provisioner.cli.client import PAUSE_SECONDS, Client, at
from provisioner.cli.command import Command, Session, argument
from provisioner.cli.decoding import exact_of
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.naming import short

Json = dict[str, Any]

_VERBS = ("restart", "resume", "cancel", "delete")
_BULK_SECONDS = 600.0


def _bulk(session: Session) -> Exit | None:
    client, options = session.client(), session.options
    body = {**_chosen(session), **_work(session)}
    would = client.send("POST", at("bulk", "machines"), {**body, "dry_run": True}, seconds=_BULK_SECONDS).json()
    if options.dry_run:
        return _tell(session, would, "would be done")
    what = body.get("verb") or body.get("action") or ", ".join(body["change"])
    if not confirmed(session, f"{what}: {would['done']} of {would['total']} machines?"):
        return Exit.FAILED
    answer = client.send("POST", at("bulk", "machines"), body, seconds=_BULK_SECONDS).json()
    if "items" in answer:
        return _tell(session, answer, "done")
    return _follow(session, client, answer)


def _chosen(session: Session) -> Json:
    """Which machines: those named, or those that fit all filters; `--all` says that it really is all."""
    options = session.options
    if sum(map(bool, (options.machines, options.filter, options.all))) != 1:
        raise Failure("say which: MACHINE ..., --filter, or --all", exit=Exit.USAGE, code="usage")
    if options.machines:
        return {"machines": options.machines}
    return {"filter": urlencode([pair(each, "stage=discover") for each in options.filter])}


def _work(session: Session) -> Json:
    options = session.options
    given = [name for name in ("set", "verb", "power") if getattr(options, name)]
    if len(given) != 1:
        raise Failure("say what to do: one of --set, --verb and --power", exit=Exit.USAGE, code="usage")
    if options.stage and options.verb != "restart":
        raise Failure("--stage is for --verb restart", exit=Exit.USAGE, code="usage")
    if options.set:
        return {"change": _nested(pair(each, "workflow=deploy") for each in options.set)}
    if options.power:
        return {"action": options.power}
    return {"verb": options.verb, **({"stage": options.stage} if options.stage else {})}


def _nested(pairs: Any) -> Json:
    """`params.X=V` and `meta.X=V` as a change of these maps."""
    change: Json = {}
    for name, text in pairs:
        first, dot, rest = name.partition(".")
        if dot and first in ("params", "meta"):
            change.setdefault(first, {})[rest] = value_of(text)
        else:
            change[name] = value_of(text)
    return change


def _tell(session: Session, answer: Json, word: str) -> Exit | None:
    if session.output.as_json:
        session.output.json(answer)
    else:
        for each in answer["items"]:
            if each["status"] >= 400:
                session.output.remark(f"{each['name']}: {each['detail']}")
        session.output.line(f"{answer['done']} of {answer['total']} {word}")
    return Exit.FAILED if answer["failed"] else None


def _follow(session: Session, client: Client, operation: Json) -> Exit | None:
    """Wait for the operation to end, and tell of each machine what came of it."""
    path, shown = at("operations", operation["id"]), 0
    while True:
        for each in operation["results"][shown:]:
            session.output.line(f"{each['name']}: {each['detail'] or each['code']}")
        shown = len(operation["results"])
        if operation["state"] != "running":
            break
        session.terminal.sleep(PAUSE_SECONDS)
        operation = session.patiently(partial(client.get, path))
    if session.output.as_json:
        session.output.json(operation)
    if operation["error"]:
        session.output.remark(operation["error"])
    return None if operation["state"] == "finished" else Exit.FAILED


def _list(session: Session) -> None:
    operations = list(session.client().pages(at("operations"), {"sort": "-started_at"}))
    if session.output.as_json:
        session.output.json(operations)
        return
    session.output.table(
        ("ID", "ACTION", "STATE", "MACHINES", "BY", "STARTED", "ERROR"),
        (
            (
                short(each["id"]),
                each["action"],
                each["state"],
                f"{len(each['results'])}/{each['total']}",
                each["started_by"],
                exact_of(each["started_at"]),
                each["error"],
            )
            for each in operations
        ),
        "no operations",
    )


def _find(client: Client, word: str) -> Json:
    """The operation whose id begins so."""
    fitting = [each for each in client.pages(at("operations")) if each["id"].startswith(word.lower())]
    if len(fitting) != 1:
        why = "there is no operation" if not fitting else "several operations begin with"
        raise Failure(f"{why} {word!r}", "`provisioner operations list` shows those there are", Exit.NOT_FOUND)
    found: Json = fitting[0]
    return found


def _show(session: Session) -> Exit | None:
    client = session.client()
    operation = _find(client, session.options.operation)
    if session.options.follow:
        return _follow(session, client, operation)
    if session.output.as_json:
        session.output.json(operation)
        return None
    rows = [(each["name"], each["status"], each["detail"] or each["code"]) for each in operation["results"]]
    done(session, operation, f"{operation['action']}: {operation['state']}, {len(rows)} of {operation['total']}")
    session.output.table(("MACHINE", "STATUS", "WHAT CAME OF IT"), rows, "no results yet")
    return None


MACHINES_BULK = Command(
    "bulk",
    "the same for many machines: change them, begin work, or switch them",
    _bulk,
    (
        argument("machines", metavar="MACHINE", nargs="*", complete="machines", help="names or ids"),
        argument(
            "--filter", action="append", default=[], metavar="FIELD=VALUE", help="machines as `list` filters them"
        ),
        argument("--all", action="store_true", help="all machines"),
        argument(
            "--set",
            action="append",
            default=[],
            metavar="FIELD=VALUE",
            help="change a field, such as workflow=deploy or params.rack=7; may be repeated",
        ),
        argument("--verb", choices=_VERBS, help="begin again, go on, cancel the job, forget the machine"),
        argument("--stage", default="", metavar="STAGE", complete="stages", help="where --verb restart begins"),
        argument("--power", metavar="ACTION", help="a power action, such as power-cycle; followed until it has ended"),
        argument("--dry-run", action="store_true", help="only say what would come of it"),
        argument("--yes", action="store_true", help="without asking"),
    ),
)
OPERATIONS = (
    Command("list", "long actions, newest first", _list),
    Command(
        "show",
        "what came of one, machine by machine",
        _show,
        (
            argument("operation", metavar="OPERATION", help="its id, or the first characters of it"),
            argument("-f", "--follow", action="store_true", help="wait until it has ended"),
        ),
    ),
)
