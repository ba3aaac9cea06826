"""What a virtual machine is, and the QEMU command line that follows from it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from uuid import UUID, uuid5

from tests.rack.firmware import FLASH, Firmware, firmware_arguments

RACK_NAMESPACE = UUID("6f0c3f0e-6a53-4c0c-9d2b-7e1f7a77c001")
RETRY_MS = 10_000
# The smallest 64-bit one that QEMU has: emulating newer ones takes longer.
ARM_CPU = "cortex-a53"


class NextBoot(StrEnum):
    """A one-time boot device asked for over IPMI; NONE means the usual order."""

    NONE = "none"
    PXE = "pxe"
    DISK = "disk"
    CDROM = "cdrom"
    BIOS = "bios"


@dataclass(frozen=True)
class Machine:
    """One server of the rack. What is left empty follows from the name, so it is the same in every run."""

    name: str
    firmware: Firmware = Firmware.BIOS
    memory_mb: int = 2048
    cpus: int = 1
    disk_gb: int = 8
    macs: tuple[str, ...] = ()
    manufacturer: str = "Rackworks"
    product: str = "Virtual Server 1"
    serial: str = ""
    uuid: str = ""
    extra_args: tuple[str, ...] = ()

    @property
    def smbios_uuid(self) -> str:
        """The system UUID that DMI shows."""
        return self.uuid or str(uuid5(RACK_NAMESPACE, self.name))

    @property
    def serial_number(self) -> str:
        """The system serial number that DMI shows."""
        return self.serial or f"RW-{_digits(self.name, 8)}"

    @property
    def disk_serial(self) -> str:
        """The serial number of the disk (INQUIRY page 0x80)."""
        return f"RWD{_digits(self.name, 8)}"

    @property
    def disk_wwn(self) -> str:
        """The World Wide Name of the disk: NAA 5, as SAS disks have."""
        return f"0x50014ee{_digits(self.name, 9).lower()}"

    @property
    def network_macs(self) -> tuple[str, ...]:
        """The MAC of each network card; the first one boots."""
        tail = _digits(self.name, 4).lower()
        return self.macs or (f"52:54:00:77:{tail[:2]}:{tail[2:]}",)

    @property
    def bmc_mac(self) -> str:
        """The MAC that the BMC claims to have."""
        tail = _digits(self.name, 4).lower()
        return f"52:54:00:b3:{tail[:2]}:{tail[2:]}"


@dataclass(frozen=True)
class Attachment:
    """Where one machine is plugged in: its files, sockets, taps and ports inside the namespace."""

    directory: Path
    qmp_socket: Path
    taps: tuple[str, ...]
    kcs_port: int
    console_port: int

    @property
    def disk(self) -> Path:
        return self.directory / "disk.qcow2"

    @property
    def firmware_vars(self) -> Path:
        return self.directory / "vars.fd"

    @property
    def serial_log(self) -> Path:
        return self.directory / "serial.log"


def boots_disk_first(next_boot: NextBoot) -> bool:
    """Whether the disk comes before the network: the usual order of the rack is the network first."""
    return next_boot is NextBoot.DISK


def qemu_command(machine: Machine, at: Attachment, next_boot: NextBoot, accelerator: str) -> list[str]:
    """The command that runs `machine` for one boot, in the order that `next_boot` asks for."""
    disk_index, network_index = (1, 2) if boots_disk_first(next_boot) else (2, 1)
    flash = FLASH[machine.firmware]
    secure = flash is not None and flash.secure
    arm = machine.firmware is Firmware.ARM64
    return [
        "qemu-system-aarch64" if arm else "qemu-system-x86_64",
        "-name",
        machine.name,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-accel",
        "tcg" if arm else accelerator,
        "-machine",
        *(["virt", "-cpu", ARM_CPU] if arm else ["q35,graphics=off" + (",smm=on" if secure else "")]),
        # SeaBIOS otherwise stops for ever when nothing boots; servers try again.
        "-boot",
        f"reboot-timeout={RETRY_MS}",
        "-m",
        str(machine.memory_mb),
        "-smp",
        str(machine.cpus),
        "-device",
        "virtio-rng-pci",
        *_identity(machine),
        *firmware_arguments(machine.firmware, at.firmware_vars),
        *_disk(machine, at, disk_index),
        *_network(machine, at, network_index),
        *_management(at),
        *([] if arm else _management_inside(at)),
        *machine.extra_args,
    ]


def _identity(machine: Machine) -> list[str]:
    maker = f"manufacturer={machine.manufacturer},product={machine.product}"
    serial = machine.serial_number
    return [
        "-uuid",
        machine.smbios_uuid,
        "-smbios",
        f"type=1,{maker},serial={serial},uuid={machine.smbios_uuid}",
        "-smbios",
        f"type=2,{maker},serial={serial}B",
        "-smbios",
        f"type=3,manufacturer={machine.manufacturer},serial={serial}C",
    ]


def _disk(machine: Machine, at: Attachment, boot_index: int) -> list[str]:
    return [
        "-device",
        "virtio-scsi-pci,id=scsi0",
        "-drive",
        # A machine is ended with QMP `quit`, which writes everything out; the host crashing is no concern here.
        f"if=none,id=disk0,format=qcow2,file={at.disk},cache=unsafe,discard=unmap,detect-zeroes=unmap",
        "-device",
        f"scsi-hd,bus=scsi0.0,drive=disk0,vendor=RACKWORK,product=SAS-DISK,serial={machine.disk_serial},"
        f"wwn={machine.disk_wwn},bootindex={boot_index}",
    ]


def _network(machine: Machine, at: Attachment, boot_index: int) -> list[str]:
    args: list[str] = []
    # SeaBIOS has no network stack and runs the ROM of the card, Debian's iPXE. It must be QEMU's default: a ROM named
    # here is not patched to the PCI id of the card, and SeaBIOS leaves it out. OVMF without a ROM uses its own stack.
    boot_rom = "" if machine.firmware is Firmware.BIOS else ",romfile="
    for number, (mac, tap) in enumerate(zip(machine.network_macs, at.taps, strict=True)):
        args += [
            "-netdev",
            f"tap,id=net{number},ifname={tap},script=no,downscript=no",
            "-device",
            f"virtio-net-pci,netdev=net{number},mac={mac}"
            + (f"{boot_rom},bootindex={boot_index}" if number == 0 else ",romfile="),
        ]
    return args


def _management(at: Attachment) -> list[str]:
    return [
        "-chardev",
        f"socket,id=console0,host=127.0.0.1,port={at.console_port},server=on,wait=off,"
        f"logfile={at.serial_log},logappend=on",
        "-serial",
        "chardev:console0",
        "-qmp",
        f"unix:{at.qmp_socket},server=on,wait=off",
        # Paused, not ended: the reason of a reset or shutdown is read before the process goes away.
        "-action",
        "reboot=shutdown,shutdown=pause",
    ]


def _management_inside(at: Attachment) -> list[str]:
    """The BMC seen from inside the machine. It reconnects by itself, so a BMC may restart at any time."""
    return [
        "-chardev",
        f"socket,id=kcs0,host=127.0.0.1,port={at.kcs_port},reconnect=1",
        "-device",
        "ipmi-bmc-extern,id=bmc0,chardev=kcs0",
        "-device",
        "isa-ipmi-kcs,bmc=bmc0",
    ]


def _digits(name: str, count: int) -> str:
    return uuid5(RACK_NAMESPACE, f"serial of {name}").hex[:count].upper()
