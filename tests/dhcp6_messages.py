"""DHCPv6 messages as clients send them, for tests."""

from __future__ import annotations

from provisioner.clients6 import Arrival6
from provisioner.wire.dhcp6 import Dhcp6Message, MessageType6, Option, Relay, Relayed
from provisioner.wire.dhcp6_options import (
    BOOT_FILE_PARAMETERS,
    BOOT_FILE_URL,
    CLIENT_ARCH,
    CLIENT_ID,
    DNS_SERVERS,
    IA_NA,
    NETWORK_INTERFACE,
    OPTION_REQUEST,
    SERVER_ID,
    USER_CLASS,
    VENDOR_CLASS,
    IaAddress,
    IaNa,
    encode_ia,
    encode_vendor_class,
    link_local,
)

SERVER = bytes.fromhex("0004") + b"provisioner-test"
SERVER_ADDRESS = "fd00:77::1"


def mac(number: int) -> str:
    """The MAC of client `number`."""
    return "52:54:00:" + number.to_bytes(3).hex(":")


def uuid_duid(number: int) -> bytes:
    """The DUID of the firmware of client `number`."""
    return b"\0\4" + number.to_bytes(16)


def llt_duid(number: int) -> bytes:
    """The DUID of the installed system of client `number`."""
    return b"\0\1\0\1" + (number + 1000).to_bytes(4) + bytes.fromhex(mac(number).replace(":", ""))


def ia(iaid: int = 1, *addresses: str) -> Option:
    """An IA_NA that names these addresses."""
    return IA_NA, encode_ia(IaNa(iaid.to_bytes(4).hex(), addresses=tuple(map(IaAddress, addresses))))


def requested(*codes: int) -> Option:
    """The options that a client would like to have."""
    return OPTION_REQUEST, b"".join(code.to_bytes(2) for code in codes)


def firmware(kind: str = "HTTPClient", arch: int = 16) -> tuple[Option, ...]:
    """What UEFI's DHCPv6 client says of itself (PxeBcDxe and HttpBootDxe alike)."""
    return (
        requested(BOOT_FILE_URL, BOOT_FILE_PARAMETERS, DNS_SERVERS, VENDOR_CLASS),
        (NETWORK_INTERFACE, b"\1\3\0"),
        (CLIENT_ARCH, arch.to_bytes(2)),
        (VENDOR_CLASS, encode_vendor_class(343, f"{kind}:Arch:{arch:05}:UNDI:003000".encode())),
    )


IPXE: tuple[Option, ...] = (
    (USER_CLASS, b"\0\4iPXE"),
    (CLIENT_ARCH, b"\0\7"),
    (VENDOR_CLASS, encode_vendor_class(343, b"PXEClient:Arch:00007:UNDI:003010")),
    requested(BOOT_FILE_URL, BOOT_FILE_PARAMETERS, DNS_SERVERS),
)


def arrival(client: int = 1, address: str = "") -> Arrival6:
    """How a message of this client on our own link reaches us."""
    return Arrival6(link_local(mac(client)), (SERVER_ADDRESS,), "eth0", 2, address, 546)


# A client whose address tells nothing of its MAC.
PRIVATE = Arrival6("fe80::1234:5678:9abc:def0", (SERVER_ADDRESS,), "eth0", 2, "", 546)


def message(kind: MessageType6, client: int, *options: Option, duid: bytes | None = None) -> Relayed:
    """A message of client `client`."""
    own = duid if duid is not None else uuid_duid(client)
    return Relayed(Dhcp6Message(kind=kind, xid=client, options=((CLIENT_ID, own), *options)))


def solicit(client: int = 1, *options: Option, duid: bytes | None = None) -> Relayed:
    """A SOLICIT for one address, unless other associations are named."""
    own = () if any(code in (IA_NA, 4, 25) for code, _ in options) else (ia(),)
    return message(MessageType6.SOLICIT, client, *own, *options, duid=duid)


def to_server(kind: MessageType6, client: int, *options: Option, duid: bytes | None = None) -> Relayed:
    """A message that is for one server: us."""
    return message(kind, client, (SERVER_ID, SERVER), *options, duid=duid)


def request(client: int, address: str, *options: Option, duid: bytes | None = None) -> Relayed:
    """A REQUEST that takes up an offer."""
    return to_server(MessageType6.REQUEST, client, ia(1, address), *options, duid=duid)


def relayed(inner: Relayed, link: str, client: int, *options: Option, hops: int = 0, peer: str = "") -> Relayed:
    """The message as a relay passes it on."""
    relay = Relay(hops=hops, link=link, peer=peer or link_local(mac(client)), options=options)
    return Relayed(inner.message, (relay, *inner.relays))
