"""Recognise a machine that has been seen before, also after its network cards were exchanged.

SMBIOS numbers and MACs are weighed; a sum of at least MATCH is the same machine. Firmware often ships with the
same placeholder everywhere, so values that say nothing are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

from provisioner.errors import FieldError, Invalid
from provisioner.model import Identity, Machine

MATCH = 100
_WEIGHTS = {"dmi_uuid": 60, "serial": 50, "board_serial": 40, "chassis_serial": 10}
_DISK_MARKER = 100
_ALL_MACS = 100

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MEANINGLESS = frozenset(
    {
        "",
        "0",
        "none",
        "n/a",
        "na",
        "not specified",
        "not applicable",
        "not available",
        "default string",
        "default",
        "unknown",
        "system serial number",
        "chassis serial number",
        "to be filled by o.e.m.",
        "to be filled by oem",
        "0123456789",
        "123456789",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "03000200-0400-0500-0006-000700080009",
    }
)


class Match(Struct, frozen=True):
    """The machine that fits best and how well."""

    machine: Machine
    score: int


def normal_mac(text: str, path: str = "macs") -> str:
    """A MAC as lower-case hex with colons; raises Invalid naming the field `path` for anything else."""
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        message = f"{text!r} is not a MAC address such as 52:54:00:12:34:56"
        raise Invalid(f"{path}: {message}", fields=(FieldError(path, message),))
    return mac


def clean(identity: Identity) -> Identity:
    """The identity without values that say nothing, in lower case where case has no meaning."""

    def value(text: str) -> str:
        text = text.strip()
        meaningless = text.lower() in _MEANINGLESS or not text.strip("0-. xX")
        return "" if meaningless else text

    return Identity(
        dmi_uuid=value(identity.dmi_uuid).lower(),
        serial=value(identity.serial),
        board_serial=value(identity.board_serial),
        chassis_serial=value(identity.chassis_serial),
        disk_markers=tuple(filter(None, map(value, identity.disk_markers))),
    )


def score(machine: Machine, macs: frozenset[str], identity: Identity) -> int:
    """How well the machine fits what was seen; what contradicts counts against it (a USB network card moves about)."""
    points = sum(
        _compare(getattr(identity, name), getattr(machine.identity, name), weight) for name, weight in _WEIGHTS.items()
    )
    if set(identity.disk_markers) & set(machine.identity.disk_markers):
        points += _DISK_MARKER
    if macs and machine.macs:
        points += _ALL_MACS * len(macs & set(machine.macs)) // min(len(macs), len(machine.macs))
    return points


def _compare(seen: str, known: str, weight: int) -> int:
    if not seen or not known:
        return 0
    return weight if seen == known else -weight


def best_match(machines: Iterable[Machine], macs: Iterable[str], identity: Identity) -> Match | None:
    """The known machine this is, or None for a new one."""
    seen = frozenset(macs)
    scored = (Match(machine, score(machine, seen, identity)) for machine in machines)
    best = max(scored, key=lambda match: match.score, default=None)
    return best if best is not None and best.score >= MATCH else None
