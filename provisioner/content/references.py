"""What refers to what: every name in an object that must exist elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from provisioner.content.templating import read_template
from provisioner.model.content import Bootenv, BootFile, Content, Profile, Stage, Task, TaskFile, Workflow

# What an entry of a stage's tasks may begin with, and the kind of object it names then.
ENTRIES = {"stage": "stages", "bootenv": "bootenvs"}


def kind_of(value: Content) -> str:
    """The kind of an object, as `tasks`."""
    kind: str = value.kind  # type: ignore[attr-defined]
    return kind


class Reference(NamedTuple):
    """One place in an object that names another one."""

    field: str
    kind: str
    name: str


def references(value: Content) -> Iterator[Reference]:
    """Every name in an object that must exist elsewhere. (What templates name inside is read by the checks.)"""
    match value:
        case Profile():
            yield from _each("profiles", "profiles", value.profiles)
            yield from (Reference(f"params.{name}", "params", name) for name in value.params)
        case Task():
            yield from _file_references(value.files)
            yield from _each("required_params", "params", value.required_params)
            yield from _each("optional_params", "params", value.optional_params)
            yield from _each("on_error", "tasks", value.on_error)
        case Stage():
            if value.bootenv:
                yield Reference("bootenv", "bootenvs", value.bootenv)
            yield from _entry_references(value.tasks)
            yield from _each("profiles", "profiles", value.profiles)
            yield from _each("required_params", "params", value.required_params)
            yield from (Reference(f"params.{name}", "params", name) for name in value.params)
        case Workflow():
            yield from _each("stages", "stages", value.stages)
        case Bootenv():
            yield from _file_references(value.files)


def _each(path: str, kind: str, names: Iterable[str]) -> Iterator[Reference]:
    return (Reference(f"{path}[{place}]", kind, name) for place, name in enumerate(names))


def _file_references(files: Sequence[TaskFile | BootFile]) -> Iterator[Reference]:
    for place, file in enumerate(files):
        if file.template:
            yield Reference(f"files[{place}].template", "templates", file.template)


def _entry_references(tasks: Sequence[str]) -> Iterator[Reference]:
    """A stage's tasks may be entries with a colon; `action:` names something that only the server knows."""
    for place, entry in enumerate(tasks):
        word, colon, name = entry.partition(":")
        if not colon:
            yield Reference(f"tasks[{place}]", "tasks", entry)
        elif word in ENTRIES:
            yield Reference(f"tasks[{place}]", ENTRIES[word], name)


def inline_sources(value: Content) -> Iterator[tuple[str, str]]:
    """Every template source written inside an object, with its field."""
    if isinstance(value, (Task, Bootenv)):
        for place, file in enumerate(value.files):
            yield from ((f"files[{place}].{part}", getattr(file, part)) for part in ("path", "contents"))
    if isinstance(value, Bootenv):
        yield from ((f"arch.{name}.boot_params", arch.boot_params) for name, arch in value.arch.items())


def users_of(kind: str, name: str, content: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The objects that refer to this one, as `stages/deploy`; templates that include it among them."""
    users = [
        f"{kind_of(value)}/{value.name}"
        for objects in content.values()
        for value in objects.values()
        if any(ref.kind == kind and ref.name == name for ref in references(value))
    ]
    if kind == "templates":
        users += [
            f"templates/{template.name}"
            for template in content["templates"].values()
            if any(use.name == name for use in read_template(template.name, template.contents).templates)
        ]
    return sorted(users)
