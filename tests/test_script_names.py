"""Names of scripts, as loaders of every kind ask for them."""

from __future__ import annotations

import pytest

from provisioner.script_names import Language, ScriptName, may_be_missing, read_script_name, script_name

MAC = "52:54:00:ab:00:01"


def test_the_ipxe_script_is_named_by_the_mac_with_dashes():
    assert script_name(MAC) == "52-54-00-ab-00-01.ipxe"
    assert read_script_name(script_name(MAC)) == ScriptName(Language.IPXE, MAC)


@pytest.mark.parametrize("path", ["boot/52-54-00-ab-00-01.ipxe", "52-54-00-AB-00-01.ipxe", "52:54:00:ab:00:01.ipxe"])
def test_ipxe_may_write_it_in_other_ways(path):
    assert read_script_name(path) == ScriptName(Language.IPXE, MAC)


@pytest.mark.parametrize(
    "path",
    [
        "grub/52:54:00:ab:00:01.cfg",
        "grub/52-54-00-ab-00-01.cfg",
        "boot/grub/52:54:00:ab:00:01.cfg",
        "grub/grub.cfg-01-52-54-00-ab-00-01",
        "grub/x86_64-efi/grub.cfg-01-52-54-00-ab-00-01",
    ],
)
def test_grub_asks_for_the_script_of_its_machine(path):
    assert read_script_name(path) == ScriptName(Language.GRUB, MAC)


@pytest.mark.parametrize("path", ["grub/grub.cfg", "boot/grub/grub.cfg", "grub/x86_64-efi/grub.cfg"])
def test_grub_begins_with_a_script_for_everybody(path):
    assert read_script_name(path) == ScriptName(Language.GRUB_START)


@pytest.mark.parametrize(
    "path", ["grub/grubx64.efi", "grub/other.cfg", "x.ipxe", "52-54-00-ab-00.ipxe", "a/52-54-00-ab-00-01.ipxe", ""]
)
def test_other_names_are_no_scripts(path):
    assert read_script_name(path) is None


@pytest.mark.parametrize(
    "path",
    [
        "grub/x86_64-efi/command.lst",
        "grub/x86_64-efi/http.mod",
        "shim/revocations_sku.efi",
        "shim/revocations.efi",
        "shim/shim_certificate_0.efi",
        "shimrevocations_sku.efi",
    ],
)
def test_what_every_loader_asks_for_in_vain_may_be_missing(path):
    assert may_be_missing(path)


@pytest.mark.parametrize("path", ["shim/grubx64.efi", "ipxe/snponly.efi", "grub/grub.cfg", "list.lst.efi"])
def test_what_a_boot_needs_may_not_be_missing(path):
    assert not may_be_missing(path)
