"""`provisioner doctor`: what is wrong with the boot network, in words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from provisioner.cli.client import at
from provisioner.cli.command import Command, Session, argument
from provisioner.cli.exits import Exit
from provisioner.cli.naming import find_machine

_MARKS = {"error": "ERROR", "warning": "WARNING", "notice": "NOTICE"}


def _run(session: Session) -> Exit | None:
    client, options = session.client(), session.options
    query: dict[str, object] = {"machine": find_machine(client, options.machine)["id"]} if options.machine else {}
    if not options.quick:
        session.output.remark("calling for other DHCP servers on the networks served here ...")
        client.send("POST", at("doctor", "probe"), seconds=60)
    found = client.get(at("doctor"), query)
    if session.output.as_json:
        session.output.json(found)
    else:
        silent = not options.machine and not any(each["enabled"] for each in client.pages(at("subnets")))
        _show(session, found, silent)
    return Exit.FAILED if any(each["severity"] == "error" for each in found["items"]) else None


def _show(session: Session, found: dict[str, Any], silent: bool) -> None:
    """The findings; `silent` when DHCP answers nobody, which may be meant so and is no finding."""
    if silent:
        session.output.line("NOTICE  DHCP answers nobody: no subnet is switched on")
        session.output.line("    Make one for the network that machines boot from: `provisioner subnets add`")
        session.output.line("")
    for each in found["items"]:
        session.output.line(f"{_MARKS[each['severity']]}  {each['title']}")
        session.output.line(f"    {each['advice']}")
        times = f", seen {each['count']} times" if each["count"] > 1 else ""
        last = f", last {_time(each['last'])}" if each["last"] else ""
        who = ", ".join(each["macs"][:10]) + (f" and {len(each['macs']) - 10} more" if len(each["macs"]) > 10 else "")
        session.output.line(f"    [{each['code']}{times}{last}]{f' {who}' if who else ''}")
        session.output.line("")
    about = f"{found['events']} events since {_time(found['since'])}"
    number = len(found["items"])
    healthy = "no other findings" if silent else "nothing is wrong"
    findings = f"{number} finding{'' if number == 1 else 's'}" if number else healthy
    session.output.remark(f"{about}: {findings}")


def _time(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC"


COMMAND = Command(
    "doctor",
    "what is wrong with the boot network; the exit code is 1 when machines do not boot",
    _run,
    (
        argument("machine", nargs="?", metavar="MACHINE", complete="machines", help="only what concerns this machine"),
        argument("--quick", action="store_true", help="without calling for other DHCP servers, which takes 3 seconds"),
    ),
)
