"""Who asks to be booted over IPv6 (RFC 5970): read from vendor class, user class and architecture of DHCPv6.

UEFI says `PXEClient:Arch:00007:UNDI:003000` or `HTTPClient:Arch:00016:..` in option 16 under Intel's enterprise number,
its architecture in option 61; iPXE says its name in option 15, and boots by URL, so HTTP is always good for it.
"""

from __future__ import annotations

from provisioner.firmware import ARCHS, BootClient, ClientKind, arch_in_class
from provisioner.wire.dhcp6 import Dhcp6Message, MessageType6
from provisioner.wire.dhcp6_options import (
    BOOT_FILE_URL,
    CLIENT_ARCH,
    CLIENT_ID,
    OPTION_REQUEST,
    USER_CLASS,
    VENDOR_CLASS,
    duid_uuid,
    shorts,
    vendor_classes,
)


def boot_client6(message: Dhcp6Message, mac: str) -> BootClient:
    """Who sent this message, as far as booting goes. Without `mac` the client cannot be told its script."""
    vendor_class = _vendor_class(message)
    kind = _kind(message, vendor_class)
    if kind is ClientKind.OTHER:
        return BootClient(kind, 0, mac)
    duid = message.option(CLIENT_ID) or b""
    return BootClient(
        kind,
        _arch(message, vendor_class),
        mac,
        # As option 97 has it: a type of 0, then the UUID.
        b"\0" + duid[2:] if duid_uuid(duid) else b"",
        vendor_class,
        kind is ClientKind.IPXE,
        message.xid,
        message.kind is MessageType6.SOLICIT,
    )


def _vendor_class(message: Dhcp6Message) -> str:
    for value in message.every(VENDOR_CLASS):
        _, parts = vendor_classes(value)
        for part in parts:
            text = part.strip(b"\0").decode("latin-1")
            if text[:10].lower().startswith(("pxeclient", "httpclient")):
                return text
    return ""


def _kind(message: Dhcp6Message, vendor_class: str) -> ClientKind:
    user_class = message.option(USER_CLASS) or b""
    if b"iPXE" in user_class or b"gPXE" in user_class:
        return ClientKind.IPXE
    begin = vendor_class.lower()
    if begin.startswith("httpclient"):
        return ClientKind.HTTP
    if begin.startswith("pxeclient"):
        return ClientKind.PXE
    if message.option(CLIENT_ARCH) is None or BOOT_FILE_URL not in shorts(message.option(OPTION_REQUEST) or b""):
        return ClientKind.OTHER
    row = ARCHS.get(_arch(message, vendor_class))
    return ClientKind.HTTP if row is not None and row.http else ClientKind.PXE


def _arch(message: Dhcp6Message, vendor_class: str) -> int:
    named = shorts(message.option(CLIENT_ARCH) or b"")
    return named[0] if named else arch_in_class(vendor_class)
