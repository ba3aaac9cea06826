"""UDP datagrams to a hardware address: what reaches a client that does not answer ARP yet (RFC 2131 section 4.1).

The kernel makes the link's own header, so plain Ethernet, VLANs, bridges and bonds are all the same here.
"""

from __future__ import annotations

import socket
from typing import Final

from provisioner.wire.ipv4 import udp_packet

_ETH_P_IP: Final = 0x0800


class Frames:
    """Sends on a packet socket of `provisioner.raw_sockets`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(
        self,
        interface: str,
        mac: str,
        source_ip: str,
        destination_ip: str,
        source_port: int,
        destination_port: int,
        payload: bytes,
    ) -> None:
        """Send one datagram out of `interface` to the host with this MAC; raises OSError as a socket does."""
        packet = udp_packet(source_ip, destination_ip, source_port, destination_port, payload)
        self._sock.sendto(packet, (interface, _ETH_P_IP, 0, 0, bytes.fromhex(mac.replace(":", ""))))
