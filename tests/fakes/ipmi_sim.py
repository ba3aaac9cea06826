"""A real BMC that nobody here wrote: OpenIPMI's `ipmi_sim` on loopback, its machine being a folder of small files.

`power` holds 0 or 1, `boot` what the BMC was told to boot, `calls` one line per call of the chassis program, and
`soft-off` says what a soft shutdown leads to (`obey` or `ignore`).
"""

from __future__ import annotations

import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen

from provisioner.power.driver import Bmc
from provisioner.power.presence import question, read_answer

PROGRAM = "ipmi_sim"
USERNAME = "operator"
PASSWORD = "correct-horse"

# ipmi_sim calls it as `PROGRAM DEVICE get|set WORD [VALUE] ...` and reads `WORD:VALUE` lines.
_CHASSIS = """#!/bin/sh
cd {folder}
shift
echo "$@" >> calls
operation=$1
shift
if [ "$operation" = get ]; then
    for word; do read -r value < "$word"; echo "$word:$value"; done
    exit 0
fi
while [ $# -ge 2 ]; do
    case $1 in
        shutdown) read -r reply < soft-off; [ "$reply" = ignore ] || echo 0 > power ;;
        reset) ;;
        *) echo "$2" > "$1" ;;
    esac
    shift 2
done
"""

_LAN = """name "{name}"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "{folder}/chassis 0x20"
  user 1 false "" "" user 10 none md2 md5 straight
  user 2 true "{username}" "{password}" admin 10 none md2 md5 straight
"""

_EMULATOR = """mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
mc_enable 0x20
"""


@dataclass
class IpmiSim:
    """One running simulator; `folder` is its machine."""

    folder: Path
    port: int
    process: Popen[bytes]

    @property
    def bmc(self) -> Bmc:
        """How to reach it."""
        return Bmc("127.0.0.1", self.port, USERNAME, PASSWORD)

    @property
    def powered(self) -> bool:
        """Whether its machine is on."""
        return self._read("power") == "1"

    @property
    def boot(self) -> str:
        """What its machine boots next: `pxe`, `default` (ipmi_sim's word for the disk) or `none`."""
        return self._read("boot")

    @property
    def calls(self) -> list[str]:
        """Every call of the chassis program so far, such as `set power 1`."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def set(self, word: str, value: str) -> None:
        """Change its machine from outside."""
        (self.folder / word).write_text(f"{value}\n")

    def stop(self) -> None:
        """End it; its port is free afterwards."""
        self.process.kill()
        self.process.wait(10)

    def restart(self) -> None:
        """Start it again on the same port with the same machine."""
        self.process = _run(self.folder)
        _wait_until_it_answers(self)

    def _read(self, word: str) -> str:
        return (self.folder / word).read_text().strip()


def available() -> bool:
    """Whether this host has the simulator (Debian package openipmi)."""
    return shutil.which(PROGRAM) is not None


def start(folder: Path, powered: bool = False) -> IpmiSim:
    """Start a simulator that keeps its files in `folder`, and wait until it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    _write_files(folder, port)
    (folder / "state").mkdir()
    sim = IpmiSim(folder, port, _run(folder))
    for word, value in (("power", "1" if powered else "0"), ("boot", "none"), ("soft-off", "obey")):
        sim.set(word, value)
    try:
        _wait_until_it_answers(sim)
    except BaseException:
        sim.stop()
        raise
    return sim


def _run(folder: Path) -> Popen[bytes]:
    command = [PROGRAM, "-n", "-c", str(folder / "lan.conf"), "-f", str(folder / "emu"), "-s", str(folder / "state")]
    return Popen(command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)


def _write_files(folder: Path, port: int) -> None:
    (folder / "lan.conf").write_text(
        _LAN.format(name=folder.name, port=port, folder=folder, username=USERNAME, password=PASSWORD)
    )
    (folder / "emu").write_text(_EMULATOR)
    chassis = folder / "chassis"
    chassis.write_text(_CHASSIS.format(folder=folder))
    chassis.chmod(0o755)


def _wait_until_it_answers(sim: IpmiSim, tries: int = 200) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(0.05)
        asker.connect(("127.0.0.1", sim.port))
        for _ in range(tries):
            if sim.process.poll() is not None:
                raise RuntimeError(f"{PROGRAM} ended with {sim.process.returncode} at its start")
            try:
                asker.send(question())
                if read_answer(asker.recv(1024)):
                    return
            except TimeoutError:
                continue
            except ConnectionRefusedError:
                # Not bound yet, and loopback says so at once.
                time.sleep(0.02)
    raise RuntimeError(f"{PROGRAM} does not answer on UDP port {sim.port}")


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
