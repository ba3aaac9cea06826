"""Who asks: kinds of clients and their architectures, also of those that say it oddly."""

from __future__ import annotations

import pytest

from provisioner.firmware import (
    ARCHS,
    BootClient,
    ClientKind,
    Platform,
    arch_in_class,
    boot_client,
    has_ipxe_feature,
)
from tests.dhcp_messages import BIOS, HTTP, IPXE, IPXE_HTTP, OVMF, discover, select


def client(options):
    return boot_client(discover(options=options))


@pytest.mark.parametrize(
    ("options", "kind"),
    [(OVMF, ClientKind.PXE), (BIOS, ClientKind.PXE), (HTTP, ClientKind.HTTP), (IPXE, ClientKind.IPXE)],
)
def test_the_kind_of_client_is_known_by_its_class(options, kind):
    assert client(options).kind is kind


@pytest.mark.parametrize(
    "options",
    [
        OVMF | {77: b"iPXE"},
        OVMF | {77: b"\4iPXE"},
        OVMF | {77: b"\4iPXE\4site"},
        OVMF | {77: b"iPXE\0"},
        OVMF | {77: b"gPXE"},
        BIOS | {175: b"\xb1\0"},
        {77: b"iPXE"},
    ],
)
def test_peers_2_ipxe_is_recognised_by_user_class_or_its_own_option(options):
    assert client(options).kind is ClientKind.IPXE


@pytest.mark.parametrize("options", [{}, {60: b"MSFT 5.0"}, {60: b"udhcp 1.35.0"}, {60: b"anaconda-Linux"}])
def test_an_operating_system_is_no_client_of_ours(options):
    found = client(options)
    assert (found.kind, found.firmware) == (ClientKind.OTHER, "")


@pytest.mark.parametrize(
    "vendor_class",
    [
        b"PXEClient",
        b"PXEClient\0",
        b"pxeclient:Arch:00007",
        b"\x09PXEClient",
        b"PXEClient:Arch:00007\xff",
        b" PXEClient",
    ],
)
def test_an_odd_class_is_understood(vendor_class):
    assert client(OVMF | {60: vendor_class}).kind is ClientKind.PXE


@pytest.mark.parametrize(
    ("arch", "kind"), [(7, ClientKind.PXE), (0, ClientKind.PXE), (16, ClientKind.HTTP), (22, ClientKind.PXE)]
)
def test_without_a_class_the_architecture_tells_what_asks(arch, kind):
    assert client({93: arch.to_bytes(2)}).kind is kind
    assert client({93: arch.to_bytes(2), 60: b"U-Boot.armv8"}).kind is kind


@pytest.mark.parametrize(
    ("vendor_class", "firmware"),
    [(b"PXEClient:Arch:00007:UNDI:003001", "UEFI x64"), (b"PXEClient", "BIOS"), (b"PXEClient:Arch:", "BIOS")],
)
def test_peers_3_without_option_93_the_class_says_the_architecture(vendor_class, firmware):
    assert client({60: vendor_class}).firmware == firmware


@pytest.mark.parametrize("text", ["PXEClient:Arch:x", "PXEClient:Arch:٣", "PXEClient:Arch:000000000007", ""])
def test_nonsense_for_an_architecture_is_a_bios(text):
    assert arch_in_class(text) == 0


def test_a_short_option_93_counts_as_absent():
    assert client(BIOS | {93: b"\7"}).arch == 0


def test_the_first_of_several_architectures_counts():
    assert client(OVMF | {93: b"\0\x07\0\0"}).arch == 7


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (OVMF, "UEFI x64"),
        (IPXE, "iPXE on UEFI x64"),
        (BIOS, "BIOS"),
        (HTTP, "UEFI x64 HTTP"),
        (HTTP | {93: b"\0\7"}, "UEFI x64 HTTP"),
        (OVMF | {93: b"\3\xe7"}, "client architecture 999"),
    ],
)
def test_the_firmware_has_a_name_for_people(options, name):
    assert client(options).firmware == name


@pytest.mark.parametrize(("arch", "platform"), [(6, Platform.IA32), (9, Platform.X64), (19, Platform.ARM64), (2, None)])
def test_the_platform_is_what_loaders_are_built_for(arch, platform):
    assert BootClient(ClientKind.PXE, arch, "").platform is platform


def test_an_unknown_architecture_has_no_platform():
    assert BootClient(ClientKind.PXE, 999, "").platform is None


def test_a_discover_begins_an_attempt_and_a_request_goes_on_with_it():
    assert boot_client(discover(7, options=OVMF)).begins
    assert not boot_client(select(7, "10.0.0.9", options=OVMF)).begins
    assert boot_client(discover(7, options=OVMF)).xid == boot_client(select(7, "10.0.0.9", options=OVMF)).xid


def test_ipxe_says_in_its_own_option_that_it_can_http():
    assert client(IPXE_HTTP).can_http
    assert not client(IPXE).can_http


@pytest.mark.parametrize(
    "value", [b"", b"\x13", b"\x13\x01", b"\x13\x01\x00", b"\x13\x00\x01", b"\x17\xff\x01", b"\x17"]
)
def test_an_option_175_that_ends_early_says_nothing(value):
    assert not has_ipxe_feature(value, 0x13)


def test_every_number_of_the_registry_up_to_41_has_a_name():
    assert sorted(ARCHS) == list(range(42))
