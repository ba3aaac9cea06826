"""The server's half of the erase check: is there any disk that a destructive task may write? Pure.

The agent decides on the disk itself, right before it is written. What the inventory shows is older than that, so the
server refuses only what the agent would surely refuse: when every disk that could be meant holds data, and no grant
in force fits one of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from provisioner.model.content import Task
from provisioner.model.machines import Machine

ANY_DISK = "any"
# WWNs are written naa.5000..., 0x5000..., wwn-0x5000...
_PREFIX = re.compile(r"^(wwn-)?(0x|naa\.|eui\.|uuid\.)")


def erase_problem(task: Task, machine: Machine, now: datetime) -> str:
    """Why a destructive task may not run on the machine, naming disks and what to do; empty when it may be tried."""
    if not task.destructive:
        return ""
    every = _disks(machine.inventory)
    disks = [disk for disk in every if not (disk.get("removable") or disk.get("read_only"))]
    if not disks or not all(_holds_data(disk) for disk in disks):
        return ""
    granted = {grant.disk for grant in machine.erase_grants if grant.expires_at > now}
    if any(_fits(grant, disk) for grant in granted for disk in every):
        return ""
    named = ", ".join(_name(disk) for disk in disks)
    given = f"; the grants in force are for {', '.join(sorted(granted))}" if granted else ""
    return (
        f"task {task.name!r} destroys data, and {named} of machine {machine.name} hold{'s' * (len(disks) == 1)} some"
        f"{given}; grant it to erase the disk (by WWN, serial, path or {ANY_DISK!r}), then set the machine runnable"
    )


def _disks(inventory: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The disks that the inventory shows; an agent may say anything, so nothing is taken for granted."""
    disks = inventory.get("disks")
    return [disk for disk in disks if isinstance(disk, dict)] if isinstance(disks, list) else []


def _holds_data(disk: Mapping[str, Any]) -> bool:
    return any(disk.get(sign) for sign in ("partitions", "filesystem", "partition_table", "holds"))


def _fits(grant: str, disk: Mapping[str, Any]) -> bool:
    # Links such as /dev/disk/by-id/... lead to a disk on the machine only; the agent follows them.
    if grant in (ANY_DISK, disk.get("path")) or grant.startswith("/dev/disk/"):
        return True
    ids = {_one_spelling(str(disk.get(key) or "")) for key in ("wwn", "serial")} - {""}
    return _one_spelling(grant) in ids


def _one_spelling(identifier: str) -> str:
    return _PREFIX.sub("", identifier.strip().lower())


def _name(disk: Mapping[str, Any]) -> str:
    about = [f"{word} {disk[key]}" for key, word in (("wwn", "WWN"), ("serial", "serial")) if disk.get(key)]
    path = str(disk.get("path") or disk.get("name") or "a disk")
    return f"{path} ({', '.join(about)})" if about else path
