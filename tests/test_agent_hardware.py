"""Processors, memory, disks and PCI devices out of trees."""

from pathlib import Path

import pytest

from agent.hardware import disks, memory, normal_wwn, pci_devices, processors
from tests.fakes.trees import SERVER, Link, plant


@pytest.fixture
def root(tmp_path: Path) -> str:
    return plant(tmp_path, SERVER)


def test_sockets_cores_and_threads_are_counted(root: str) -> None:
    assert processors(root) == {
        "model": "Intel(R) Xeon(R) E5-2620",
        "vendor": "GenuineIntel",
        "sockets": 2,
        "cores": 4,
        "threads": 8,
    }


def test_memory_is_what_the_kernel_can_use(root: str) -> None:
    assert memory(root) == {"total_bytes": 32768000 * 1024, "modules": []}


def test_only_disks_that_are_hardware_are_listed(root: str) -> None:
    assert [disk["name"] for disk in disks(root)] == ["cciss!c0d0", "nvme0n1", "sda", "vda"]


def disk(root: str, name: str) -> dict[str, object]:
    return next(disk for disk in disks(root) if disk["name"] == name)


def test_a_sata_disk(root: str) -> None:
    assert disk(root, "sda") == {
        "name": "sda",
        "path": "/dev/sda",
        "size_bytes": 240057409536,
        "sector_bytes": 4096,
        "model": "SAMSUNG MZ7LM240",
        "vendor": "",
        "serial": "S1YKNX0H000001",
        "wwn": "0x5002538c00000001",
        "rotational": False,
        "removable": False,
        "read_only": False,
        "transport": "sata",
        "partitions": [{"name": "sda1", "size_bytes": 1048576}],
    }


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("nvme0n1", "transport", "nvme"),
        ("nvme0n1", "model", "INTEL SSDPE2KX010T8"),
        ("nvme0n1", "serial", "PHLJ0000001"),
        ("nvme0n1", "wwn", "eui.01000000010000005cd2e4"),
        ("vda", "transport", "virtio"),
        ("vda", "serial", "disk-1"),
        ("vda", "vendor", ""),
        ("vda", "rotational", True),
        ("vda", "sector_bytes", 512),
        ("cciss!c0d0", "path", "/dev/cciss/c0d0"),
        ("cciss!c0d0", "serial", "P1234"),
        ("cciss!c0d0", "wwn", "0x600508b1"),
        ("cciss!c0d0", "model", "LOGICAL_VOLUME"),
        ("cciss!c0d0", "transport", ""),
    ],
)
def test_other_kinds_of_disks(root: str, name: str, field: str, value: object) -> None:
    assert disk(root, name)[field] == value


@pytest.mark.parametrize(
    ("path", "transport"),
    [
        ("pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/host6/target6:0:0/6:0:0:0", "usb"),
        ("pci0000:00/0000:02:00.0/host0/port-0:0/end_device-0:0/target0:0:0/0:0:0:0", "sas"),
        ("pci0000:00/0000:02:00.0/host0/rport-0:0-1/target0:0:0/0:0:0:0", "fc"),
        ("platform/host3/session1/target3:0:0/3:0:0:0", "iscsi"),
        ("pci0000:00/0000:02:00.0/host0/target0:2:0/0:2:0:0", "scsi"),
        ("platform/mmc_host/mmc0/mmc0:0001", "mmc"),
    ],
)
def test_how_a_disk_is_attached(tmp_path: Path, path: str, transport: str) -> None:
    root = plant(
        tmp_path,
        {
            f"sys/devices/{path}/block/sdx/device": Link("../../../" + path.rpartition("/")[2]),
            "sys/block/sdx": Link(f"../devices/{path}/block/sdx"),
        },
    )
    assert disk(root, "sdx")["transport"] == transport


@pytest.mark.parametrize(
    ("text", "wwn"),
    [
        ("naa.5000C500A1B2C3D4", "0x5000c500a1b2c3d4"),
        ("0x5000c500a1b2c3d4", "0x5000c500a1b2c3d4"),
        ("eui.0025385B71B00001", "eui.0025385b71b00001"),
        ("nvme.8086-50484c4a-1", "nvme.8086-50484c4a-1"),
        ("uuid.1234", "uuid.1234"),
        ("t10.ATA     QEMU HARDDISK                           QM00001", ""),
        ("", ""),
    ],
)
def test_a_world_wide_name_has_one_form(text: str, wwn: str) -> None:
    assert normal_wwn(text) == wwn


def test_a_pci_device_is_named_by_its_numbers(root: str) -> None:
    assert pci_devices(root) == [
        {
            "address": "0000:00:03.0",
            "class": "020000",
            "vendor": "1af4",
            "device": "1000",
            "subsystem_vendor": "1af4",
            "subsystem_device": "0001",
            "driver": "virtio-pci",
        }
    ]


def test_a_machine_that_tells_nothing_has_no_hardware(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert processors(root) == {"model": "", "vendor": "", "sockets": 0, "cores": 0, "threads": 0}
    assert memory(root) == {"total_bytes": 0, "modules": []}
    assert (disks(root), pci_devices(root)) == ([], [])


def test_an_arm_processor_is_named_too(tmp_path: Path) -> None:
    root = plant(tmp_path, {"proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 50.00\n\nModel\t\t: Raspberry Pi 4\n"})
    assert processors(root)["model"] == "Raspberry Pi 4"
