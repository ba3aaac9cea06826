"""Raw sockets: what reaches clients without an address, asks who has one, and hears other servers.

They need CAP_NET_RAW, and are opened before privileges drop. What they hear is read only while a question is open.
"""

from __future__ import annotations

import ctypes
import socket
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from fcntl import ioctl
from ipaddress import IPv4Network
from pathlib import Path
from struct import Struct as Layout

# <linux/icmp.h>: a filter is the set of the types that are not wanted.
_SOL_RAW, _ICMP_FILTER, _ONLY_ECHO_REPLIES = 255, 1, (0xFFFFFFFF & ~1).to_bytes(4, sys.byteorder)
_ETH_P_IP, _ETH_P_ARP = 0x0800, 0x0806
# <linux/filter.h>: of IPv4 packets, those that are UDP, whole, and to port 68.
_BPF = Layout("@HBBI")
_BPF_PROGRAM = Layout("@HP")
_SO_ATTACH_FILTER = 26
_TO_DHCP_CLIENTS = b"".join(
    _BPF.pack(*step)
    for step in (
        (0x30, 0, 0, 9),  # protocol
        (0x15, 0, 6, 17),  # UDP, else drop
        (0x28, 0, 0, 6),  # flags and fragment offset
        (0x45, 4, 0, 0x1FFF),  # a later fragment: drop
        (0xB1, 0, 0, 0),  # length of the header
        (0x48, 0, 0, 2),  # destination port, behind it
        (0x15, 0, 1, 68),
        (0x06, 0, 0, 0xFFFF),  # keep
        (0x06, 0, 0, 0),  # drop
    )
)
# <linux/sockios.h>; struct ifreq is the name, then a sockaddr whose data begin after its family.
_SIOCGIFHWADDR, _IFREQ_BYTES, _HARDWARE_AT = 0x8927, 40, 18
_ICMP6_FILTER, _ROUTER_SOLICITATION = 1, 133
# They are read while a question is open, of which there may be a thousand; what comes otherwise is thrown away.
_RAW_BUFFER_BYTES = 1 << 20
# <asm-generic/socket.h>: beyond the system's limit, with CAP_NET_ADMIN.
_SO_RCVBUFFORCE = 33


@dataclass(frozen=True)
class RawSockets:
    """What needs CAP_NET_RAW: `frames` sends to hardware addresses; by `arp` and `echo` we ask who has an address;
    `offers` hears what DHCP servers send to clients.
    """

    frames: socket.socket
    arp: socket.socket
    echo: socket.socket
    offers: socket.socket

    def close(self) -> None:
        """Close all of them."""
        for sock in (self.frames, self.arp, self.echo, self.offers):
            sock.close()


def raw() -> RawSockets | None:
    """The raw sockets, or None when we may not have any."""
    with ExitStack() as undo:

        def opened(family: int, kind: int, protocol: int) -> socket.socket:
            sock = undo.enter_context(socket.socket(family, kind, protocol))
            sock.setblocking(False)
            try:
                sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RAW_BUFFER_BYTES)
            except PermissionError:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RAW_BUFFER_BYTES)
            return sock

        try:
            # Protocol 0 receives nothing.
            frames = opened(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            arp = opened(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ARP))
            echo = opened(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            offers = opened(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        except PermissionError:
            return None
        echo.setsockopt(_SOL_RAW, _ICMP_FILTER, _ONLY_ECHO_REPLIES)
        program = ctypes.create_string_buffer(_TO_DHCP_CLIENTS)
        pointer = ctypes.addressof(program)
        count = len(_TO_DHCP_CLIENTS) // _BPF.size
        offers.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _BPF_PROGRAM.pack(count, pointer))
        undo.pop_all()
        return RawSockets(frames, arp, echo, offers)


def hardware_address(sock: socket.socket, interface: str) -> str:
    """The MAC of an interface now (a bridge changes its own when ports come and go); OSError when it is gone."""
    answer = ioctl(sock, _SIOCGIFHWADDR, interface.encode().ljust(_IFREQ_BYTES, b"\0"))
    return answer[_HARDWARE_AT : _HARDWARE_AT + 6].hex(":")


def drain(sock: socket.socket) -> None:
    """Throw away what waits in a socket that does not block."""
    try:
        while True:
            sock.recv(1)
    except OSError:
        return


def connected_networks(proc: Path = Path("/proc/net")) -> list[tuple[str, IPv4Network]]:
    """The IPv4 networks that this host is on, with the interface of each."""
    routes = proc / "route"
    found = []
    for line in routes.read_text().splitlines()[1:] if routes.exists() else []:
        interface, destination, gateway, _, _, _, _, mask, *_ = line.split()
        if int(gateway, 16) == 0 and int(mask, 16) != 0:
            address, netmask = (int(word, 16).to_bytes(4, sys.byteorder) for word in (destination, mask))
            found.append((interface, IPv4Network((address, bin(int.from_bytes(netmask)).count("1")))))
    return found


def icmp6() -> socket.socket | None:
    """A raw socket for router advertisements and solicitations, or None when we may not have it, or have no IPv6."""
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6)
    except OSError:
        return None
    try:
        wanted = bytearray(b"\xff" * 32)
        wanted[_ROUTER_SOLICITATION // 8] &= ~(1 << _ROUTER_SOLICITATION % 8)
        # Words of 32 bits in the host's order (struct icmp6_filter).
        words = b"".join(
            int.from_bytes(wanted[at : at + 4], "little").to_bytes(4, sys.byteorder) for at in range(0, 32, 4)
        )
        sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, words)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        # RFC 4861 section 6.1: hosts drop what may have come over a router.
        for option in (socket.IPV6_MULTICAST_HOPS, socket.IPV6_UNICAST_HOPS):
            sock.setsockopt(socket.IPPROTO_IPV6, option, 255)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
    except OSError:
        sock.close()
        raise
    return sock
