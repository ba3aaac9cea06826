"""Content packs read from folders, bundles and what ships with the product.

    <pack>/pack.yaml                                             name, version, requires, description
    <pack>/{params,profiles,tasks,stages,workflows,bootenvs}/<name>.yaml
    <pack>/templates/<group>/<name>.j2

The file's path below its folder is the object's name, so `params/power/address.yaml` is `power/address`. A bundle is
the same in one YAML file: the fields of pack.yaml, then kind -> name -> object (templates: name -> text).
Reading never raises for what is wrong in a pack: that is in `Pack.problems`, and `build` raises for all of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from provisioner.content.located import Located, Problem, decode, read
from provisioner.content.stack import Item, Pack
from provisioner.content.whole import as_fields, problems
from provisioner.errors import ContentError, Invalid
from provisioner.model.content import CONTENT_KINDS, Content, Template
from provisioner.shipped import tree

HEADER = "pack.yaml"
TEMPLATES = "templates"
YAML_KINDS = tuple(kind for kind in CONTENT_KINDS if kind != TEMPLATES)
# The pack that the shipped bootenvs and templates belong to.
BASE_PACK = "base"
# Templates of the web UI are part of the program, not content.
_NOT_CONTENT = "ui"
# Far above any honest file of a pack; it keeps a wrong path (an image, a log) from being read whole.
FILE_LIMIT = 8 * 1024 * 1024


class _Header(Struct, frozen=True):
    """What pack.yaml says."""

    name: str
    version: str = ""
    description: str = ""
    documentation: str = ""
    requires: dict[str, str] = field(default_factory=dict)


# --- packs ----------------------------------------------------------------------------------------------------


def load(path: Path) -> Pack:
    """The pack in a folder or a bundle file."""
    if path.is_dir():
        return _load_folder(path)
    text, found = _text(path)
    return parse_bundle(text, str(path)) if text is not None else Pack("", str(path), problems=tuple(found))


@cache
def load_shipped() -> tuple[Pack, ...]:
    """The packs that ship with the product; the shipped bootenvs and templates belong to pack `base`. Read once."""
    packs = [_load_folder(folder) for folder in _folders(tree("content"))]
    found = _Items(BASE_PACK)
    found.read_kind("bootenvs", tree("bootenvs"))
    found.read_templates(tree("templates"), skip=_NOT_CONTENT)
    return tuple(
        replace(pack, items=(*pack.items, *found.items), problems=(*pack.problems, *found.problems))
        if pack.name == BASE_PACK
        else pack
        for pack in packs
    )


def check(paths: Sequence[Path]) -> list[Problem]:
    """All that is wrong, or worth a warning, when these packs are loaded on top of the shipped ones."""
    inside = tree("content").resolve()
    added = [path for path in dict.fromkeys(map(Path, paths)) if path.resolve().parent != inside]
    return problems([*load_shipped(), *(load(path) for path in added)])


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and not _is_ignored(path.name))


def _load_folder(folder: Path) -> Pack:
    file = folder / HEADER
    text, found = _text(file)
    header, line = _Header(folder.name), 0
    if text is not None:
        located, found = read(text, str(file))
        if located is not None:
            decoded, found = decode(_Header, located, str(file), "")
            header, line = decoded or header, located.line("requires")
    items = _Items(header.name)
    items.problems += found
    for kind in YAML_KINDS:
        items.read_kind(kind, folder / kind)
    items.read_templates(folder / TEMPLATES)
    items.problems += _strays(folder)
    return _pack(header, str(file), items, line)


def _pack(header: _Header, file: str, items: _Items, requires_line: int) -> Pack:
    return Pack(
        name=header.name,
        file=file,
        version=header.version,
        description=header.description,
        requires=header.requires,
        items=tuple(items.items),
        problems=tuple(items.problems),
        requires_line=requires_line,
    )


def _strays(folder: Path) -> Iterator[Problem]:
    """Files that look like content but lie where nobody reads them, as in `task/x.yaml`."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in CONTENT_KINDS and not path.name.startswith("."):
            if any(_is_content(file) for file in _walk(path)):
                yield Problem(str(path), 0, "", "", f"unknown folder; there is: {', '.join(sorted(CONTENT_KINDS))}")
        elif path.is_file() and path.name != HEADER and _is_content(path):
            yield Problem(str(path), 0, "", "", f"only {HEADER} is read here; objects lie in folders named by kind")


