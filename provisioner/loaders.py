"""Boot loaders: what there is for which firmware, and in which order they are tried.

A loader is a name and a file for each platform, the path below `/files/`. Firmware loads it by TFTP, or by HTTP when it
is an HTTP client. iPXE then asks by DHCP again and gets the machine's script; GRUB asks for `/grub/grub.cfg`.
"""

from msgspec import Struct

from provisioner.firmware import Platform

# Not a row: whoever names it shall load nothing from the network.
NO_LOADER = "none"


class Loader(Struct, frozen=True):
    """One loader: its file for each platform that it is built for."""

    name: str
    meaning: str
    files: dict[Platform, str]
    is_ipxe: bool = False


LOADERS: dict[str, Loader] = {
    loader.name: loader
    for loader in (
        Loader(
            "undionly",
            "iPXE with the driver of the card's own BIOS ROM",
            {Platform.BIOS: "ipxe/undionly.kpxe"},
            is_ipxe=True,
        ),
        Loader(
            "snponly",
            "iPXE with the firmware's driver for the card that it booted from",
            {
                Platform.X64: "ipxe/snponly.efi",
                Platform.IA32: "ipxe/snponly-ia32.efi",
                Platform.ARM64: "ipxe/snponly-arm64.efi",
            },
            is_ipxe=True,
        ),
        Loader(
            "ipxe",
            "iPXE with drivers of its own",
            {
                Platform.BIOS: "ipxe/ipxe.pxe",
                Platform.X64: "ipxe/ipxe.efi",
                Platform.IA32: "ipxe/ipxe-ia32.efi",
                Platform.ARM64: "ipxe/ipxe-arm64.efi",
            },
            is_ipxe=True,
        ),
        Loader(
            "shim",
            "the signed shim, which loads the signed GRUB: for Secure Boot",
            {
                Platform.X64: "shim/shimx64.efi",
                Platform.IA32: "shim/shimia32.efi",
                Platform.ARM64: "shim/shimaa64.efi",
            },
        ),
        Loader(
            "grub",
            "GRUB without shim",
            {
                Platform.X64: "grub/grubx64.efi",
                Platform.IA32: "grub/grubia32.efi",
                Platform.ARM64: "grub/grubaa64.efi",
                Platform.ARM32: "grub/grubarm.efi",
                Platform.RISCV64: "grub/grubriscv64.efi",
                Platform.LOONGARCH64: "grub/grubloongarch64.efi",
            },
        ),
    )
}

# Given to iPXE they would only make it start itself again, for ever.
IPXE_FILES = frozenset(file for loader in LOADERS.values() if loader.is_ipxe for file in loader.files.values())

_UNSIGNED_FIRST = ("undionly", "snponly", "ipxe", "shim", "grub")
_SIGNED = "shim"
_SIGNED_FIRST = ("shim", "grub", "snponly", "ipxe")


def order(
    platform: Platform | None, *, secure: bool = False, only_ipxe: bool = False, first: str = ""
) -> tuple[str, ...]:
    """The loaders for a platform as they are tried one after the other: `first`, then as it is usual.

    iPXE comes before GRUB, because it loads faster and tells more; where Secure Boot is on, it would not start at all.
    With `only_ipxe` GRUB is left out: it would sit at its prompt for ever. Firmware that boots by HTTP leaves GRUB 2.06
    without a network, and GRUB reads nothing of what a proxy said (digitalrebar kb-00043).
    """
    usual: tuple[str, ...] = _SIGNED_FIRST if secure else _UNSIGNED_FIRST
    if only_ipxe:
        usual = () if secure else tuple(name for name in usual if LOADERS[name].is_ipxe)
    names = (first, *(name for name in usual if name != first)) if first else usual
    return tuple(name for name in names if file_of(name, platform))


def signed_second(names: tuple[str, ...]) -> tuple[str, ...]:
    """The order where nobody knows of Secure Boot, which new servers often come with: when the first is in vain, the
    signed one is next.
    """
    if _SIGNED not in names[1:]:
        return names
    return (names[0], _SIGNED, *(name for name in names[1:] if name != _SIGNED))


def file_of(name: str, platform: Platform | None) -> str:
    """The loader's file for this platform, '' when it has none."""
    loader = LOADERS.get(name)
    return loader.files.get(platform, "") if loader is not None and platform is not None else ""
