"""What a machine loads first, by firmware, loader and quirks."""

from __future__ import annotations

import pytest

from provisioner.firmware import ARCHS, ClientKind, boot_client
from provisioner.loaders import IPXE_FILES, LOADERS, order
from provisioner.model.content import BootArch, Bootenv
from provisioner.netboot import NO_BOOT, Boot, as_url, choose_boot
from provisioner.quirks import Behaviour, NameEnd, NameIn, VendorOptions
from tests.dhcp_messages import BIOS, HTTP, IPXE, IPXE_HTTP, OVMF, discover

DISCOVERY = Bootenv(name="discovery", arch={"amd64": BootArch(kernel="discovery/vmlinuz")})
LOCAL = Bootenv(name="local")
SCRIPT = "52-54-00-00-00-01.ipxe"
SITE = "http://10.0.0.1:8091"


def boot(options, bootenv=DISCOVERY, loader=None, **fields):
    client = boot_client(discover(options=options))
    loader = next(iter(order(client.platform)), "") if loader is None else loader
    return choose_boot(client, bootenv, loader, **fields)


def pxe(arch):
    return OVMF | {93: arch.to_bytes(2)}


@pytest.mark.parametrize(
    ("arch", "file"),
    [
        (0, "ipxe/undionly.kpxe"),
        (6, "ipxe/snponly-ia32.efi"),
        (7, "ipxe/snponly.efi"),
        (9, "ipxe/snponly.efi"),
        (10, "grub/grubarm.efi"),
        (11, "ipxe/snponly-arm64.efi"),
        (27, "grub/grubriscv64.efi"),
    ],
)
def test_firmware_gets_the_loader_made_for_it(arch, file):
    assert boot(pxe(arch)).file == file


@pytest.mark.parametrize(("arch", "name"), [(2, "UEFI Itanium"), (31, "s390 basic"), (999, "client architecture 999")])
def test_firmware_without_a_loader_gets_none_and_the_reason(arch, name):
    chosen = boot(pxe(arch))
    assert chosen.file == "" and chosen.options == {}
    assert chosen.reason == f"there is no boot loader for {name}"


@pytest.mark.parametrize("options", [OVMF | {77: b"iPXE"}, OVMF | {77: b"\4iPXE"}, {77: b"iPXE"}, IPXE])
def test_ipxe_that_knows_tftp_only_gets_its_script_by_name(options):
    assert boot(options, http=SITE).file == SCRIPT


def test_ipxe_that_knows_http_gets_the_url_of_its_script():
    assert boot(IPXE_HTTP, http=SITE).file == f"{SITE}/boot/{SCRIPT}"


def test_without_a_listener_for_http_every_ipxe_gets_its_script_by_name():
    assert boot(IPXE_HTTP).file == SCRIPT


def test_a_quirk_keeps_ipxe_on_tftp():
    assert boot(IPXE_HTTP, http=SITE, behaviour=Behaviour(script="tftp")).file == SCRIPT


def test_ipxe_is_told_not_to_wait_for_a_proxy():
    assert boot(IPXE).options == {175: b"\xb0\1\1"}


@pytest.mark.parametrize("options", [{}, {60: b"MSFT 5.0"}, {60: b"udhcp 1.35.0"}, {55: b"\x42\x43"}])
def test_an_operating_system_gets_no_boot_information(options):
    assert boot(options) == NO_BOOT


# --- UEFI HTTP boot -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arch", "file"), [(16, "ipxe/snponly.efi"), (15, "ipxe/snponly-ia32.efi")])
def test_http_firmware_gets_the_url_of_its_loader(arch, file):
    assert boot(HTTP | {93: arch.to_bytes(2)}, http=SITE).file == f"{SITE}/files/{file}"


def test_http_firmware_is_answered_as_httpclient_without_option_43():
    # EDK2 HttpBootDxe takes an offer for HTTP boot only by this class and a URL.
    options = boot(HTTP, http=SITE).options
    assert options[60] == b"HTTPClient" and 43 not in options


def test_http_firmware_gets_the_url_in_option_67_whether_it_asks_or_not():
    assert boot(HTTP, http=SITE).in_options(asked=False)


def test_http_firmware_of_a_local_machine_goes_the_same_way():
    assert boot(HTTP, LOCAL, http=SITE).file == boot(HTTP, http=SITE).file


def test_http_firmware_without_our_http_is_told_why_it_gets_nothing():
    assert "does not listen for HTTP" in boot(HTTP).reason


def test_http_firmware_takes_a_reserved_file_below_files_and_a_reserved_url_as_it_is():
    assert boot(HTTP, override="x/my.efi", http=SITE).file == f"{SITE}/files/x/my.efi"
    assert boot(HTTP, override="http://other/my.efi", http=SITE).file == "http://other/my.efi"


# --- what PXE firmware is told --------------------------------------------------------------------------------


def test_the_class_and_the_uuid_are_echoed_to_firmware():
    uuid = b"\0" + bytes(range(16))
    options = boot(OVMF | {97: uuid}).options
    assert (options[60], options[97]) == (b"PXEClient", uuid)


