"""A server of somebody else on the rack's network: its own network namespace, plugged into the bridge by a cable.

It has an address of its own, so it may use the same ports as the server under test. The namespace has no name: it goes
with its program, which dies with the thread that started it.
"""

import subprocess
from ipaddress import IPv4Interface
from typing import Any

from tests.rack.network import NETNS_DIR, RackError, inside
from tests.rack.rack import Rack

_CABLE = "neighbour0"
_WAIT_FOR_CABLE = (
    "echo ready && read -r _ && ip link set lo up && ip addr add {address} dev eth0 && ip link set eth0 up"
)


def start_neighbour(rack: Rack, address: IPv4Interface, argv: list[str], **popen: Any) -> subprocess.Popen[Any]:
    """Run a program at `address` on the rack's network, until the rack stops. RackError when that cannot be."""
    script = _WAIT_FOR_CABLE.format(address=address) + ' && exec "$@"'
    command = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--net", "--", "sh", "-c", script, "sh", *argv]
    program = rack.run_in(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **popen)
    assert program.stdout is not None
    assert program.stdin is not None
    with program.stdout, program.stdin:
        if program.stdout.readline() != b"ready\n":
            raise RackError(f"{argv[0]} got no network of its own")
        _plug_in(rack, program.pid)
        program.stdin.write(b"plugged in\n")
    return program


def _plug_in(rack: Rack, pid: int) -> None:
    commands = [
        f"link add {_CABLE} type veth peer name eth0 netns {pid}",
        f"link set {_CABLE} addrgenmode none",
        f"link set {_CABLE} master {rack.network.bridge}",
        f"link set {_CABLE} up",
    ]
    batch = inside(NETNS_DIR / rack.name, ["ip", "-batch", "-"])
    done = subprocess.run(batch, input="\n".join(commands), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RackError(f"the neighbour could not be plugged in: {done.stderr.strip()}")
