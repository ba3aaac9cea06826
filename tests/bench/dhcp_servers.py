"""The DHCP servers that are measured, each as its makers would have it run beside PXE clients.

All give addresses of a /16 pool of 65,000 with the same options and boot file, and write their leases to the same disk.
Only ours and dhcpd and dnsmasq wait for the disk before they say ACK; Kea does not.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.bench.dhcp_wires import Wire
from tests.bench.process import Process, serving

BOOT_FILE = "ipxe/snponly.efi"
LEASE_SECONDS = 86_400
_STOP_SECONDS = 10
_SETTLE_SECONDS = 1.5

Argv = Callable[[Wire, Path, int], Sequence[str]]


def ours(wire: Wire, folder: Path) -> list[str]:
    """Through the real CLI, with its database below `folder`; whole but for TFTP.

    Addresses are not asked for before they are offered: none of the others does that, as they are set up here.
    """
    subnet = f"{wire.address('0.0')}/16,{wire.address('1.0')}-{wire.address('255.250')}"
    subnet += f",gateway={wire.address('0.254')},dns={wire.address('0.253')},probe=off"
    return [
        "provisioner", "serve", "--data-dir", str(folder / "data"), "--log-format", "json", "--listen-tftp", "off",
        "--listen-http", "127.0.0.1:0", "--listen-ui", "127.0.0.1:0", "--dhcp-subnets", subnet,
    ]  # fmt: skip


def kea(wire: Wire, folder: Path, leases: int) -> Sequence[str]:
    """One thread, which is its best on one processor; leases in a file, written as they come, never flushed."""
    config = {
        "Dhcp4": {
            "interfaces-config": {"interfaces": [f"{wire.ends[0]}/{wire.address('0.1')}"], "dhcp-socket-type": "raw"},
            "lease-database": {
                "type": "memfile", "persist": True, "lfc-interval": 0, "name": str(folder / "leases.csv"),
            },
            "multi-threading": {"enable-multi-threading": False},
            "valid-lifetime": LEASE_SECONDS,
            "next-server": wire.address("0.1"),
            "boot-file-name": BOOT_FILE,
            "subnet4": [
                {
                    "subnet": f"{wire.address('0.0')}/16",
                    "pools": [{"pool": f"{wire.address('1.0')} - {wire.address('255.250')}"}],
                    "option-data": [
                        {"name": "routers", "data": wire.address("0.254")},
                        {"name": "domain-name-servers", "data": wire.address("0.253")},
                        {"name": "boot-file-name", "data": BOOT_FILE},
                    ],
                }
            ],
            "loggers": [
                {"name": "kea-dhcp4", "severity": "WARN", "output_options": [{"output": str(folder / "kea.log")}]}
            ],
        }
    }  # fmt: skip
    place = folder / "kea.json"
    place.write_text(json.dumps(config, indent=1))
    return ["kea-dhcp4", "-c", str(place)]


def dnsmasq(wire: Wire, folder: Path, leases: int) -> Sequence[str]:
    """With a lease file that holds `leases` already: to give out so many takes it a quarter of an hour."""
    ends = int(time.time()) + LEASE_SECONDS
    lines = (f"{ends} {_mac(n)} {_leased(wire, n)} * *\n" for n in range(leases))
    (folder / "leases").write_text("".join(lines))
    settings = {
        "port": "0", "interface": wire.ends[0], "dhcp-range": f"{wire.address('1.0')},{wire.address('255.250')},24h",
        "dhcp-option": f"option:router,{wire.address('0.254')}", "dhcp-boot": f"{BOOT_FILE},,{wire.address('0.1')}",
        "dhcp-lease-max": "70000", "dhcp-leasefile": str(folder / "leases"), "user": "root",
    }  # fmt: skip
    flags = "bind-interfaces\nno-ping\nquiet-dhcp\ndhcp-authoritative\n"
    place = folder / "dnsmasq.conf"
    place.write_text(flags + "".join(f"{name}={value}\n" for name, value in settings.items()))
    return ["dnsmasq", "-k", "-C", str(place), f"--pid-file={folder / 'pid'}"]


def dhcpd(wire: Wire, folder: Path, leases: int) -> Sequence[str]:
    """ISC's, without the ping that makes each offer wait a second; its lease file holds `leases` already."""
    # See dhcpd.leases(5).
    entry = "lease {} {{ starts epoch {}; ends epoch {}; binding state active; hardware ethernet {}; }}\n"
    now = int(time.time())
    lines = (entry.format(_leased(wire, n), now, now + LEASE_SECONDS, _mac(n)) for n in range(leases))
    (folder / "leases").write_text("authoring-byte-order little-endian;\n" + "".join(lines))
    place = folder / "dhcpd.conf"
    place.write_text(
        f"authoritative; ping-check off; default-lease-time {LEASE_SECONDS}; max-lease-time {LEASE_SECONDS};\n"
        f"subnet {wire.address('0.0')} netmask 255.255.0.0 {{\n"
        f"  range {wire.address('1.0')} {wire.address('255.250')}; option routers {wire.address('0.254')};\n"
        f'  option domain-name-servers {wire.address("0.253")}; filename "{BOOT_FILE}"; next-server'
        f" {wire.address('0.1')};\n}}\n"
    )
    files = ["-cf", str(place), "-lf", str(folder / "leases"), "-pf", str(folder / "pid")]
    return ["dhcpd", "-4", "-f", "-q", *files, wire.ends[0]]


PEERS: dict[str, Argv] = {"kea": kea, "dnsmasq": dnsmasq, "dhcpd": dhcpd}
_PROGRAMS = {"kea": "kea-dhcp4", "dnsmasq": "dnsmasq", "dhcpd": "dhcpd"}


def installed(name: str) -> bool:
    """Whether this peer can be measured here."""
    return shutil.which(_PROGRAMS[name]) is not None


def _leased(wire: Wire, number: int) -> str:
    return wire.address(f"{1 + (number >> 8)}.{number & 255}")


def _mac(number: int) -> str:
    # None of the load's own, which begin with 02:77.
    return f"02:66:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def _start(name: str, wire: Wire, folder: Path, leases: int) -> subprocess.Popen[bytes]:
    _make(folder)
    command = [*wire.inside(), *PEERS[name](wire, folder, leases)]
    environment = os.environ | {"KEA_LOCKFILE_DIR": str(folder), "KEA_PIDFILE_DIR": str(folder)}
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def _said(folder: Path) -> str:
    return (folder / "output").read_text()[-2000:]


@asynccontextmanager
async def our_server(wire: Wire, folder: Path) -> AsyncIterator[Process]:
    """Ours, ready to answer."""
    _make(folder)
    async with serving(ours(wire, folder), folder / "server.log", wire.inside()) as process:
        yield process


@asynccontextmanager
async def peer(name: str, wire: Wire, folder: Path, leases: int = 0) -> AsyncIterator[Process]:
    """Another server, ready to answer, for as long as the context."""
    process = _start(name, wire, folder, leases)
    try:
        await asyncio.sleep(_SETTLE_SECONDS)
        if process.poll() is not None:
            raise RuntimeError(f"{name} ended:\n{_said(folder)}")
        yield Process(process.pid, {})
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
