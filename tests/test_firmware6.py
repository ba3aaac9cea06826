"""Which firmware asks over IPv6: by vendor class, user class and architecture."""

from __future__ import annotations

import pytest

from provisioner.firmware import ClientKind
from provisioner.firmware6 import boot_client6
from provisioner.wire.dhcp6_options import BOOT_FILE_URL, CLIENT_ARCH, VENDOR_CLASS, encode_vendor_class
from tests.dhcp6_messages import IPXE, firmware, llt_duid, mac, requested, solicit


@pytest.mark.parametrize(
    ("options", "kind", "arch", "words"),
    [
        (firmware("HTTPClient", 16), ClientKind.HTTP, 16, "UEFI x64 HTTP"),
        (firmware("PXEClient", 7), ClientKind.PXE, 7, "UEFI x64"),
        (firmware("PXEClient", 11), ClientKind.PXE, 11, "UEFI arm64"),
        (IPXE, ClientKind.IPXE, 7, "iPXE on UEFI x64"),
        ((requested(BOOT_FILE_URL), (CLIENT_ARCH, b"\0\x10")), ClientKind.HTTP, 16, "UEFI x64 HTTP"),
        ((requested(BOOT_FILE_URL), (CLIENT_ARCH, b"\0\7")), ClientKind.PXE, 7, "UEFI x64"),
        ((VENDOR_CLASS, encode_vendor_class(343, b"PXEClient:Arch:00007")), ClientKind.PXE, 7, "UEFI x64"),
        ((CLIENT_ARCH, b"\0\7"), ClientKind.OTHER, 0, ""),
        ((VENDOR_CLASS, encode_vendor_class(40712, b"networkd")), ClientKind.OTHER, 0, ""),
        ((VENDOR_CLASS, b"\0"), ClientKind.OTHER, 0, ""),
        ((requested(23),), ClientKind.OTHER, 0, ""),
    ],
)
def test_a_client_is_known_by_what_it_says_of_itself(options, kind, arch, words):
    packet = solicit(1, *(options if isinstance(options[0], tuple) else (options,)))
    client = boot_client6(packet.message, mac(1))
    assert (client.kind, client.arch, client.firmware) == (kind, arch, words)


def test_ipxe_over_ipv6_is_told_urls():
    assert boot_client6(solicit(1, *IPXE).message, mac(1)).can_http


def test_the_uuid_stands_as_in_option_97():
    assert boot_client6(solicit(1, *IPXE).message, mac(1)).uuid == bytes(16) + b"\1"
    assert boot_client6(solicit(1, *IPXE, duid=llt_duid(1)).message, mac(1)).uuid == b""
