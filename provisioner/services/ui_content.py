"""Content objects as YAML with its parts marked for the eye, and what refers to what. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from msgspec import NODEFAULT, Struct, to_builtins
from msgspec.structs import FieldInfo, fields

from provisioner.conductor.catalog import machines_using
from provisioner.content.references import references, users_of
from provisioner.model.content import CONTENT_KINDS, Content, Param, Profile, Stage, Task, Template, Workflow
from provisioner.model.machines import Machine
from provisioner.params import REDACTED, ContentView, is_sealed, redact

KIND_WORDS = {kind: kind.removesuffix("s") for kind in CONTENT_KINDS}
_KEY = re.compile(r"^(\s*(?:- )*)([^\s'\"#:-][^:#]*|'[^']*'|\"[^\"]*\")(:)(\s.*|)$")
_BLOCK = re.compile(r"[|>][+-]?\d?$")


class Part(Struct, frozen=True):
    """A piece of a line; `look` is the CSS class: key, mark, text, number or ''."""

    look: str
    text: str


class Link(Struct, frozen=True):
    """A content object or machine by name, and where it is shown; `url` is empty when there is none of that name."""

    kind: str
    name: str
    url: str


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: long texts as blocks, lists indented below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def plain(value: Content, content: ContentView) -> dict[str, Any]:
    """The object as its author would write it, without what is as by default; secure values are hidden."""
    written = to_builtins(value)
    shown = {
        info.encode_name: _tidy(written[info.encode_name])
        for info in fields(value)
        if info.encode_name in written and info.name != "pack" and getattr(value, info.name) != _default(info)
    }
    if isinstance(value, Param) and "default" in shown and (value.secure or is_sealed(value.default)):
        shown["default"] = REDACTED
    if isinstance(value, (Profile, Stage)) and "params" in shown:
        shown["params"] = redact(shown["params"], content)
    return shown


def _tidy(value: Any) -> Any:
    """Whole numbers as such: authors write `timeout_seconds: 60`, not `60.0`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _default(info: FieldInfo) -> Any:
    return info.default if info.default_factory is NODEFAULT else info.default_factory()


def as_yaml(value: Any) -> str:
    """A value as YAML text."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def marked(text: str) -> Iterator[tuple[Part, ...]]:
    """YAML text line by line with keys, numbers and marks told apart; blocks of text stay whole."""
    block_indent = -1
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if block_indent >= 0 and (not line.strip() or indent > block_indent):
            yield (Part("text", line),)
            continue
        block_indent = indent if _BLOCK.search(line) else -1
        yield tuple(_parts(line))


def _parts(line: str) -> Iterator[Part]:
    found = _KEY.match(line)
    if found is None:
        lead = re.match(r"\s*(?:- )*", line)
        cut = lead.end() if lead else 0
        yield Part("mark", line[:cut])
        yield _scalar(line[cut:])
        return
    lead_text, key, colon, rest = found.groups()
    yield Part("mark", lead_text)
    yield Part("key", key)
    yield Part("mark", colon)
    yield _scalar(rest)


def _scalar(text: str) -> Part:
    if re.fullmatch(r"\s*(-?\d+(\.\d+)?|true|false|null|[|>][+-]?\d?)", text):
        return Part("number", text)
    return Part("text", text)


def url(kind: str, name: str) -> str:
    """Where an object is shown."""
    return f"/content/{kind}/{name}"


def links_from(value: Content, content: ContentView) -> tuple[Link, ...]:
    """The objects that this one names, each once."""
    found = dict.fromkeys((each.kind, each.name) for each in references(value))
    return tuple(Link(kind, name, url(kind, name) if name in content[kind] else "") for kind, name in found)


def links_to(kind: str, name: str, content: ContentView) -> tuple[Link, ...]:
    """The objects that name this one."""
    users = dict.fromkeys(tuple(user.partition("/")[::2]) for user in users_of(kind, name, content))
    return tuple(Link(other, user, url(other, user)) for other, user in users)


def machines_with(kind: str, name: str, machines: Iterable[Machine]) -> tuple[Link, ...]:
    """The machines that use this object now."""
    found = machines_using(kind, name, machines)
    return tuple(Link("machines", machine.name, f"/machines/{machine.name}") for machine in found)


def source_of(value: Content) -> str:
    """A template's source, '' for anything else."""
    return value.contents if isinstance(value, Template) else ""


class Choice(Struct, frozen=True):
    """A workflow to choose; `destructive` names its tasks that need an erase grant."""

    name: str
    description: str
    stages: tuple[str, ...]
    destructive: tuple[str, ...]


def choices(content: ContentView) -> tuple[Choice, ...]:
    """All workflows, each with what it would destroy with."""
    return tuple(_choice(workflow, content) for workflow in content["workflows"].values())


def _choice(workflow: Workflow, content: ContentView) -> Choice:
    stages: list[Stage] = [content["stages"][name] for name in workflow.stages if name in content["stages"]]
    tasks: list[Task] = [content["tasks"][name] for stage in stages for name in stage.tasks if name in content["tasks"]]
    destructive = dict.fromkeys(task.name for task in tasks if task.destructive)
    return Choice(workflow.name, workflow.description, workflow.stages, tuple(destructive))
