"""Content objects of every kind: workflows, stages, tasks and so on; the same commands serve them all."""

from __future__ import annotations

import os
import shlex
import subprocess
from tempfile import NamedTemporaryFile
from typing import Any

import yaml

from provisioner.cli.changing import confirmed, done, read_file
from provisioner.cli.client import at
from provisioner.cli.command import Command, Session, argument
from provisioner.cli.exits import Exit, Failure
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
_ADDED = ("available", "errors", "revision")


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
        session.output.text(_as_written(shown))


def _as_written(shown: dict[str, Any]) -> str:
    """The object as an author would write it: without what is empty, and what the server adds by itself."""
    return as_yaml(
        {name: value for name, value in shown.items() if value not in ("", [], {}, None) and name not in _ADDED}
    )


def _save(session: Session, kind: str) -> None:
    client = session.client()
    objects = [each for name in session.options.files for each in _read(session, name)]
    saved = [client.send("PUT", at(kind, each["name"]), each).json() for each in objects]
    if session.output.as_json:
        session.output.json(saved)
        return
    for each in saved:
        session.output.line(f"{_one(kind)} {each['name']} is saved{_but(each)}")


def _but(saved: dict[str, Any]) -> str:
    errors = saved.get("errors") or ()
    return f", but cannot be used yet: {'; '.join(errors)}" if errors else ""


def _read(session: Session, name: str) -> list[dict[str, Any]]:
    """The objects of a YAML or JSON file: one, or a list of them."""
    found = _parsed(read_file(session, name), name)
    objects = found if isinstance(found, list) else [found]
    for each in objects:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise Failure(f"{name}: an object is a map with a `name`", exit=Exit.USAGE, code="usage", object=name)
    return objects


def _parsed(text: str, name: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise Failure(f"{name} is not YAML: {reason}", exit=Exit.USAGE, code="not-yaml", object=name) from error


def _edit(session: Session, kind: str) -> Exit | None:
    client = session.client()
    path = at(kind, session.options.name)
    reply = client.send("GET", path)
    shown = reply.json()
    if shown.get("pack"):
        raise Failure(
            f"{_one(kind)} {shown['name']!r} comes from pack {shown['pack']!r} and is read-only",
            "save a copy under another name",
            code="read-only",
            object=shown["name"],
        )
    before = _as_written(shown)
    after = _in_editor(session, before, shown["name"])
    if after == before:
        session.output.remark("nothing was changed")
        return None
    match = reply.headers.get("etag", "")
    headers = {"If-Match": match} if match else {}
    try:
        saved = client.send("PUT", path, _parsed(after, shown["name"]), headers=headers).json()
    except Failure:
        session.output.remark("what you wrote was not saved:")
        session.output.text(after)
        raise
    done(session, saved, f"{_one(kind)} {saved['name']} is saved{_but(saved)}")
    return None


def _in_editor(session: Session, text: str, name: str) -> str:
    """The text as the person left it; raises Failure when the editor does not run."""
    environment = session.terminal.environment
    words = shlex.split(environment.get("VISUAL") or environment.get("EDITOR") or "vi")
    with NamedTemporaryFile("w+", prefix=name.replace("/", "-"), suffix=".yaml") as file:
        file.write(text)
        file.flush()
        try:
            subprocess.run([*words, file.name], check=True, env={**os.environ, **environment})
        except (OSError, subprocess.CalledProcessError) as error:
            raise Failure(f"the editor {words[0]!r} failed: {error}", "set EDITOR", code="editor") from error
        # Editors replace the file, so that the handle may show the old one.
        with open(file.name) as written:
            return written.read()


def _delete(session: Session, kind: str) -> Exit | None:
    name = session.options.name
    if not confirmed(session, f"delete {_one(kind)} {name}?"):
        return Exit.FAILED
    gone = session.client().send("DELETE", at(kind, name)).json()
    done(session, gone, f"{_one(kind)} {name} is deleted")
    return None


def _one(kind: str) -> str:
    return kind.removesuffix("s")


def _commands(kind: str) -> tuple[Command, ...]:
    one = _one(kind)
    name = argument("name", metavar="NAME", complete=kind, help=f"the {one}'s name")
    return (
        Command("list", f"all {kind}", lambda session: _list(session, kind)),
        Command("show", f"one {one} as YAML", lambda session: _show(session, kind), (name,)),
        Command(
            "save",
            f"make or replace {kind} as they stand in YAML files",
            lambda session: _save(session, kind),
            (argument("files", metavar="FILE", nargs="+", help="one object, or a list of them; - is standard input"),),
        ),
        Command("edit", f"change a {one} in your editor", lambda session: _edit(session, kind), (name,)),
        Command(
            "delete",
            f"delete a {one} that nothing uses",
            lambda session: _delete(session, kind),
            (name, argument("--yes", action="store_true", help="without asking")),
        ),
    )


WORKFLOWS = _commands("workflows")
STAGES = _commands("stages")
TASKS = _commands("tasks")
PROFILES = _commands("profiles")
PARAMS = _commands("params")
BOOTENVS = _commands("bootenvs")
TEMPLATES = _commands("templates")
