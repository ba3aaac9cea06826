"""One machine's power button: starts, stops and resets its QEMU process and chooses the boot order of every boot.

Every boot is a new QEMU process, however it was caused; so the boot order is part of its command line, and a one-time
next boot is used up by exactly one boot. A reset by the guest reaches us as a QMP event of a paused process.
"""

from __future__ import annotations

import asyncio
import json
import logging
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from time import time

from tests.rack.machine import Attachment, Machine, NextBoot, boots_disk_first, qemu_command
from tests.rack.network import RackError
from tests.rack.processes import end, spawn
from tests.rack.qmp import Monitor

QMP_SECONDS = 15.0
QUIT_SECONDS = 3.0
STAMP_SECONDS = 0.2

log = logging.getLogger("rack.chassis")


class Cause(StrEnum):
    """Why a boot began."""

    POWER_ON = "power-on"
    BMC_RESET = "bmc-reset"
    GUEST_RESET = "guest-reset"


@dataclass(frozen=True)
class Boot:
    """One boot of one machine, as written to its boots.jsonl."""

    time: float
    cause: Cause
    next_boot: NextBoot
    order: list[str]
    pid: int
    serial_offset: int


class Chassis:
    """The machine behind a power button. All methods may be called at any time, from one event loop."""

    def __init__(
        self, machine: Machine, at: Attachment, accelerator: str, enter: Callable[[list[str]], list[str]]
    ) -> None:
        self.machine = machine
        self.at = at
        self.next_boot = NextBoot.NONE
        self.boots: list[Boot] = []
        self.last_stop = ""
        self._accelerator = accelerator
        self._enter = enter
        self._on = False
        self._process: Process | None = None
        self._monitor: Monitor | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._switching = asyncio.Lock()

    @property
    def is_on(self) -> bool:
        """Whether the machine runs. It stays on while it is being reset."""
        return self._on

    @property
    def pid(self) -> int | None:
        """The pid of the QEMU process, None when off."""
        return self._process.pid if self._process else None

    @property
    def _qemu_log(self) -> Path:
        return self.at.directory / "qemu.log"

    async def power_on(self) -> None:
        """Boot the machine; nothing happens when it is on. RackError when QEMU does not start."""
        async with self._switching:
            if not self.is_on:
                await self._boot(Cause.POWER_ON)

    async def power_off(self) -> None:
        """Take the power away; the machine is off when this returns."""
        async with self._switching:
            await self._halt("power-off")

    async def reset(self) -> None:
        """Start again from the firmware. RackError when the machine is off, as a real BMC would answer."""
        async with self._switching:
            if not self.is_on:
                raise RackError(f"{self.machine.name} is off: it cannot be reset")
            await self._reboot(Cause.BMC_RESET)

    async def soft_off(self) -> None:
        """Press the ACPI power button; whether the machine goes off is up to what runs on it."""
        async with self._switching:
            if self._monitor is None:
                raise RackError(f"{self.machine.name} is off: it has nothing to shut down")
            self._monitor.send("system_powerdown")

    async def _reboot(self, cause: Cause) -> None:
        await self._end_process()
        try:
            await self._boot(cause)
        except RackError as error:
            self._on = False
            self.last_stop = str(error)
            raise

    async def _boot(self, cause: Cause) -> None:
        next_boot, self.next_boot = self.next_boot, NextBoot.NONE
        command = qemu_command(self.machine, self.at, next_boot, self._accelerator)
        offset = _size(self.at.serial_log)
        self.at.qmp_socket.unlink(missing_ok=True)
        process = await spawn(self._enter(command), self._qemu_log)
        self._monitor = await self._connect(process)
        self._process = process
        self._on = True
        self._watcher = asyncio.create_task(self._watch(process, self._monitor), name=f"watch {self.machine.name}")
        order = ["disk", "network"] if boots_disk_first(next_boot) else ["network", "disk"]
        self._record(Boot(time(), cause, next_boot, order, process.pid, offset))

    async def _connect(self, process: Process) -> Monitor:
        """The monitor of a QEMU that just started. RackError when it ends instead, or does not listen in time."""
        ended = asyncio.ensure_future(process.wait())
        try:
            async with asyncio.timeout(QMP_SECONDS):
                while not ended.done():
                    with suppress(OSError):
                        return await Monitor.connect(self.at.qmp_socket)
                    await asyncio.wait([ended], timeout=0.02)
        except TimeoutError:
            process.kill()
        finally:
            ended.cancel()
        words = self._qemu_log.read_text(errors="replace").splitlines()[-3:]
        raise RackError(f"{self.machine.name}: QEMU did not start: {' / '.join(words)}")

    async def _watch(self, process: Process, monitor: Monitor) -> None:
        """Follow one QEMU process to its end, and do what the guest asked for."""
        async for event in monitor.events():
            if event["event"] == "SHUTDOWN":
                await self._guest_stopped(process, event["data"]["reason"])
                return
        await self._guest_stopped(process, "qemu ended")

    async def _guest_stopped(self, process: Process, reason: str) -> None:
        async with self._switching:
            if process is not self._process:
                return
            # This task must not be cancelled by the ending of the process that it watches.
            self._watcher = None
            log.info("%s: %s", self.machine.name, reason)
            if reason != "guest-reset":
                await self._halt(reason)
                return
            try:
                await self._reboot(Cause.GUEST_RESET)
            except RackError:
                log.exception("%s did not come back", self.machine.name)

    async def _halt(self, reason: str) -> None:
        if self._on:
            self.last_stop = reason
            await self._end_process()
            self._on = False

    async def _end_process(self) -> None:
        """End QEMU: `quit` writes the disk out; a process that does not listen is killed."""
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
        if self._monitor is not None:
            self._monitor.send("quit")
        if self._process is not None:
            await end(self._process, QUIT_SECONDS)
            self._process = None
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None

    def _record(self, boot: Boot) -> None:
        self.boots.append(boot)
        log.info("%s: %s, order %s, pid %d", self.machine.name, boot.cause, "+".join(boot.order), boot.pid)
        _append(self.at.directory / "boots.jsonl", json.dumps(asdict(boot)))


async def stamp_serial_log(path: Path, stamps: Path) -> None:
    """Write "<unix time> <bytes so far>" to `stamps` whenever the serial log has grown. Runs until cancelled."""
    size = _size(path)
    while True:
        await asyncio.sleep(STAMP_SECONDS)
        if (now := _size(path)) != size:
            size = now
            _append(stamps, f"{time():.3f} {size}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(path: Path, line: str) -> None:
    with open(path, "a") as file:
        file.write(line + "\n")
