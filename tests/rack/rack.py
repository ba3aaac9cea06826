"""What tests and the demo use: a rack of machines that is there inside a `with` block and gone after it.

    with Rack(directory) as rack:
        machine = rack.add(Machine("bios1"))
        rack.start()
        server = rack.run_in([...])
        rack.ipmitool(machine, "power", "on")

Every call blocks, briefly; `async with` works too and keeps start and stop off the event loop.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

from tests.rack.bmc import BmcAccess, access
from tests.rack.control import ask
from tests.rack.machine import Machine
from tests.rack.network import NETNS_DIR, RUN_DIR, Network, RackError, inside
from tests.rack.programs import problems
from tests.rack.supervisor import CONTROL_SOCKET, Configuration

REPOSITORY = Path(__file__).parent.parent.parent
HANDOVER = Path(__file__).with_name("handover.py")
PROGRAM_END_SECONDS = 10.0
SUPERVISOR_END_SECONDS = 30.0
IPMITOOL_SECONDS = 30.0
# It waits 10 s for an answer, twice. After the usual second it would repeat a reset that is still being done, and then
# there are two.
PATIENCE = ("-N", "10", "-R", "2")
POLL_SECONDS = 0.05


class RackMachine:
    """One machine in a rack: where its things are, and how it is now."""

    def __init__(self, machine: Machine, bmc: BmcAccess, directory: Path, control: Path) -> None:
        self.machine = machine
        self.bmc = bmc
        self.directory = directory
        self._control = control

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def mac(self) -> str:
        """The MAC of the card that boots."""
        return self.machine.network_macs[0]

    @property
    def disk(self) -> Path:
        """The qcow2 file of the disk."""
        return self.directory / "disk.qcow2"

    @property
    def serial_log(self) -> Path:
        """Everything the machine wrote to its serial console, over all boots. serial.times beside it has the times."""
        return self.directory / "serial.log"

    def serial_text(self) -> str:
        """The serial log as text; empty before the first boot."""
        return self.serial_log.read_text(errors="replace") if self.serial_log.exists() else ""

    def serial_bytes(self) -> int:
        """How much that is by now."""
        return self.serial_log.stat().st_size if self.serial_log.exists() else 0

    def power_state(self) -> str:
        """ "on" or "off", from the supervisor and not from the BMC."""
        return str(self.state()["power"])

    def state(self) -> dict[str, Any]:
        """power, pid, bmc_pid, next_boot, last_stop (why it went off) and boots.

        Each boot has time, cause (power-on, bmc-reset, guest-reset), next_boot (the one-time device it used up), order
        and serial_offset (where it begins in the serial log).
        """
        state: dict[str, Any] = self._ask("state")
        return state

    def stop_bmc(self) -> None:
        """Unplug the BMC: nothing answers at its address."""
        self._ask("stop-bmc")

    def start_bmc(self) -> None:
        """Plug the BMC in again. Sessions are gone, the machine's power is as it was."""
        self._ask("start-bmc")

    def freeze_bmc(self) -> None:
        """Make the BMC keep silent without losing anything, until `thaw_bmc`."""
        self._ask("freeze-bmc")

    def thaw_bmc(self) -> None:
        """Let a frozen BMC go on; it answers what waited."""
        self._ask("thaw-bmc")

    def switch_on(self) -> None:
        """Press the power button, without asking the BMC."""
        ask(self._control, {"op": "set", "machine": self.name, "name": "power", "value": "1"})

    def switch_off(self) -> None:
        """Take the power away without asking the BMC."""
        ask(self._control, {"op": "set", "machine": self.name, "name": "power", "value": "0"})

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any]:
        """The first state that `wanted` likes. RackError with the last state when none does in time."""
        deadline = monotonic() + seconds
        while not wanted(state := self.state()):
            if monotonic() > deadline:
                raise RackError(f"{self.name} did not get there within {seconds} s: {state}")
            sleep(POLL_SECONDS)
        return state

    def _ask(self, op: str) -> Any:
        return ask(self._control, {"op": op, "machine": self.name})["value"]


