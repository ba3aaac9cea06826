"""What a command is: a row with a name, a help line, its arguments and the function that runs it."""

from __future__ import annotations

import getpass
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TextIO, TypeVar

from provisioner.cli.client import PATIENCE_SECONDS, PAUSE_SECONDS, Client, is_away
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.output import Output
from provisioner.cli.tokens import token_for

T = TypeVar("T")

DEFAULT_SERVER = "http://127.0.0.1:8092"
SERVER_VARIABLE = "PROVISIONER_SERVER"


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Terminal:
    """All that a command touches outside of the server: tests give their own."""

    environment: Mapping[str, str]
    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    ask_secret: Callable[[str], str] = getpass.getpass
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = _now


class Session:
    """One run of one command: what was asked, where to write, whom to talk to."""

    def __init__(self, options: Namespace, terminal: Terminal) -> None:
        self.options = options
        self.terminal = terminal
        self.output = Output(terminal.stdout, terminal.stderr, options.json)

    @property
    def server(self) -> str:
        """The URL of the server: flag, environment, else this host."""
        return self.options.server or self.terminal.environment.get(SERVER_VARIABLE) or DEFAULT_SERVER

    def client(self) -> Client:
        """A client with the login that is kept for the server."""
        return Client(self.server, token_for(self.server, self.terminal.environment))

    def patiently(self, once: Callable[[], T], patience: float = PATIENCE_SECONDS) -> T:
        """What `once` returns, tried again for a while when the server is away."""
        waited = 0.0
        while True:
            try:
                return once()
            except Failure as failure:
                if not is_away(failure) or waited >= patience:
                    raise
            self.terminal.sleep(PAUSE_SECONDS)
            waited += PAUSE_SECONDS


@dataclass(frozen=True)
class Argument:
    """One argument as argparse takes it; shells complete it with the names of the objects of kind `complete`."""

    names: tuple[str, ...]
    settings: Mapping[str, Any]
    complete: str = ""


def argument(*names: str, complete: str = "", **settings: Any) -> Argument:
    """A positional argument or a flag. Choices may be the words of an enumeration, and are shown as such."""
    if "choices" in settings:
        settings["choices"] = tuple(map(str, settings["choices"]))
    return Argument(names, settings, complete)


@dataclass(frozen=True)
class Command:
    """One command; `run` returns how it ended, None for well."""

    name: str
    help: str
    run: Callable[[Session], Exit | None]
    arguments: tuple[Argument, ...] = ()
    details: str = ""

    def fill(self, parser: ArgumentParser) -> None:
        """Give the parser this command's arguments."""
        for each in self.arguments:
            action = parser.add_argument(*each.names, **each.settings)
            setattr(action, "complete_kind", each.complete)  # noqa: B010 - argparse's actions have no field for it
        parser.set_defaults(command=self)


_MACHINE_HELP = "name, id, or the first characters of an id"
MACHINE = argument("machine", metavar="MACHINE", complete="machines", help=_MACHINE_HELP)
MACHINES = argument("machines", metavar="MACHINE", complete="machines", nargs="+", help=_MACHINE_HELP)
