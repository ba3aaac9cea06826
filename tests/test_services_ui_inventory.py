"""A machine's inventory as facts and tables."""

import pytest

from provisioner.services.ui_inventory import inventory
from tests.browser.hardware import DISK_WWN, server


def values(facts):
    return {fact.name: fact.value for fact in facts}


def test_the_summary_is_a_machine_at_a_glance():
    assert values(inventory(server(1)).summary) == {
        "Model": "Supermicro AS-2024US-TRT",
        "CPU": "AMD EPYC 7313 16-Core Processor · 2 sockets, 32 cores, 64 threads",
        "Memory": "251 GiB",
        "Disks": "960 GB SSD, 12 TB hard disk, 12 TB hard disk",
        "Network": "4 cards, 3 with link",
        "Firmware": "UEFI",
        "BMC": "10.77.1.1",
    }


def test_a_disk_is_granted_by_the_name_that_lasts_longest():
    first, second = inventory({"disks": [server(1)["disks"][0], {"path": "/dev/sdb", "serial": "S1"}]}).disks
    assert first.grant == DISK_WWN
    assert second.grant == "S1"
    assert inventory({"disks": [{"path": "/dev/vda"}]}).disks[0].grant == "/dev/vda"


def test_a_disk_in_one_line_says_what_tells_it_from_others():
    disk = inventory(server(3)).disks[0]
    assert disk.words == "/dev/nvme0n1 · 960 GB · SAMSUNG MZQL2960HCJR-00A07 · serial S64FNE0R123403"


def test_kinds_of_disks():
    disks = [
        {"rotational": True},
        {"rotational": False, "removable": True},
        {"rotational": True, "transport": "virtio"},
        {},
    ]
    assert [disk.kind for disk in inventory({"disks": disks}).disks] == [
        "hard disk",
        "SSD, removable",
        "virtual disk",
        "",
    ]


def test_a_card_shows_its_speed_its_switch_port_and_whether_it_booted():
    first, _, third, fourth = inventory(server(1)).nics
    assert (first.speed, first.neighbour, first.booted) == ("25 Gbit/s", "leaf-1a · Ethernet1/1", True)
    assert (third.speed, third.booted) == ("1 Gbit/s", False)
    assert (fourth.speed, fourth.link, fourth.neighbour) == ("", False, "")


def test_pci_classes_have_words_where_they_are_known():
    found = inventory({"pci": [{"class": "010802"}, {"class": "0203ff"}, {"class": "ff0000"}, {}]}).pci
    assert [device.kind for device in found] == ["NVMe controller", "network", "ff0000", ""]


def test_memory_modules_are_counted_in_binary_units():
    module = inventory(server(1)).modules[0]
    assert (module.slot, module.size, module.speed) == ("P1-DIMMA1 · P0 CHANNEL A", "32 GiB", "3200 MT/s")


def test_what_was_not_found_out_is_left_out():
    assert values(inventory({"boot": {"mode": "bios"}}).boot) == {"Firmware": "BIOS"}
    assert inventory({}).summary == ()


@pytest.mark.parametrize("odd", [None, 7, "x", True, [], [1, "x", None, {}], {"a": {"b": 1}}, [[{}]], {"modules": 3}])
def test_an_inventory_of_any_shape_is_shown_without_failing(odd):
    parts = ("cpu", "memory", "disks", "nics", "pci", "dmi", "bmc", "boot", "os")
    inventory(dict.fromkeys(parts, odd))


@pytest.mark.parametrize("odd", [None, "x", True, [], {}, [1], -1, 10**400, float("inf"), float("nan")])
def test_fields_of_any_shape_are_shown_without_failing(odd):
    names = ("size_bytes", "speed_mbps", "lldp", "partitions", "rotational", "addresses", "class", "name", "transport")
    found = inventory({part: [dict.fromkeys(names, odd)] for part in ("disks", "nics", "pci")})
    assert len(found.disks) == len(found.nics) == len(found.pci) == 1
    inventory(
        {
            "cpu": dict.fromkeys(("cores", "model"), odd),
            "memory": {"total_bytes": odd, "modules": [{"size_bytes": odd}]},
        }
    )
