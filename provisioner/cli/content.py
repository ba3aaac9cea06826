"""`provisioner content`: check packs before they are loaded, and turn folders into bundles and back; offline."""

from __future__ import annotations

from pathlib import Path

from provisioner.cli.command import Command, Session, argument
from provisioner.cli.exits import Exit, Failure
from provisioner.content.located import Problem
from provisioner.packs import bundle, check, load, unbundle


def _check(session: Session) -> Exit | None:
    """Problems as `file:line: object: field: message`; warnings alone are no failure."""
    paths = [_existing(name) for name in session.options.paths]
    found = check(paths)
    faults = [problem for problem in found if not problem.warning]
    if session.output.as_json:
        session.output.json([_fields(problem) for problem in found])
    else:
        for problem in found:
            session.output.line(str(problem))
        session.output.remark(_verdict(len(faults), len(found) - len(faults)))
    return Exit.FAILED if faults else None


def _existing(name: str) -> Path:
    path = Path(name)
    if not path.exists():
        raise Failure(f"there is no {name}", "a pack is a folder or a bundle file", Exit.NOT_FOUND, code="not-found")
    return path


def _fields(problem: Problem) -> dict[str, object]:
    return {name: getattr(problem, name) for name in ("file", "line", "object", "field", "message", "warning")}


def _verdict(faults: int, warnings: int) -> str:
    beside = f" and {_count(warnings, 'warning')}" if warnings else ""
    if faults:
        return f"{_count(faults, 'problem')}{beside}: none of this would be loaded"
    return f"no problem{beside}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _bundle(session: Session) -> None:
    text = bundle(load(_existing(session.options.pack)))
    if session.options.output == "-":
        session.output.text(text)
        return
    _write(Path(session.options.output), text)
    session.output.line(f"wrote {session.options.output}")


def _unbundle(session: Session) -> None:
    written = unbundle(load(_existing(session.options.bundle)), Path(session.options.folder))
    session.output.line(f"wrote {_count(len(written), 'file')} below {session.options.folder}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", object=str(path)) from error


COMMANDS = (
    Command(
        "check",
        "check packs together with what ships with the product",
        _check,
        (argument("paths", metavar="PATH", nargs="*", help="a pack's folder or bundle; without any: what ships"),),
    ),
    Command(
        "bundle",
        "put a pack's folder into one YAML file",
        _bundle,
        (
            argument("pack", metavar="FOLDER"),
            argument("output", metavar="FILE", nargs="?", default="-", help="default: standard output"),
        ),
    ),
    Command(
        "unbundle",
        "take a bundle apart into a pack's folder",
        _unbundle,
        (argument("bundle", metavar="FILE"), argument("folder", metavar="FOLDER")),
    ),
)
