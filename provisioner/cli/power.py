"""`provisioner power`: switch machines and say what they boot next; several at once, each with its own answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from provisioner.cli.client import Client, at
from provisioner.cli.command import MACHINES, Command, Session, argument
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.naming import find_machine

# The server waits up to 180 s for an operating system to shut down, and answers then.
_ACTION_SECONDS = 300.0
_AT_ONCE = 32


@dataclass(frozen=True)
class _Result:
    """What came of the action on one machine: an answer or a failure."""

    machine: str
    answer: dict[str, Any] | None = None
    failure: Failure | None = None

    def fields(self) -> dict[str, Any]:
        """For programs."""
        if self.failure:
            return {"machine": self.machine, "error": self.failure.fields()}
        return {"machine": self.machine, **(self.answer or {})}


def _perform(session: Session, action: str) -> Exit | None:
    """The action on every machine named; all are tried, and the worst outcome counts."""
    words = list(dict.fromkeys(session.options.machines))
    client = session.client()
    with ThreadPoolExecutor(min(len(words), _AT_ONCE)) as threads:
        results = threads.map(lambda word: _on_one(client, word, action), words)
        shown = [_show(session, result) for result in results]
    if session.output.as_json:
        session.output.json([result.fields() for result in shown])
    return max((result.failure.exit for result in shown if result.failure), default=None)


def _on_one(client: Client, word: str, action: str) -> _Result:
    try:
        machine = find_machine(client, word)
        path = at("machines", machine["id"], "actions", action)
        return _Result(machine["name"], client.send("POST", path, {}, seconds=_ACTION_SECONDS).json())
    except Failure as failure:
        return _Result(word, failure=failure)


def _show(session: Session, result: _Result) -> _Result:
    """Show each as it comes, in the order asked for."""
    if result.failure and not session.output.as_json:
        for line in result.failure.lines():
            session.output.remark(f"{result.machine}: {line}")
    elif result.answer:
        session.output.line(f"{result.machine} {result.answer['message']}")
    return result


def _verb(action: str) -> Callable[[Session], Exit | None]:
    return lambda session: _perform(session, action)


def _off(session: Session) -> Exit | None:
    return _perform(session, "power-off-soft" if session.options.soft else "power-off")


def _next_boot(session: Session) -> Exit | None:
    return _perform(session, f"next-boot-{session.options.device}")


COMMANDS = (
    Command("on", "switch machines on", _verb("power-on"), (MACHINES,)),
    Command(
        "off",
        "switch machines off",
        _off,
        (
            MACHINES,
            argument("--soft", action="store_true", help="ask the operating system to shut down, and wait for it"),
        ),
    ),
    Command("cycle", "switch machines off and on again", _verb("power-cycle"), (MACHINES,)),
    Command("reset", "press the reset button of machines", _verb("power-reset"), (MACHINES,)),
    Command("status", "ask the BMCs of machines whether they are on or off", _verb("power-status"), (MACHINES,)),
    Command(
        "next-boot",
        "say what machines boot next time, once",
        _next_boot,
        (argument("device", choices=("pxe", "disk"), help="the network or the machine's own disk"), MACHINES),
    ),
)
