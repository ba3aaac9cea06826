"""The verb `param`: what scripts use to read and set params of the machine they run on."""

from __future__ import annotations

import os
import random
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from json import dumps, loads
from typing import Any, Callable

from .client import Client
from .clock import SystemClock
from .errors import ConfigError, Refused
from .interrupt import Interrupt
from .protocol import delete_param, get_params, set_param, set_params
from .transport import HttpTransport

NO_VALUE_EXIT = 1
_NO_SUCH_ROUTE = frozenset({404, 405})  # a server of before several params could be set at once


def as_text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else dumps(value, ensure_ascii=False)


def as_value(text: str) -> Any:
    """The value that JSON text stands for, or the text itself when it is not JSON."""
    try:
        return loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return text


def _no_json(word: str) -> Any:
    """Python reads NaN and Infinity, which JSON does not have and no server takes."""
    raise ValueError(f"{word} is not JSON")


def client_from(env: Mapping[str, str]) -> tuple[Client, str]:
    """Client and machine id out of what the agent gives its scripts."""
    names = ("PROVISIONER_URL", "PROVISIONER_TOKEN", "PROVISIONER_MACHINE")
    missing = [name for name in names if not env.get(name)]
    if missing:
        raise ConfigError(f"the environment lacks {', '.join(missing)}; a task's scripts have them")
    url, token, machine = (env[name] for name in names)
    clock = SystemClock(Interrupt())
    return Client(HttpTransport(url), clock, random.SystemRandom().random, _note, token), machine


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main(words: Sequence[str]) -> int:
    """`param get|set|unset|all`."""
    parser = ArgumentParser(prog="agent.pyz param", description="read and set params of this machine")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("get", help="print a value: text as it is, else JSON").add_argument("name")
    setting = verbs.add_parser("set", help="set values on the machine itself, all in one go")
    text = "name and value in turn; a value is JSON, or text when it is not JSON; - reads it from standard input"
    setting.add_argument("words", nargs="+", metavar="NAME VALUE", help=text)
    verbs.add_parser("unset", help="take values off the machine itself").add_argument("names", nargs="+")
    verbs.add_parser("all", help="print all values as JSON")
    chosen = parser.parse_args(words)
    client, machine = client_from(os.environ)
    if chosen.verb == "set":
        if len(chosen.words) % 2:
            parser.error(f"{chosen.words[-1]!r} is a name without a value")
        save(client, machine, pairs(chosen.words, sys.stdin.read))
    elif chosen.verb == "unset":
        for name in chosen.names:
            client.call(delete_param(machine, name))
    elif chosen.verb == "all":
        print(dumps(client.call(get_params(machine)), ensure_ascii=False, sort_keys=True))
    else:
        return _print_param(client.call(get_params(machine)), chosen.name)
    return 0


def pairs(words: Sequence[str], read: Callable[[], str]) -> list[tuple[str, Any]]:
    """Names and values out of words that take turns; `read` gives standard input."""
    turns = range(0, len(words), 2)
    return [(words[turn], as_value(read() if words[turn + 1] == "-" else words[turn + 1])) for turn in turns]


def save(client: Client, machine: str, values: Sequence[tuple[str, Any]]) -> None:
    """Set params in one request, or one after the other where the server or a value does not take that."""
    # In a merge patch null takes a param off; as a value it has to go by itself.
    if len(values) > 1 and all(value is not None for _, value in values):
        try:
            client.call(set_params(machine, dict(values)))
            return
        except Refused as refusal:
            if refusal.status not in _NO_SUCH_ROUTE:
                raise
    for name, value in values:
        client.call(set_param(machine, name, value))


def _print_param(params: Mapping[str, Any], name: str) -> int:
    if name not in params:
        _note(f"param {name} has no value for this machine and no default")
        return NO_VALUE_EXIT
    print(as_text(params[name]))
    return 0
