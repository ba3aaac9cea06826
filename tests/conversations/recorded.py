"""Makes a conversation of what a flight recorder kept, so that what went wrong in the field goes wrong in a test.

    provisioner packets MACHINE -o case.pcapng
    python -m tests.conversations.recorded case.pcapng > tests/conversations/dhcp/case.txt

The `<` lines are what the recorded server answered; played again, the conversation shows where ours answers otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from provisioner.recording import Packet
from provisioner.wire.capture import read_capture
from provisioner.wire.dhcp import decode
from provisioner.wire.dhcp_options import describe

_LIMITED_BROADCAST = "255.255.255.255"
_PORTS = {"dhcp": 67, "proxy": 4011}


def conversation(packets: Sequence[Packet]) -> str:
    """The packets in the words of `tests/conversations`: who said what, when, and how it reached the server."""
    return "\n\n".join(_paragraphs([each for each in packets if each.protocol in _PORTS])) + "\n"


def _paragraphs(packets: Sequence[Packet]) -> Iterator[str]:
    last_time = packets[0].time if packets else 0.0
    arrived, port = "", _PORTS["dhcp"]
    for place, packet in enumerate(packets):
        lines = describe(decode(packet.data)).splitlines()
        if packet.outgoing:
            yield "\n".join(f"< {line}" for line in lines)
            continue
        scene = [f"@wait {packet.time - last_time:.3f}"] if packet.time - last_time >= 0.5 else []
        last_time = packet.time
        arrives = _arrives(packet, packets[place:])
        if arrives != arrived:
            scene.append(arrives)
        if _PORTS[packet.protocol] != port:
            scene.append(f"@port {_PORTS[packet.protocol]}")
        arrived, port = arrives, _PORTS[packet.protocol]
        if scene:
            yield "\n".join(scene)
        yield "\n".join(f"> {line}" for line in lines)


def _arrives(packet: Packet, following: Sequence[Packet]) -> str:
    """Where a request came in. A broadcast does not name the server's address; its answer does."""
    if packet.destination != _LIMITED_BROADCAST:
        return f"@arrives unicast {packet.destination} {packet.interface or 'eth0'}"
    ours = next((each.source for each in following if each.outgoing), "")
    return f"@arrives {ours} {packet.interface or 'eth0'}" if ours else "@arrives broadcast"


if __name__ == "__main__":
    sys.stdout.write(conversation(read_capture(Path(sys.argv[1]).read_bytes())))
