"""DHCP messages as clients send them, for tests; and messages read back from the text that `describe` writes."""

from __future__ import annotations

from socket import inet_aton
from typing import Any, TypeVar

from provisioner.native import Native
from provisioner.wire.dhcp import BOOTREPLY, BROADCAST_FLAG, DhcpMessage, MessageType
from provisioner.wire.dhcp_options import MESSAGE_TYPE, parse_option

SERVER = "10.77.0.1"
PXE_LIST = bytes([1, 3, 6, 12, 15, 28, 43, 51, 54, 60, 66, 67, 97])
OVMF = {93: b"\0\x07", 94: b"\1\3\0", 60: b"PXEClient:Arch:00007:UNDI:003000", 97: bytes(17), 55: PXE_LIST}
BIOS = {93: b"\0\0", 94: b"\1\2\1", 60: b"PXEClient:Arch:00000:UNDI:002001", 97: bytes(17), 55: PXE_LIST}
IPXE = OVMF | {77: b"iPXE", 175: b"\xb1\x05\x01\x1a\xf4\x10\x00"}
# Of an iPXE that says what it was built with: HTTP (19) among it.
IPXE_HTTP = IPXE | {175: bytes.fromhex("b105011af41000eb03010000170101240101130101110101270101290101150101120101")}
HTTP = OVMF | {93: b"\0\x10", 60: b"HTTPClient:Arch:00016:UNDI:003000"}

_Value = TypeVar("_Value", bound=Native)


def changed(value: _Value, **fields: Any) -> _Value:
    """The same value but for these fields."""
    return type(value)(**{name: getattr(value, name) for name in value.__match_args__} | fields)


def mac(number: int) -> str:
    """The MAC of client `number`."""
    return "52:54:00:" + number.to_bytes(3).hex(":")


def message(
    kind: MessageType, client: int = 1, options: dict[int, bytes] | None = None, **fields: object
) -> DhcpMessage:
    """A message of this kind from client `client`."""
    merged = {MESSAGE_TYPE: bytes([kind])} | (options or {})
    values = {"xid": client, "mac": mac(client), "flags": BROADCAST_FLAG} | fields
    return DhcpMessage(options=merged, **values)  # type: ignore[arg-type]


def discover(client: int = 1, hint: str = "", options: dict[int, bytes] | None = None, **fields: object) -> DhcpMessage:
    """A DHCPDISCOVER, with the address it would like."""
    wish = {50: inet_aton(hint)} if hint else {}
    return message(MessageType.DISCOVER, client, wish | (options or {}), **fields)


def select(
    client: int, address: str, server: str = SERVER, options: dict[int, bytes] | None = None, **fields: object
) -> DhcpMessage:
    """A DHCPREQUEST that takes up an offer (SELECTING)."""
    chosen = {50: inet_aton(address), 54: inet_aton(server)}
    return message(MessageType.REQUEST, client, chosen | (options or {}), **fields)


def reboot(client: int, address: str, **fields: object) -> DhcpMessage:
    """A DHCPREQUEST after a reboot (INIT-REBOOT)."""
    return message(MessageType.REQUEST, client, {50: inet_aton(address)}, **fields)


def renew(client: int, address: str, **fields: object) -> DhcpMessage:
    """A DHCPREQUEST for a running lease (RENEWING by unicast, REBINDING by broadcast)."""
    return message(MessageType.REQUEST, client, ciaddr=address, flags=0, **fields)


def decline(client: int, address: str, server: str = SERVER) -> DhcpMessage:
    """A DHCPDECLINE: somebody answered ARP for the address."""
    return message(MessageType.DECLINE, client, {50: inet_aton(address), 54: inet_aton(server)})


def release(client: int, address: str, server: str = SERVER) -> DhcpMessage:
    """A DHCPRELEASE."""
    return message(MessageType.RELEASE, client, {54: inet_aton(server)}, ciaddr=address, flags=0)


def inform(client: int, address: str) -> DhcpMessage:
    """A DHCPINFORM."""
    return message(MessageType.INFORM, client, {55: PXE_LIST}, ciaddr=address, flags=0)


def read_description(text: str) -> DhcpMessage:
    """The message that `describe` would show as this text."""
    first, *lines = text.strip().splitlines()
    kind, _, xid = first.partition(" xid ")
    fields: dict[str, object] = {"xid": int(xid, 16)}
    options: dict[int, bytes] = {}
    if kind != "BOOTP":
        options[MESSAGE_TYPE] = bytes([MessageType[kind]])
        if MessageType[kind] in (MessageType.OFFER, MessageType.ACK, MessageType.NAK):
            fields["op"] = BOOTREPLY
    for line in lines:
        name, _, value = line.partition(" ")
        if name == "option":
            code, _, shown = value.partition(" ")
            options[int(code)] = parse_option(int(code), shown.partition(" = ")[2])
        else:
            fields[name] = int(value) if name in ("htype", "hops", "secs", "flags") else value
    return DhcpMessage(options=options, **fields)  # type: ignore[arg-type]
