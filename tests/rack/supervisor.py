"""The process that owns everything a rack starts, so that nothing outlives the rack.

    python -m tests.rack.supervisor CONFIGURATION.json

Its standard input is its lifeline: when it ends, because the rack was stopped or its process was killed in any way,
everything is taken down. Its children die with it (PR_SET_PDEATHSIG). It prints one JSON line when the rack is up, or
why it is not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from contextlib import suppress
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from pathlib import Path
from shutil import copyfile
from typing import Any

from tests.rack.bmc import BmcAccess, access, write_configuration
from tests.rack.chassis import Chassis, stamp_serial_log
from tests.rack.firmware import FLASH, Firmware
from tests.rack.machine import Attachment, Machine, NextBoot
from tests.rack.network import Claim, Network, RackError, build, claim, inside
from tests.rack.processes import end, spawn
from tests.rack.programs import accelerator

HOOK = Path(__file__).with_name("hook.py")
ROUTER = Path(__file__).with_name("router.py")
FIRST_KCS_PORT = 9001
FIRST_CONSOLE_PORT = 7001
BMC_END_SECONDS = 2.0
BMC_START_SECONDS = 30.0
# Before a BMC that ended starts again; one that cannot start does not do so in a circle.
BMC_PAUSE_SECONDS = 0.5
POLL_SECONDS = 0.05
# As /proc/net/udp writes the port.
PORT_623 = b":026F "
CONTROL_SOCKET = "control"
LOG_FILE = "rack.log"
# What the BMC's words for a boot device mean here; `ipmi_sim` calls the disk "default".
DEVICE_NAMES = {NextBoot.DISK: "default"}

log = logging.getLogger("rack.supervisor")


@dataclass(frozen=True)
class Configuration:
    """What a rack is made of."""

    name: str
    directory: Path
    network: Network
    machines: tuple[Machine, ...]

    @classmethod
    def read(cls, path: Path) -> Configuration:
        """The configuration that `write` wrote."""
        data = json.loads(path.read_text())
        net = data["network"]
        return cls(
            name=data["name"],
            directory=Path(data["directory"]),
            network=Network(
                IPv4Interface(net["address"]),
                IPv4Address(net["first_bmc"]),
                net["bridge"],
                IPv6Interface(net["address6"]) if net["address6"] else None,
            ),
            machines=tuple(_machine(item) for item in data["machines"]),
        )

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), default=str, indent=1))


def _machine(item: dict[str, Any]) -> Machine:
    fixed = {
        "firmware": Firmware(item["firmware"]),
        "macs": tuple(item["macs"]),
        "extra_args": tuple(item["extra_args"]),
    }
    return Machine(**item | fixed)


class Bay:
    """One place in the rack: a machine's chassis and its BMC process."""

    def __init__(self, chassis: Chassis, bmc: BmcAccess, bmc_command: list[str], network: Network) -> None:
        self.chassis = chassis
        self._bmc = bmc
        self._bmc_command = bmc_command
        self._bmc_process: Process | None = None
        self._watchdog: asyncio.Task[None] | None = None
        self._network = network

    async def start_bmc(self) -> None:
        """Switch the BMC on. As a real one it starts again when it fails."""
        if self._watchdog is None:
            self._bmc_process = await self._spawn_bmc()
            self._watchdog = asyncio.create_task(self._watch_bmc(self._bmc_process))

    async def _spawn_bmc(self) -> Process:
        return await spawn(self._bmc_command, self.chassis.at.directory / "bmc.log")

    async def _watch_bmc(self, process: Process) -> None:
        while True:
            code = await process.wait()
            log.error("the BMC of %s ended with %s and starts again", self.chassis.machine.name, code)
            self._bmc_process = None
            await asyncio.sleep(BMC_PAUSE_SECONDS)
            self._bmc_process = process = await self._spawn_bmc()

    async def stop_bmc(self) -> None:
        """Switch the BMC off; the machine goes on as it is."""
        if self._watchdog is not None:
            self._watchdog.cancel()
            await asyncio.gather(self._watchdog, return_exceptions=True)
            self._watchdog = None
        if self._bmc_process is not None:
            with suppress(ProcessLookupError):
                self._bmc_process.send_signal(signal.SIGCONT)
                self._bmc_process.terminate()
            await end(self._bmc_process, BMC_END_SECONDS)
            self._bmc_process = None

    def freeze_bmc(self, frozen: bool) -> None:
        """A frozen BMC keeps its address and answers nothing. RackError when it is not there."""
        if self._bmc_process is None:
            raise RackError(f"the BMC of {self.chassis.machine.name} is off")
        self._bmc_process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    @property
    def has_bmc(self) -> bool:
        """Whether the BMC is switched on."""
        return self._watchdog is not None

    @property
    def bmc_pid(self) -> int | None:
        return self._bmc_process.pid if self._bmc_process else None

    def get(self, name: str) -> str:
        """What the BMC wants to know. RackError for a name nobody knows."""
        match name:
            case "power":
                return str(int(self.chassis.is_on))
            case "boot":
                return DEVICE_NAMES.get(self.chassis.next_boot, self.chassis.next_boot.value)
            case "ip_addr":
                return self._bmc.address
            case "ip_addr_src":
                return "static"
            case "mac_addr":
                return self.chassis.machine.bmc_mac
            case "subnet_mask":
                return str(self._network.address.netmask)
            case "default_gw_ip_addr":
                return str(self._network.address.ip)
            case "default_gw_mac_addr" | "backup_gw_mac_addr":
                return "00:00:00:00:00:00"
            case "backup_gw_ip_addr":
                return "0.0.0.0"
        raise RackError(f"{name} cannot be read")

    async def set(self, name: str, value: str) -> None:
        """What the BMC wants done. RackError when it cannot be done."""
        match name, value:
            case "power", "1":
                await self.chassis.power_on()
            case "power", "0":
                await self.chassis.power_off()
            case "reset", _:
                await self.chassis.reset()
            case "shutdown", _:
                await self.chassis.soft_off()
            case "boot", _:
                devices = {DEVICE_NAMES.get(device, device.value): device for device in NextBoot}
                if value not in devices:
                    raise RackError(f"boot device {value} is not one of {', '.join(devices)}")
                self.chassis.next_boot = devices[value]
            case "identify", _:
                log.info("%s: identify light for %s s", self.chassis.machine.name, value)
            case _:
                raise RackError(f"{name} cannot be set")

    def state(self) -> dict[str, Any]:
        """Everything worth knowing about the machine now."""
        chassis = self.chassis
        return {
            "power": "on" if chassis.is_on else "off",
            "pid": chassis.pid,
            "bmc_pid": self.bmc_pid,
            "next_boot": chassis.next_boot,
            "last_stop": chassis.last_stop,
            "boots": [asdict(boot) for boot in chassis.boots],
        }


