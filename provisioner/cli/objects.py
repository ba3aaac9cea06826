"""Content objects of every kind: workflows, stages, tasks and so on; one pair of commands serves them all."""

from __future__ import annotations

from typing import Any

from provisioner.cli.client import at
from provisioner.cli.command import Command, Session, argument
from provisioner.cli.output import as_yaml

# What a list shows of each kind besides name, description and pack.
_COLUMNS: dict[str, tuple[str, ...]] = {
    "workflows": ("stages",),
    "stages": ("bootenv", "tasks"),
    "tasks": ("required_params",),
    "profiles": ("profiles",),
    "params": ("secure",),
    "bootenvs": ("only_unknown",),
    "templates": (),
}
_KEPT_SHORT = 60


def _list(session: Session, kind: str) -> None:
    objects = sorted(session.client().pages(at(kind)), key=lambda each: each["name"])
    if session.output.as_json:
        session.output.json(objects)
        return
    extra = _COLUMNS[kind]
    session.output.table(
        ("NAME", *(name.replace("_", " ").upper() for name in extra), "PACK", "DESCRIPTION"),
        (_line(each, extra) for each in objects),
        f"no {kind}",
    )


def _line(shown: dict[str, Any], extra: tuple[str, ...]) -> tuple[object, ...]:
    description = shown.get("description", "")
    cut = f"{description[:_KEPT_SHORT]}…" if len(description) > _KEPT_SHORT else description
    return (shown["name"], *(shown.get(name) for name in extra), shown.get("pack") or "(edited)", cut)


def _show(session: Session, kind: str) -> None:
    shown = session.client().get(at(kind, session.options.name))
    if session.output.as_json:
        session.output.json(shown)
    else:
        session.output.text(as_yaml({name: value for name, value in shown.items() if value not in ("", [], {}, None)}))


def _commands(kind: str) -> tuple[Command, ...]:
    one = kind.removesuffix("s")
    return (
        Command("list", f"all {kind}", lambda session: _list(session, kind)),
        Command(
            "show",
            f"one {one} as YAML",
            lambda session: _show(session, kind),
            (argument("name", metavar="NAME", complete=kind, help=f"the {one}'s name"),),
        ),
    )


WORKFLOWS = _commands("workflows")
STAGES = _commands("stages")
TASKS = _commands("tasks")
PROFILES = _commands("profiles")
PARAMS = _commands("params")
BOOTENVS = _commands("bootenvs")
TEMPLATES = _commands("templates")
