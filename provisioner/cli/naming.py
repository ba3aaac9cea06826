"""What people call machines and jobs, made into the one object that is meant."""

from __future__ import annotations

import re
from typing import Any

from provisioner.cli.client import Client, Refusal, at
from provisioner.cli.exits import Exit, Failure

SHORT_ID = 8
_PREFIX = re.compile(r"[0-9a-f-]{1,36}", re.IGNORECASE)
_SHOWN = 5


def find_machine(client: Client, word: str) -> dict[str, Any]:
    """The machine with that name or id, or the only one whose id begins so."""
    return _find(client, "machines", word)


def find_job(client: Client, word: str) -> dict[str, Any]:
    """The job with that id, or the only one whose id begins so."""
    return _find(client, "jobs", word)


def short(identity: str) -> str:
    """The beginning of an id that people tell things apart by."""
    return identity[:SHORT_ID]


def _find(client: Client, kind: str, word: str) -> dict[str, Any]:
    if not word.strip():
        raise Failure(f"the name of a {kind[:-1]} is empty", exit=Exit.USAGE, code="usage")
    try:
        found: dict[str, Any] = client.get(at(kind, word))
        return found
    except Refusal as refusal:
        if refusal.exit is not Exit.NOT_FOUND or not _PREFIX.fullmatch(word):
            raise _unknown(kind, word) if refusal.exit is Exit.NOT_FOUND else refusal from refusal
    return _by_prefix(client, kind, word.lower())


def _by_prefix(client: Client, kind: str, word: str) -> dict[str, Any]:
    fitting = [each for each in client.pages(at(kind)) if each["id"].startswith(word)]
    if not fitting:
        raise _unknown(kind, word)
    if len(fitting) > 1:
        names = ", ".join(each.get("name") or each["id"] for each in fitting[:_SHOWN])
        more = f" and {len(fitting) - _SHOWN} more" if len(fitting) > _SHOWN else ""
        raise Failure(
            f"{word!r} could be {names}{more}", "write more of the id", Exit.USAGE, code="ambiguous", object=word
        )
    found: dict[str, Any] = client.get(at(kind, fitting[0]["id"]))
    return found


def _unknown(kind: str, word: str) -> Failure:
    return Failure(
        f"there is no {kind[:-1]} {word!r}",
        f"`provisioner {kind} list` shows those there are",
        Exit.NOT_FOUND,
        code="not-found",
        object=word,
    )
