"""Run one command line: parse, perform, and turn every end into an exit code and at most a few lines."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from collections.abc import Sequence

from provisioner.cli.command import Session, Terminal
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.parser import PROGRAM, parse
from provisioner.errors import ProvisionerError


def run(arguments: Sequence[str], terminal: Terminal) -> int:
    """The exit code of this command line; argparse's own exits (help, a wrong flag) become codes as well."""
    try:
        options = parse(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        return _perform(options, terminal)
    except BrokenPipeError:
        # Whoever read has read enough, as in `... | head`. What is still buffered must not fail again at exit.
        _point_at_nothing(terminal)
        return Exit.OK
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def _perform(options: Namespace, terminal: Terminal) -> int:
    try:
        ended = options.command.run(Session(options, terminal))
        terminal.stdout.flush()
        return ended or Exit.OK
    except Failure as failure:
        return _tell(failure, options, terminal)
    except ProvisionerError as error:
        details = tuple(f"{each.path}: {each.message}" for each in error.fields)
        return _tell(Failure(error.message, code=error.code, object=error.object, details=details), options, terminal)


def _tell(failure: Failure, options: Namespace, terminal: Terminal) -> int:
    if options.json:
        terminal.stderr.write(json.dumps({"error": failure.fields()}, ensure_ascii=False) + "\n")
    else:
        terminal.stderr.write("".join(f"{line}\n" for line in _named(failure.lines())))
    return failure.exit


def _named(lines: list[str]) -> list[str]:
    return [f"{PROGRAM}: {lines[0]}", *lines[1:]]


def _point_at_nothing(terminal: Terminal) -> None:
    try:
        descriptor = terminal.stdout.fileno()
    except (OSError, ValueError):
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)