class Supervisor:
    """Owns the namespace, the machines and the BMCs of one rack."""

    def __init__(self, configuration: Configuration, owned: Claim) -> None:
        self._configuration = configuration
        self._claim = owned
        self._bays: dict[str, Bay] = {}
        self._stampers: list[asyncio.Task[None]] = []
        self._router: Process | None = None

    async def run(self, stopped: asyncio.Event) -> None:
        """Bring the rack up, say so, serve requests until `stopped`, take it down."""
        server = None
        try:
            self._plug_in()
            server = await asyncio.start_unix_server(self._serve, self._claim.run_dir / CONTROL_SOCKET)
            if self._configuration.network.address6 is None:
                router = [sys.executable, "-IS", str(ROUTER), self._configuration.network.bridge]
                self._router = await spawn(self._enter(router), self._configuration.directory / LOG_FILE)
            for bay in self._bays.values():
                await bay.start_bmc()
            await self._wait_for_bmcs()
            _say({"ready": self._claim.name})
            await stopped.wait()
        finally:
            if server is not None:
                server.close()
            await self._take_down()

    def _plug_in(self) -> None:
        configuration = self._configuration
        attachments, tap_count = [], 0
        for index, machine in enumerate(configuration.machines):
            count = len(machine.network_macs)
            taps = tuple(f"tap{tap_count + number}" for number in range(count))
            tap_count += count
            attachments.append(
                Attachment(
                    directory=configuration.directory / machine.name,
                    qmp_socket=self._claim.run_dir / f"{machine.name}.qmp",
                    taps=taps,
                    kcs_port=FIRST_KCS_PORT + index,
                    console_port=FIRST_CONSOLE_PORT + index,
                )
            )
        taps_of_all = [tap for at in attachments for tap in at.taps]
        build(self._claim.name, configuration.network, len(attachments), taps_of_all)
        for index, (machine, at) in enumerate(zip(configuration.machines, attachments, strict=True)):
            self._bays[machine.name] = self._bay(index, machine, at)

    def _bay(self, index: int, machine: Machine, at: Attachment) -> Bay:
        at.directory.mkdir(parents=True, exist_ok=True)
        _make_disk(machine, at)
        bmc = access(machine, str(self._configuration.network.bmc_address(index)))
        hook = [sys.executable, "-IS", str(HOOK), str(self._claim.run_dir / CONTROL_SOCKET), machine.name]
        command = self._enter(write_configuration(at.directory / "bmc", machine, at, bmc, hook))
        chassis = Chassis(machine, at, accelerator(), self._enter)
        self._stampers.append(asyncio.create_task(stamp_serial_log(at.serial_log, at.directory / "serial.times")))
        return Bay(chassis, bmc, command, self._configuration.network)

    def _enter(self, argv: list[str]) -> list[str]:
        """The command that runs `argv` inside the namespace and dies with this process."""
        return inside(self._claim.netns, ["setpriv", "--pdeathsig", "KILL", "--", *argv])

    async def _wait_for_bmcs(self) -> None:
        """Until every BMC has bound its port. RackError when one does not."""
        try:
            async with asyncio.timeout(BMC_START_SECONDS):
                await self._poll_for_bmcs()
        except TimeoutError as error:
            raise RackError(f"a BMC did not start, see bmc.log in {self._configuration.directory}/*/") from error

    async def _poll_for_bmcs(self) -> None:
        command = inside(self._claim.netns, ["cat", "/proc/net/udp"])
        while True:
            listing = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            table, _ = await listing.communicate()
            if table.count(PORT_623) >= sum(bay.has_bmc for bay in self._bays.values()):
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if line := await reader.readline():
                reply = await self._answer(json.loads(line))
                writer.write(json.dumps(reply).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            log.info("somebody hung up before the answer")
        finally:
            writer.close()

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            bay = self._bays[request["machine"]]
            return {"value": await self._perform(bay, request)}
        except (RackError, KeyError) as error:
            log.warning("%s: %s", request, error)
            return {"error": str(error)}

    async def _perform(self, bay: Bay, request: dict[str, Any]) -> Any:
        match request["op"]:
            case "get":
                return bay.get(request["name"])
            case "set":
                return await bay.set(request["name"], request["value"])
            case "state":
                return bay.state()
            case "start-bmc":
                await bay.start_bmc()
                return await self._wait_for_bmcs()
            case "stop-bmc":
                return await bay.stop_bmc()
            case "freeze-bmc":
                return bay.freeze_bmc(True)
            case "thaw-bmc":
                return bay.freeze_bmc(False)
        raise RackError(f"unknown request {request['op']}")

    async def _take_down(self) -> None:
        """End everything in order; what does not end this way goes with the namespace."""
        try:
            await self._switch_off()
        finally:
            await asyncio.to_thread(self._claim.release)

    async def _switch_off(self) -> None:
        for task in self._stampers:
            task.cancel()
        for bay in self._bays.values():
            await bay.stop_bmc()
        if self._router is not None:
            self._router.kill()
            await self._router.wait()
        await asyncio.gather(*(bay.chassis.power_off() for bay in self._bays.values()))


def _make_disk(machine: Machine, at: Attachment) -> None:
    """The machine's disk and firmware variables; those of an earlier run are kept."""
    if not at.disk.exists():
        command = ["qemu-img", "create", "-q", "-f", "qcow2", str(at.disk), f"{machine.disk_gb}G"]
        subprocess.run(command, check=True)
    flash = FLASH[machine.firmware]
    if flash is not None and not at.firmware_vars.exists():
        copyfile(flash.variables, at.firmware_vars)


def _say(word: dict[str, str]) -> None:
    with suppress(BrokenPipeError):
        print(json.dumps(word), flush=True)


async def _until_told(stopped: asyncio.Event) -> None:
    """Set `stopped` on SIGTERM, SIGINT or the end of the lifeline."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)

    def lifeline() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stopped.set()

    loop.add_reader(0, lifeline)


async def _main(path: Path) -> None:
    configuration = Configuration.read(path)
    logging.basicConfig(
        filename=configuration.directory / LOG_FILE, level=logging.INFO, format="%(asctime)s %(name)s %(message)s"
    )
    stopped = asyncio.Event()
    await _until_told(stopped)
    owned = claim(configuration.name)
    await Supervisor(configuration, owned).run(stopped)


def main() -> int:
    """Be the supervisor; the exit code is 1 when the rack did not come up."""
    try:
        asyncio.run(_main(Path(sys.argv[1])))
    except (RackError, OSError, ValueError, subprocess.CalledProcessError) as error:
        _say({"error": str(error) or repr(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