def _is_content(path: Path) -> bool:
    return path.suffix in (".yaml", ".yml", ".j2")


class _Items:
    """Collects the objects of one pack, and what is wrong with them."""

    def __init__(self, pack: str) -> None:
        self._pack = pack
        self.items: list[Item] = []
        self.problems: list[Problem] = []

    def read_kind(self, kind: str, folder: Path) -> None:
        """All objects of one kind from a folder, one a file; there may be no such folder."""
        for path in _walk(folder):
            if path.suffix == ".yml":
                self.problems.append(Problem(str(path), 0, "", "", "is not read; name it .yaml"))
            elif path.suffix == ".yaml":
                self._read_object(kind, path, path.relative_to(folder).with_suffix("").as_posix())

    def _read_object(self, kind: str, path: Path, name: str) -> None:
        text, found = _text(path)
        if text is not None:
            located, found = read(text, str(path))
            if located is not None:
                self.add(kind, name, located, str(path))
        self.problems += [replace(problem, object=f"{kind}/{name}") for problem in found]

    def read_templates(self, folder: Path, skip: str = "") -> None:
        """All templates from a folder; `skip` is a group to leave out."""
        for path in _walk(folder):
            name = path.relative_to(folder)
            if skip and name.parts[0] == skip:
                continue
            if path.suffix != ".j2":
                self.problems.append(Problem(str(path), 0, "", "", "is not read; a template's name ends in .j2"))
                continue
            text, found = _text(path)
            self.problems += found
            if text is not None:
                self.add_template(name.with_suffix("").as_posix(), text, str(path), Located({}, {"": 1}, {"": 1}))

    def add_template(self, name: str, text: str, file: str, located: Located) -> None:
        """One template from its source."""
        self.items.append(Item(Template(name=name, contents=text, pack=self._pack), file, located))

    def add(self, kind: str, name: str, located: Located, file: str) -> None:
        """One object from its YAML; what is wrong with it goes to the problems."""
        label = f"{kind}/{name}"
        value = located.value
        if isinstance(value, dict):
            if value.get("name", name) != name:
                message = f"is {value['name']!r}, but its place says {name!r}; leave it out or make them equal"
                self.problems.append(Problem(file, located.line("name"), label, "name", message))
            if "pack" in value:
                message = "unknown field; which pack it belongs to is said by where it lies"
                self.problems.append(Problem(file, located.line("pack"), label, "pack", message))
            located = located._replace(value={**value, "name": name, "pack": self._pack})
        cls: type[Content] = CONTENT_KINDS[kind]
        decoded, found = decode(cls, located, file, label)
        self.problems += found
        if decoded is not None:
            self.items.append(Item(decoded, file, located))


def _walk(folder: Path) -> Iterator[Path]:
    """All files below, in order, without hidden ones and editors' backups."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_ignored(name))
        yield from (Path(parent, name) for name in sorted(files) if not _is_ignored(name))


def _is_ignored(name: str) -> bool:
    return name.startswith((".", "__")) or name.endswith("~")


def _text(path: Path) -> tuple[str | None, list[Problem]]:
    """The text of a file, or None and why not."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
        if len(data) > FILE_LIMIT:
            return None, [Problem(str(path), 0, "", "", f"is larger than {FILE_LIMIT} bytes")]
        return data.decode("utf-8-sig"), []
    except FileNotFoundError:
        return None, [Problem(str(path), 0, "", "", "there is no such file")]
    except OSError as error:
        return None, [Problem(str(path), 0, "", "", f"cannot be read: {error.strerror}")]
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        return None, [Problem(str(path), line, "", "", "is not UTF-8 text")]


