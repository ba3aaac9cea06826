"""Which programs the rack needs, which Debian packages they come from, and the accelerator QEMU can use."""

import os
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.rack.network import RUN_DIR

# program or file -> Debian package
NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "/usr/share/OVMF/OVMF_CODE_4M.fd": "ovmf",
    "/usr/lib/ipxe/qemu/efi-virtio.rom": "ipxe-qemu",
    "/usr/share/seabios/bios-256k.bin": "seabios",
    "ipmi_sim": "openipmi",
    "ipmitool": "ipmitool",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
ACCELERATOR_VARIABLE = "RACK_ACCELERATOR"
KVM_PROBE_SECONDS = 3
PROBE_RESULT = RUN_DIR / "accelerator"
# mov al, 0; out 0xf4, al; hlt: ends QEMU through its isa-debug-exit device with code 1.
_PROBE_SECTOR = b"\xb0\x00\xe6\xf4\xf4".ljust(510, b"\0") + b"\x55\xaa"
_PROBE_EXIT = 1


def missing() -> dict[str, str]:
    """What is not there, with the package that has it."""
    return {name: package for name, package in NEEDED.items() if not _present(name)}


def problems() -> list[str]:
    """Why a rack cannot start here; empty when it can."""
    found = [f"{name} is missing: install the package {package}" for name, package in missing().items()]
    if os.geteuid() != 0:
        found.append("not root: network namespaces and taps need it")
    if not Path("/dev/net/tun").exists():
        found.append("/dev/net/tun is missing: load the kernel module tun")
    return found


def install() -> list[str]:
    """Install the packages that are missing with apt-get; answers their names. CalledProcessError when it fails."""
    packages = sorted(set(missing().values()))
    if packages:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-q"], check=True, env=environment)
        subprocess.run(
            ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages], check=True, env=environment
        )
    return packages


@cache
def accelerator() -> str:
    """ "kvm" when a guest proved to run with it, else "tcg". RACK_ACCELERATOR decides without a proof.

    /dev/kvm alone proves nothing: inside some virtual machines it is there, and guests hang in it.
    """
    chosen = os.environ.get(ACCELERATOR_VARIABLE, "")
    if chosen or not Path("/dev/kvm").exists():
        return chosen or "tcg"
    # The probe takes its whole time limit where guests hang, so its answer is kept for this boot of the host.
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError, ValueError):
        known_for, answer = PROBE_RESULT.read_text().split()
        if known_for == boot_id:
            return answer
    answer = "kvm" if _kvm_runs_a_guest() else "tcg"
    PROBE_RESULT.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    PROBE_RESULT.write_text(f"{boot_id} {answer}\n")
    return answer


def _kvm_runs_a_guest() -> bool:
    with TemporaryDirectory() as directory:
        sector = Path(directory, "sector")
        sector.write_bytes(_PROBE_SECTOR)
        command = "qemu-system-x86_64 -accel kvm -nodefaults -display none -m 16 -device isa-debug-exit,iobase=0xf4"
        try:
            done = subprocess.run(
                [*command.split(), "-drive", f"file={sector},format=raw,if=floppy"],
                timeout=KVM_PROBE_SECONDS,
                capture_output=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == _PROBE_EXIT


def _present(name: str) -> bool:
    return Path(name).exists() if name.startswith("/") else shutil.which(name) is not None
