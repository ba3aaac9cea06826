"""Architectures have one name each."""

import pytest

from provisioner.arch import BOOT_ARCHES, MACHINE_ARCHES, arch_fault, canonical


@pytest.mark.parametrize("name", MACHINE_ARCHES)
def test_a_canonical_name_is_right_and_stays(name):
    assert arch_fault(name) == "" and canonical(name) == name


@pytest.mark.parametrize(
    ("alias", "name"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("AARCH64", "arm64"), ("i686", "386")]
)
def test_another_name_is_refused_with_a_hint(alias, name):
    assert arch_fault(alias).endswith(f"; write {name!r} for it") and canonical(alias) == name


def test_an_unknown_name_is_refused_with_the_choices():
    assert arch_fault("vax", BOOT_ARCHES) == "unknown arch 'vax'; there is: amd64, arm64"
    assert canonical("vax") == "vax"


def test_a_hint_names_only_what_is_allowed_there():
    assert "write" not in arch_fault("i386", BOOT_ARCHES)
