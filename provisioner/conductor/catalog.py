"""The catalog: the content in force, made of the packs and the edits made through the API, checked as one stack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from provisioner.access import Principal
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.content.references import users_of
from provisioner.errors import Conflict, NotFound, StoreError, unknown
from provisioner.model import CONTENT_KINDS, Content, Machine
from provisioner.params import ContentView, resolve

# Puts packs and edits together as one stack; raises ContentError with every problem.
Build = Callable[[Iterable[Content]], ContentView]


class Catalog:
    """`view` is kind -> name -> object. It is replaced as a whole, never changed in place.

    `build` refuses a bad edit; `build_saved` may leave out edits, saved long ago, that no longer fit the packs.
    """

    def __init__(self, ledger: Ledger, build: Build, build_saved: Build | None = None) -> None:
        self._ledger = ledger
        self._build = build
        self._build_saved = build_saved or build
        self.view: ContentView = {kind: {} for kind in CONTENT_KINDS}

    def load(self) -> None:
        """Put packs and saved edits in force; raises ContentError and leaves the old content in force."""
        self.view = self._build_saved(self._edits())

    def _checked(self, edits: list[Content]) -> ContentView:
        """The view these edits make, of which none may be bad but those that are left out already."""
        left_out = [edit for edit in self._left_out() if edit in edits]
        view = self._build([edit for edit in edits if edit not in left_out])
        return self._build_saved(edits) if left_out else view

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
        """The value a machine has for a param, None when it has none."""
        found = resolve(machine, self.view).get(name)
        return found.value if found is not None else None

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
        value = replace(value, pack="")
        others = [edit for edit in self._edits() if not (type(edit) is type(value) and edit.name == value.name)]
        view = self._checked([*others, value])
        tx = self._ledger.transaction(by=str(by))
        tx.put(value)
        tx.event("object.put", key=f"{kind}/{value.name}")
        await self._put_in_force(view, tx)
        return value

    async def _put_in_force(self, view: ContentView, tx: Transaction) -> None:
        self.view = view
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
        kept = [edit for edit in self._edits() if edit is not value]
        view = self._checked([edit for edit in kept if not (type(edit) is type(value) and edit.name == name)])
        tx = self._ledger.transaction(by=str(by))
        tx.delete(type(value), name)
        tx.event("object.delete", key=f"{kind}/{name}")
        await self._put_in_force(view, tx)
        return value

    def users(self, kind: str, name: str) -> list[str]:
        """What refers to this object: machines by name, other content as `stages/deploy`."""
        machines = [f"machine {each.name}" for each in machines_using(kind, name, self._ledger.all(Machine))]
        return machines + users_of(kind, name, self.view)


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
