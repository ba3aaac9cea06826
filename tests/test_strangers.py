"""What is known of machines that are not known yet."""

from __future__ import annotations

import pytest

from provisioner.arch import MACHINE_ARCHES
from provisioner.firmware import ARCHS, BootClient, ClientKind
from provisioner.strangers import Strangers

MAC = "52:54:00:00:00:01"


def client(arch, mac=MAC, kind=ClientKind.PXE):
    return BootClient(kind, arch, mac)


@pytest.mark.parametrize(
    ("arch", "name"), [(0, "amd64"), (6, "amd64"), (7, "amd64"), (11, "arm64"), (19, "arm64"), (27, "riscv64")]
)
def test_the_firmware_tells_the_architecture(arch, name):
    strangers = Strangers()
    strangers.met(client(arch))
    assert strangers.arch_of(MAC) == name


def test_who_has_said_nothing_is_taken_for_the_usual():
    assert Strangers().arch_of(MAC) == "amd64"


def test_what_is_said_last_counts():
    strangers = Strangers()
    strangers.met(client(11))
    strangers.met(client(7))
    assert strangers.arch_of(MAC) == "amd64"


def test_only_so_many_are_known():
    strangers = Strangers(most=2)
    for number in range(5):
        strangers.met(client(11, mac=f"52:54:00:00:00:0{number}"))
    assert strangers.arch_of("52:54:00:00:00:04") == "arm64"
    assert strangers.arch_of("52:54:00:00:00:00") == "amd64"


@pytest.mark.parametrize("arch", ARCHS)
def test_every_architecture_is_one_that_machines_can_have(arch):
    strangers = Strangers()
    strangers.met(client(arch))
    assert strangers.arch_of(MAC) in MACHINE_ARCHES
