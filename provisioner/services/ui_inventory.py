"""A machine's inventory as facts and tables. Pure.

The inventory is what an agent sent, so nothing in it is taken for granted: what has another shape than
`agent/inventory.py` says is shown as empty here, and as it is on the raw page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from provisioner.services.ui_words import count, memory, size

# Above anything that is counted in a machine, and within what a float can hold.
_HIGHEST = 1e21
# PCI base classes and the subclasses that an operator looks for (PCI Code and ID Assignment, 1.x).
_PCI_CLASSES = {
    "0100": "SCSI controller",
    "0101": "IDE controller",
    "0104": "RAID controller",
    "0106": "SATA controller",
    "0107": "SAS controller",
    "0108": "NVMe controller",
    "01": "storage",
    "0200": "Ethernet",
    "0207": "InfiniBand",
    "02": "network",
    "0300": "VGA",
    "0302": "3D controller",
    "03": "display",
    "04": "multimedia",
    "05": "memory",
    "0600": "host bridge",
    "0601": "ISA bridge",
    "0604": "PCI bridge",
    "06": "bridge",
    "07": "communication",
    "08": "system peripheral",
    "0b": "processor",
    "0c03": "USB controller",
    "0c05": "SMBus",
    "0c": "serial bus",
    "10": "encryption",
    "11": "signal processing",
    "12": "accelerator",
}


class Fact(Struct, frozen=True):
    """A name and its value; `code` values are set in a fixed-width face."""

    name: str
    value: str
    code: bool = False


class Disk(Struct, frozen=True):
    """A disk: `grant` is the best name to allow its erasure by."""

    name: str
    path: str
    size: str
    model: str
    serial: str
    wwn: str
    kind: str
    transport: str
    partitions: tuple[str, ...]

    @property
    def grant(self) -> str:
        """WWN, else serial, else path: the first stays the same however disks are numbered."""
        return self.wwn or self.serial or self.path

    @property
    def words(self) -> str:
        """One line that tells this disk from others."""
        known = (self.path, self.size, self.model, self.serial and f"serial {self.serial}")
        return " · ".join(part for part in known if part)


class Nic(Struct, frozen=True):
    """A network card; `neighbour` is the switch port that LLDP told of."""

    name: str
    mac: str
    driver: str
    speed: str
    link: bool
    addresses: tuple[str, ...]
    neighbour: str
    pci: str
    booted: bool


class Module(Struct, frozen=True):
    """A memory module."""

    slot: str
    size: str
    kind: str
    speed: str
    vendor: str
    part: str
    serial: str


class PciDevice(Struct, frozen=True):
    """A PCI function by its numbers."""

    address: str
    kind: str
    ids: str
    driver: str


class Inventory(Struct, frozen=True):
    """All of it; empty parts were not found out."""

    summary: tuple[Fact, ...] = ()
    cpu: tuple[Fact, ...] = ()
    memory: tuple[Fact, ...] = ()
    modules: tuple[Module, ...] = ()
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    pci: tuple[PciDevice, ...] = ()
    system: tuple[Fact, ...] = ()
    bmc: tuple[Fact, ...] = ()
    boot: tuple[Fact, ...] = ()


def inventory(data: Mapping[str, Any]) -> Inventory:
    """The inventory as the page shows it."""
    disks = tuple(map(_disk, _maps(data.get("disks"))))
    boot = _map(data.get("boot"))
    nics = tuple(_nic(each, boot) for each in _maps(data.get("nics")))
    return Inventory(
        summary=_summary(data, disks, nics),
        cpu=_cpu(_map(data.get("cpu"))),
        memory=_facts(("Usable", memory(_number(_map(data.get("memory")).get("total_bytes"))))),
        modules=tuple(map(_module, _maps(_map(data.get("memory")).get("modules")))),
        disks=disks,
        nics=nics,
        pci=tuple(map(_pci, _maps(data.get("pci")))),
        system=_system(_map(data.get("dmi")), _map(data.get("os"))),
        bmc=_bmc(_map(data.get("bmc"))),
        boot=_boot(boot),
    )


# --- values of unknown shape ----------------------------------------------------------------------------------


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, (list, tuple)) else []


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(each) for each in value) if isinstance(value, (list, tuple)) else ()


def _text(value: Any) -> str:
    return str(value).strip() if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""


def _number(value: Any) -> float | None:
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _HIGHEST
    return value if known else None


def _bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _facts(*pairs: tuple[str, str], code: tuple[str, ...] = ()) -> tuple[Fact, ...]:
    return tuple(Fact(name, value, name in code) for name, value in pairs if value)


def _joined(*parts: str, by: str = " ") -> str:
    return by.join(part for part in parts if part)


# --- parts ----------------------------------------------------------------------------------------------------


def _summary(data: Mapping[str, Any], disks: tuple[Disk, ...], nics: tuple[Nic, ...]) -> tuple[Fact, ...]:
    cpu, dmi = _map(data.get("cpu")), _map(data.get("dmi"))
    linked = sum(nic.link for nic in nics)
    return _facts(
        ("Model", _joined(_text(dmi.get("vendor")), _text(dmi.get("product")))),
        ("CPU", _joined(_text(cpu.get("model")), _cores(cpu), by=" · ")),
        ("Memory", memory(_number(_map(data.get("memory")).get("total_bytes")))),
        ("Disks", ", ".join(_joined(disk.size, disk.kind) for disk in disks)),
        ("Network", f"{count(len(nics), 'card')}, {linked} with link" if nics else ""),
        ("Firmware", _text(_map(data.get("boot")).get("mode")).upper()),
        ("BMC", _text(_map(data.get("bmc")).get("address"))),
    )


def _cores(cpu: Mapping[str, Any]) -> str:
    cores, threads, sockets = (_number(cpu.get(name)) for name in ("cores", "threads", "sockets"))
    known = [
        count(int(number), word)
        for number, word in ((sockets, "socket"), (cores, "core"), (threads, "thread"))
        if number
    ]
    return ", ".join(known)


def _cpu(cpu: Mapping[str, Any]) -> tuple[Fact, ...]:
    return _facts(
        ("Model", _text(cpu.get("model"))),
        ("Vendor", _text(cpu.get("vendor"))),
        ("Architecture", _text(cpu.get("arch"))),
        ("Count", _cores(cpu)),
    )


def _module(module: Mapping[str, Any]) -> Module:
    speed = _number(module.get("speed_mts"))
    return Module(
        slot=_joined(_text(module.get("slot")), _text(module.get("bank")), by=" · "),
        size=memory(_number(module.get("size_bytes"))),
        kind=_text(module.get("type")),
        speed=f"{speed:.0f} MT/s" if speed else "",
        vendor=_text(module.get("vendor")),
        part=_text(module.get("part")),
        serial=_text(module.get("serial")),
    )


def _disk(disk: Mapping[str, Any]) -> Disk:
    flags = [word for name, word in (("removable", "removable"), ("read_only", "read-only")) if disk.get(name) is True]
    kind = {True: "hard disk", False: "SSD", None: ""}[_bool(disk.get("rotational"))]
    kind = "virtual disk" if disk.get("transport") == "virtio" else kind
    return Disk(
        name=_text(disk.get("name")),
        path=_text(disk.get("path")),
        size=size(_number(disk.get("size_bytes"))),
        model=_joined(_text(disk.get("vendor")), _text(disk.get("model"))),
        serial=_text(disk.get("serial")),
        wwn=_text(disk.get("wwn")),
        kind=_joined(kind, *flags, by=", "),
        transport=_text(disk.get("transport")),
        partitions=tuple(
            _joined(_text(part.get("name")), size(_number(part.get("size_bytes"))))
            for part in _maps(disk.get("partitions"))
        ),
    )


def _nic(nic: Mapping[str, Any], boot: Mapping[str, Any]) -> Nic:
    name = _text(nic.get("name"))
    return Nic(
        name=name,
        mac=_text(nic.get("mac")),
        driver=_text(nic.get("driver")),
        speed=_speed(_number(nic.get("speed_mbps"))),
        link=nic.get("link") is True,
        addresses=_texts(nic.get("addresses")),
        neighbour=_neighbour(_map(nic.get("lldp"))),
        pci=_text(nic.get("pci")),
        booted=bool(name) and name == boot.get("interface"),
    )


def _speed(mbps: float | None) -> str:
    if not mbps:
        return ""
    return f"{mbps / 1000:g} Gbit/s" if mbps >= 1000 else f"{mbps:g} Mbit/s"


def _neighbour(lldp: Mapping[str, Any]) -> str:
    switch = _text(lldp.get("system_name")) or _text(lldp.get("chassis"))
    port = _text(lldp.get("port"))
    described = _text(lldp.get("port_description"))
    if described and described != port:
        port = _joined(port, f"({described})")
    return _joined(switch, port, by=" · ")


def _pci(device: Mapping[str, Any]) -> PciDevice:
    code = _text(device.get("class")).lower()
    kind = _PCI_CLASSES.get(code[:4]) or _PCI_CLASSES.get(code[:2]) or code
    ids = _joined(_text(device.get("vendor")), _text(device.get("device")), by=":")
    return PciDevice(_text(device.get("address")), kind, ids, _text(device.get("driver")))


def _system(dmi: Mapping[str, Any], os: Mapping[str, Any]) -> tuple[Fact, ...]:
    return _facts(
        ("System", _joined(*(_text(dmi.get(name)) for name in ("vendor", "product", "version")))),
        ("Serial", _text(dmi.get("serial"))),
        ("UUID", _text(dmi.get("uuid"))),
        ("Asset tag", _text(dmi.get("asset_tag"))),
        ("Board", _joined(_text(dmi.get("board_vendor")), _text(dmi.get("board_product")))),
        ("Board serial", _text(dmi.get("board_serial"))),
        ("Chassis", _text(dmi.get("chassis_vendor"))),
        ("Chassis serial", _text(dmi.get("chassis_serial"))),
        ("BIOS", _joined(*(_text(dmi.get(name)) for name in ("bios_vendor", "bios_version", "bios_date")))),
        ("System running", _text(os.get("name"))),
        ("Kernel", _text(os.get("kernel"))),
        code=("Serial", "UUID", "Asset tag", "Board serial", "Chassis serial", "Kernel"),
    )


def _bmc(bmc: Mapping[str, Any]) -> tuple[Fact, ...]:
    return _facts(
        ("Address", _text(bmc.get("address"))),
        ("Set by", _text(bmc.get("source"))),
        ("Netmask", _text(bmc.get("netmask"))),
        ("Gateway", _text(bmc.get("gateway"))),
        ("MAC", _text(bmc.get("mac"))),
        ("VLAN", _text(bmc.get("vlan"))),
        ("Channel", _text(bmc.get("channel"))),
        code=("Address", "Netmask", "Gateway", "MAC"),
    )


def _boot(boot: Mapping[str, Any]) -> tuple[Fact, ...]:
    return _facts(
        ("Firmware", _text(boot.get("mode")).upper()),
        ("Secure Boot", {True: "on", False: "off", None: ""}[_bool(boot.get("secure_boot"))]),
        ("Booted from", _joined(_text(boot.get("interface")), _text(boot.get("mac")), by=" · ")),
        ("Boot id", _text(boot.get("id"))),
        code=("Booted from", "Boot id"),
    )