def test_peers_3_a_card_that_sends_no_uuid_is_sent_none():
    without = {code: value for code, value in OVMF.items() if code != 97}
    assert 97 not in boot(without).options


@pytest.mark.parametrize("options", [OVMF, BIOS])
def test_firmware_is_told_to_take_the_file_from_this_packet(options):
    # OVMF 2022.11 answers an offer with class but without this with PXE-E16, as it goes on to look for a boot server.
    assert boot(options).options[43] == b"\6\1\x08\xff"


def test_in_proxy_mode_only_bios_is_told_so():
    assert 43 in boot(BIOS, proxy=True).options
    assert 43 not in boot(OVMF, proxy=True).options


def test_ipxe_behind_a_proxy_is_answered_with_the_class_by_which_it_knows_one():
    assert boot(IPXE, proxy=True).options[60] == b"PXEClient"


@pytest.mark.parametrize("options", [OVMF, BIOS, IPXE])
def test_a_machine_that_boots_its_disk_goes_the_same_way_and_says_so(options):
    assert boot(options, LOCAL).file == boot(options).file
    assert boot(options, LOCAL).reason == "boot environment local: boots its own disk"


def test_an_unknown_machine_boots_as_well():
    chosen = boot(OVMF, None)
    assert (chosen.file, chosen.reason) == ("ipxe/snponly.efi", "unknown machine")


def test_the_loader_none_offers_nothing_and_says_so():
    chosen = boot(OVMF, loader="none")
    assert (chosen.file, chosen.options) == ("", {}) and "loader none" in chosen.reason


# --- quirks ---------------------------------------------------------------------------------------------------


def test_a_quirk_leaves_option_43_out_or_sends_it_always():
    assert 43 not in boot(BIOS, behaviour=Behaviour(vendor_options=VendorOptions.NEVER)).options
    assert 43 in boot(OVMF, proxy=True, behaviour=Behaviour(vendor_options=VendorOptions.ALWAYS)).options


def test_a_quirk_keeps_the_uuid_to_itself():
    assert 97 not in boot(OVMF, behaviour=Behaviour(echo_uuid=False)).options


@pytest.mark.parametrize(
    ("name_in", "header", "asked", "unasked"),
    [
        (NameIn.ASKED, True, True, False),
        (NameIn.HEADER, True, False, False),
        (NameIn.OPTIONS, False, True, True),
        (NameIn.BOTH, True, True, True),
    ],
)
def test_a_quirk_says_where_the_name_is_written(name_in, header, asked, unasked):
    chosen = boot(OVMF, behaviour=Behaviour(name_in=name_in))
    assert (chosen.in_header, chosen.in_options(True), chosen.in_options(False)) == (header, asked, unasked)


def test_peers_4_names_end_with_nul_unless_a_quirk_says_otherwise():
    assert boot(OVMF).name_end.written == b"\0"
    assert boot(OVMF, behaviour=Behaviour(name_end=NameEnd.NONE)).name_end.written == b""


# --- reservations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [OVMF, BIOS, IPXE, HTTP])
def test_a_reservation_can_forbid_netboot(options):
    chosen = boot(options, override="-")
    assert (chosen.file, chosen.options) == ("", {})
    assert "never boots from the network" in chosen.reason


def test_a_reservation_can_name_the_file():
    assert boot(OVMF, override="ipxe/ipxe.efi").file == "ipxe/ipxe.efi"


def test_a_reservation_can_name_the_file_for_firmware_without_one():
    assert boot(pxe(2), override="ia64/boot.efi").file == "ia64/boot.efi"


@pytest.mark.parametrize("file", sorted(IPXE_FILES))
def test_peers_2_ipxe_never_loads_itself_again(file):
    assert boot(IPXE, override=file).file == SCRIPT


def test_ipxe_takes_a_reserved_script():
    assert boot(IPXE, override="rescue.ipxe").file == "rescue.ipxe"


# --- the tables -----------------------------------------------------------------------------------------------


def test_every_file_of_the_tables_fits_the_header():
    assert all(len(file) < 100 for loader in LOADERS.values() for file in loader.files.values())


def test_every_platform_has_a_loader():
    assert all(order(arch.platform) for arch in ARCHS.values() if arch.platform is not None)


def test_a_name_becomes_a_url_for_those_who_are_told_nothing_else():
    assert as_url(Boot("ipxe/snponly.efi"), "fd00::1") == "tftp://[fd00::1]/ipxe/snponly.efi"
    assert as_url(Boot("ipxe/snponly.efi"), "10.0.0.1") == "tftp://10.0.0.1/ipxe/snponly.efi"
    assert as_url(Boot("http://x/y.efi"), "10.0.0.1") == "http://x/y.efi"
    assert as_url(NO_BOOT, "10.0.0.1") == ""


def test_the_kind_of_client_is_known_to_the_choice():
    assert boot_client(discover(options=HTTP)).kind is ClientKind.HTTP
