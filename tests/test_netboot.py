"""What a machine loads first, by firmware."""

from __future__ import annotations

import pytest

from provisioner.model import BootArch, Bootenv
from provisioner.netboot import FIRMWARE, IPXE_FILES, NO_BOOT, ClientKind, boot_client, choose_boot, script_name
from tests.dhcp_messages import BIOS, IPXE, OVMF, discover, mac

DISCOVERY = Bootenv(name="discovery", arch={"amd64": BootArch(kernel="discovery/vmlinuz")})
LOCAL = Bootenv(name="local")
SCRIPT = "52-54-00-00-00-01.ipxe"


def boot(options, bootenv=DISCOVERY, override=""):
    return choose_boot(boot_client(discover(options=options)), bootenv, override)


def pxe(arch):
    return OVMF | {93: arch.to_bytes(2)}


@pytest.mark.parametrize(
    ("arch", "file"),
    [(0, "ipxe/undionly.kpxe"), (7, "ipxe/snponly.efi"), (9, "ipxe/snponly.efi")],
)
def test_firmware_gets_the_ipxe_made_for_it(arch, file):
    assert boot(pxe(arch)).file == file


@pytest.mark.parametrize(("arch", "name"), [(6, "UEFI ia32"), (11, "UEFI arm64"), (31, "client architecture 31")])
def test_firmware_without_a_boot_file_gets_none_and_the_reason(arch, name):
    chosen = boot(pxe(arch))
    assert chosen.file == "" and chosen.options == {}
    assert name in chosen.reason


def test_http_boot_is_recognised_and_has_no_file_yet():
    client = boot_client(discover(options={60: b"HTTPClient:Arch:00016:UNDI:003001", 93: b"\0\x10"}))
    assert (client.kind, client.firmware) == (ClientKind.HTTP, "UEFI x64 HTTP")
    assert choose_boot(client, DISCOVERY).reason == "there is no boot file for UEFI x64 HTTP"


@pytest.mark.parametrize(
    "options", [OVMF | {77: b"iPXE"}, OVMF | {77: b"\4iPXE"}, BIOS | {175: b"\xb1\0"}, {77: b"iPXE"}, IPXE]
)
def test_ipxe_is_recognised_and_gets_its_script(options):
    assert boot(options).file == SCRIPT


def test_ipxe_is_told_not_to_wait_for_a_proxy():
    assert boot(IPXE).options == {175: b"\xb0\1\1"}


def test_the_script_is_named_by_the_mac_with_dashes():
    assert script_name(mac(1)) == SCRIPT


@pytest.mark.parametrize("options", [{}, {60: b"MSFT 5.0"}, {60: b"udhcp 1.35.0"}, {55: b"\x42\x43"}])
def test_an_operating_system_gets_no_boot_information(options):
    assert boot(options) == NO_BOOT
    assert boot_client(discover(options=options)).firmware == ""


def test_the_class_and_the_uuid_are_echoed_to_firmware():
    uuid = b"\0" + bytes(range(16))
    options = boot(OVMF | {97: uuid}).options
    assert (options[60], options[97]) == (b"PXEClient", uuid)


def test_a_card_that_sends_no_uuid_is_sent_none():
    without = {code: value for code, value in OVMF.items() if code != 97}
    assert 97 not in boot(without).options


@pytest.mark.parametrize("options", [OVMF, BIOS])
def test_firmware_is_told_to_take_the_file_from_this_packet(options):
    # OVMF 2022.11 answers an offer with class but without this with PXE-E16, as it goes on to look for a boot server.
    assert boot(options).options[43] == b"\6\1\x08\xff"


@pytest.mark.parametrize(
    ("vendor_class", "firmware"),
    [(b"PXEClient:Arch:00007:UNDI:003001", "UEFI x64"), (b"PXEClient", "BIOS"), (b"PXEClient:Arch:", "BIOS")],
)
def test_without_option_93_the_class_says_the_architecture(vendor_class, firmware):
    assert boot_client(discover(options={60: vendor_class})).firmware == firmware


def test_a_short_option_93_counts_as_absent():
    assert boot_client(discover(options=BIOS | {93: b"\7"})).arch == 0


@pytest.mark.parametrize(("options", "name"), [(OVMF, "UEFI x64"), (IPXE, "iPXE on UEFI x64"), (BIOS, "BIOS")])
def test_the_firmware_has_a_name_for_people(options, name):
    assert boot_client(discover(options=options)).firmware == name


@pytest.mark.parametrize("options", [OVMF, BIOS, IPXE])
def test_a_machine_that_boots_its_disk_goes_the_same_way_and_says_so(options):
    assert boot(options, LOCAL).file == boot(options).file
    assert boot(options, LOCAL).reason == "boot environment local: boots its own disk"


@pytest.mark.parametrize("options", [OVMF, BIOS, IPXE])
def test_a_reservation_can_forbid_netboot(options):
    chosen = boot(options, override="-")
    assert (chosen.file, chosen.options) == ("", {})
    assert "never boots from the network" in chosen.reason


def test_a_reservation_can_name_the_file():
    assert boot(OVMF, override="ipxe/ipxe.efi").file == "ipxe/ipxe.efi"


def test_a_reservation_can_name_the_file_for_firmware_without_one():
    assert boot(pxe(11), override="grub/arm64.efi").file == "grub/arm64.efi"


@pytest.mark.parametrize("file", sorted(IPXE_FILES))
def test_ipxe_never_loads_itself_again(file):
    assert boot(IPXE, override=file).file == SCRIPT


def test_ipxe_takes_a_reserved_script():
    assert boot(IPXE, override="rescue.ipxe").file == "rescue.ipxe"


def test_an_unknown_machine_boots_as_well():
    chosen = boot(OVMF, None)
    assert (chosen.file, chosen.reason) == ("ipxe/snponly.efi", "unknown machine")


def test_every_file_of_the_table_fits_the_header():
    assert all(len(row.file) < 128 for row in FIRMWARE.values())
