"""Processors, memory, disks and PCI devices out of the /sys and /proc trees below a root."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from .host import read_text
from .identity import meaningful
from .smbios import TABLE_PATH, memory_modules

SECTOR_BYTES = 512  # the unit of `size` in /sys/block, whatever the disk's own sectors are
PCI_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_SCSI_CDROM = "5"
# A part of the device's path in /sys -> how the disk is attached; the first that fits counts.
_TRANSPORTS = (
    (re.compile(r"/usb\d"), "usb"),
    (re.compile(r"/nvme"), "nvme"),
    (re.compile(r"/virtio\d"), "virtio"),
    (re.compile(r"/ata\d"), "sata"),
    (re.compile(r"/end_device-|/sas_"), "sas"),
    (re.compile(r"/rport-"), "fc"),
    (re.compile(r"/session\d"), "iscsi"),
    (re.compile(r"/mmc\d"), "mmc"),
    (re.compile(r"/host\d"), "scsi"),
)


def read_bytes(root: str, path: str) -> bytes:
    """A file below `root`; empty when it cannot be read."""
    with suppress(OSError), open(os.path.join(root, path), "rb") as file:
        return file.read()
    return b""


def entries(root: str, folder: str) -> list[str]:
    """Sorted names in a folder below `root`; none when there is no such folder."""
    with suppress(OSError):
        return sorted(os.listdir(os.path.join(root, folder)))
    return []


def number(text: str) -> int:
    """A decimal number, 0 when it is none."""
    return int(text) if re.fullmatch(r"-?\d+", text) else 0


def processors(root: str) -> dict[str, object]:
    """Model, and how many sockets, cores and threads."""
    topology = [
        tuple(
            read_text(root, f"sys/devices/system/cpu/{name}/topology/{part}")
            for part in ("physical_package_id", "core_id")
        )
        for name in entries(root, "sys/devices/system/cpu")
        if re.fullmatch(r"cpu\d+", name)
    ]
    words = _first_values(read_text(root, "proc/cpuinfo"))
    return {
        "model": words.get("model name") or words.get("Processor") or words.get("Model") or "",
        "vendor": words.get("vendor_id", ""),
        "sockets": len({package for package, _ in topology}),
        "cores": len(set(topology)),
        "threads": len(topology),
    }


def _first_values(text: str) -> dict[str, str]:
    """The first value of each word in lines of `word : value`."""
    words: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words.setdefault(name.strip(), value.strip())
    return words


def memory(root: str) -> dict[str, object]:
    """`total_bytes` is what the kernel can use; the modules' sum is a little more."""
    kibibytes = _first_values(read_text(root, "proc/meminfo")).get("MemTotal", "0 kB").split()[0]
    return {"total_bytes": number(kibibytes) * 1024, "modules": memory_modules(read_bytes(root, TABLE_PATH))}


def disks(root: str) -> list[dict[str, object]]:
    """Disks that are hardware: no loops, RAM disks, arrays, mappings, and no CD drives."""
    return [
        _disk(root, name)
        for name in entries(root, "sys/block")
        if os.path.exists(os.path.join(root, "sys/block", name, "device"))
        and read_text(root, f"sys/block/{name}/device/type") != _SCSI_CDROM
        and read_text(root, f"sys/block/{name}/hidden") != "1"  # a path of a multipath NVMe disk
        and not re.match(r"(fd|sr)\d", name)
    ]


def _disk(root: str, name: str) -> dict[str, object]:
    base = f"sys/block/{name}"
    udev = _udev(root, read_text(root, f"{base}/dev"))
    wwn = read_text(root, f"{base}/wwid") or read_text(root, f"{base}/device/wwid") or udev.get("ID_WWN", "")
    return {
        "name": name,
        "path": f"/dev/{name.replace('!', '/')}",
        "size_bytes": number(read_text(root, f"{base}/size")) * SECTOR_BYTES,
        "sector_bytes": number(read_text(root, f"{base}/queue/logical_block_size")) or SECTOR_BYTES,
        "model": read_text(root, f"{base}/device/model") or udev.get("ID_MODEL", ""),
        "vendor": _vendor(read_text(root, f"{base}/device/vendor")),
        "serial": _serial(root, base) or udev.get("ID_SERIAL_SHORT", ""),
        "wwn": normal_wwn(wwn),
        "rotational": read_text(root, f"{base}/queue/rotational") == "1",
        "removable": read_text(root, f"{base}/removable") == "1",
        "read_only": read_text(root, f"{base}/ro") == "1",
        "transport": _transport(os.path.realpath(os.path.join(root, base, "device")), name),
        "partitions": [
            {"name": part, "size_bytes": number(read_text(root, f"{base}/{part}/size")) * SECTOR_BYTES}
            for part in entries(root, base)
            if os.path.exists(os.path.join(root, base, part, "partition"))
        ],
    }


def _vendor(text: str) -> str:
    # virtio and PCI give a number here, and disks behind libata say only that.
    return "" if text.startswith("0x") or text == "ATA" else text


def _serial(root: str, base: str) -> str:
    """virtio and NVMe have a file; SCSI has it in vital product data page 80h after four bytes (SPC-4, 7.8.18)."""
    text = read_text(root, f"{base}/serial") or read_text(root, f"{base}/device/serial")
    page = read_bytes(root, f"{base}/device/vpd_pg80")[4:].decode("latin-1")
    return meaningful(text or page)


def normal_wwn(text: str) -> str:
    """A world wide name in one form, `0x...` or `eui.`/`nvme.`/`uuid.`; "" for what is only a vendor's text."""
    text = text.strip().lower()
    if text.startswith("naa."):
        return "0x" + text[len("naa.") :]
    return text if re.match(r"0x|eui\.|nvme\.|uuid\.", text) else ""


def _transport(path: str, name: str) -> str:
    for pattern, transport in _TRANSPORTS:
        if pattern.search(f"{path}/{name}"):
            return transport
    return ""


def _udev(root: str, device: str) -> dict[str, str]:
    """What udev found out about a block device given as major:minor."""
    text = read_text(root, f"run/udev/data/b{device}") if device else ""
    pairs = (line[2:].partition("=") for line in text.splitlines() if line.startswith("E:"))
    return {key: value for key, _, value in pairs}


def pci_devices(root: str) -> list[dict[str, str]]:
    """All PCI functions, by the numbers that name them."""
    return [_pci_device(root, address) for address in entries(root, "sys/bus/pci/devices")]


def _pci_device(root: str, address: str) -> dict[str, str]:
    base = f"sys/bus/pci/devices/{address}"

    def hexadecimal(name: str) -> str:
        return read_text(root, f"{base}/{name}")[2:]

    return {
        "address": address,
        "class": hexadecimal("class"),
        "vendor": hexadecimal("vendor"),
        "device": hexadecimal("device"),
        "subsystem_vendor": hexadecimal("subsystem_vendor"),
        "subsystem_device": hexadecimal("subsystem_device"),
        "driver": link_name(root, f"{base}/driver"),
    }


def link_name(root: str, path: str) -> str:
    """The last part of what a symbolic link points to; "" when it is none."""
    with suppress(OSError):
        return os.path.basename(os.readlink(os.path.join(root, path)))
    return ""
