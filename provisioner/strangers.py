"""What is known of machines that are not known yet: the architecture that their firmware told by DHCP."""

from __future__ import annotations

from provisioner.firmware import BootClient, Platform

# A hall of new machines; more are forgotten all at once, and tell it again with their next boot.
MOST_KNOWN = 65_536
USUAL_ARCH = "amd64"
# UEFI for ia32 is found on machines that run amd64; a BIOS says nothing about its processor.
_ARCHS = {
    Platform.ARM32: "arm",
    Platform.ARM64: "arm64",
    Platform.RISCV64: "riscv64",
    Platform.LOONGARCH64: "loong64",
}


class Strangers:
    """Architectures by MAC, of those that are not the usual one."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        self._archs: dict[str, str] = {}

    def met(self, client: BootClient) -> None:
        """A machine that nobody knows has asked what to boot."""
        arch = _ARCHS.get(client.platform) if client.platform is not None else None
        if arch is None:
            if self._archs:
                self._archs.pop(client.mac, None)
            return
        if len(self._archs) >= self._most:
            self._archs.clear()
        self._archs[client.mac] = arch

    def arch_of(self, mac: str) -> str:
        """What to take this machine for."""
        return self._archs.get(mac, USUAL_ARCH)
