"""How an IPv4 datagram reached us (interface, address of ours, broadcast or not), or why it is not for us."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from struct import Struct as Layout
from typing import Final

from provisioner.links import Arrival
from provisioner.services.datagrams import Ancillary
from provisioner.services.interfaces4 import interface_addresses
from provisioner.wire.error import WireError

# Ways in told apart: our addresses by interfaces, of which a large site has a few hundred.
MOST_ARRIVALS: Final = 1024
# For so long the names and addresses of interfaces are remembered.
ARRIVALS_SECONDS: Final = 10.0

# Not in Python's socket module before 3.14; number of <linux/in.h>.
IP_PKTINFO: Final = 8
# struct in_pktinfo: interface index, our address there, the address in the datagram's header.
_PKTINFO: Final = Layout("@I4s4s")
ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_PKTINFO.size)
_ANYWHERE: Final = b"\0\0\0\0"


class Arrivals:
    """Reads packet information. `interfaces` limits it by name (empty: all); `addresses_of` tells our addresses on one,
    on all for ''.
    """

    def __init__(
        self,
        interfaces: Sequence[str] = (),
        addresses_of: Callable[[str], Sequence[str]] = interface_addresses,
        seconds: float = ARRIVALS_SECONDS,
    ) -> None:
        self._interfaces = frozenset(interfaces)
        self._addresses_of = addresses_of
        self._seconds = seconds
        self._since = 0.0
        self._known: dict[bytes, Arrival] = {}
        self._names: dict[int, str] = {}
        self._indexes: dict[str, int] = {}

    def look_again(self, now: float) -> None:
        """Forget what was learned too long ago: interfaces get other addresses, and when a host starts other names."""
        if not 0 <= now - self._since < self._seconds:
            self._known.clear()
            self._names.clear()
            self._since = now

    def of(self, ancillary: Ancillary) -> Arrival:
        """How the datagram with this ancillary data came; raises WireError when it is not for us."""
        # All that came the same way have the same few bytes of packet information.
        arrival = self._known.get(ancillary[0][2]) if len(ancillary) == 1 else None
        return arrival if arrival is not None else self._read(ancillary)

    def index(self, interface: str) -> int:
        """The number of an interface by which something came; 0 is none."""
        return self._indexes.get(interface, 0)

    def _read(self, ancillary: Ancillary) -> Arrival:
        for level, kind, value in ancillary:
            if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
                index, local, header = _PKTINFO.unpack(value[: _PKTINFO.size])
                if not index:
                    # It came while whoever handed over the socket held it: the kernel kept no information then.
                    break
                arrival = self._arrival(self._name(index), socket.inet_ntoa(local), local != header)
                if len(ancillary) == 1 and arrival.interface in self._indexes:
                    if len(self._known) >= MOST_ARRIVALS:
                        self._known.clear()
                    self._known[value] = arrival
                return arrival
        raise WireError("no packet information")

    def _arrival(self, name: str, address: str, broadcast: bool) -> Arrival:
        """For a broadcast, `address` is the interface's own and not what the datagram was sent to."""
        if self._interfaces and name not in self._interfaces:
            raise WireError("interface not served", name)
        ours = self._addresses_of(name)
        if broadcast and address not in ours:
            # Where an interface has no address, the kernel names one of another: it is not our network.
            raise WireError("no address of ours on the interface", name)
        also = tuple(each for each in ours if each != address)
        # No relay's client can mean the loopback.
        all_ours = (each for each in self._addresses_of("") if not each.startswith("127."))
        elsewhere = tuple(each for each in all_ours if each not in ours and each != address)
        return Arrival(address, name, broadcast, also, elsewhere)

    def _name(self, index: int) -> str:
        name = self._names.get(index)
        if name is None:
            try:
                name = self._names[index] = socket.if_indextoname(index)
            except OSError:
                # It is gone already; the next one with this index may have another name.
                return f"#{index}"
            self._indexes[name] = index
        return name


def sent_from(address: str, index: int) -> tuple[tuple[int, int, bytes]]:
    """The ancillary data that makes an address of ours the sender, by the interface with this index unless 0."""
    return ((socket.IPPROTO_IP, IP_PKTINFO, _PKTINFO.pack(index, socket.inet_aton(address), _ANYWHERE)),)
