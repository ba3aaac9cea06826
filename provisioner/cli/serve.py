"""`provisioner serve`: read the settings, set up logging, run the server until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from typing import TextIO

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer

from provisioner.cli.command import Command, Session, argument
from provisioner.cli.exits import Exit
from provisioner.cli.version import own_version
from provisioner.config import NOT_ON_THE_COMMAND_LINE, PREFIX, SETTINGS, read_config
from provisioner.fair_loop import FairLoop
from provisioner.server import serve

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Foreign libraries are heard only when something is wrong; tftpy and aiohttp are chatty below that.
_FOREIGN_LEVEL = logging.WARNING
# Threads that want to run wait for so long at most for the one that runs.
_TURN_SECONDS = 0.0005
# Tracebacks without local variables: those may be passwords and tokens.
_TRACEBACKS = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))


def set_up_logging(level: str, style: str, stream: TextIO) -> None:
    """Events with fields, one a line: JSON for programs, aligned for people."""
    console = style == "console" or (style == "auto" and stream.isatty())
    last = (
        ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain_traceback)
        if console
        else structlog.processors.JSONRenderer()
    )
    processors = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([] if console else [_TRACEBACKS]),
        last,
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(stream=stream, level=_FOREIGN_LEVEL, format="%(levelname)s %(name)s %(message)s")


def allow_open_files() -> None:
    """Take as many descriptors as the system lets us have: each waiting agent is one, and the usual 1024 are few."""
    soft, hard = getrlimit(RLIMIT_NOFILE)
    if soft != hard:
        setrlimit(RLIMIT_NOFILE, (hard, hard))


def collect_seldom() -> None:
    """Look through all objects for garbage a hundred times less often than is usual.

    Each look at a thousand machines' worth of objects holds everybody up for 0.1 s, and finds next to nothing:
    what requests leave behind is freed without it. A look at those of some tens of thousands that are young takes some
    milliseconds.
    """
    gc.set_threshold(10_000, 4, 500)


def take_short_turns() -> None:
    """Let the writer of the store go on within half a millisecond, instead of five, when the event loop is busy.

    A commit is several calls of the system, after each of which it waits for its turn: in a storm of DHCP that made
    every ACK 20 ms later.
    """
    sys.setswitchinterval(_TURN_SECONDS)


def _run(session: Session) -> Exit | None:
    options, environment = session.options, session.terminal.environment
    file = options.config or environment.get(PREFIX + "CONFIG")
    flags = {setting.name: getattr(options, _destination(setting.name), None) for setting in SETTINGS}
    given = {name: value for name, value in flags.items() if value is not None}
    config = read_config(given, environment, Path(file) if file else None)
    allow_open_files()
    collect_seldom()
    take_short_turns()
    set_up_logging(config["log.level"], config["log.format"], session.terminal.stderr)

    def announce(line: str) -> None:
        session.terminal.stdout.write(line + "\n")
        session.terminal.stdout.flush()

    with asyncio.Runner(loop_factory=FairLoop) as runner:
        runner.run(serve(config, dict(os.environ) | dict(environment), announce, version=own_version()))
    return None


def _destination(name: str) -> str:
    return "setting_" + name.replace(".", "_")


COMMAND = Command(
    "serve",
    "run the server",
    _run,
    (
        argument("--config", metavar="FILE", help=f"a YAML file of settings (or {PREFIX}CONFIG)"),
        *(
            argument(
                setting.flag,
                dest=_destination(setting.name),
                metavar="VALUE",
                help=f"{setting.help} (default: {setting.default or 'none'})".replace("%", "%%"),
            )
            for setting in SETTINGS
            if setting.name not in NOT_ON_THE_COMMAND_LINE
        ),
    ),
    details="run the server until SIGTERM or Ctrl-C; a flag is also a variable PROVISIONER_... and a setting in FILE",
)
