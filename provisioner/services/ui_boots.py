"""A machine's timeline by boots, and each boot by phases with how long they took. Pure.

A boot, as its events show it:

    power          a BMC was asked to switch it on or to restart it
    firmware       the firmware's network boot: DHCP, then iPXE by TFTP
    loader         iPXE: DHCP again, its script, kernel and initrd (the first phase where iPXE is the card's ROM)
    disk           instead of loader: it was told to boot its own disk
    system         the system starts: DHCP once more, the agent registers and says hello
    work           from the agent's hello on
    reboot         the agent reboots it; what comes then is the next boot

`_NEXT` tells, by phase and what happened, the phase that begins then; `None` there is a new boot. What the table does
not have belongs to the present phase.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from provisioner.events import Event
from provisioner.services.ui_events import Told, tell

PHASE_WORDS = {
    "before": "Before its first boot",
    "power": "Power",
    "firmware": "Firmware boots from the network",
    "loader": "iPXE",
    "disk": "Boots its own disk",
    "system": "System starts",
    "work": "Work",
    "reboot": "Reboot",
}
_SWITCHES = frozenset({"power-on", "power-off", "power-off-soft", "power-cycle", "power-reset"})
_NEW_BOOT = None


def _each(phases: Iterable[str], sign: str, following: str | None) -> dict[tuple[str, str], str | None]:
    return {(phase, sign): following for phase in phases}


# What happened, as `_sign` names it, by the phase it happens in.
_NEXT: dict[tuple[str, str], str | None] = {
    ("before", "switch"): "power",
    **_each(("firmware", "loader", "disk", "system", "work", "reboot"), "switch", _NEW_BOOT),
    **_each(("before", "power"), "firmware", "firmware"),
    **_each(("loader", "disk", "system", "work", "reboot"), "firmware", _NEW_BOOT),
    **_each(("before", "power", "firmware"), "loader", "loader"),
    **_each(("disk", "system", "work", "reboot"), "loader", _NEW_BOOT),
    **_each(("before", "power", "firmware", "loader"), "local", "disk"),
    **_each(("system", "work", "reboot"), "local", _NEW_BOOT),
    **_each(("before", "power", "firmware", "loader", "disk"), "system", "system"),
    ("reboot", "system"): _NEW_BOOT,
    **_each(("before", "power", "firmware", "loader", "disk"), "other-agent", "system"),
    **_each(("system", "work", "reboot"), "other-agent", _NEW_BOOT),
    **_each(("system", "work"), "leaving", "reboot"),
}
# The phase that a new boot begins with, where it does not have the name of the sign.
_FIRST = {"switch": "power", "local": "disk", "other-agent": "system"}


class Phase(Struct, frozen=True):
    """A part of a boot; `seconds` runs to where the next part begins, or to the last event."""

    name: str
    told: tuple[Told, ...]
    seconds: float

    @property
    def words(self) -> str:
        """The phase's name for people."""
        return PHASE_WORDS[self.name]

    @property
    def started_at(self) -> datetime:
        """When its first event happened."""
        return self.told[0].event.time


class Boot(Struct, frozen=True):
    """One boot of the machine; number 0 is what happened before the first. `up_seconds` is until its agent came up."""

    number: int
    phases: tuple[Phase, ...]
    bootenv: str
    up_seconds: float | None

    @property
    def started_at(self) -> datetime:
        """When its first event happened."""
        return self.phases[0].started_at

    @property
    def count(self) -> int:
        """How many events it has."""
        return sum(len(phase.told) for phase in self.phases)

    @property
    def bar(self) -> tuple[tuple[str, str, float, float], ...]:
        """The phases until it was up, as (name, words, offset, width) with the whole being 1000 wide."""
        parts = [phase for phase in self.phases if phase.name not in ("work", "reboot", "before") and phase.seconds]
        total = sum(part.seconds for part in parts)
        if not total or self.up_seconds is None:
            return ()
        found, offset = [], 0.0
        for part in parts:
            width = part.seconds / total * 1000
            found.append((part.name, part.words, round(offset, 1), round(width, 1)))
            offset += width
        return tuple(found)


