"""The names under which boot loaders ask for scripts: iPXE for one by MAC, GRUB for its configuration.

    <mac>.ipxe                     52-54-00-00-00-01.ipxe: the machine's iPXE script
    grub/grub.cfg                  GRUB's first file, also in grub/<cpu>-efi/: finds out its MAC and goes on
    grub/<mac>.cfg                 the machine's GRUB script, the MAC with colons (as in $net_default_mac) or dashes
    grub/grub.cfg-01-<mac>         the same, as a GRUB asks that searches by itself

All of them also below `boot/`. Debian's signed GRUB for the network looks in `/grub` of the server it came from.
"""

from __future__ import annotations

import re
from enum import Enum

from msgspec import Struct


class Language(Enum):
    """What the script is written for. GRUB_START is the same for all machines."""

    IPXE = "ipxe"
    GRUB = "grub"
    GRUB_START = "grub-start"


class ScriptName(Struct, frozen=True):
    """Whose script is asked for, in which language."""

    language: Language
    mac: str = ""


_MAC = "([0-9a-fA-F]{2}(?:[-:][0-9a-fA-F]{2}){5})"
_FOLDER = "(?:boot/)?grub/(?:[a-z0-9_]+-[a-z]+/)?"
_NAMES = (
    (Language.IPXE, re.compile(rf"(?:boot/)?{_MAC}\.ipxe")),
    (Language.GRUB, re.compile(rf"{_FOLDER}{_MAC}\.cfg")),
    (Language.GRUB, re.compile(rf"{_FOLDER}grub\.cfg-01-{_MAC}")),
    (Language.GRUB_START, re.compile(rf"{_FOLDER}grub\.cfg()")),
)

# What loaders look for and boot as well without: GRUB's modules and lists of them, shim's revocations and certificates.
_OPTIONAL = re.compile(
    r"(?:.*/)?(?:\w+\.mod|(?:command|fs|crypto|terminal|moddep|partmap|parttool|video)\.lst"
    # Over IPv6 shim puts no slash behind its folder.
    r"|(?:shim)?revocations(?:_\w+)?\.efi|(?:shim)?shim_certificate(?:_\w+)?\.efi|[\w./]*\.mo(?:\.gz)?)"
)


def read_script_name(path: str) -> ScriptName | None:
    """What this path asks for, None when it is no script's name."""
    for language, pattern in _NAMES:
        found = pattern.fullmatch(path)
        if found is not None:
            return ScriptName(language, found[1].lower().replace("-", ":"))
    return None


def script_name(mac: str) -> str:
    """The name under which iPXE asks for its script."""
    return f"{mac.replace(':', '-')}.ipxe"


def may_be_missing(path: str) -> bool:
    """Whether every boot asks for such a file in vain, and goes on without it."""
    return _OPTIONAL.fullmatch(path) is not None
