"""The machine's own BMC as seen from inside: asked of it over the system interface by `ipmitool`, when there is one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Callable

DEVICES = ("dev/ipmi0", "dev/ipmi/0", "dev/ipmidev/0")
CHANNELS = (1, 2, 3, 8)  # where vendors put the LAN; 8 is a shared port on some
_WORDS = {
    "IP Address": "address",
    "IP Address Source": "source",
    "Subnet Mask": "netmask",
    "MAC Address": "mac",
    "Default Gateway IP": "gateway",
    "802.1q VLAN ID": "vlan",
}


def parse_lan_print(text: str) -> dict[str, str]:
    """Read `ipmitool lan print`; empty when there is no address in it."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, separator, value = line.partition(":")
        word = _WORDS.get(name.strip())
        if separator and word and word not in found:
            found[word] = value.strip()
    if not re.fullmatch(r"\d+\.\d+\.\d+\.\d+", found.get("address", "")):
        return {}
    return found


def find(root: str, run: Callable[[Sequence[str]], str]) -> dict[str, str]:
    """The BMC's LAN settings; empty when there is no BMC. `run` gives a command's output, "" when it failed."""
    if not any(os.path.exists(os.path.join(root, device)) for device in DEVICES):
        return {}
    first: dict[str, str] = {}
    for channel in CHANNELS:
        found = parse_lan_print(run(("ipmitool", "lan", "print", str(channel))))
        if found and found["address"] != "0.0.0.0":
            return {**found, "channel": str(channel)}
        first = first or found
    return first