class _Draft:
    """A boot while its events are being read."""

    def __init__(self, phase: str) -> None:
        self.parts: list[tuple[str, list[Event]]] = [(phase, [])]
        self.boot_id = ""

    @property
    def phase(self) -> str:
        return self.parts[-1][0]

    def enter(self, phase: str) -> None:
        self.parts.append((phase, []))

    def add(self, event: Event) -> None:
        self.parts[-1][1].append(event)
        if event.kind == "agent.hello":
            self.boot_id = str(event.data.get("boot_id", ""))
            if self.phase == "system":
                self.enter("work")


def boots(events: Iterable[Event]) -> tuple[Boot, ...]:
    """The boots that these events, oldest first, tell of."""
    drafts = [_Draft("before")]
    for event in events:
        draft = drafts[-1]
        sign = _sign(event, draft)
        following = _NEXT.get((draft.phase, sign), draft.phase)
        begins = following is _NEW_BOOT or (draft.phase == "before" and following != "before")
        if begins:
            drafts.append(_Draft(_FIRST.get(sign, sign)))
        elif following is not None and following != draft.phase:
            draft.enter(following)
        drafts[-1].add(event)
    return _finish(drafts)


def _sign(event: Event, draft: _Draft) -> str:
    """What the event means for the course of a boot; '' for nothing."""
    match event.kind:
        case "dhcp.discover":
            return _who_asks(event)
        case "dhcp.offer":
            # Servers before told of the DISCOVER apart, and an offer that does not say who asked means nothing then.
            return _who_asks(event) if "request" in event.data else ""
        case "dhcp.request" | "dhcp.ack" | "dhcp.nak":
            # A running system renews its address; after a reboot it may ask for the old one without a discover.
            asks = event.kind == "dhcp.request" or event.data.get("request") == "REQUEST"
            return "system" if asks and draft.phase == "reboot" and _who_asks(event) == "system" else ""
        case "dhcp.proxy":
            return _who_asks(event) if event.data.get("request") == "DISCOVER" else ""
        case "dhcp6.advertise" | "dhcp6.reply":
            # UEFI's IP stack asks beside its boot client and says of itself nothing: that is no system yet.
            begins = event.data.get("request") == "SOLICIT" and event.data.get("firmware")
            return _who_asks(event) if begins else ""
        case "boot.render":
            return "loader"
        case "boot.local":
            return "local"
        case "agent.register":
            return "system"
        case "agent.hello":
            other = bool(draft.boot_id) and event.data.get("boot_id") != draft.boot_id
            return "other-agent" if other else "system"
        case "agent.reboot":
            return "leaving"
        case "power.request":
            return "switch" if event.key in _SWITCHES else ""
    return ""


def _who_asks(event: Event) -> str:
    """Who on the machine speaks DHCP: its firmware, iPXE, or a system."""
    firmware = str(event.data.get("firmware", ""))
    if firmware.startswith("iPXE"):
        return "loader"
    return "firmware" if firmware else "system"


def _finish(drafts: Iterable[_Draft]) -> tuple[Boot, ...]:
    found: list[Boot] = []
    for draft in drafts:
        parts = [(name, events) for name, events in draft.parts if events]
        if not parts:
            continue
        first = parts[0][0] == "before"
        number = 0 if first else sum(boot.number > 0 for boot in found) + 1
        found.append(_boot(number, parts))
    return tuple(found)


def _boot(number: int, parts: list[tuple[str, list[Event]]]) -> Boot:
    ends = [events[0].time for _, events in parts[1:]] + [parts[-1][1][-1].time]
    phases = tuple(
        Phase(name, tuple(map(tell, events)), (end - events[0].time).total_seconds())
        for (name, events), end in zip(parts, ends, strict=True)
    )
    all_events = [event for _, events in parts for event in events]
    hello = next((event for event in all_events if event.kind == "agent.hello"), None)
    told = next((event for event in all_events if event.kind in ("boot.render", "boot.local")), None)
    bootenv = str(hello.data.get("bootenv", "")) if hello else told.key if told else ""
    up = (hello.time - all_events[0].time).total_seconds() if hello else None
    return Boot(number, phases, bootenv, up)
