"""Recognise a machine that has been seen before, also after its network cards were exchanged.

SMBIOS numbers, MACs and disk markers are weighed; a sum of at least MATCH is the same machine. Firmware often ships
with the same placeholder everywhere, so values that say nothing are ignored; so is a value that several known machines
share, whatever it looks like.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from provisioner.errors import FieldError, Invalid
from provisioner.model.machines import Identity, Machine

MATCH = 100
_WEIGHTS = {"dmi_uuid": 60, "serial": 50, "board_serial": 40, "chassis_serial": 10}
_DISK_MARKER = 100
_ALL_MACS = 100
# Nobody switches a server off, changes its network cards and boots it again within this time.
SWAP_TIME = timedelta(minutes=10)

# With colons, hyphens or nothing between its bytes, or as Cisco's switches show it.
_MAC = re.compile(
    r"[0-9a-f]{2}([:-]?)([0-9a-f]{2}\1){4}[0-9a-f]{2}|[0-9a-f]{4}(\.[0-9a-f]{4}){2}", re.IGNORECASE | re.ASCII
)
_MAC_FORMS = "52:54:00:12:34:56, 52-54-00-12-34-56, 5254.0012.3456 or 525400123456"
_NO_DIGITS = re.compile("[^0-9a-f]")
_SEPARATORS = re.compile(r"[-. :_/]")
_PLACEHOLDER_WORDS = re.compile(
    r"(to be )?filled by (o\.?e\.?m\.?|oem)|o\.?e\.?m\.?|not (specified|applicable|available|settable|present|provided)"
    r"|(system|chassis|base ?board|board|mother ?board|product|serial|asset)[ -]*((system|chassis|board|product) )?"
    r"(serial([ -]?(number|no\.?))?|number|version|name|tag)?"
    r"|default( string)?|unknown|undefined|invalid|empty|none|null|nil|n/?a|test|sample|string|123456789.*|0123456789.*"
)
_MEANINGLESS_UUIDS = frozenset(
    {
        "03000200-0400-0500-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "12345678-1234-1234-1234-123456789abc",
        "00020003-0004-0005-0006-000700080009",
    }
)


class Match(Struct, frozen=True):
    """The machine that fits best and how well."""

    machine: Machine
    score: int


def normal_mac(text: str, path: str = "macs") -> str:
    """A MAC as lower-case hex with colons, however it is written; raises Invalid naming the field `path` for no MAC."""
    if not _MAC.fullmatch(text.strip()):
        message = f"{text!r} is not a MAC address such as {_MAC_FORMS}"
        raise Invalid(f"{path}: {message}", fields=(FieldError(path, message),))
    return maybe_mac(text)


def maybe_mac(text: str) -> str:
    """The normal form of text that is a MAC; any other text as it is. For whoever looks for something by it."""
    if not _MAC.fullmatch(text.strip()):
        return text
    digits = _NO_DIGITS.sub("", text.lower())
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def says_something(mac: str) -> bool:
    """Whether a normal MAC can tell one card from another: not all zeros, not broadcast or multicast."""
    return mac != "00:00:00:00:00:00" and not int(mac[:2], 16) & 1


def clean(identity: Identity) -> Identity:
    """The identity without values that say nothing, in lower case where case has no meaning."""
    return Identity(
        dmi_uuid=_meaning(identity.dmi_uuid).lower(),
        serial=_meaning(identity.serial),
        board_serial=_meaning(identity.board_serial),
        chassis_serial=_meaning(identity.chassis_serial),
        disk_markers=tuple(dict.fromkeys(filter(None, map(_meaning, identity.disk_markers)))),
    )


def _meaning(text: str) -> str:
    """The value without blanks around it; empty when it is one that firmware ships with everywhere."""
    text = text.strip()
    lower = text.lower()
    letters = _SEPARATORS.sub("", lower)
    of_one_kind = not letters.strip("0x") or (len(letters) > 1 and len(set(letters)) == 1)
    placeholder = _PLACEHOLDER_WORDS.fullmatch(lower) or lower in _MEANINGLESS_UUIDS
    return "" if of_one_kind or placeholder else text


def marks(macs: Iterable[str], identity: Identity) -> tuple[str, ...]:
    """Everything that a machine may be recognised by, each as one word: `serial:S1`."""
    numbers = [f"{name}:{getattr(identity, name)}" for name in _WEIGHTS if getattr(identity, name)]
    return tuple(dict.fromkeys([*map(_mac_mark, macs), *numbers, *map(_disk_mark, identity.disk_markers)]))


def _mac_mark(mac: str) -> str:
    return f"mac:{mac}"


def _disk_mark(marker: str) -> str:
    return f"disk:{marker}"


def score(machine: Machine, macs: frozenset[str], identity: Identity, shared: Collection[str] = ()) -> int:
    """How well the machine fits what was seen; what contradicts counts against it (a USB network card moves about).

    `shared` are the marks that several known machines have: they count neither for nor against.
    """
    points = sum(_compare(name, weight, identity, machine.identity, shared) for name, weight in _WEIGHTS.items())
    common = set(identity.disk_markers) & set(machine.identity.disk_markers)
    if any(_disk_mark(marker) not in shared for marker in common):
        points += _DISK_MARKER
    if macs and machine.macs:
        points += _ALL_MACS * len(macs & set(machine.macs)) // min(len(macs), len(machine.macs))
    return points


def _compare(name: str, weight: int, seen: Identity, known: Identity, shared: Collection[str]) -> int:
    one, other = getattr(seen, name), getattr(known, name)
    if not one or not other or f"{name}:{one}" in shared or f"{name}:{other}" in shared:
        return 0
    return weight if one == other else -weight


def best_match(
    machines: Iterable[Machine], macs: Iterable[str], identity: Identity, shared: Collection[str] = ()
) -> Match | None:
    """The known machine this is, or None for a new one. Of several that fit alike it is the one with the lower id."""
    seen = frozenset(macs)
    scored = (Match(machine, score(machine, seen, identity, shared)) for machine in machines)
    best = min(scored, key=lambda match: (-match.score, match.machine.id), default=None)
    return best if best is not None and best.score >= MATCH else None


def twin_reason(
    known: Machine, macs: Iterable[str], at_work: bool, now: datetime, heard_at: datetime | None = None
) -> str:
    """Why a newcomer that fits this machine must be another one all the same; empty when it may well be the same.

    With a MAC in common it is the machine itself. Without one its cards were exchanged, which takes time: a machine
    that works, or was heard of a moment ago, has a twin with the same serial numbers. `heard_at` is when its agent was
    heard last.
    """
    if not known.macs or set(macs) & set(known.macs):
        return ""
    if at_work:
        return f"it looks like machine {known.name}, which is running a job at this moment from another network card"
    heard = max(filter(None, (known.registered_at, known.agent.hello_at, heard_at)), default=None)
    # A clock that was set back must not make everything look as if it had been a moment ago.
    if heard is not None and timedelta(0) <= now - heard < SWAP_TIME:
        minutes = int((now - heard).total_seconds() // 60)
        ago = f"{minutes} minute{'s' if minutes > 1 else ''} ago" if minutes else "less than a minute ago"
        return f"it looks like machine {known.name}, which was heard of {ago} from another network card"
    return ""
