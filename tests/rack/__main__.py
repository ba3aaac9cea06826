"""The rack by hand: `python -m tests.rack up|check|install|sweep`."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from tests.rack.firmware import Firmware
from tests.rack.machine import Machine
from tests.rack.network import RackError, sweep
from tests.rack.programs import install, missing, problems
from tests.rack.rack import Rack


def machines_from(text: str) -> list[Machine]:
    """The machines of "bios:2,uefi:1", called bios1, bios2 and uefi1. ValueError names what is wrong."""
    found = []
    for part in text.split(","):
        kind, _, count = part.partition(":")
        if kind not in list(Firmware) or not (count or "1").isdecimal():
            raise ValueError(f"{part!r} is not FIRMWARE:COUNT with FIRMWARE one of {', '.join(Firmware)}")
        found += [Machine(f"{kind}{number}", Firmware(kind)) for number in range(1, int(count or 1) + 1)]
    return found


def up(arguments: argparse.Namespace) -> int:
    """Bring a rack up, say how to use it, and wait for Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)
    with Rack(arguments.dir, name=arguments.name) as rack:
        for wanted in machines_from(arguments.machines):
            rack.add(wanted)
        rack.start()
        print(f"namespace {rack.netns}, bridge {rack.network.bridge} {rack.network.address}")
        print(f"  ip netns exec {rack.netns} COMMAND")
        for machine in rack.machines.values():
            bmc = machine.bmc
            login = f"-H {bmc.address} -U {bmc.username} -P {bmc.password}"
            print(f"{machine.name}: {machine.machine.firmware}, {machine.mac}, BMC {bmc.address}:{bmc.port}")
            print(f"  ip netns exec {rack.netns} ipmitool -I lanplus -C 3 {login} power on")
            print(f"  tail -f {machine.serial_log}")
        print("Ctrl-C ends it.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print("stopping")
    return 0


def check(_: argparse.Namespace) -> int:
    """List what is missing."""
    found = problems()
    print("\n".join(found) if found else "everything is there")
    return 1 if found else 0


def install_missing(_: argparse.Namespace) -> int:
    """Install what is missing."""
    packages = sorted(set(missing().values()))
    print(f"installing {', '.join(packages)}" if packages else "everything is there", flush=True)
    install()
    return 0


def sweep_stale(_: argparse.Namespace) -> int:
    """Remove what racks left behind whose owner was killed."""
    print("\n".join(sweep()) or "nothing to remove")
    return 0


def main(argv: list[str]) -> int:
    """Run one verb; 1 when it failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.rack", description="A virtual rack of machines with BMCs.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verb = verbs.add_parser("up", help="bring a rack up and keep it until Ctrl-C")
    verb.add_argument("--machines", default="bios:1,uefi:1", help="FIRMWARE:COUNT,... (default: %(default)s)")
    verb.add_argument("--dir", type=Path, required=True, help="where disks and logs go")
    verb.add_argument("--name", default="", help="name of the network namespace (default: one that is unique)")
    verb.set_defaults(run=up)
    verbs.add_parser("check", help="list missing programs").set_defaults(run=check)
    verbs.add_parser("install", help="install missing programs with apt-get").set_defaults(run=install_missing)
    verbs.add_parser("sweep", help="remove what killed racks left behind").set_defaults(run=sweep_stale)
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except (RackError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return code


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
