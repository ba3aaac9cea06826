"""`provisioner join-tokens`: what makes a host that runs already a machine."""

from __future__ import annotations

from provisioner.cli.changing import done
from provisioner.cli.client import at
from provisioner.cli.command import Command, Session, argument
from provisioner.cli.decoding import exact_of


def _list(session: Session) -> None:
    tokens = session.client().get(at("join-tokens"))["items"]
    if session.output.as_json:
        session.output.json(tokens)
        return
    session.output.table(
        ("NAME", "HOSTS LEFT", "UNTIL", "DESCRIPTION"),
        ((each["name"], each["uses"], exact_of(each["expires_at"]), each["description"]) for each in tokens),
        "no join tokens",
    )


def _create(session: Session) -> None:
    options = session.options
    body = {"hours": options.hours, "uses": options.uses, "description": options.description}
    made = session.client().send("POST", at("join-tokens"), body).json()
    if not session.output.as_json:
        session.output.remark("run this as root on the host:")
    done(session, made, made["command"])


def _end(session: Session) -> None:
    session.client().send("DELETE", at("join-tokens", session.options.name))
    session.output.line(f"join token {session.options.name} is good for nothing any more")


COMMANDS = (
    Command(
        "create",
        "the line that makes a running host a machine; its token is shown only once",
        _create,
        (
            argument("--hours", type=float, default=24.0, metavar="N", help="good for so long (default: 24)"),
            argument("--uses", type=int, default=1, metavar="N", help="good for so many hosts (default: 1)"),
            argument("--description", default="", metavar="TEXT"),
        ),
    ),
    Command("list", "join tokens that are still good", _list),
    Command("end", "take one back; hosts that have joined stay", _end, (argument("name", metavar="NAME"),)),
)
