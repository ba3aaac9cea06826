"""What a machine loads first: by its firmware (RFC 4578 option 93, class option 60) and by whether it is iPXE already.

Every netboot goes the same way: firmware loads iPXE over TFTP, iPXE asks again by DHCP, is recognised and loads its
script `<mac-with-dashes>.ipxe`. A machine that shall boot its own disk goes that way too and its script says exit,
because firmware that is offered no file waits for one (OVMF for about a minute) before it turns to the disk.
"""

from enum import Enum

from msgspec import Struct, field

from provisioner.model import Bootenv
from provisioner.wire.dhcp import DhcpMessage
from provisioner.wire.dhcp_options import (
    CLIENT_ARCH,
    CLIENT_UUID,
    IPXE_OPTIONS,
    USER_CLASS,
    VENDOR_CLASS,
    VENDOR_OPTIONS,
)

# A reservation with this boot file never boots from the network.
NEVER = "-"

# PXE 2.1, table 2-1: discovery control with bit 3, "take the boot file name from this very packet". Without it some
# BIOS ROMs go on to look for a boot server; old UEFI firmware breaks on it.
_USE_THIS_FILE = b"\x06\x01\x08\xff"

# iPXE's encapsulated option 176, no-pxedhcp: do not wait for a proxyDHCP server, which costs a second or more.
_DO_NOT_WAIT = b"\xb0\x01\x01"


class ClientKind(Enum):
    """What asks: a firmware's PXE or HTTP client, iPXE, or something that does not netboot (an OS)."""

    PXE = "PXEClient"
    HTTP = "HTTPClient"
    IPXE = "iPXE"
    OTHER = ""


class Firmware(Struct, frozen=True):
    """What one kind of firmware gets. Without a `file` it cannot be booted from the network yet."""

    name: str
    file: str = ""
    vendor_options: bytes = b""


# IANA "Processor Architecture Types". 9 is EBC by the letter and x64 in the firmware that sends it (RFC 4578 errata).
FIRMWARE: dict[tuple[ClientKind, int], Firmware] = {
    (ClientKind.PXE, 0): Firmware("BIOS", "ipxe/undionly.kpxe", _USE_THIS_FILE),
    (ClientKind.PXE, 6): Firmware("UEFI ia32"),
    (ClientKind.PXE, 7): Firmware("UEFI x64", "ipxe/snponly.efi", _USE_THIS_FILE),
    (ClientKind.PXE, 9): Firmware("UEFI x64", "ipxe/snponly.efi", _USE_THIS_FILE),
    (ClientKind.PXE, 10): Firmware("UEFI arm32"),
    (ClientKind.PXE, 11): Firmware("UEFI arm64"),
    (ClientKind.HTTP, 15): Firmware("UEFI ia32 HTTP"),
    (ClientKind.HTTP, 16): Firmware("UEFI x64 HTTP"),
    (ClientKind.HTTP, 19): Firmware("UEFI arm64 HTTP"),
}

# Binaries that are iPXE: given to iPXE they would only make it start itself again, for ever.
IPXE_FILES = frozenset(
    {firmware.file for firmware in FIRMWARE.values() if firmware.file} | {"ipxe/ipxe.efi", "ipxe/ipxe.pxe"}
)


class BootClient(Struct, frozen=True):
    """Who asks, as far as booting goes. `arch` is the first of option 93."""

    kind: ClientKind
    arch: int
    mac: str
    uuid: bytes = b""

    @property
    def firmware(self) -> str:
        """The firmware in words: `UEFI x64`, `iPXE on BIOS`; empty for a client that does not netboot."""
        if self.kind is ClientKind.OTHER:
            return ""
        row = FIRMWARE.get((ClientKind.PXE, self.arch)) or FIRMWARE.get((self.kind, self.arch))
        name = row.name if row else f"client architecture {self.arch}"
        return f"iPXE on {name}" if self.kind is ClientKind.IPXE else name


class Boot(Struct, frozen=True):
    """What the reply says about booting: a file and options, or neither; `reason` says why."""

    file: str = ""
    reason: str = ""
    options: dict[int, bytes] = field(default_factory=dict)


NO_BOOT = Boot()


def boot_client(message: DhcpMessage) -> BootClient:
    """Who sent this message, as far as booting goes."""
    options = message.options
    vendor_class = options.get(VENDOR_CLASS, b"")
    if _is_ipxe(options):
        kind = ClientKind.IPXE
    elif vendor_class.startswith(b"PXEClient"):
        kind = ClientKind.PXE
    elif vendor_class.startswith(b"HTTPClient"):
        kind = ClientKind.HTTP
    else:
        return BootClient(ClientKind.OTHER, 0, message.mac)
    return BootClient(kind, _arch(options, vendor_class), message.mac, options.get(CLIENT_UUID, b""))


def _is_ipxe(options: dict[int, bytes]) -> bool:
    # iPXE sends its user class bare; RFC 3004 wants a length byte before it, and some relays add one.
    return IPXE_OPTIONS in options or options.get(USER_CLASS) in (b"iPXE", b"\x04iPXE", b"gPXE")


def _arch(options: dict[int, bytes], vendor_class: bytes) -> int:
    value = options.get(CLIENT_ARCH, b"")
    if len(value) >= 2:
        return int.from_bytes(value[:2])
    # Some Intel cards leave option 93 out (danderson/pixiecore#21); the class says it too: PXEClient:Arch:00007:UNDI:..
    parts = vendor_class.split(b":")
    return int(parts[2]) if len(parts) > 2 and parts[2].isdigit() else 0


def choose_boot(client: BootClient, bootenv: Bootenv | None, override: str = "") -> Boot:
    """What the client loads first; `bootenv` None is an unknown machine, `override` a reservation's boot file."""
    if client.kind is ClientKind.OTHER:
        return NO_BOOT
    if override == NEVER:
        return Boot(reason="its reservation says that it never boots from the network")
    if client.kind is ClientKind.IPXE:
        return _for_ipxe(client, bootenv, override)
    row = FIRMWARE.get((client.kind, client.arch))
    if row is None or not (override or row.file):
        name = row.name if row else f"client architecture {client.arch} ({client.kind.value})"
        return Boot(reason=f"there is no boot file for {name}")
    return Boot(override or row.file, _purpose(bootenv), _pxe_options(client, row))


def _for_ipxe(client: BootClient, bootenv: Bootenv | None, override: str) -> Boot:
    file = override if override and override not in IPXE_FILES else script_name(client.mac)
    return Boot(file, _purpose(bootenv), {IPXE_OPTIONS: _DO_NOT_WAIT})


def _purpose(bootenv: Bootenv | None) -> str:
    if bootenv is None:
        return "unknown machine"
    if not bootenv.netboots:
        return f"boot environment {bootenv.name}: boots its own disk"
    return f"boot environment {bootenv.name}"


def _pxe_options(client: BootClient, row: Firmware) -> dict[int, bytes]:
    options = {VENDOR_CLASS: client.kind.value.encode()}
    if client.uuid:
        options[CLIENT_UUID] = client.uuid
    if row.vendor_options:
        options[VENDOR_OPTIONS] = row.vendor_options
    return options


def script_name(mac: str) -> str:
    """The name under which iPXE asks for its script."""
    return f"{mac.replace(':', '-')}.ipxe"
