"""Values of params under one content in force: taken in and sealed, opened only for those who need them plain.

Opened are: what a task declares, what power drivers log in with, and what an operator asks to have revealed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from agent.errors import RenderError
from agent.render import Renderer
from provisioner.content.stack import Pack
from provisioner.errors import FieldError, Invalid, NotFound
from provisioner.expand import CannotExpand, Expansion, Value
from provisioner.model.content import Content, Param
from provisioner.model.machines import Machine
from provisioner.params import (
    REDACTED,
    SEAL,
    ContentView,
    Params,
    Why,
    change_values,
    explain,
    is_sealed,
    template_texts,
    validate_all,
)
from provisioner.vault import Vault

T = TypeVar("T")
Server = Mapping[str, str]


class Values:
    """Params of machines as each of those who ask may have them; `view` is the content in force."""

    def __init__(self, view: ContentView, vault: Vault, renderer: Renderer) -> None:
        self.params = Params(view)
        self._view = view
        self._vault = vault
        self._renderer = renderer

    # --- giving out -------------------------------------------------------------------------------------------

    def of(self, machine: Machine, server: Server | None = None) -> Expansion:
        """The machine's params for one purpose; `server` is the address by which whoever asks has reached us."""
        return Expansion(machine, self.params, self._renderer, self._vault.open, server)

    def shown(self, machine: Machine, server: Server | None = None) -> dict[str, Any]:
        """All that the machine has from anywhere, for display; what cannot be expanded is as it is written."""
        expansion = self.of(machine, server)
        return {name: self._shown(expansion, name)[0] for name in expansion.resolved}

    def _shown(self, expansion: Expansion, name: str) -> tuple[Any, bool, str]:
        """Value, whether it is hidden, and why it could not be expanded."""
        found = expansion.resolved[name]
        if self.params.is_secure(name, found):
            return REDACTED, True, self._secret_error(expansion, name)
        try:
            made = expansion.value(name)
        except CannotExpand as error:
            return found.value, False, error.message
        return (REDACTED, True, "") if made.secure else (made.value, False, "")

    def _secret_error(self, expansion: Expansion, name: str) -> str:
        param = self.params.declared.get(name)
        if param is None or not param.expand:
            return ""
        try:
            expansion.value(name)
        except CannotExpand as error:
            return error.message
        return ""

    def why(self, machine: Machine, server: Server | None = None) -> dict[str, Why]:
        """For each param its value, the layer and the pack it came from, and the layers below; secrets hidden."""
        expansion = self.of(machine, server)
        return {name: self._explained(expansion, name) for name in expansion.resolved}

    def why_one(self, machine: Machine, name: str, server: Server | None = None) -> Why:
        """The same for one param; raises NotFound when it has no value."""
        expansion = self.of(machine, server)
        _require(expansion, machine, name)
        return self._explained(expansion, name)

    def _explained(self, expansion: Expansion, name: str) -> Why:
        value, secure, error = self._shown(expansion, name)
        return replace(explain(name, expansion.resolved[name], self.params), value=value, secure=secure, error=error)

    def one(self, machine: Machine, name: str, server: Server | None = None) -> Any:
        """What the machine has for one param, hidden when it is secure; raises NotFound and CannotExpand."""
        made = self.reveal(machine, name, server)
        return REDACTED if made.secure else made.value

    def reveal(self, machine: Machine, name: str, server: Server | None = None) -> Value:
        """What the machine has for one param, opened; raises NotFound and CannotExpand."""
        expansion = self.of(machine, server)
        _require(expansion, machine, name)
        return expansion.value(name)

    def below(self, machine: Machine, prefix: str) -> dict[str, Any]:
        """All params whose names begin so, opened: for power drivers, which log in with them. Raises CannotExpand."""
        expansion = self.of(machine)
        return {name: expansion.value(name).value for name in expansion.resolved if name.startswith(prefix)}

    # --- taking in --------------------------------------------------------------------------------------------

    def accept(self, given: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
        """Values for a machine, checked and sealed; the asterisks of a hidden value stand for the one that is `kept`.

        Raises Invalid with every field that is wrong, by the name of its param.
        """
        new = {name: value for name, value in given.items() if not self._is_asterisks(name, value, kept)}
        errors = validate_all(new, self._view)
        errors += [error for name, value in new.items() for error in self._template_errors(name, value)]
        errors += [_nothing_kept(name) for name in given if name not in new and name not in kept]
        if errors:
            raise Invalid(f"{errors[0].path}: {errors[0].message}", fields=tuple(errors))
        return {name: self.seal(name, value if name in new else kept[name]) for name, value in given.items()}

    def accept_content(self, value: Content, kept: Content | None) -> Content:
        """An object with what is secure in it sealed; asterisks stand for what the object of this name had before."""
        errors: list[FieldError] = []
        before: dict[str, Any] = {}
        if kept is not None:
            change_values(kept, lambda name, each: before.setdefault(name, each))

        def take(name: str, each: Any) -> Any:
            path = "default" if isinstance(value, Param) else f"params.{name}"
            if is_sealed(each):
                errors.append(FieldError(path, f"a value may not be a map of {SEAL!r} alone"))
            elif self._is_asterisks(name, each, before):
                if name not in before:
                    errors.append(FieldError(path, _nothing_kept(name).message))
                return self.seal(name, before.get(name))
            return self.seal(name, each)

        taken = change_values(value, take)
        if errors:
            raise Invalid(f"{errors[0].path}: {errors[0].message}", object=value.name, fields=tuple(errors))
        return taken

    def _is_asterisks(self, name: str, value: Any, kept: Mapping[str, Any]) -> bool:
        param = self.params.declared.get(name)
        return bool(value == REDACTED and ((param is not None and param.secure) or is_sealed(kept.get(name))))

    def _template_errors(self, name: str, value: Any) -> Iterator[FieldError]:
        param = self.params.declared.get(name)
        if param is None or not param.expand:
            return
        for path, text in template_texts(name, value):
            try:
                self._renderer.check(f"param {path}", text)
            except RenderError as error:
                yield FieldError(path, "is not a template" + (f": {error.message}" if not param.secure else ""))

    # --- sealing ----------------------------------------------------------------------------------------------

    def seal(self, name: str, value: Any) -> Any:
        """The value as it is kept: sealed with the newest key if its param is secure or it was sealed before."""
        param = self.params.declared.get(name)
        if is_sealed(value):
            return value if self._vault.is_fresh(value) else self._vault.seal(self._vault.open(value))
        return self._vault.seal(value) if param is not None and param.secure else value

    def sealed(self, value: T) -> T:
        """A machine or content object as it is kept; itself when nothing changes."""
        return change_values(value, self.seal)


def unopenable(values: Iterable[Any], vault: Vault) -> list[str]:
    """Which of these machines and content objects hold values whose keys are not there, as `machines/NAME`."""
    lost: dict[str, None] = {}

    def look(owner: Any, each: Any) -> Any:
        if is_sealed(each) and not vault.knows(each):
            lost[f"{owner.kind}/{owner.name}"] = None
        return each

    for value in values:
        change_values(value, lambda _, each, owner=value: look(owner, each))  # type: ignore[misc]
    return list(lost)


def sealed_packs(packs: Sequence[Pack], vault: Vault) -> list[Pack]:
    """The same packs with the values of secure params sealed, of which only packs can declare those packs use."""
    values = [item.object for pack in packs for item in pack.items]
    secure = {value.name for value in values if isinstance(value, Param) and value.secure}

    def seal(name: str, each: Any) -> Any:
        return vault.seal(each) if name in secure else each

    return [
        replace(pack, items=tuple(replace(item, object=change_values(item.object, seal)) for item in pack.items))
        for pack in packs
    ]


def holds_sealed(values: Iterable[Any]) -> bool:
    """Whether any of these machines and content objects holds a sealed value."""
    found: list[bool] = []

    def look(_: str, each: Any) -> Any:
        found.append(is_sealed(each))
        return each

    for value in values:
        change_values(value, look)
    return any(found)


def _require(expansion: Expansion, machine: Machine, name: str) -> None:
    if name not in expansion:
        raise NotFound(f"machine {machine.name} has no value for param {name!r}", object=machine.id)


def _nothing_kept(name: str) -> FieldError:
    message = f"{REDACTED!r} stands for the value that is kept, and none is kept here; give the value itself"
    return FieldError(name, message)
