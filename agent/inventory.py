"""What the machine is made of, as one JSON object; every part is left empty where it cannot be found out.

    cpu        model, vendor, sockets, cores, threads, arch
    memory     total_bytes, modules[slot, bank, size_bytes, type, speed_mts, vendor, part, serial]
    disks[]    name, path, size_bytes, sector_bytes, model, vendor, serial, wwn, rotational, removable, read_only,
               transport, partitions[name, size_bytes]
    nics[]     name, mac, current_mac, driver, speed_mbps, link, mtu, pci, addresses[], lldp{chassis, port, ...}
    pci[]      address, class, vendor, device, subsystem_vendor, subsystem_device, driver
    dmi        vendor, product, version, serial, uuid, asset_tag, board_*, chassis_*, bios_*
    bmc        address, source, netmask, mac, gateway, vlan, channel
    boot       mode (bios or uefi), secure_boot, interface, mac, id
    os         kernel, id, version, name, hostname

Sizes are bytes; `speed_mbps` is null without link.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Callable

from .bmc import find
from .cards import by_mac, cards, kernel_addresses, kernel_permanent_mac
from .clock import Clock
from .cmdline import parse
from .hardware import disks, memory, pci_devices, processors, read_bytes
from .host import architecture, boot_id, firmware, read_text
from .identity import meaningful, meaningful_uuid
from .lldp import listen

PROGRAM_TIMEOUT_SECONDS = 10.0  # a hung BMC must not hold the inventory up
_SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_DMI_FILES = {
    "vendor": "sys_vendor",
    "product": "product_name",
    "version": "product_version",
    "serial": "product_serial",
    "board_vendor": "board_vendor",
    "board_product": "board_name",
    "board_serial": "board_serial",
    "chassis_vendor": "chassis_vendor",
    "chassis_serial": "chassis_serial",
    "chassis_type": "chassis_type",
    "asset_tag": "chassis_asset_tag",
    "bios_vendor": "bios_vendor",
    "bios_version": "bios_version",
    "bios_date": "bios_date",
}


def run_program(words: Sequence[str]) -> str:
    """A program's output; "" when it is not there, fails or takes too long."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PROGRAM_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


@dataclass(frozen=True)
class Senses:
    """What the trees do not tell and has to be asked of the running system."""

    permanent_mac: Callable[[str], str] = kernel_permanent_mac
    addresses: Callable[[str], list[str]] = kernel_addresses
    run: Callable[[Sequence[str]], str] = run_program
    machine_word: str = field(default_factory=lambda: os.uname().machine)


def collect(root: str = "/", senses: Senses = Senses(), lldp: Mapping[str, dict[str, str]] = {}) -> dict[str, object]:
    """The inventory out of the trees below `root`; `lldp` is what `hear_neighbours` heard."""
    nics = [
        {**card, "lldp": lldp.get(str(card["name"]), {})}
        for card in cards(root, senses.permanent_mac, senses.addresses)
    ]
    return {
        "cpu": {**processors(root), "arch": architecture(senses.machine_word)},
        "memory": memory(root),
        "disks": disks(root),
        "nics": nics,
        "pci": pci_devices(root),
        "dmi": _dmi(root),
        "bmc": find(root, senses.run),
        "boot": _boot(root, nics),
        "os": _operating_system(root),
    }


def hear_neighbours(names: Sequence[str], seconds: float, clock: Clock) -> Mapping[str, dict[str, str]]:
    """LLDP neighbours by interface; 0 seconds is not to listen."""
    return listen(names, seconds, clock) if seconds > 0 else {}


def _dmi(root: str) -> dict[str, str]:
    found = {name: meaningful(read_text(root, f"sys/class/dmi/id/{file}")) for name, file in _DMI_FILES.items()}
    # One digit is meaningful here, unlike in a serial number.
    found["chassis_type"] = read_text(root, "sys/class/dmi/id/chassis_type")
    found["uuid"] = meaningful_uuid(read_text(root, "sys/class/dmi/id/product_uuid"))
    return found


def _boot(root: str, nics: Sequence[dict[str, object]]) -> dict[str, object]:
    mac = parse(read_text(root, "proc/cmdline")).mac
    variable = read_bytes(root, _SECURE_BOOT)  # four bytes of attributes, then the value (UEFI 2.10, 8.2)
    return {
        "mode": firmware(root),
        "secure_boot": variable[4:5] == b"\x01",
        "interface": by_mac(nics, mac),
        "mac": mac,
        "id": boot_id(root),
    }


def _operating_system(root: str) -> dict[str, str]:
    pairs = re.findall(r'^(\w+)="?([^"\n]*)"?$', read_text(root, "etc/os-release"), re.MULTILINE)
    release = dict(pairs)
    return {
        "kernel": read_text(root, "proc/sys/kernel/osrelease"),
        "id": release.get("ID", ""),
        "version": release.get("VERSION_ID", ""),
        "name": release.get("PRETTY_NAME", ""),
        "hostname": read_text(root, "proc/sys/kernel/hostname"),
    }
