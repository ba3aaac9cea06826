"""What can be known of a template without rendering it: whether it is one, and which names it uses."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from jinja2 import Environment
from jinja2.meta import find_undeclared_variables
from jinja2.nodes import (
    Call,
    Const,
    Expr,
    Extends,
    FromImport,
    Getitem,
    Import,
    Include,
    List,
    Name,
    Template,
    Test,
    Tuple,
)

from agent.errors import RenderError
from agent.render import FILTERS, Renderer

# What a template sees, by what it is for; docs/content.md tells what is in each. `param` is the dialect's own.
TASK_NAMES = frozenset({"machine", "params", "stage", "task", "job", "workflow", "bootenv", "server", "param"})
# Templates inside of params are the same whoever asks for them, so they see no job, task or boot.
PARAM_NAMES = frozenset({"machine", "params", "stage", "workflow", "bootenv", "server", "param"})
BOOT_NAMES = frozenset(
    {
        *("server", "bootenv", "machine", "params", "param", "mac", "mac_dashed", "ticket"),
        *(
            "kernel_url",
            "initrd_urls",
            "boot_params",
            "machines",
            "reason",
            "place",
            "waiting",
            "limit",
            "pause_seconds",
        ),
    }
)
# Several times what ships with the product; a source that was edited away is forgotten some time.
_MOST_READINGS = 10_000


class Use(NamedTuple):
    """A name that a template uses, and the line; `needed` is false when it copes without."""

    name: str
    line: int
    needed: bool = True


class Reading(NamedTuple):
    """What one template refers to. When it is no template, `fault` says why and all else is empty."""

    fault: Use | None
    templates: tuple[Use, ...] = ()
    names: tuple[Use, ...] = ()
    params: tuple[Use, ...] = ()


class TemplateReader:
    """Reads template sources; holds the dialect only."""

    def __init__(self) -> None:
        self._renderer = Renderer()
        # For looking only, so it needs the dialect's words but neither its sandbox nor its way with blanks.
        self._environment = Environment(extensions=["jinja2.ext.loopcontrols"])
        self._environment.filters.update(FILTERS)

    def read(self, name: str, source: str) -> Reading:
        """What the template refers to by names written out in it."""
        try:
            self._renderer.check(name, source)
        except RenderError as error:
            return Reading(Use(error.message, error.line))
        tree = self._environment.parse(source, name, name)
        return Reading(None, tuple(_templates(tree)), tuple(_names(tree)), tuple(_params(tree)))


_READER = TemplateReader()


@lru_cache(_MOST_READINGS)
def read_template(name: str, source: str) -> Reading:
    """What a template refers to; worked out once, since that is most of the work of checking content."""
    return _READER.read(name, source)


def _templates(tree: Template) -> Iterator[Use]:
    node: Any
    for node in tree.find_all((Extends, FromImport, Import, Include)):
        names = _constants(node.template)
        # Of several names the first that exists is taken, so none of them is needed for itself.
        needed = len(names) == 1 and not (isinstance(node, Include) and node.ignore_missing)
        for name in names:
            yield Use(name, node.lineno, needed)


def _constants(node: Expr) -> list[str]:
    nodes = node.items if isinstance(node, (List, Tuple)) else [node]
    return [item.value for item in nodes if isinstance(item, Const) and isinstance(item.value, str)]


def _names(tree: Template) -> Iterator[Use]:
    """Each name the template takes from outside, where it is used first; `x is defined` copes without x."""
    undeclared = find_undeclared_variables(tree)
    asked = {
        test.node.name
        for test in tree.find_all(Test)
        if test.name in ("defined", "undefined") and isinstance(test.node, Name)
    }
    lines: dict[str, int] = {}
    for node in tree.find_all(Name):
        if node.name in undeclared:
            lines[node.name] = min(node.lineno, lines.get(node.name, node.lineno))
    for name in sorted(undeclared):
        yield Use(name, lines.get(name, 0), name not in asked)


def _params(tree: Template) -> Iterator[Use]:
    """Each `param("x")`, `param("x", default)` and `params["x"]`."""
    for call in tree.find_all(Call):
        if isinstance(call.node, Name) and call.node.name == "param" and call.args:
            for name in _constants(call.args[0]):
                yield Use(name, call.lineno, needed=len(call.args) + len(call.kwargs) == 1)
    for item in tree.find_all(Getitem):
        if isinstance(item.node, Name) and item.node.name == "params":
            for name in _constants(item.arg):
                yield Use(name, item.lineno)
