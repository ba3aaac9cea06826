"""Our IPv4 addresses on each interface, as the kernel tells them."""

from __future__ import annotations

import socket
from array import array
from collections.abc import Iterator
from fcntl import ioctl
from struct import Struct as Layout

# <linux/sockios.h>
_SIOCGIFCONF = 0x8912
# struct ifconf; struct ifreq with a sockaddr_in in it.
_IFCONF = Layout("@iP")
_IFREQ = Layout("@16s2xH4s16x")
# More addresses than any host has.
_MOST = 4096


def interface_addresses(name: str = "") -> tuple[str, ...]:
    """All our addresses on the interface, its first one first; none when it has none or is gone. Without a name, those
    on all of them.
    """
    return tuple(address for label, address in _all() if not name or label.partition(":")[0] == name)


def _all() -> Iterator[tuple[str, str]]:
    room = array("B", bytes(_IFREQ.size * _MOST))
    start, _ = room.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = ioctl(sock, _SIOCGIFCONF, _IFCONF.pack(len(room), start))
    size, _ = _IFCONF.unpack(answer)
    for label, _, address in _IFREQ.iter_unpack(room.tobytes()[:size]):
        yield label.partition(b"\0")[0].decode("utf-8", "replace"), socket.inet_ntoa(address)
