"""A PXE client's first words, from an interface without an address, in the network namespace that it is started in.

python -m tests.peers.pxe_client INTERFACE MAC [ADDRESS]

Without ADDRESS it broadcasts a DISCOVER and tells what it hears within two seconds: server, type, address, file, class.
With it, it asks ADDRESS on port 4011, from its own address, and tells the answer in the same way.
"""

import socket
import sys
from time import monotonic

from provisioner.wire.dhcp import BROADCAST_FLAG, DhcpMessage, MessageType, decode, encode
from provisioner.wire.dhcp_options import MESSAGE_TYPE, SERVER_ID, VENDOR_CLASS
from tests.dhcp_messages import BIOS, OVMF

SECONDS = 2.0


def main(interface: str, mac: str, boot_server: str = "") -> None:
    """Ask, and print what is answered."""
    kind = MessageType.REQUEST if boot_server else MessageType.DISCOVER
    options = {MESSAGE_TYPE: bytes([kind]), **(OVMF if boot_server else BIOS)}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        sock.bind(("", 68))
        if boot_server:
            sock.connect((boot_server, 4011))
            message = DhcpMessage(xid=7, mac=mac, ciaddr=sock.getsockname()[0], options=options)
            sock.send(encode(message))
        else:
            message = DhcpMessage(xid=7, mac=mac, flags=BROADCAST_FLAG, options=options)
            sock.sendto(encode(message), ("255.255.255.255", 67))
        listen(sock)


def listen(sock: socket.socket) -> None:
    """Print each answer that comes in time."""
    end = monotonic() + SECONDS
    while (left := end - monotonic()) > 0:
        sock.settimeout(left)
        try:
            answer = decode(sock.recv(2048))
        except TimeoutError:
            return
        kind = answer.message_type.name if answer.message_type is not None else "BOOTP"
        vendor_class = answer.options.get(VENDOR_CLASS, b"").decode()
        words = (answer.address_option(SERVER_ID), kind, answer.yiaddr or "-", answer.file or "-", vendor_class or "-")
        print(*words, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
