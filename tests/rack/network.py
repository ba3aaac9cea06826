"""The network namespace of a rack: its bridge, taps and BMC addresses, and the proof of who owns it.

The owner of a rack holds a lock on a file in `RUN_DIR/<name>` for as long as it lives. A namespace whose lock is free
has no owner any more: `sweep` ends what still runs in it and removes it. Other namespaces are never touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from pathlib import Path
from time import monotonic, sleep

RUN_DIR = Path("/run/provisioner-rack")
NETNS_DIR = Path("/run/netns")
BMC_BRIDGE = "bmc0"
KILL_AFTER_SECONDS = 5.0


class RackError(Exception):
    """The rack cannot do what was asked; the message says why."""


@dataclass(frozen=True)
class Network:
    """The addresses of a rack's provisioning network.

    With an `address6` the network has IPv6, whose router is whoever the rack's user starts; without one the rack itself
    says that there is no prefix to have.
    """

    address: IPv4Interface = field(default_factory=lambda: IPv4Interface("10.77.0.1/24"))
    first_bmc: IPv4Address = field(default_factory=lambda: IPv4Address("10.77.0.201"))
    bridge: str = "br0"
    address6: IPv6Interface | None = None

    def bmc_address(self, index: int) -> IPv4Address:
        """The address of the BMC of the machine number `index`, from 0."""
        return self.first_bmc + index


@dataclass
class Claim:
    """A rack's name, held by a lock until the process that took it ends."""

    name: str
    lock: int

    @property
    def run_dir(self) -> Path:
        return RUN_DIR / self.name

    @property
    def netns(self) -> Path:
        return NETNS_DIR / self.name

    def release(self) -> None:
        """Remove the namespace with everything in it, and give up the name."""
        remove(self.name)
        os.close(self.lock)


def claim(name: str) -> Claim:
    """Take `name` for this process. RackError when a living rack has it, or a namespace that is not a rack's."""
    with _registry():
        _sweep()
        run_dir = RUN_DIR / name
        if run_dir.exists():
            raise RackError(f"a rack called {name} is running; stop it, or choose another name")
        if (NETNS_DIR / name).exists():
            raise RackError(f"network namespace {name} exists and is not a rack's; choose another name")
        run_dir.mkdir(mode=0o700)
        lock = os.open(run_dir / "owner", os.O_RDWR | os.O_CREAT, 0o600)
        os.write(lock, f"{os.getpid()}\n".encode())
        flock(lock, LOCK_EX)
        return Claim(name, lock)


def sweep() -> list[str]:
    """Remove every rack whose owner is gone; answers their names."""
    with _registry():
        return _sweep()


def remove(name: str) -> None:
    """End what runs in the namespace `name`, remove it (its taps go with it), and its run directory."""
    if (NETNS_DIR / name).exists():
        _end_processes(name)
        _run("ip", "netns", "del", name)
    shutil.rmtree(RUN_DIR / name, ignore_errors=True)


def build(name: str, network: Network, bmc_count: int, taps: list[str]) -> None:
    """Make the namespace with lo, the bridge with its taps, and the BMC addresses."""
    _run("ip", "netns", "add", name)
    bmcs = [f"addr add {network.bmc_address(index)}/32 dev {BMC_BRIDGE}" for index in range(bmc_count)]
    commands = [
        "link set lo up",
        f"link add {network.bridge} type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
        f"addr add {network.address} dev {network.bridge}",
        # A fixed link-local address, usable at once, for the router that answers iPXE.
        f"link set {network.bridge} addrgenmode none",
        f"addr add fe80::1/64 dev {network.bridge} nodad",
        *([f"addr add {network.address6} dev {network.bridge} nodad"] if network.address6 else []),
        f"link set {network.bridge} up",
        # Not every kernel has dummy interfaces; a bridge without ports serves as well.
        f"link add {BMC_BRIDGE} type bridge",
        *bmcs,
        f"link set {BMC_BRIDGE} up",
    ]
    for tap in taps:
        commands += [
            f"tuntap add dev {tap} mode tap",
            f"link set {tap} addrgenmode none",
            f"link set {tap} master {network.bridge}",
            f"link set {tap} up",
        ]
    _run("ip", "-n", name, "-batch", "-", stdin="\n".join(commands))


def inside(netns: Path, argv: list[str]) -> list[str]:
    """The command that runs `argv` inside the namespace, with the same pid."""
    return ["nsenter", f"--net={netns}", "--", *argv]


def processes(name: str) -> list[int]:
    """The pids of all processes inside the namespace `name`."""
    return [int(word) for word in _run("ip", "netns", "pids", name).split()]


def _sweep() -> list[str]:
    stale = [path.name for path in RUN_DIR.iterdir() if path.is_dir() and _owner_is_gone(path)]
    for name in stale:
        remove(name)
    return stale


def _owner_is_gone(run_dir: Path) -> bool:
    try:
        lock = os.open(run_dir / "owner", os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        flock(lock, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


@contextmanager
def _registry() -> Iterator[None]:
    """Only one process at a time looks for stale racks or claims a name."""
    RUN_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(RUN_DIR / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        flock(lock, LOCK_EX)
        yield
        flock(lock, LOCK_UN)
    finally:
        os.close(lock)


def _end_processes(name: str) -> None:
    for pid in processes(name):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = monotonic() + KILL_AFTER_SECONDS
    while pids := processes(name):
        if monotonic() > deadline:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        sleep(0.05)


def _run(*argv: str, stdin: str = "") -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RackError(f"{' '.join(argv)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
