"""The firmwares a machine can start with, as data: their flash images and what they are told not to try.

A UEFI network card gives four boot entries: PXE and HTTP, each over IPv4 and IPv6. OVMF tries them in that order and
waits up to a minute for each that nobody answers, so each firmware here is told to leave out what it is not for.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_OVMF = Path("/usr/share/OVMF")
_AAVMF = Path("/usr/share/AAVMF")


class Firmware(StrEnum):
    """Which firmware starts the machine, and how it boots from the network."""

    BIOS = "bios"
    UEFI = "uefi"
    UEFI_HTTP = "uefi-http"
    UEFI_SECURE = "uefi-secure"
    UEFI_HTTP_IPV6 = "uefi-http-ipv6"
    UEFI_PXE_IPV6 = "uefi-pxe-ipv6"
    UEFI_IA32 = "uefi-ia32"
    ARM64 = "arm64"


@dataclass(frozen=True)
class Flash:
    """A UEFI firmware: its code, the variables it begins with, and the boot ways it leaves out.

    `without` are names below `opt/org.tianocore/` in QEMU's firmware configuration. `secure` needs SMM, so that only
    the firmware itself can write its variables. `wait_ms` passes before it boots.
    """

    code: Path
    variables: Path
    without: tuple[str, ...]
    secure: bool = False
    wait_ms: int = 0


_CODE, _VARIABLES = _OVMF / "OVMF_CODE_4M.fd", _OVMF / "OVMF_VARS_4M.fd"

FLASH: dict[Firmware, Flash | None] = {
    # SeaBIOS, which QEMU brings along.
    Firmware.BIOS: None,
    Firmware.UEFI: Flash(_CODE, _VARIABLES, ("IPv6Support",)),
    Firmware.UEFI_HTTP: Flash(_CODE, _VARIABLES, ("IPv6Support", "IPv4PXESupport")),
    # Variables with Microsoft's keys, Secure Boot on.
    Firmware.UEFI_SECURE: Flash(
        _OVMF / "OVMF_CODE_4M.secboot.fd", _OVMF / "OVMF_VARS_4M.ms.fd", ("IPv6Support",), secure=True
    ),
    # It gives up at once while its link-local address is still being checked for doubles, which takes two seconds.
    Firmware.UEFI_HTTP_IPV6: Flash(_CODE, _VARIABLES, ("IPv4Support", "IPv6PXESupport"), wait_ms=3000),
    Firmware.UEFI_PXE_IPV6: Flash(_CODE, _VARIABLES, ("IPv4Support",), wait_ms=3000),
    # The only one for 32 bits (package ovmf-ia32) wants SMM; no keys are in its variables, so Secure Boot is off.
    Firmware.UEFI_IA32: Flash(
        _OVMF / "OVMF32_CODE_4M.secboot.fd", _OVMF / "OVMF32_VARS_4M.fd", ("IPv6Support",), secure=True
    ),
    # UEFI for arm64, by PXE over IPv4.
    Firmware.ARM64: Flash(_AAVMF / "AAVMF_CODE.fd", _AAVMF / "AAVMF_VARS.fd", ("IPv6Support",)),
}


def firmware_arguments(firmware: Firmware, variables: Path) -> list[str]:
    """What QEMU is told about the firmware; `variables` is the machine's own copy of its variables."""
    flash = FLASH[firmware]
    if flash is None:
        return []
    arguments = [
        "-drive",
        f"if=pflash,unit=0,format=raw,readonly=on,file={flash.code}",
        "-drive",
        f"if=pflash,unit=1,format=raw,file={variables}",
    ]
    for name in flash.without:
        arguments += ["-fw_cfg", f"name=opt/org.tianocore/{name},string=n"]
    if flash.secure:
        arguments += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
    if flash.wait_ms:
        arguments += ["-boot", f"menu=on,splash-time={flash.wait_ms}"]
    return arguments
