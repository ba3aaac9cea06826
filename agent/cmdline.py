"""What the boot loader told us, from the kernel command line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

PREFIX = "provisioner."
_WORD = re.compile(r'(?:"[^"]*"|[^\s"])+')  # the kernel knows double quotes and nothing else


@dataclass(frozen=True)
class BootWords:
    """`url` of the server, the `bootenv` that was booted, the one-time `ticket`, the `mac` that booted ("" unknown)."""

    url: str = ""
    bootenv: str = ""
    ticket: str = field(default="", repr=False)
    mac: str = ""


def parse(text: str) -> BootWords:
    """Read a kernel command line; of a word given twice the last counts, as for the kernel itself."""
    words: dict[str, str] = {}
    for word in _WORD.findall(text):
        name, _, value = word.partition("=")
        words[name.strip('"')] = value.strip('"')
    return BootWords(
        url=words.get(PREFIX + "url", ""),
        bootenv=words.get(PREFIX + "bootenv", ""),
        ticket=words.get(PREFIX + "ticket", ""),
        mac=boot_mac(words.get("BOOTIF", "")),
    )


def boot_mac(bootif: str) -> str:
    """The MAC in PXELINUX's BOOTIF form, `01-52-54-00-aa-bb-cc` (01 is Ethernet), also without the type; else ""."""
    parts = re.split("[-:]", bootif.lower())
    octets = parts[1:] if len(parts) == 7 else parts
    if len(octets) == 6 and all(re.fullmatch("[0-9a-f]{2}", octet) for octet in octets):
        return ":".join(octets)
    return ""
