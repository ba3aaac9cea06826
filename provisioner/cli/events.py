"""`provisioner events`: what has happened, and with -f what happens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from provisioner.cli.client import PATIENCE_SECONDS, PAUSE_SECONDS, Client, at, is_away
from provisioner.cli.command import Command, Session, argument
from provisioner.cli.decoding import event_of
from provisioner.cli.exits import Failure
from provisioner.cli.naming import find_machine
from provisioner.services.ui_events import tell
from provisioner.services.ui_words import clock, exact


def _run(session: Session) -> None:
    client, options = session.client(), session.options
    query: dict[str, object] = {}
    if options.machine:
        query["machine"] = find_machine(client, options.machine)["id"]
    if options.kind:
        query["kind"] = ",".join(options.kind)
    past = list(reversed(client.get(at("events"), {**query, "order": "newest", "limit": options.limit})["items"]))
    names = _Names(client)
    if options.follow:
        for event in _chain(past, _follow(session, client, query, after=past[-1]["id"] if past else 0)):
            _show_line(session, event, names)
        return
    if session.output.as_json:
        session.output.json(past)
        return
    session.output.table(
        ("DAY", "TIME (UTC)", "MACHINE", "KIND", "WHAT HAPPENED", "BY"),
        (_row(event, names) for event in past),
        "nothing has happened yet",
    )


def _chain(past: Iterable[dict[str, Any]], coming: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from past
    yield from coming


class _Names:
    """Names of machines by id, looked up when one is not known yet."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, str] = {}

    def of(self, event: dict[str, Any]) -> str:
        """The machine's name, else the MAC, since it was not known then."""
        machine = event.get("machine", "")
        if machine and machine not in self._known:
            self._known |= {each["id"]: each["name"] for each in self._client.pages(at("machines"))}
            self._known.setdefault(machine, machine)
        return self._known[machine] if machine else str(event.get("mac", ""))


def _row(shown: dict[str, Any], names: _Names) -> tuple[str, ...]:
    event = event_of(shown)
    told = tell(event)
    return (exact(event.time)[:10], clock(event.time), names.of(shown), event.kind, told.text, told.by)


def _show_line(session: Session, event: dict[str, Any], names: _Names) -> None:
    if session.output.as_json:
        session.output.json_line(event)
    else:
        session.output.line("  ".join(filter(None, _row(event, names))))


def _follow(session: Session, client: Client, query: dict[str, object], after: int) -> Iterator[dict[str, Any]]:
    """Events as they come; the stream is taken up again where it broke off."""
    away = 0.0
    while True:
        try:
            with client.lines(at("events", "stream"), query, {"Last-Event-ID": str(after)}) as lines:
                for event in events_in(lines):
                    away = 0.0
                    after = max(after, event.get("id", 0))
                    yield event
        except Failure as failure:
            if not is_away(failure) or away >= PATIENCE_SECONDS:
                raise
        session.terminal.sleep(PAUSE_SECONDS)
        away += PAUSE_SECONDS


def events_in(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The events of a stream of server-sent events; comments and what is cut off are left out."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            yield json.loads("\n".join(data))
            data = []


COMMAND = Command(
    "events",
    "what has happened, oldest first",
    _run,
    (
        argument("--machine", metavar="MACHINE", help="only those of this machine"),
        argument("--kind", action="append", metavar="KIND", help="only these, such as job or dhcp.ack; repeatable"),
        argument("--limit", type=int, default=100, metavar="N", help="only the newest N (default: 100)"),
        argument("-f", "--follow", action="store_true", help="go on with what happens"),
    ),
)
