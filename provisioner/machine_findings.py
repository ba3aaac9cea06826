"""What the events of one machine show: it was started to boot from the network, and did not.

Its next boot may have been set too late, its firmware may not obey, its cable may be elsewhere: nobody sees that but
who waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from provisioner.events import Event
from provisioner.findings import Awaited, Facts, Finding, Severity

# From power to the first word by DHCP: large servers count and test their memory for so long.
START_PATIENCE = timedelta(minutes=10)
# A system that asked for an address from its disk; firmware that asks as well does so before it.
_DISK_PATIENCE = timedelta(minutes=1)

_STARTING = ("power-cycle", "power-reset")
_OFF = ("power-off", "power-off-soft")
_SIGNS = ("dhcp.", "tftp.", "http.", "boot.", "agent.")


def not_booted(facts: Facts) -> Iterator[Finding]:
    """Machines that shall boot from the network, were started, and did not."""
    by_machine: dict[str, list[Event]] = {each.id: [] for each in facts.awaited}
    for event in facts.events:
        if event.machine in by_machine:
            by_machine[event.machine].append(event)
    for machine in facts.awaited:
        yield from _of_one(machine, by_machine[machine.id], facts)


def _of_one(machine: Awaited, events: Sequence[Event], facts: Facts) -> Iterator[Finding]:
    place = _last_start(events)
    if place is None:
        return
    start, signs = events[place], [each for each in events[place + 1 :] if each.kind.startswith(_SIGNS)]
    if not signs and facts.now - start.time >= START_PATIENCE:
        yield Finding(
            code="not-heard",
            severity=Severity.ERROR,
            subject=machine.name,
            title=f"{machine.name} was started to boot from the network, and nothing has been heard of it since",
            advice="Look at its screen: it boots another device, waits for a key, or has no link. Is the card that is"
            " to boot enabled for PXE or HTTP boot, plugged in, in the right VLAN? Then next-boot-pxe and power-cycle",
            macs=machine.macs,
            last=start.time,
        )
    elif signs and all(map(_is_from_disk, signs)) and facts.now - signs[-1].time >= _DISK_PATIENCE:
        yield Finding(
            code="booted-disk",
            severity=Severity.ERROR,
            subject=machine.name,
            title=f"{machine.name} was started to boot from the network and came up from its disk: a system asked for"
            " an address, its firmware did not",
            advice="Put the network first in its boot order; or next-boot-pxe, and power-cycle when that was read back",
            macs=machine.macs,
            last=signs[-1].time,
        )


def _last_start(events: Sequence[Event]) -> int | None:
    """Where it was started last; None when it was not, or was switched off since."""
    place, was_off = None, False
    for number, event in enumerate(events):
        if event.kind == "agent.reboot" and event.data.get("next_boot") == "pxe":
            place, was_off = number, False
        elif event.kind == "power.done" and event.key in _OFF:
            place, was_off = None, True
        # One that is on already is not started by `power-on`.
        elif event.kind == "power.done" and (event.key in _STARTING or (event.key == "power-on" and was_off)):
            place, was_off = number, False
    return place


def _is_from_disk(event: Event) -> bool:
    return event.kind in ("dhcp.offer", "dhcp.ack") and not event.data.get("firmware")