class Rack:
    """Machines, BMCs and their network, in a namespace of their own.

    `directory` keeps disks and logs; disks of an earlier rack in the same directory are used again.
    """

    def __init__(self, directory: Path | str, network: Network | None = None, name: str = "") -> None:
        self.directory = Path(directory).absolute()
        self.network = network or Network()
        self.name = name or f"prov-{os.getpid()}-{os.urandom(2).hex()}"
        self.machines: dict[str, RackMachine] = {}
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._programs: list[subprocess.Popen[Any]] = []

    @property
    def netns(self) -> str:
        """The name of the network namespace, as `ip netns exec` wants it."""
        return self.name

    @property
    def control(self) -> Path:
        return RUN_DIR / self.name / CONTROL_SOCKET

    def add(self, machine: Machine) -> RackMachine:
        """Put a machine into the rack, before it starts."""
        if self._supervisor is not None:
            raise RackError("the rack is up: machines are added before start()")
        if machine.name in self.machines:
            raise RackError(f"there is a machine called {machine.name} already")
        address = str(self.network.bmc_address(len(self.machines)))
        added = RackMachine(machine, access(machine, address), self.directory / machine.name, self.control)
        self.machines[machine.name] = added
        return added

    def start(self) -> None:
        """Bring up the network and the BMCs; every machine is off. RackError says what is missing or went wrong."""
        if found := problems():
            raise RackError("; ".join(found))
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = self.directory / "rack.json"
        machines = tuple(added.machine for added in self.machines.values())
        Configuration(self.name, self.directory, self.network, machines).write(configuration)
        self._supervisor = subprocess.Popen(
            [sys.executable, "-m", "tests.rack.supervisor", str(configuration)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
            # Ctrl-C in a terminal goes to the rack's user, who stops the rack in order.
            start_new_session=True,
        )
        self._await_ready(self._supervisor)

    def stop(self) -> None:
        """End everything that was started, the programs of `run_in` first. Harmless when nothing runs."""
        for program in self._programs:
            if program.poll() is None:
                program.terminate()
        for program in self._programs:
            _end(program, PROGRAM_END_SECONDS)
        self._programs.clear()
        if self._supervisor is not None:
            supervisor, self._supervisor = self._supervisor, None
            _close_pipes(supervisor)
            _end(supervisor, SUPERVISOR_END_SECONDS)

    def run_in(
        self, argv: list[str], sockets: Mapping[str, socket.socket] | None = None, **popen: Any
    ) -> subprocess.Popen[Any]:
        """Run a program inside the namespace; it ends with the rack at the latest.

        `sockets` were bound outside and are handed over by systemd's convention (LISTEN_FDS, LISTEN_FDNAMES,
        LISTEN_PID). The pid of the Popen is the program's own.
        """
        command = list(argv)
        if sockets:
            words = ",".join(f"{item.fileno()}:{name}" for name, item in sockets.items())
            command = [sys.executable, "-IS", str(HANDOVER), words, *command]
            popen["pass_fds"] = [*popen.get("pass_fds", ()), *(item.fileno() for item in sockets.values())]
        program = subprocess.Popen(inside(NETNS_DIR / self.name, command), **popen)
        self._programs.append(program)
        return program

    def ipmitool(self, machine: RackMachine, *words: str, check: bool = True) -> str:
        """What `ipmitool` prints when it talks to the machine's BMC. RackError with its words when it fails."""
        bmc = machine.bmc
        # Without it `ipmitool` asks for the list of cipher suites and waits 10 s for `ipmi_sim`, which has no SHA-256.
        command = ["ipmitool", "-I", "lanplus", "-C", "3", "-H", bmc.address, "-p", str(bmc.port), *PATIENCE]
        done = subprocess.run(
            inside(NETNS_DIR / self.name, [*command, "-U", bmc.username, "-E", *words]),
            env=os.environ | {"IPMI_PASSWORD": bmc.password},
            capture_output=True,
            text=True,
            timeout=IPMITOOL_SECONDS,
            check=False,
        )
        if check and done.returncode != 0:
            raise RackError(f"ipmitool {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout.strip()

    def _await_ready(self, supervisor: subprocess.Popen[bytes]) -> None:
        assert supervisor.stdout is not None
        line = supervisor.stdout.readline()
        word = json.loads(line) if line else {"error": f"the supervisor died, see {self.directory / 'rack.log'}"}
        if "error" in word:
            self.stop()
            raise RackError(word["error"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)


def _close_pipes(process: subprocess.Popen[Any]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()


def _end(process: subprocess.Popen[Any], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
