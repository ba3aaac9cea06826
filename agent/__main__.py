"""`agent.pyz VERB ...`: argv to verb, verb to exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from .errors import AgentError
from .version import VERSION

# Verb -> module:function and what it does. A verb loads only what it needs: a zipapp holds no compiled code, so that
# scripts would wait for Jinja2 to be compiled each time they ask for a param.
VERBS = {
    "start": ("service:start", "serve a machine that was booted from the network"),
    "run": ("service:run", "serve an installed operating system"),
    "join": ("join:main", "make a host that is running already a machine of a server"),
    "inventory": ("report:main", "print or send what this machine is made of"),
    "param": ("param:main", "read and set params of this machine"),
    "asset": ("asset:main", "keep a file with the job that is running"),
    "version": ("__main__:version", "print the version"),
}
USAGE_EXIT = 2


def version(words: Sequence[str]) -> int:
    """`version`."""
    print(VERSION)
    return 0


def usage() -> str:
    """What to type."""
    lines = [f"  {verb:<10} {text}" for verb, (_, text) in VERBS.items()]
    return "\n".join(["usage: agent.pyz VERB [OPTION ...]", "", *lines, "", "agent.pyz VERB --help tells more."])


def main(words: Sequence[str]) -> int:
    """Perform a verb."""
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else USAGE_EXIT
    if words[0] not in VERBS:
        print(f"unknown verb {words[0]!r}; there is: {', '.join(VERBS)}", file=sys.stderr)
        return USAGE_EXIT
    module, _, function = VERBS[words[0]][0].partition(":")
    try:
        return int(getattr(import_module(f"agent.{module}"), function)(words[1:]))
    except AgentError as error:
        print(f"agent: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
