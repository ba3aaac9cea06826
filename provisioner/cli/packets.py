"""`provisioner packets`: what the flight recorder kept of a client's DHCP, for the eye or for Wireshark."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from provisioner.cli.client import Client, at
from provisioner.cli.command import Command, Session, argument
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.fetching import to_file
from provisioner.cli.naming import find_machine
from provisioner.identity import maybe_mac

# Twelve digits without anything between them may as well be the name or the id of a machine.
_BARE_MAC = re.compile("[0-9A-Fa-f]{12}")


def _run(session: Session) -> None:
    client, options = session.client(), session.options
    query = _whose(client, options.client) | ({"since": options.since} if options.since else {})
    if options.output:
        to_file(session, client, at("packets", "capture"), options.output, query)
        return
    items = client.get(at("packets"), query)["items"]
    if session.output.as_json:
        session.output.json(items)
        return
    if not items:
        session.output.remark("nothing is recorded" + (f" of {options.client}" if options.client else ""))
        return
    if options.full:
        for each in items:
            session.output.text(
                "\n".join((_head(each), *(f"    {line}" for line in each["text"].splitlines()), "", ""))
            )
        return
    session.output.table(
        ("TIME (UTC)", "CLIENT", "", "FROM", "TO", "ON", "WHAT"),
        (
            (
                _time(each),
                each["mac"],
                "out" if each["outgoing"] else "in",
                each["source"],
                each["destination"],
                each["interface"],
                each["title"],
            )
            for each in items
        ),
        "",
    )


def _whose(client: Client, name: str) -> dict[str, object]:
    if not name:
        return {}
    mac = maybe_mac(name)
    if ":" in mac and not _BARE_MAC.fullmatch(name):
        return {"mac": mac}
    try:
        return {"machine": find_machine(client, name)["id"]}
    except Failure as failure:
        if ":" not in mac or failure.exit is not Exit.NOT_FOUND:
            raise
        return {"mac": mac}


def _head(packet: dict[str, Any]) -> str:
    way = "sent to" if packet["outgoing"] else "came for"
    place = f"{packet['source']} > {packet['destination']} on {packet['interface'] or 'an unknown interface'}"
    return f"{_time(packet)}  {packet['protocol']} {way} {packet['mac']}  {place}"


def _time(packet: dict[str, Any]) -> str:
    return datetime.fromisoformat(packet["time"]).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


COMMAND = Command(
    "packets",
    "the last DHCP packets of a machine or a MAC, as they were",
    _run,
    (
        argument("client", nargs="?", metavar="CLIENT", complete="machines", help="a machine or a MAC; without: all"),
        argument("--full", action="store_true", help="every field and option"),
        argument("--since", metavar="TIME", help="only since then, such as 2030-05-01T12:00:00Z"),
        argument("-o", "--output", metavar="FILE", help="write a capture (pcapng) instead; - is standard output"),
    ),
)
