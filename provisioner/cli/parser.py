"""The command line as a table, and the parsers that argparse makes of it.

A group's module is imported when the group is used, so that `machines list` does not wait for what `serve` needs.
"""

from __future__ import annotations

from argparse import REMAINDER, SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from provisioner.cli.command import DEFAULT_SERVER, SERVER_VARIABLE, Command
from provisioner.cli.exits import MEANINGS

PROGRAM = "provisioner"


@dataclass(frozen=True)
class Group:
    """The first word of a command line; `commands` is "module:NAME" of one Command or of a tuple of them."""

    help: str
    commands: str

    def load(self) -> Command | tuple[Command, ...]:
        """The command or commands."""
        module, _, name = self.commands.partition(":")
        loaded: Command | tuple[Command, ...] = getattr(import_module(f"provisioner.cli.{module}"), name)
        return loaded


GROUPS: dict[str, Group] = {
    "serve": Group("run the server", "serve:COMMAND"),
    "login": Group("log in to the server and keep the login", "access:LOGIN"),
    "logout": Group("end the login", "access:LOGOUT"),
    "machines": Group("see machines, give them work, hold them, set their params", "machines:COMMANDS"),
    "power": Group("switch machines on and off, say what they boot next", "power:COMMANDS"),
    "jobs": Group("see jobs, read and follow their logs", "jobs:COMMANDS"),
    "operations": Group("see and follow long actions on many machines", "bulk:OPERATIONS"),
    "clashes": Group("newcomers that are held because they look like known machines", "clashes:COMMANDS"),
    "join-tokens": Group("make hosts that run already machines", "join:COMMANDS"),
    "users": Group("who may log in", "users:USERS"),
    "tokens": Group("what programs use instead of a password", "users:TOKENS"),
    "events": Group("see what has happened, and what happens", "events:COMMAND"),
    "packets": Group("see what a client said by DHCP and what it was told, or save it as a capture", "packets:COMMAND"),
    "doctor": Group("what is wrong with the boot network, in words", "doctor:COMMAND"),
    "workflows": Group("see workflows: ordered stages", "objects:WORKFLOWS"),
    "stages": Group("see stages: ordered tasks and the boot environment they need", "objects:STAGES"),
    "tasks": Group("see tasks: templates that become files and scripts", "objects:TASKS"),
    "profiles": Group("see profiles: named sets of params", "objects:PROFILES"),
    "params": Group("see params: names, types and defaults of values", "objects:PARAMS"),
    "bootenvs": Group("see boot environments: what machines boot", "objects:BOOTENVS"),
    "templates": Group("see templates", "objects:TEMPLATES"),
    "content": Group("check and convert content packs, without a server", "content:COMMANDS"),
    "subnets": Group("the networks that DHCP answers on", "subnets:COMMANDS"),
    "reservations": Group("addresses kept for one MAC each", "networks:RESERVATIONS"),
    "leases": Group("addresses that were given out", "networks:LEASES"),
    "repositories": Group("install repositories that are passed on, and their copies", "repositories:COMMANDS"),
    "secrets": Group("look after the key of secure values, beside the server", "secrets:COMMANDS"),
    "completion": Group("complete commands and names in your shell", "completion:COMMAND"),
    "version": Group("print the version", "version:COMMAND"),
}


def parse(arguments: Sequence[str]) -> Namespace:
    """What was asked for: `command` is the Command, the rest its arguments. Exits with 2 when it is wrong."""
    first = top_parser().parse_args(arguments)
    asked = group_parser(first.group).parse_args(first.rest)
    # A flag counts wherever it stands; the later one wins.
    for name in ("server", "json"):
        if not hasattr(asked, name):
            setattr(asked, name, getattr(first, name))
    return asked


def top_parser() -> ArgumentParser:
    """The parser up to the group's name."""
    widest = max(map(len, GROUPS))
    lines = [f"  {name:<{widest}}  {group.help}" for name, group in GROUPS.items()]
    codes = [f"  {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items()]
    parser = ArgumentParser(
        PROGRAM,
        description="A bare-metal provisioning server and its command line.",
        epilog="\n".join(("commands:", *lines, "", "exit codes:", *codes)),
        formatter_class=RawDescriptionHelpFormatter,
    )
    _add_common(parser, None, False)
    parser.add_argument("group", metavar="COMMAND", choices=GROUPS, help="see below; COMMAND --help says more")
    # Else "rest", which is no word of ours, would be missed beside COMMAND.
    parser.add_argument("rest", nargs=REMAINDER, help=SUPPRESS).required = False
    return parser


def group_parser(name: str) -> ArgumentParser:
    """The parser of what follows the group's name."""
    parser = ArgumentParser(f"{PROGRAM} {name}", description=_sentence(GROUPS[name].help))
    _fill(parser, name)
    return parser


def whole_parser(group: str) -> ArgumentParser:
    """All groups' names in one parser, and of one of them all commands: what shells complete from."""
    parser = ArgumentParser(PROGRAM)
    _add_common(parser, None, False)
    groups = parser.add_subparsers()
    for name, each in GROUPS.items():
        inner = groups.add_parser(name, help=each.help)
        if name == group:
            _fill(inner, name)
    return parser


def _fill(parser: ArgumentParser, name: str) -> None:
    commands = GROUPS[name].load()
    _add_common(parser, SUPPRESS, SUPPRESS)
    if isinstance(commands, Command):
        parser.description = _sentence(commands.details or commands.help)
        commands.fill(parser)
        return
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in commands:
        verb = verbs.add_parser(command.name, help=command.help, description=_sentence(command.details or command.help))
        _add_common(verb, SUPPRESS, SUPPRESS)
        command.fill(verb)


def _add_common(parser: ArgumentParser, server: object, as_json: object) -> None:
    parser.add_argument(
        "--server",
        default=server,
        metavar="URL",
        help=f"the server to talk to (default: {SERVER_VARIABLE} or {DEFAULT_SERVER})",
    )
    parser.add_argument("--json", action="store_true", default=as_json, help="print JSON for programs")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
