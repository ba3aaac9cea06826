"""Which loaders there are for which firmware, and their order."""

from __future__ import annotations

import pytest

from provisioner.firmware import Platform
from provisioner.loaders import IPXE_FILES, file_of, order, signed_second


@pytest.mark.parametrize(
    ("platform", "names"),
    [
        (Platform.BIOS, ("undionly", "ipxe")),
        (Platform.X64, ("snponly", "ipxe", "shim", "grub")),
        (Platform.ARM32, ("grub",)),
        (None, ()),
    ],
)
def test_a_platform_tries_its_loaders_in_order(platform, names):
    assert order(platform) == names


def test_with_secure_boot_the_signed_one_is_first():
    assert order(Platform.X64, secure=True) == ("shim", "grub", "snponly", "ipxe")


def test_where_nobody_knows_of_secure_boot_the_signed_one_is_second():
    assert signed_second(("snponly", "ipxe", "shim", "grub")) == ("snponly", "shim", "ipxe", "grub")
    assert signed_second(("shim", "grub")) == ("shim", "grub")
    assert signed_second(("snponly", "ipxe")) == ("snponly", "ipxe")
    assert signed_second(()) == ()


def test_where_grub_would_be_lost_there_is_ipxe_alone_and_with_secure_boot_nothing():
    assert order(Platform.X64, only_ipxe=True) == ("snponly", "ipxe")
    assert order(Platform.X64, only_ipxe=True, secure=True) == ()
    assert order(Platform.X64, only_ipxe=True, secure=True, first="shim") == ("shim",)


def test_the_one_named_first_is_first_and_the_others_stay():
    assert order(Platform.X64, first="ipxe") == ("ipxe", "snponly", "shim", "grub")


def test_one_that_is_not_for_the_platform_is_left_out():
    assert order(Platform.BIOS, first="snponly") == ("undionly", "ipxe")


def test_a_loader_that_nobody_knows_has_no_file():
    assert file_of("lilo", Platform.BIOS) == "" and file_of("grub", None) == ""


def test_ipxe_files_are_those_of_ipxe_alone():
    assert "ipxe/undionly.kpxe" in IPXE_FILES
    assert all(name.startswith("ipxe/") for name in IPXE_FILES)
