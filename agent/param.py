"""The verb `param`: what scripts use to read and set params of the machine they run on."""

from __future__ import annotations

import os
import random
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from json import dumps, loads
from typing import Any

from .client import Client
from .clock import SystemClock
from .errors import ConfigError
from .interrupt import Interrupt
from .protocol import delete_param, get_params, set_param
from .transport import HttpTransport

NO_VALUE_EXIT = 1


def as_text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else dumps(value, ensure_ascii=False)


def as_value(text: str) -> Any:
    """The value that JSON text stands for, or the text itself when it is not JSON."""
    try:
        return loads(text)
    except ValueError:
        return text


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
    setting = verbs.add_parser("set", help="set a value on the machine itself")
    setting.add_argument("name")
    setting.add_argument("value", help="JSON, or text when it is not JSON; - reads it from standard input")
    verbs.add_parser("unset", help="take a value off the machine itself").add_argument("name")
    verbs.add_parser("all", help="print all values as JSON")
    chosen = parser.parse_args(words)
    client, machine = client_from(os.environ)
    if chosen.verb == "set":
        text = sys.stdin.read() if chosen.value == "-" else chosen.value
        client.call(set_param(machine, chosen.name, as_value(text)))
    elif chosen.verb == "unset":
        client.call(delete_param(machine, chosen.name))
    elif chosen.verb == "all":
        print(dumps(client.call(get_params(machine)), ensure_ascii=False, sort_keys=True))
    else:
        return _print_param(client.call(get_params(machine)), chosen.name)
    return 0


def _print_param(params: Mapping[str, Any], name: str) -> int:
    if name not in params:
        _note(f"param {name} has no value for this machine and no default")
        return NO_VALUE_EXIT
    print(as_text(params[name]))
    return 0
