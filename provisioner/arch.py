"""Names of processor architectures: one canonical name each, with a hint for the other names in use."""

from __future__ import annotations

from collections.abc import Iterable

from provisioner.errors import unknown

# What boot environments are made for.
BOOT_ARCHES = ("amd64", "arm64")
MACHINE_ARCHES = ("386", "amd64", "arm", "arm64", "loong64", "ppc64le", "riscv64", "s390x")
_ALIASES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "x64": "amd64",
    "i386": "386",
    "i486": "386",
    "i586": "386",
    "i686": "386",
    "x86": "386",
    "aarch64": "arm64",
    "armv8": "arm64",
    "armv6l": "arm",
    "armv7l": "arm",
    "armhf": "arm",
    "ppc64el": "ppc64le",
    "loongarch64": "loong64",
}


def arch_fault(name: str, choices: Iterable[str] = MACHINE_ARCHES) -> str:
    """Why this is no name of an architecture; empty when it is one of `choices`."""
    choices = tuple(choices)
    if name in choices:
        return ""
    better = _ALIASES.get(name.lower(), "")
    hint = f"; write {better!r} for it" if better in choices else ""
    return unknown("arch", name, choices) + hint


def canonical(name: str) -> str:
    """The canonical name of what a machine says of itself; a name that nobody knows stays as it is."""
    return _ALIASES.get(name.lower(), name)
