"""Identity clashes: newcomers that look like known machines and cannot be them are held until an operator decides.

The known machines go on undisturbed: a MAC that belongs to one of them is never held at boot.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec.structs import replace

from provisioner.access import Principal
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.conductor.record import save_machine
from provisioner.errors import NotFound, Refused, unknown
from provisioner.identity import Match, normal_mac, twin_reason
from provisioner.model.machines import Clash, Identity, Job, JobState, Machine


class Clashes:
    """Finds, holds and resolves clashes."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        # When the agent of each machine was heard last. Not durable: after a restart all that are up come back soon.
        self._heard: dict[str, datetime] = {}
        ledger.observe(Machine, self._forget)

    def _forget(self, old: Machine | None, new: Machine | None) -> None:
        if old is not None and new is None:
            self._heard.pop(old.id, None)

    def hear(self, machine: str) -> None:
        """The machine's agent says something, so the machine is up: whoever else has its serial numbers is a twin."""
        self._heard[machine] = self._ledger.clock()

    def find(self, mac: str) -> Clash:
        """The clash that holds this MAC, as it is on disk; raises NotFound with those there are."""
        held = self._ledger.clash_by_mac(normal_mac(mac, "mac"))
        clash = self._ledger.read(Clash, held.mac) if held is not None else None
        if clash is None:
            choices = [each.mac for each in self._ledger.read_all(Clash)]
            raise NotFound(unknown("clash", mac, choices), object=f"clashes/{mac}")
        return clash

    def held(self, mac: str) -> Clash | None:
        """The clash because of which this MAC is not booted."""
        return self._ledger.clash_by_mac(mac) if self._ledger.machine_by_mac(mac) is None else None

    def against(self, match: Match | None, macs: tuple[str, ...], tx: Transaction) -> tuple[str, tuple[str, ...]]:
        """Why the newcomer can be neither this machine nor a new one, and the ids of those in the way; or ''."""
        known = match.machine if match else None
        owners = [self._ledger.machine_by_mac(mac) for mac in macs]
        others = {owner.id: owner for owner in owners if owner is not None and (known is None or owner.id != known.id)}
        if others:
            names = ", ".join(sorted(owner.name for owner in others.values()))
            mac = next(mac for mac, owner in zip(macs, owners, strict=True) if owner and owner.id in others)
            who = f"this is machine {known.name}" if known else "this is another machine"
            reason = f"MAC {mac} belongs to machine {names}, but serial numbers say that {who}"
            return reason, (*sorted(others), *((known.id,) if known else ()))
        if known is None:
            return "", ()
        job = self._ledger.get(Job, known.current_job)
        at_work = job is not None and job.state is JobState.RUNNING
        reason = twin_reason(known, macs, at_work, tx.now, self._heard.get(known.id))
        return (f"{reason}; two machines seem to share serial numbers", (known.id,)) if reason else ("", ())

    def hold(self, tx: Transaction, newcomer: Clash) -> Clash:
        """Add the clash to the transaction; one that is held already is only brought up to date."""
        old = next(filter(None, map(self._ledger.clash_by_mac, newcomer.macs)), None)
        if old is not None:
            newcomer = replace(newcomer, mac=old.mac, first_seen_at=old.first_seen_at)
        if old is None or _told(old) != _told(newcomer):
            for machine in newcomer.machines:
                tx.event("machine.clash", machine=machine, mac=newcomer.mac, key=newcomer.mac, reason=newcomer.reason)
        held: Clash = tx.put(newcomer)
        return held

    def settle(self, tx: Transaction, macs: Iterable[str]) -> None:
        """Forget what was held of these MACs: their machine is known now."""
        for mac in macs:
            clash = self._ledger.clash_by_mac(mac)
            if clash is not None:
                tx.delete(Clash, clash.mac)

    def forget_machine(self, tx: Transaction, machine: str) -> None:
        """A machine is deleted: who clashed with it alone may try again."""
        for clash in list(self._ledger.all(Clash)):
            if machine not in clash.machines:
                continue
            left = tuple(each for each in clash.machines if each != machine)
            if left:
                tx.put(replace(clash, machines=left))
            else:
                tx.delete(Clash, clash.mac)

    async def forget(self, mac: str, by: Principal) -> Clash:
        """Let the newcomer try again; it is held again if it still clashes."""
        clash = self.find(mac)
        tx = self._ledger.transaction(by=str(by))
        tx.delete(Clash, clash.mac)
        tx.event("object.delete", mac=clash.mac, key=f"clashes/{clash.mac}")
        await tx.commit()
        return clash

    def give(self, tx: Transaction, clash: Clash, machine: Machine) -> Machine:
        """Add to the transaction that the newcomer is this machine: its MACs move there, its identity is believed."""
        for other in self._losing(clash, machine):
            left = tuple(mac for mac in other.macs if mac not in clash.macs)
            save_machine(tx, other, replace(other, macs=left))
            tx.event("machine.update", machine=other.id, key=other.name, fields=["macs"])
        macs = tuple(dict.fromkeys((*clash.macs, *machine.macs)))
        known = self._ledger.get(Machine, machine.id)
        identity = clash.identity if clash.identity != Identity() else machine.identity
        new = replace(machine, macs=macs, identity=identity)
        saved: Machine = save_machine(tx, known, new) if known is not None else tx.put(new)
        tx.delete(Clash, clash.mac)
        tx.event("machine.resolve", machine=saved.id, mac=clash.mac, key=saved.name, macs=clash.macs)
        return saved

    def _losing(self, clash: Clash, machine: Machine) -> list[Machine]:
        """Other machines that have MACs of the newcomer; raises Refused when one of the machines is locked."""
        owners = [self._ledger.machine_by_mac(mac) for mac in clash.macs]
        losing = {owner.id: owner for owner in owners if owner is not None and owner.id != machine.id}
        for each in (machine, *losing.values()):
            if each.locked:
                raise Refused(f"machine {each.name} is locked; unlock it first", object=each.id, code="locked")
        return list(losing.values())


def _told(clash: Clash) -> tuple[object, ...]:
    """What people were told of a clash; the same is not told twice."""
    return clash.macs, clash.machines, clash.identity
