"""The catalog: the content in force, made of the packs and the edits made through the API, checked as one stack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from msgspec.structs import replace

from agent.render import Renderer
from provisioner.access import Principal
from provisioner.availability import with_availability
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.conductor.record import save_machine
from provisioner.conductor.values import Values
from provisioner.content.references import users_of
from provisioner.content.whole import ContentSet
from provisioner.errors import Conflict, NotFound, StoreError, unknown
from provisioner.model.content import CONTENT_KINDS, Bootenv, Content, Param
from provisioner.model.machines import Machine
from provisioner.params import ContentView
from provisioner.vault import Vault

log = structlog.get_logger(__name__)

# Puts packs and edits together as one stack; raises ContentError with every problem.
Build = Callable[[Iterable[Content]], ContentView]


class Catalog:
    """`view` is kind -> name -> object. It is replaced as a whole, never changed in place.

    `build` refuses a bad edit; `build_saved` may leave out edits, saved long ago, that no longer fit the packs.
    `missing_files` tells which files a boot environment needs and the server has not. `settings` maps objects, as
    `workflows/mine`, to the setting that names them: without them the server would not start again.
    """

    def __init__(
        self,
        ledger: Ledger,
        build: Build,
        build_saved: Build | None = None,
        *,
        vault: Vault,
        renderer: Renderer,
        missing_files: Callable[[Bootenv], tuple[str, ...]] = lambda bootenv: (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._ledger = ledger
        self._build = build
        self._build_saved = build_saved or build
        self._vault = vault
        self._renderer = renderer
        self._missing_files = missing_files
        self._settings = settings or {}
        self._enforce({kind: {} for kind in CONTENT_KINDS})

    def _enforce(self, view: ContentView) -> None:
        self.view = view
        self.values = Values(view, self._vault, self._renderer)

    def load(self) -> None:
        """Put packs and saved edits in force; raises ContentError and leaves the old content in force."""
        self._enforce(self._build_saved(self._edits()))

    async def seal_saved(self) -> int:
        """At start: seal what was saved plain or with an old key; returns how many machines and objects that were.

        What was written over is then removed from the database's files.
        """
        stale = self._to_seal(self.values)
        if stale:
            tx = self._ledger.transaction(by="server")
            for value in stale:
                tx.put(value)
            await tx.commit()
            self.load()
            await self._scrub()
        return len(stale)

    async def _scrub(self) -> None:
        """Remove what was written over from the database's files; what was decided holds whether or not that works."""
        try:
            await self._ledger.database.scrub()
        except StoreError as error:
            log.warning("secrets.left_in_file", problem=error.message)

    def _to_seal(self, values: Values) -> list[Any]:
        """The edits and machines that are not kept as these rules say, as they should be."""
        kept = [*self._edits(), *self._ledger.all(Machine)]
        return [sealed for value in kept if (sealed := values.sealed(value)) is not value]

    def _checked(self, others: list[Content], value: Content | None = None) -> ContentView:
        """The view these edits make, of which none may be bad but those that are left out already."""
        left_out = {(type(edit), edit.name) for edit in self._left_out()}
        good = [edit for edit in others if (type(edit), edit.name) not in left_out]
        new = [value] if value is not None else []
        view = self._build([*good, *new])
        return self._build_saved([*others, *new]) if len(good) < len(others) else view

    def _left_out(self) -> list[Content]:
        return [edit for edit in self._edits() if self.view[edit.kind].get(edit.name) != edit]  # type: ignore[attr-defined]

    def _edits(self) -> list[Content]:
        return [edit for cls in CONTENT_KINDS.values() for edit in self._ledger.all(cls)]

    def find(self, kind: str, name: str) -> Any:
        """One object; raises NotFound with the names there are."""
        found = self.view[kind].get(name)
        if found is None:
            raise NotFound(unknown(kind.removesuffix("s"), name, self.view[kind]), object=f"{kind}/{name}")
        return found

    def param(self, machine: Machine, name: str) -> Any:
        """The value a machine has for a param, None when it has none; raises CannotExpand."""
        values = self.values.of(machine)
        return values.value(name).value if name in values else None

    async def put(self, value: Content, by: Principal) -> Any:
        """Save an edit and put it in force, if the whole stack stays valid; objects of packs are read-only."""
        kind: str = value.kind  # type: ignore[attr-defined]
        old = self.view[kind].get(value.name)
        if old is not None and old.pack:
            raise Conflict(
                f"{kind.removesuffix('s')} {value.name!r} comes from pack {old.pack!r} and is read-only;"
                " give yours another name",
                object=f"{kind}/{value.name}",
                code="read-only",
            )
        # Which params are secure may change with this very edit; then others must be kept in another way, too.
        values = self._declaring(value)
        value = values.accept_content(replace(value, pack=""), old)
        others = [values.sealed(edit) for edit in self._edits() if not _same(edit, value)]
        view = self._checked(others, value)
        tx = self._ledger.transaction(by=str(by))
        stale = [each for each in self._to_seal(values) if not _same(each, value)] if isinstance(value, Param) else []
        for each in (*stale, value):
            tx.put(each)
        tx.event("object.put", key=f"{kind}/{value.name}")
        self._refresh(tx, view, kind, value.name)
        await self._put_in_force(view, tx)
        if stale:
            await self._scrub()
        return value

    def _declaring(self, value: Content) -> Values:
        """The rules for values that hold once this edit is in force."""
        if not isinstance(value, Param):
            return self.values
        params = {**self.view["params"], value.name: value}
        return Values({**self.view, "params": params}, self._vault, self._renderer)

    async def _put_in_force(self, view: ContentView, tx: Transaction) -> None:
        self._enforce(view)
        try:
            await tx.commit()
        except StoreError:
            # The ledger has gone back to what is on disk; what is in force must be the same.
            self.load()
            raise

    async def delete(self, kind: str, name: str, by: Principal) -> Any:
        """Remove an edit; refused while machines or other content use it."""
        value = self.find(kind, name)
        if value.pack:
            raise Conflict(
                f"{kind.removesuffix('s')} {name!r} comes from pack {value.pack!r} and is read-only",
                object=f"{kind}/{name}",
                code="read-only",
            )
        users = self.users(kind, name)
        if users:
            raise Conflict(
                f"{kind.removesuffix('s')} {name!r} is in use by {', '.join(users[:10])}",
                object=f"{kind}/{name}",
                code="in-use",
            )
        view = self._checked([edit for edit in self._edits() if not _same(edit, value)])
        tx = self._ledger.transaction(by=str(by))
        tx.delete(type(value), name)
        tx.event("object.delete", key=f"{kind}/{name}")
        self._refresh(tx, view, kind, name)
        await self._put_in_force(view, tx)
        return value

    def _refresh(self, tx: Transaction, view: ContentView, kind: str, name: str) -> None:
        """See anew whether machines are available: those that were not, and those that refer to what was edited."""
        if kind == "params":
            return
        using = {machine.id: machine for machine in machines_using(kind, name, self._ledger.all(Machine))}
        broken = {machine.id: machine for machine in self._ledger.all(Machine) if machine.errors}
        for machine in (using | broken).values():
            save_machine(tx, machine, with_availability(machine, view))

    def errors(self, value: Content) -> tuple[str, ...]:
        """Why this object of the content in force cannot be used as it stands; empty when it can."""
        kind: str = value.kind  # type: ignore[attr-defined]
        unavailable = self.view.unavailable if isinstance(self.view, ContentSet) else {}
        files = self._missing_files(value) if isinstance(value, Bootenv) else ()
        return (*unavailable.get(f"{kind}/{value.name}", ()), *files)

    def users(self, kind: str, name: str) -> list[str]:
        """What refers to this object: a setting, machines by name, other content as `stages/deploy`."""
        machines = [f"machine {each.name}" for each in machines_using(kind, name, self._ledger.all(Machine))]
        setting = self._settings.get(f"{kind}/{name}")
        return [*([f"setting {setting}"] if setting else []), *machines, *users_of(kind, name, self.view)]


def _same(one: Any, other: Content) -> bool:
    return type(one) is type(other) and one.name == other.name


def machines_using(kind: str, name: str, machines: Iterable[Machine]) -> list[Machine]:
    """The machines that refer to a content object now."""
    refers: Mapping[str, Callable[[Machine], bool]] = {
        "workflows": lambda machine: machine.workflow == name,
        "stages": lambda machine: machine.stage == name or f"stage:{name}" in machine.tasks,
        "bootenvs": lambda machine: machine.bootenv == name or f"bootenv:{name}" in machine.tasks,
        "profiles": lambda machine: name in machine.profiles,
        "tasks": lambda machine: name in machine.tasks,
        "params": lambda machine: name in machine.params,
    }
    uses = refers.get(kind)
    return [machine for machine in machines if uses is not None and uses(machine)]
