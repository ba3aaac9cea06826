"""What the flight recorder keeps of each client: whole datagrams with how they came or went."""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct

# The protocols recorded. A number is what stands on disk: add at the end.
PROTOCOLS = ("dhcp", "proxy", "dhcp6")

# A socket address as Python has it: (address, port) of IPv4, (address, port, flow, scope) of IPv6.
Endpoint = tuple[Any, ...]


class Packet(Struct, frozen=True):
    """A datagram of one client. `time` in POSIX seconds; `outgoing` is what we sent; addresses as text."""

    time: float
    protocol: str
    mac: str
    outgoing: bool
    interface: str
    source: str
    source_port: int
    destination: str
    destination_port: int
    data: bytes


class Route(Struct, frozen=True, array_like=True):
    """By which way packets came or went: what many have in common. As JSON it stands on disk."""

    protocol: str
    outgoing: bool
    interface: str
    source: tuple[str, int]
    destination: tuple[str, int]


class Recorder(Protocol):
    """Keeps datagrams. It is asked in the middle of a power-on storm: `keep` must cost next to nothing."""

    def keep(
        self,
        protocol: str,
        now: float,
        mac: str,
        outgoing: bool,
        data: bytes,
        source: Endpoint,
        destination: Endpoint,
        interface: str,
    ) -> None:
        """Take note of a datagram; `protocol` is one of PROTOCOLS, `now` POSIX seconds."""

    def flush(self) -> None:
        """Write down what was noted; once for everything that was drained from a socket."""


class _NoRecorder:
    def keep(
        self,
        protocol: str,
        now: float,
        mac: str,
        outgoing: bool,
        data: bytes,
        source: Endpoint,
        destination: Endpoint,
        interface: str,
    ) -> None:
        pass

    def flush(self) -> None:
        pass


# For a service that nobody records.
NO_RECORDER: Recorder = _NoRecorder()
