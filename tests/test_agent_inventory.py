"""The inventory: all parts together, out of a tree and out of the machine the tests run on."""

import json
from pathlib import Path

import pytest

from agent.inventory import Senses, collect, hear_neighbours, run_program
from tests.fakes.agent_parts import FakeClock
from tests.fakes.trees import SERVER, plant

SENSES = Senses(lambda name: "", lambda name: [], lambda words: "", "x86_64")
PARTS = {"cpu", "memory", "disks", "nics", "pci", "dmi", "bmc", "boot", "os"}


@pytest.fixture
def found(tmp_path: Path) -> dict[str, object]:
    return collect(plant(tmp_path, SERVER), SENSES, {"eth0": {"chassis": "leaf-1", "port": "7"}})


def test_it_has_all_parts_and_is_json(found: dict[str, object]) -> None:
    assert set(found) == PARTS
    assert json.loads(json.dumps(found)) == found


def test_an_empty_machine_has_all_parts_too(tmp_path: Path) -> None:
    assert set(collect(str(tmp_path), SENSES)) == PARTS


def test_how_it_was_booted(found: dict[str, object]) -> None:
    assert found["boot"] == {
        "mode": "uefi",
        "secure_boot": True,
        "interface": "eth0",
        "mac": "52:54:00:aa:bb:cc",
        "id": "11111111-aaaa",
    }


def test_what_it_calls_itself_without_junk(found: dict[str, object]) -> None:
    dmi = found["dmi"]
    assert isinstance(dmi, dict)
    assert (dmi["vendor"], dmi["product"], dmi["serial"], dmi["bios_version"], dmi["chassis_type"]) == (
        "Dell Inc.",
        "PowerEdge R640",
        "ABC1234",
        "2.10.2",
        "23",
    )
    assert dmi["uuid"] == "4c4c4544-0042-3310-8034-b4c04f4a3132"
    assert (dmi["asset_tag"], dmi["chassis_serial"]) == ("", "")


def test_the_operating_system(found: dict[str, object]) -> None:
    assert found["os"] == {
        "kernel": "6.1.0-18-amd64",
        "id": "debian",
        "version": "12",
        "name": "Debian GNU/Linux 12 (bookworm)",
        "hostname": "discovery",
    }


def test_a_neighbour_stands_with_its_card(found: dict[str, object]) -> None:
    nics = found["nics"]
    assert isinstance(nics, list)
    assert [nic["lldp"] for nic in nics] == [{"chassis": "leaf-1", "port": "7"}, {}]


def test_this_machine_has_an_inventory_too() -> None:
    found = collect()
    assert set(found) == PARTS
    assert json.dumps(found)


def test_nobody_listens_for_no_time() -> None:
    assert hear_neighbours(["lo"], 0.0, FakeClock()) == {}


@pytest.mark.parametrize(
    ("words", "output"),
    [(["echo", "x"], "x\n"), (["false"], ""), (["/nowhere/tool"], ""), (["sh", "-c", "echo x; exit 1"], "")],
)
def test_a_program_that_fails_has_no_output(words: list[str], output: str) -> None:
    assert run_program(words) == output
