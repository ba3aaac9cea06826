"""Completion in shells: `provisioner completion SHELL` prints what to load, and the shell then asks this program.

Words, flags and choices come out of the table of commands; names of machines and objects are asked of the server, which
gets a moment to answer. Without it, or without a login, nothing is offered and nothing is said.
"""

from __future__ import annotations

from argparse import Action, ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from argcomplete import autocomplete
from argcomplete.shell_integration import shellcode

from provisioner.cli.client import Client, at
from provisioner.cli.command import DEFAULT_SERVER, SERVER_VARIABLE, Command, Session, argument
from provisioner.cli.exits import Failure
from provisioner.cli.naming import short
from provisioner.cli.tokens import token_for

# Set by the shell function while it asks for completions.
ASKING_VARIABLE = "_ARGCOMPLETE"
_PATIENCE_SECONDS = 1.5
_MOST = 500
_SHELLS = ("bash", "zsh", "fish")


def offer(parser: ArgumentParser, environment: Mapping[str, str]) -> None:
    """Answer the shell that asks, and end the process."""
    for action in _actions(parser):
        kind = getattr(action, "complete_kind", "")
        if kind:
            action.completer = partial(_names, kind=kind, environment=environment)  # type: ignore[attr-defined]
    autocomplete(parser)


def _actions(parser: ArgumentParser) -> Iterator[Action]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to its own table
        yield action
        if isinstance(action.choices, dict):
            for inner in action.choices.values():
                yield from _actions(inner)


def _names(
    prefix: str, parsed_args: Namespace, kind: str, environment: Mapping[str, str], **asked: Any
) -> dict[str, str]:
    """Name -> what is shown beside it, for the objects of a kind."""
    server = getattr(parsed_args, "server", None) or environment.get(SERVER_VARIABLE) or DEFAULT_SERVER
    try:
        client = Client(server, token_for(server, environment))
        query = {"limit": _MOST, **({"sort": "-created_at"} if kind == "jobs" else {})}
        items = client.send("GET", at(kind), query=query, seconds=_PATIENCE_SECONDS).json()["items"]
    except (Failure, LookupError, TypeError, ValueError):
        return {}
    if kind == "jobs":
        return {short(each["id"]): f"{each['task']} ({each['state']})" for each in items}
    names = ((str(each.get("name") or each.get("address") or ""), str(each.get("description") or "")) for each in items)
    return {name: description for name, description in names if name}


def _print(session: Session) -> None:
    session.output.text(shellcode(["provisioner"], shell=session.options.shell))


COMMAND = Command(
    "completion",
    "print what makes a shell complete commands, machines and objects",
    _print,
    (argument("shell", choices=_SHELLS, metavar="SHELL", help="bash, zsh or fish"),),
    details='print what makes a shell complete commands, machines and objects: eval "$(provisioner completion bash)"',
)
