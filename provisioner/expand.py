"""Params as somebody asks for them: opened, put together, and with their templates rendered for one machine.

A param with `expand` may refer to others by `param("name")`; each is expanded when it is asked for, and once. Whatever
has a secure value in it counts as secure itself. What a template makes is text; where the schema does not take that
text, the value that it stands for as JSON is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from json import JSONDecodeError, loads
from typing import Any, NamedTuple

from msgspec.structs import replace

from agent.errors import RenderError
from agent.render import Renderer
from provisioner.errors import ProvisionerError, Refused
from provisioner.model.content import Param, Task
from provisioner.model.machines import Machine
from provisioner.params import ContentView, Params, Resolved, compose, has_template, is_sealed, validate


def declared_by(task: Task) -> tuple[str, ...]:
    """The params that a task says it uses."""
    return (*task.required_params, *task.optional_params)


class CannotExpand(Refused):
    """A param's templates cannot be rendered; `chain` are the params on the way, the one asked for first."""

    code = "param-expansion"

    def __init__(self, chain: tuple[str, ...], reason: str) -> None:
        way = f"{' > '.join(chain)}: " if len(chain) > 1 else ""
        super().__init__(f"param {chain[0]!r} cannot be expanded: {way}{reason}", object=f"params/{chain[0]}")
        self.chain = chain
        self.reason = reason


class Value(NamedTuple):
    """A value as it is used, and whether it has to be hidden."""

    value: Any
    secure: bool


class Given(NamedTuple):
    """What templates are given: values, and for params that cannot be expanded why not."""

    params: dict[str, Any]
    errors: dict[str, str]


def context_of(machine: Machine, content: ContentView) -> dict[str, Any]:
    """What templates see of a machine and where it stands, beside its params."""
    bootenv = content.get("bootenvs", {}).get(machine.bootenv)
    os = {"family": bootenv.os.family, "version": bootenv.os.version} if bootenv else {"family": "", "version": ""}
    return {
        "machine": {
            "id": machine.id,
            "name": machine.name,
            "macs": machine.macs,
            "address": machine.address,
            "arch": machine.arch,
            "firmware": machine.firmware,
            "profiles": machine.profiles,
            "meta": machine.meta,
            "inventory": machine.inventory,
        },
        "stage": {"name": machine.stage},
        "workflow": {"name": machine.workflow},
        "bootenv": {"name": machine.bootenv, "os": os},
    }


