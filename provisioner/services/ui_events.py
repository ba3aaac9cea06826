"""Events as they are read: a sentence, a tone, a link. Pure.

There is a writer for each kind that has something to add to its plain words.
"""

from __future__ import annotations

from msgspec import Struct

from provisioner.events import KINDS, Event
from provisioner.services.ui_boot_events import SENTENCES as BOOT
from provisioner.services.ui_event_data import is_marker
from provisioner.services.ui_work_events import SENTENCES as WORK

_WRITERS = BOOT | WORK

# What the event means for its reader; also the CSS class.
GOOD, BAD, WARN, PLAIN, FAINT = "good", "bad", "warn", "plain", "faint"

_TONES = {
    "machine.complete": GOOD,
    "agent.register": GOOD,
    "agent.hello": GOOD,
    "agent.lost": BAD,
    "access.refused": WARN,
    "dhcp.nak": WARN,
    "dhcp.decline": WARN,
    "boot.held": WARN,
    "boot.loader": WARN,
    "machine.clash": WARN,
    "machine.repair": WARN,
    "machine.stop": WARN,
    "param.reveal": WARN,
    "job.cancel": WARN,
    "job.create": FAINT,
    "dhcp.offer": FAINT,
    "dhcp6.advertise": FAINT,
    "dhcp6.decline": WARN,
    "dhcp.request": FAINT,
    "machine.update": FAINT,
    "power.request": FAINT,
}
_JOB_TONES = {"finished": GOOD, "failed": BAD, "abandoned": BAD, "cancelled": WARN, "incomplete": WARN}
# Reasons to wait that belong to the normal course of work.
_EXPECTED = ("boot of ", "reboot", "poweroff", "stop")


class Told(Struct, frozen=True):
    """An event as it is read: `source` is the part of the kind before the dot, `link` where its subject is."""

    event: Event
    text: str
    tone: str
    source: str
    link: str
    by: str


def tell(event: Event) -> Told:
    """The event in words."""
    writer = _WRITERS.get(event.kind)
    text = writer(event) if writer is not None else _plainly(event)
    source = event.kind.partition(".")[0]
    return Told(event, text[:1].upper() + text[1:], tone(event), source, _link(event), _by(event))


def tone(event: Event) -> str:
    """good, bad, warn, plain or faint."""
    if event.kind.startswith("job.") and is_marker(event) and event.data.get("state") in (None, "finished"):
        return FAINT
    if event.kind == "job.end":
        return _JOB_TONES.get(str(event.data.get("state")), PLAIN)
    if event.kind == "machine.runnable" and not event.data.get("runnable"):
        return PLAIN if str(event.data.get("waiting_for")).startswith(_EXPECTED) else WARN
    return BAD if event.kind.endswith(".error") else _TONES.get(event.kind, PLAIN)


def _link(event: Event) -> str:
    if event.kind.startswith("job.") and event.key:
        return f"/jobs/{event.key}"
    kind, slash, name = event.key.partition("/")
    if event.kind == "object.put" and slash and kind in ("subnets", "reservations"):
        return "/leases"
    if event.kind == "object.put" and slash and kind != "users":
        return f"/content/{kind}/{name}"
    return ""


def _by(event: Event) -> str:
    """The user who caused it; what machines and the server do needs no name."""
    who, _, name = event.by.partition(":")
    return name if who == "user" else ""


def _plainly(event: Event) -> str:
    words = KINDS.get(event.kind, event.kind)
    return f"{words}: {event.key}" if event.key else words
