"""`provisioner machines params`, `set-param`, `unset-param`: what values a machine has, and why."""

from __future__ import annotations

import json
from typing import Any

from provisioner.cli.changing import change, pair, read_file, value_of
from provisioner.cli.client import at
from provisioner.cli.command import MACHINE, Command, Session, argument
from provisioner.cli.exits import Exit, Failure
from provisioner.cli.naming import find_machine


def _params(session: Session) -> None:
    client = session.client()
    machine = find_machine(client, session.options.machine)
    query = {"aggregate": "true"} if session.options.all else {}
    params = client.get(at("machines", machine["id"], "params"), query)
    if session.output.as_json:
        session.output.json(params)
        return
    session.output.table(
        ("PARAM", "VALUE"),
        ((name, json.dumps(value, ensure_ascii=False)) for name, value in sorted(params.items())),
        "it has no params of its own; --all shows those it gets from profiles, stage and defaults",
    )


def _why(session: Session) -> None:
    client, options = session.client(), session.options
    machine = find_machine(client, options.machine)
    why = client.get(at("machines", machine["id"], "params", options.param), {"why": "true"})
    if session.output.as_json:
        session.output.json(why)
        return
    session.output.fields(
        {
            "param": why["name"],
            "value": json.dumps(why["value"], ensure_ascii=False),
            "from": why["source"],
            "error": why["error"],
        }
    )
    session.output.table(
        ("LAYER", "FROM", "EFFECT", "VALUE"),
        (
            (each["source"], each["origin"], each["effect"], json.dumps(each["value"], ensure_ascii=False))
            for each in why["layers"]
        ),
        "no layer has a value",
    )


def _reveal(session: Session) -> None:
    client, options = session.client(), session.options
    machine = find_machine(client, options.machine)
    value = client.get(at("machines", machine["id"], "params", options.param), {"reveal": "true"})
    if session.output.as_json:
        session.output.json(value)
    else:
        session.output.text((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) + "\n")


def _set_param(session: Session) -> None:
    client, options = session.client(), session.options
    value = _param_value(session)
    machine = find_machine(client, options.machine)
    client.send("PUT", at("machines", machine["id"], "params", options.param), value)
    session.output.line(f"param {options.param} of {machine['name']} is set")


def _param_value(session: Session) -> Any:
    """JSON where it is JSON, else text; a secret comes from a file or standard input, never from the command line."""
    options = session.options
    if (options.value is None) == (options.file is None):
        raise Failure("give either a value or --file", exit=Exit.USAGE, code="usage")
    text = options.value
    if options.file is not None:
        text = read_file(session, options.file).removesuffix("\n")
    return text if options.text else value_of(text)


def _set_params(session: Session) -> None:
    client, options = session.client(), session.options
    pairs = [pair(each, "rack=7") for each in options.values]
    machine = find_machine(client, options.machine)
    change(client, machine, {"params": {name: value_of(text) for name, text in pairs}})
    names = ", ".join(name for name, _ in pairs)
    session.output.line(f"{names} of {machine['name']} {'are' if len(pairs) > 1 else 'is'} set")


def _unset_param(session: Session) -> None:
    client, options = session.client(), session.options
    machine = find_machine(client, options.machine)
    client.send("DELETE", at("machines", machine["id"], "params", options.param))
    session.output.line(f"{machine['name']} has no param {options.param} of its own any more")


_PARAM = argument("param", metavar="PARAM", complete="params", help="the param's name")

COMMANDS = (
    Command(
        "params",
        "the params of a machine",
        _params,
        (MACHINE, argument("--all", action="store_true", help="those from profiles, stage and defaults as well")),
    ),
    Command("why", "why a machine has this value: every layer that says something", _why, (MACHINE, _PARAM)),
    Command("reveal", "the value of a secure param; an event tells that you saw it", _reveal, (MACHINE, _PARAM)),
    Command(
        "set-param",
        "set a param of a machine: JSON, or else text",
        _set_param,
        (
            MACHINE,
            _PARAM,
            argument("value", metavar="VALUE", nargs="?", help="the value; for a secret use --file instead"),
            argument("--file", metavar="FILE", help="take the value from this file, - is standard input"),
            argument("--text", action="store_true", help="take the value as text even if it looks like JSON"),
        ),
    ),
    Command(
        "set-params",
        "set several params of a machine at once: all or none",
        _set_params,
        (MACHINE, argument("values", metavar="PARAM=VALUE", nargs="+", help="the value is JSON, or else text")),
    ),
    Command("unset-param", "remove a param of a machine", _unset_param, (MACHINE, _PARAM)),
)
