"""Answers IPv6 router solicitations on the provisioning network: there is a router, and it has no prefix to give.

    router.py INTERFACE

iPXE configures IPv4 and IPv6 at once and goes on only when both are done. On a network where no router answers it asks
for 13 seconds on every boot; the answer of a router that offers nothing ends the wait (RFC 4861, section 4.2).
"""

import socket
import struct
import sys

ALL_NODES = "ff02::1"
ALL_ROUTERS = "ff02::2"
ROUTER_SOLICITATION = 133
ROUTER_ADVERTISEMENT = 134


def advertisement() -> bytes:
    """No default router, no managed addresses, no prefixes; the kernel fills in the checksum."""
    code = checksum = hop_limit = flags = lifetime = reachable = retransmit = 0
    return struct.pack(
        "!BBHBBHII", ROUTER_ADVERTISEMENT, code, checksum, hop_limit, flags, lifetime, reachable, retransmit
    )


def main(interface: str) -> None:
    """Answer until killed."""
    index = socket.if_nametoindex(interface)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as router:
        router.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
        router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        # Receivers drop neighbour discovery that may have come through a router.
        router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        group = socket.inet_pton(socket.AF_INET6, ALL_ROUTERS) + struct.pack("@I", index)
        router.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        while True:
            message, _ = router.recvfrom(2048)
            if message[0] == ROUTER_SOLICITATION:
                router.sendto(advertisement(), (ALL_NODES, 0, 0, index))


if __name__ == "__main__":
    main(sys.argv[1])
