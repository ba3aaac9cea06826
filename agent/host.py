"""What the agent says of the machine when it registers and says hello; quick to find out, without any other program."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Callable, Optional
from urllib.parse import urlsplit

from .job_protocol import Holder
from .version import VERSION

# What `uname` says -> our word; anything else goes unchanged.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "i386": "386", "armv7l": "arm"}
# Capability -> the program that gives it. Tasks can ask for them.
CAPABILITIES = {
    "dmidecode": "dmidecode",
    "ipmi": "ipmitool",
    "kexec": "kexec",
    "partition": "sfdisk",
    "zstd": "zstd",
}
_ETHERNET = "1"  # ARPHRD_ETHER
_NO_MAC = "00:00:00:00:00:00"


def read_text(root: str, path: str) -> str:
    """A file below `root` without blanks around it; "" when it cannot be read."""
    with suppress(OSError), open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        return file.read().strip().strip("\0").strip()
    return ""


def boot_id(root: str = "/") -> str:
    """A word that is another one after each boot."""
    return read_text(root, "proc/sys/kernel/random/boot_id")


def architecture(uname_machine: str) -> str:
    """Our word for a machine's architecture."""
    return ARCHITECTURES.get(uname_machine, uname_machine)


def firmware(root: str = "/") -> str:
    """`uefi` or `bios`: how the machine was booted."""
    return "uefi" if os.path.isdir(os.path.join(root, "sys/firmware/efi")) else "bios"


def network_cards(root: str = "/") -> list[str]:
    """Names of the network interfaces that are hardware."""
    folder = os.path.join(root, "sys/class/net")
    with suppress(OSError):
        return sorted(name for name in os.listdir(folder) if os.path.exists(os.path.join(folder, name, "device")))
    return []


def virtual_cards(root: str = "/") -> list[str]:
    """Names of the interfaces that stand for a network card where there is none, as in a container."""
    folder = os.path.join(root, "sys/class/net")
    with suppress(OSError):
        return sorted(name for name in os.listdir(folder) if read_text(root, f"sys/class/net/{name}/type") == _ETHERNET)
    return []


def macs(root: str = "/", first: str = "") -> list[str]:
    """MACs of all network cards, the one that booted first."""
    found = [first] if first else []
    for name in network_cards(root) or virtual_cards(root):
        mac = read_text(root, f"sys/class/net/{name}/address").lower()
        if mac and mac != _NO_MAC and mac not in found:
            found.append(mac)
    return found


def local_address(url: str) -> str:
    """The address from which we reach a server, "" when there is no way to it; nothing is sent for that."""
    parts = urlsplit(url)
    with suppress(OSError):
        found = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    return ""


def registration_card(
    ticket: str, mac: str, bootenv: str, url: str, identity: Mapping[str, object], root: str = "/"
) -> dict[str, object]:
    """What a machine shows when it registers."""
    return {
        "ticket": ticket,
        "macs": macs(root, mac),
        "arch": architecture(os.uname().machine),
        "firmware": firmware(root),
        "bootenv": bootenv,
        "hostname": socket.gethostname(),
        "address": local_address(url),
        "identity": dict(identity),
    }


def greeting(
    holder: Holder, bootenv: str, url: str, root: str = "/", which: Callable[[str], Optional[str]] = shutil.which
) -> dict[str, object]:
    """What an agent says of itself when it comes up."""
    address = local_address(url)
    return {
        **holder.as_json(),
        "bootenv": bootenv,
        "version": VERSION,
        "arch": architecture(os.uname().machine),
        "hostname": socket.gethostname(),
        "addresses": [address] if address else [],
        "capabilities": sorted(name for name, program in CAPABILITIES.items() if which(program)),
    }
