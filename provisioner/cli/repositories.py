"""`provisioner repositories`: install repositories that are passed on, and what of them is kept."""

from __future__ import annotations

from provisioner.cli.changing import confirmed, done
from provisioner.cli.client import at
from provisioner.cli.command import Command, Session, argument
from provisioner.cli.exits import Exit


def _list(session: Session) -> None:
    found = session.client().get(at("repositories"))
    if session.output.as_json:
        session.output.json(found["repositories"])
        return
    session.output.table(
        ("NAME", "UPSTREAM", "COPIES", "FROM COPIES", "FETCHED", "FAILED"),
        (
            (each["name"], each["url"], _size(each["bytes"]), each["hits"], each["fetches"], each["failed"])
            for each in found["repositories"]
        ),
        "no repositories; setting repos.upstreams names them",
    )
    for each in found["repositories"]:
        if each["error"]:
            session.output.remark(f"{each['name']}: {each['error']}")
    most = f" of {_size(found['limit_bytes'])}" if found["limit_bytes"] else ""
    session.output.remark(f"copies take {_size(found['bytes'])}{most}")


def _clear(session: Session) -> Exit | None:
    name = session.options.repository
    if not confirmed(session, f"remove all copies of {name}?"):
        return Exit.FAILED
    gone = session.client().send("DELETE", at("repositories", name, "copies")).json()
    done(session, gone, f"copies of {name} removed, {_size(gone['bytes'])}")
    return None


def _size(count: int) -> str:
    """In MB as the setting is, with a decimal where that says more."""
    return f"{count / 1_000_000:.1f} MB" if count < 10_000_000 else f"{count / 1_000_000:.0f} MB"


COMMANDS = (
    Command("list", "what is passed on, what copies of it take, and how it does", _list),
    Command(
        "clear",
        "remove all copies of a repository; they are fetched again",
        _clear,
        (
            argument("repository", metavar="NAME", help="the repository's name"),
            argument("--yes", action="store_true", help="without asking"),
        ),
    ),
)
