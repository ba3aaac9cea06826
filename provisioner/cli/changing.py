"""What commands that change something share: the patch, the question before it, and what is said afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from provisioner.cli.client import Client, at
from provisioner.cli.command import Session
from provisioner.cli.exits import Exit, Failure

MERGE_PATCH = "application/merge-patch+json"


def change(client: Client, machine: dict[str, Any], fields: dict[str, Any], **query: str) -> dict[str, Any]:
    """Change fields of a machine; answers it as it is afterwards."""
    changed: dict[str, Any] = client.send(
        "PATCH", at("machines", machine["id"]), fields, query=query or None, content_type=MERGE_PATCH
    ).json()
    return changed


def done(session: Session, value: Any, text: str) -> None:
    """Say what was done: the object for programs, a sentence for people."""
    if session.output.as_json:
        session.output.json(value)
    else:
        session.output.line(text)


def confirmed(session: Session, question: str) -> bool:
    """Whether it may be done: `--yes`, no person to ask, or the person says yes."""
    terminal = session.terminal
    if session.options.yes or not terminal.stdin.isatty():
        return True
    terminal.stderr.write(f"{question} [y/N] ")
    terminal.stderr.flush()
    if terminal.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    session.output.remark("nothing was changed")
    return False


def value_of(text: str) -> Any:
    """The value that JSON text stands for, or the text itself when it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_file(session: Session, name: str) -> str:
    """The text of a file, or of standard input for `-`; raises Failure when it cannot be read."""
    if name == "-":
        return session.terminal.stdin.read()
    try:
        return Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read {name}: {getattr(error, 'strerror', None) or error}", object=name) from error


def pair(text: str, example: str) -> tuple[str, str]:
    """NAME=VALUE as two texts; raises Failure naming an example."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise Failure(f"{text!r} has no name or no `=`", f"write it as {example}", Exit.USAGE, code="usage")
    return name, value
