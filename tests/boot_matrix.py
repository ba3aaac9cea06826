"""The ways to boot from the network, as data, and how a machine is led along each, up to the hello of our agent.

BIOS and UEFI PXE with addresses from this server are walked by the main job (tests/test_main_job.py) already.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any

from tests.journey import REPOSITORY, Site
from tests.rack.firmware import Firmware
from tests.rack.machine import Machine
from tests.rack.neighbour import start_neighbour
from tests.rack.network import Network

BROKEN_FILES = REPOSITORY / "build" / "boot-more" / "files"
AT_ONCE = 2
HELLO_SECONDS = 400.0
SLOW_SECONDS = 600.0
INVENTORY_SECONDS = 60.0
POLL_SECONDS = 0.2
FOREIGN = IPv4Interface("10.77.0.2/24")
FOREIGN_DHCP = [
    "dnsmasq",
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--port=0",
    "--log-facility=-",
    "--dhcp-authoritative",
    "--dhcp-leasefile=/dev/null",
    "--dhcp-range=10.77.0.100,10.77.0.180,1h",
]
PROXY_SUBNET = {"name": "foreign", "cidr": "10.77.0.0/24", "proxy": True}
IPV6_SUBNET = {
    "name": "six",
    "cidr": "fd00:77::/64",
    "pool_start": "fd00:77::100",
    "pool_end": "fd00:77::1ff",
    "router_advertisements": True,
}


@dataclass(frozen=True)
class Setting:
    """A server with its rack: what it is told before machines boot, and whether another DHCP server is there."""

    name: str
    subnets: Sequence[dict[str, Any]] = ()
    flags: tuple[str, ...] = ()
    content: tuple[Path, ...] = ()
    foreign_dhcp: bool = False
    network: Network = Network()

    @property
    def network_prefix(self) -> str:
        """How the addresses there begin."""
        return "10.77.0." if self.network.address6 is None else "fd00:77::"


PLAIN = Setting("plain")
BESIDE_DNSMASQ = Setting("beside-dnsmasq", (PROXY_SUBNET,), ("--dhcp-subnets", ""), foreign_dhcp=True)
OVER_IPV6 = Setting(
    "over-ipv6",
    (IPV6_SUBNET,),
    ("--dhcp-subnets", "", "--listen-http6", "[::]:8091"),
    network=Network(address6=IPv6Interface("fd00:77::1/64")),
)

FOR_ARM64 = Setting(
    "arm64",
    flags=("--machines-default-workflow", ""),
    content=(Path(__file__).parent / "packs" / "arm64",),
)


@dataclass(frozen=True)
class Scenario:
    """One machine's way: its firmware and where it stands.

    `tells` are the events that must tell its way, in this order: kind, and the end of the key or the firmware in words.
    `known` is what the server knows of it before it is switched on; nothing: it is a newcomer.
    """

    name: str
    firmware: Firmware
    setting: Setting
    tells: tuple[tuple[str, str], ...]
    known: dict[str, Any] = field(default_factory=dict)
    secure_boot: bool = False
    seconds: float = HELLO_SECONDS

    @property
    def machine(self) -> Machine:
        return Machine(self.name, self.firmware, memory_mb=1024)


_LOADED = (("http.read", "/discovery/vmlinuz"), ("http.read", "/discovery/initrd.img"), ("agent.hello", ""))
_BY_TFTP = (("tftp.read", "/discovery/vmlinuz"), ("tftp.read", "/discovery/initrd.img"), ("agent.hello", ""))
_BY_SHIM = {"params": {"boot/loader": "shim"}, "workflow": "discover"}

SCENARIOS = (
    # Debian's GRUB cannot load by HTTP where Secure Boot keeps its modules out, so this one takes longest.
    Scenario(
        "uefi-secure",
        Firmware.UEFI_SECURE,
        PLAIN,
        (
            ("dhcp.ack", "UEFI x64"),
            ("tftp.read", "shim/shimx64.efi"),
            ("tftp.read", "shim/grubx64.efi"),
            ("tftp.read", "grub/grub.cfg"),
            *_BY_TFTP,
        ),
        known=_BY_SHIM,
        secure_boot=True,
        seconds=SLOW_SECONDS,
    ),
    Scenario(
        "uefi-http-ipv6",
        Firmware.UEFI_HTTP_IPV6,
        OVER_IPV6,
        (
            ("dhcp6.reply", "UEFI x64 HTTP"),
            ("http.read", "/files/ipxe/snponly.efi"),
            ("dhcp6.reply", "iPXE on UEFI x64"),
            *_LOADED,
        ),
    ),
    Scenario(
        "uefi-http",
        Firmware.UEFI_HTTP,
        PLAIN,
        (
            ("dhcp.ack", "UEFI x64 HTTP"),
            ("http.read", "/files/ipxe/snponly.efi"),
            ("dhcp.ack", "iPXE on UEFI x64"),
            *_LOADED,
        ),
    ),
    Scenario(
        "proxy-uefi",
        Firmware.UEFI,
        BESIDE_DNSMASQ,
        (
            ("dhcp.proxy", "UEFI x64"),
            ("tftp.read", "ipxe/snponly.efi"),
            ("dhcp.proxy", "iPXE on UEFI x64"),
            *_LOADED,
        ),
    ),
    Scenario(
        "uefi-pxe-ipv6",
        Firmware.UEFI_PXE_IPV6,
        OVER_IPV6,
        (
            ("dhcp6.reply", "UEFI x64"),
            ("tftp.read", "ipxe/snponly.efi"),
            ("dhcp6.reply", "iPXE on UEFI x64"),
            *_LOADED,
        ),
    ),
    # The ROM of the card that SeaBIOS starts is iPXE already.
    Scenario("proxy-bios", Firmware.BIOS, BESIDE_DNSMASQ, (("dhcp.proxy", "iPXE on BIOS"), *_LOADED)),
)

# Opt-in: more ways, some of them slow, because GRUB loads by TFTP in blocks of 1 KiB.
MORE = (
    Scenario(
        "shim-ipv6",
        Firmware.UEFI_PXE_IPV6,
        OVER_IPV6,
        (
            ("dhcp6.reply", "UEFI x64"),
            ("tftp.read", "shim/shimx64.efi"),
            ("tftp.read", "shim/grubx64.efi"),
            ("tftp.read", "grub/grub.cfg"),
            *_BY_TFTP,
        ),
        known=_BY_SHIM,
        seconds=SLOW_SECONDS,
    ),
    # There is no iPXE of Debian's for ia32; its GRUB starts the 64-bit kernel on this 32-bit firmware.
    Scenario(
        "ia32",
        Firmware.UEFI_IA32,
        PLAIN,
        (
            ("dhcp.ack", "UEFI ia32"),
            ("tftp.read", "shim/shimia32.efi"),
            ("tftp.read", "shim/grubia32.efi"),
            ("tftp.read", "grub/grub.cfg"),
            *_BY_TFTP,
        ),
        seconds=SLOW_SECONDS,
    ),
    Scenario(
        "proxy-http",
        Firmware.UEFI_HTTP,
        BESIDE_DNSMASQ,
        (
            ("dhcp.proxy", "UEFI x64 HTTP"),
            ("http.read", "/files/ipxe/snponly.efi"),
            ("dhcp.proxy", "iPXE on UEFI x64"),
            *_LOADED,
        ),
    ),
    # By PXE its firmware refuses the broken file, and goes on to HTTP boot, where the next loader has its turn.
    Scenario(
        "broken-loader",
        Firmware.UEFI,
        Setting("broken-loader", flags=("--files-dir", str(BROKEN_FILES))),
        (
            ("dhcp.ack", "UEFI x64"),
            ("tftp.read", "ipxe/snponly.efi"),
            ("boot.loader", "ipxe"),
            ("http.read", "/files/ipxe/ipxe.efi"),
            ("dhcp.ack", "iPXE on UEFI x64"),
            *_LOADED,
        ),
    ),
)

# Opt-in: no iPXE of Debian is for arm64, so it boots by shim and GRUB, into an environment of its own.
ARM64 = Scenario(
    "arm64",
    Firmware.ARM64,
    FOR_ARM64,
    (
        ("dhcp.ack", "UEFI arm64"),
        ("tftp.read", "shim/shimaa64.efi"),
        ("tftp.read", "shim/grubaa64.efi"),
        ("tftp.read", "grub/grub.cfg"),
        ("tftp.read", "arm64/vmlinuz"),
        ("tftp.read", "arm64/initrd.img"),
        ("agent.hello", ""),
    ),
    known={"arch": "arm64", "bootenv": "arm64"},
    seconds=SLOW_SECONDS,
)


@dataclass
class Walk:
    """What came of a scenario: the machine as it is known, its events, or why it did not get there."""

    record: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    failure: str = ""


@asynccontextmanager
async def site_of(setting: Setting, scenarios: Sequence[Scenario], folder: Path, password: str) -> AsyncIterator[Site]:
    """A server in its setting, with the machines of these scenarios switched off."""
    machines = [scenario.machine for scenario in scenarios]
    site = Site(
        folder / setting.name, password, machines, content=setting.content, network=setting.network, flags=setting.flags
    )
    async with site.up():
        for subnet in setting.subnets:
            await site.call("POST", "/api/v1/subnets", subnet)
        if setting.foreign_dhcp:
            with (site.folder / "dnsmasq.log").open("wb") as log:
                start_neighbour(site.rack, FOREIGN, FOREIGN_DHCP, stderr=log)
        yield site


async def walk(site: Site, scenario: Scenario) -> Walk:
    """Switch the machine on and wait for the hello of its agent and for its inventory."""
    machine = site.machines[scenario.name]
    if scenario.known:
        await site.call("POST", "/api/v1/machines", {"name": scenario.name, "macs": [machine.mac], **scenario.known})
    began = time.monotonic()
    await asyncio.to_thread(site.rack.ipmitool, machine, "power", "on")
    done = Walk()
    try:
        done.record = await site.wait_machine(
            machine, lambda seen: "boot_id" in seen["agent"], "its agent's hello", scenario.seconds
        )
        done.seconds = time.monotonic() - began
        done.record = await _inventoried(site, done.record["id"])
    except AssertionError as error:
        done.failure = str(error)
    done.events = [event for event in await site.events() if event["mac"] == machine.mac or _is_of(event, done.record)]
    await asyncio.to_thread(machine.switch_off)
    return done


def unread(scenario: Scenario, events: list[dict[str, Any]]) -> tuple[str, str] | None:
    """The first of what the events should tell that they do not tell in its order; None when they tell it all."""
    rest = iter(events)
    for kind, words in scenario.tells:
        if not any(event["kind"] == kind and _says(event, words) for event in rest):
            return kind, words
    return None


def _says(event: dict[str, Any], words: str) -> bool:
    return bool(event["key"].endswith(words) or event["data"].get("firmware") == words)


async def _inventoried(site: Site, machine: str) -> dict[str, Any]:
    """The machine's whole record, with the inventory that its agent sends right after the hello."""
    async with asyncio.timeout(INVENTORY_SECONDS):
        while True:
            record: dict[str, Any] = await site.call("GET", f"/api/v1/machines/{machine}")
            if record["inventory"]:
                return record
            await asyncio.sleep(POLL_SECONDS)


def _is_of(event: dict[str, Any], record: dict[str, Any]) -> bool:
    return bool(record and event["machine"] == record["id"])


async def walk_all(scenarios: Sequence[Scenario], folder: Path, password: str) -> dict[str, Walk]:
    """Every scenario, two machines at a time."""
    walks: dict[str, Walk] = {}
    places = asyncio.Semaphore(AT_ONCE)
    async with AsyncExitStack() as stack:
        sites: dict[str, Site] = {}
        for scenario in scenarios:
            name = scenario.setting.name
            if name not in sites:
                there = [each for each in scenarios if each.setting.name == name]
                sites[name] = await stack.enter_async_context(site_of(scenario.setting, there, folder, password))

        async def lead(scenario: Scenario) -> None:
            async with places:
                walks[scenario.name] = await walk(sites[scenario.setting.name], scenario)

        async with asyncio.TaskGroup() as group:
            for scenario in scenarios:
                group.create_task(lead(scenario))
    return walks
