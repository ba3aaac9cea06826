"""`provisioner clashes`: newcomers that are held because they look like machines that are known."""

from __future__ import annotations

from provisioner.cli.changing import done
from provisioner.cli.client import at
from provisioner.cli.command import Command, Session, argument
from provisioner.cli.decoding import exact_of
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.naming import find_machine, short


def _list(session: Session) -> None:
    client = session.client()
    clashes = list(client.pages(at("clashes")))
    if session.output.as_json:
        session.output.json(clashes)
        return
    names = {each["id"]: each["name"] for each in client.pages(at("machines"))} if clashes else {}
    session.output.table(
        ("MAC", "LOOKS LIKE", "SEEN", "WHY IT IS HELD"),
        (
            (
                each["mac"],
                [names.get(one, short(one)) for one in each["machines"]],
                exact_of(each["last_seen_at"]),
                each["reason"],
            )
            for each in clashes
        ),
        "no machine is held",
    )


def _resolve(session: Session) -> None:
    client, options = session.client(), session.options
    if bool(options.machine) == options.new:
        raise Failure("say who it is: --machine MACHINE, or --new", exit=Exit.USAGE, code="usage")
    machine = find_machine(client, options.machine)["id"] if options.machine else ""
    resolved = client.send("POST", at("clashes", options.mac, "resolve"), {"machine": machine}).json()
    done(session, resolved, f"{options.mac} is machine {resolved['name']}; it goes on at its next try")


def _forget(session: Session) -> None:
    mac = session.options.mac
    gone = session.client().send("DELETE", at("clashes", mac)).json()
    done(session, gone, f"{mac} may try again; it is held again if it still clashes")


_MAC = argument("mac", metavar="MAC", help="as `list` shows it")

COMMANDS = (
    Command("list", "newcomers that are held", _list),
    Command(
        "resolve",
        "say who a newcomer is",
        _resolve,
        (
            _MAC,
            argument("--machine", metavar="MACHINE", complete="machines", help="it is this machine"),
            argument("--new", action="store_true", help="it is a new machine, whatever its serial numbers say"),
        ),
    ),
    Command("forget", "let it try again", _forget, (_MAC,)),
)