# --- bundles --------------------------------------------------------------------------------------------------


def parse_bundle(text: str, file: str) -> Pack:
    """The pack in the text of a bundle; `file` names it in problems."""
    located, found = read(text, file)
    if located is None:
        return Pack("", file, problems=tuple(found))
    if not isinstance(located.value, dict):
        problem = Problem(file, 1, "", "", "must be a map with the pack's name, version and objects")
        return Pack("", file, problems=(problem,))
    kinds = {kind: located.part(kind) for kind in CONTENT_KINDS if kind in located.value}
    rest = {key: value for key, value in located.value.items() if key not in kinds}
    header, found = decode(_Header, located._replace(value=rest), file, "")
    items = _Items(header.name if header else "")
    items.problems += found
    for kind, part in kinds.items():
        _read_section(items, kind, part, file)
    return _pack(header or _Header(""), file, items, located.line("requires"))


def _read_section(items: _Items, kind: str, part: Located, file: str) -> None:
    if not isinstance(part.value, dict):
        items.problems.append(Problem(file, part.line(""), "", kind, "must be a map of names to objects"))
        return
    for name, value in part.value.items():
        inner = part.part(name)
        if kind != TEMPLATES:
            items.add(kind, name, inner, file)
        elif isinstance(value, str):
            items.add_template(name, value, file, inner)
        else:
            problem = Problem(file, inner.line(""), f"{kind}/{name}", "", "must be text: the template's source")
            items.problems.append(problem)


def bundle(pack: Pack) -> str:
    """The pack as one YAML text. Raises ContentError when reading it found problems."""
    _refuse(pack)
    header = {
        key: value
        for key in ("name", "version", "description", "requires")
        if (value := getattr(pack, key)) or key == "name"
    }
    sections: dict[str, dict[str, Any]] = {}
    for item in pack.items:
        kind, _, name = item.name.partition("/")
        sections.setdefault(kind, {})[name] = _body(item.object)
    return _dump({**header, **{kind: sections[kind] for kind in CONTENT_KINDS if kind in sections}})


def unbundle(pack: Pack, folder: Path) -> list[Path]:
    """Write the pack as a folder and return the files. Raises Invalid when there is something in it already."""
    _refuse(pack)
    if folder.exists() and any(folder.iterdir()):
        raise Invalid(f"folder {folder} is not empty", object=str(folder))
    header = {"name": pack.name, "version": pack.version, "description": pack.description, "requires": pack.requires}
    texts = {folder / HEADER: _dump({key: value for key, value in header.items() if value})}
    for item in pack.items:
        kind, _, name = item.name.partition("/")
        body = _body(item.object)
        suffix = ".j2" if kind == TEMPLATES else ".yaml"
        texts[folder / kind / f"{name}{suffix}"] = body if isinstance(body, str) else _dump(body)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(texts)


def _refuse(pack: Pack) -> None:
    errors = [problem for problem in pack.problems if not problem.warning]
    if errors:
        raise ContentError(str(errors[0]), object=pack.name, fields=as_fields(errors))


def _body(value: Content) -> Any:
    """An object as an author would write it: without its name and pack, and without what is the default."""
    if isinstance(value, Template):
        return value.contents
    return _without_defaults(value, {"name", "pack"})


def _without_defaults(value: Struct, skip: Iterable[str] = ()) -> dict[str, Any]:
    bare: dict[str, Any] = to_builtins(value)
    blank: dict[str, Any] = to_builtins(type(value)(name="x")) if isinstance(value, Content) else {}
    return {key: part for key, part in bare.items() if key not in skip and (key not in blank or part != blank[key])}


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that people can read them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_scalar(self, tag: str, value: Any, style: str | None = None) -> yaml.ScalarNode:
        block = isinstance(value, str) and "\n" in value
        return super().represent_scalar(tag, value, style="|" if block else style)


def _dump(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
