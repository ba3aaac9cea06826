"""A cable (veth) between two network namespaces of its own: servers at one end, the load at the other. Needs root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

# Of the range for measurements (RFC 2544): no real network is hidden by it.
_ADDRESS = "198.18.69.{}"
_LOAD_HOST = 200


@dataclass(frozen=True)
class Cable:
    """The namespaces at both ends, and the addresses of the servers."""

    server_side: str
    load_side: str
    servers: tuple[str, ...]

    def at_servers(self, argv: Sequence[str], cpu: int) -> list[str]:
        """The command, run where the servers are, on this processor alone."""
        return _inside(self.server_side, argv, cpu)

    def at_load(self, argv: Sequence[str], cpu: int) -> list[str]:
        """The command, run where the load is, on this processor alone."""
        return _inside(self.load_side, argv, cpu)


def _inside(namespace: str, argv: Sequence[str], cpu: int) -> list[str]:
    return ["ip", "netns", "exec", namespace, "taskset", "-c", str(cpu % (os.cpu_count() or 1)), *argv]


@contextmanager
def cable(servers: int) -> Iterator[Cable]:
    """A new cable, with addresses for so many servers at one end; gone when the context ends."""
    name = f"tftp{os.getpid()}"
    made = Cable(f"{name}s", f"{name}l", tuple(_ADDRESS.format(place + 1) for place in range(servers)))
    ends = {made.server_side: made.servers, made.load_side: (_ADDRESS.format(_LOAD_HOST),)}
    try:
        for side in ends:
            _ip("netns", "add", side)
        _ip("link", "add", "eth0", "netns", made.server_side, "type", "veth", "peer", "eth0", "netns", made.load_side)
        for side, addresses in ends.items():
            for address in addresses:
                _ip("-n", side, "address", "add", f"{address}/24", "dev", "eth0")
            for interface in ("lo", "eth0"):
                _ip("-n", side, "link", "set", interface, "up")
        yield made
    finally:
        for side in ends:
            subprocess.run(["ip", "netns", "del", side], check=False, stderr=subprocess.DEVNULL)


def _ip(*argv: str) -> None:
    subprocess.run(["ip", *argv], check=True, capture_output=True)