class Expansion:
    """The params of one machine, for one purpose. `opened` turns a sealed value into its plain one."""

    def __init__(
        self,
        machine: Machine,
        params: Params,
        renderer: Renderer,
        opened: Callable[[Any], Any],
        server: Mapping[str, str] | None = None,
    ) -> None:
        self.resolved = params.resolve(machine)
        self._machine = machine
        self._params = params
        self._renderer = renderer
        self._opened = opened
        self._server = server
        self._done: dict[str, Value] = {}
        self._failed: dict[str, CannotExpand] = {}
        # The params being expanded now, the one asked for first, and which secure ones each has met so far.
        self._way: list[str] = []
        self._met: list[set[str]] = []

    def __contains__(self, name: object) -> bool:
        return name in self.resolved

    def value(self, name: str) -> Value:
        """The value of a param that has one; raises CannotExpand, KeyError when it has none."""
        if name in self._done:
            return self._done[name]
        if name in self._way:
            raise CannotExpand((*self._way, name), "a param cannot refer to itself")
        if name in self._failed and not self._way:
            raise self._failed[name]
        found = self.resolved[name]
        self._way.append(name)
        try:
            self._done[name] = self._make(name, found)
        except CannotExpand as error:
            # In a circle, what goes wrong with those in the middle depends on who is asked first.
            if len(self._way) == 1:
                self._failed[name] = error
            raise
        finally:
            self._way.pop()
        return self._done[name]

    def problems(self, names: Iterable[str]) -> list[str]:
        """Why those of these params that have a value cannot be expanded."""
        found = []
        for name in dict.fromkeys(names):
            if name in self.resolved:
                try:
                    self.value(name)
                except CannotExpand as error:
                    found.append(error.message)
        return found

    def secrets(self, names: Iterable[str]) -> list[Any]:
        """The plain values of those of these params that are secure."""
        usable = [name for name in names if name in self.resolved and not self.problems([name])]
        return [made.value for made in map(self.value, usable) if made.secure]

    def for_task(self, task: Task) -> Given:
        """What a job of this task is given: all plain params, and only those secure ones that the task declares."""
        return self._given(frozenset(declared_by(task)))

    def plain(self) -> Given:
        """All without the secure ones: for boot files, which anybody on the network can read."""
        return self._given(frozenset())

    def _given(self, declared: frozenset[str]) -> Given:
        given = Given({}, {})
        for name, found in self.resolved.items():
            param = self._params.declared.get(name)
            if name not in declared and self._params.is_secure(name, found):
                continue
            if name not in declared and (param is None or not param.expand):
                given.params[name] = found.value
                continue
            try:
                made = self.value(name)
            except CannotExpand as error:
                given.errors[name] = error.message
                continue
            if not made.secure or name in declared:
                given.params[name] = made.value
        return given

    # --- making one value -------------------------------------------------------------------------------------

    def _make(self, name: str, found: Resolved) -> Value:
        param = self._params.declared.get(name)
        secure = self._params.is_secure(name, found)
        value = self._open(param, found)
        if param is None or not param.expand or not has_template(value):
            return Value(value, secure)
        self._met.append(set())
        try:
            value = self._render(name, name, value)
        finally:
            met = self._met.pop()
        secure = secure or bool(met)
        return Value(self._fitting(param, value, secure), secure)

    def _open(self, param: Param | None, found: Resolved) -> Any:
        try:
            if param is not None and param.compose and any(is_sealed(layer.value) for layer in found.layers):
                return compose(self._opened(layer.value) for layer in found.layers)
            return self._opened(found.value) if is_sealed(found.value) else found.value
        except ProvisionerError as error:
            raise CannotExpand(tuple(self._way), error.message) from error

    def _render(self, name: str, path: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._render(name, f"{path}.{key}", inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._render(name, f"{path}[{place}]", inner) for place, inner in enumerate(value)]
        if not has_template(value):
            return value
        context = context_of(self._machine, self._params.content) | {"params": _Lazy(self)}
        if self._server is not None:
            context["server"] = self._server
        try:
            return self._renderer.render(f"param {path}", {f"param {path}": value}, context)
        except RenderError as error:
            if isinstance(error.__cause__, CannotExpand):
                raise error.__cause__ from None
            where = f" (in {path})" if path != name else ""
            # It may quote what it was working on.
            met = sorted(self._met[-1])
            secret = self._params.is_secure(name, self.resolved[name]) or bool(met)
            reason = f"it fails, and why is hidden: a secure value ({', '.join(met or [name])}) is in it"
            raise CannotExpand(tuple(self._way), (reason if secret else error.message) + where) from None

    def _fitting(self, param: Param, value: Any, secure: bool) -> Any:
        # What is in it now is no template, even where it looks like one.
        checked = replace(param, expand=False, secure=secure)
        errors = validate(param.name, value, checked)
        if not errors:
            return value
        if isinstance(value, str):
            try:
                read = loads(value)
            except (JSONDecodeError, RecursionError):
                read = None
            if read is not None and not validate(param.name, read, checked):
                return read
        first = errors[0]
        where = first.path.removeprefix(param.name).lstrip(".")
        raise CannotExpand(tuple(self._way), f"{where}: {first.message}" if where else first.message)

    def look_up(self, name: str) -> Any:
        """What a template finds by this name; remembers when it is secure."""
        made = self.value(name)
        if made.secure and self._met:
            self._met[-1].add(name)
        return made.value


class _Lazy(Mapping[str, Any]):
    """The params as templates inside of params see them: each is expanded only when it is looked up."""

    def __init__(self, expansion: Expansion) -> None:
        self._expansion = expansion

    def __getitem__(self, name: str) -> Any:
        return self._expansion.look_up(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._expansion.resolved)

    def __len__(self) -> int:
        return len(self._expansion.resolved)
