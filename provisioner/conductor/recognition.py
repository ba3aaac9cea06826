"""Which known machine a newcomer is, found through an index: a thousand registrations among ten thousand are cheap."""

from __future__ import annotations

from collections.abc import Iterable

from provisioner.conductor.ledger import Index, Ledger
from provisioner.identity import Match, best_match, marks
from provisioner.model.machines import Identity, Machine


class Recognition:
    """Machines by everything that they may be recognised by; follows every change of the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._index = Index(lambda machine: marks(machine.macs, machine.identity))
        ledger.observe(Machine, self._follow)

    def _follow(self, old: Machine | None, new: Machine | None) -> None:
        some = old or new
        if some is not None:
            self._index.move(some.id, old, new)

    def best(self, macs: Iterable[str], identity: Identity) -> Match | None:
        """The known machine that fits, or None; values that several known machines share count for nothing."""
        macs = tuple(macs)
        found = {mark: self._index.keys(mark) for mark in marks(macs, identity)}
        telling = {machine for keys in found.values() if len(keys) == 1 for machine in keys}
        machines = [machine for key in sorted(telling) if (machine := self._ledger.get(Machine, key)) is not None]
        known = {mark for machine in machines for mark in marks(machine.macs, machine.identity)}
        shared = {mark for mark in known | found.keys() if len(self._index.keys(mark)) > 1}
        return best_match(machines, macs, identity, shared)
