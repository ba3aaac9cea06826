"""The numbers by which a machine is known again, and the junk that is none."""

from pathlib import Path

import pytest

from agent.identity import JUNK, meaningful, meaningful_uuid, read
from tests.fakes.trees import SERVER, plant


def test_a_server_that_tells_its_numbers(tmp_path: Path) -> None:
    assert read(plant(tmp_path, SERVER)) == {
        "dmi_uuid": "4c4c4544-0042-3310-8034-b4c04f4a3132",
        "serial": "ABC1234",
        "board_serial": ".ABC1234.CN7016",
        "chassis_serial": "",
        "disk_markers": [],
    }


def test_a_machine_without_smbios_has_no_numbers(tmp_path: Path) -> None:
    assert read(str(tmp_path)) == {
        "dmi_uuid": "",
        "serial": "",
        "board_serial": "",
        "chassis_serial": "",
        "disk_markers": [],
    }


@pytest.mark.parametrize(
    "junk",
    [
        "To be filled by O.E.M.",
        " Default string \n",
        "NONE",
        "Not Specified",
        "0000000000",
        "........",
        "XXXXXXXX",
        "   ",
    ],
)
def test_junk_is_dropped(junk: str) -> None:
    assert meaningful(junk) == ""


def test_the_table_of_junk_is_in_lower_case() -> None:
    assert {word.lower() for word in JUNK} == JUNK


@pytest.mark.parametrize("serial", ["ABC1234", "VMware-56 4d 1a", "00000001", "S1YKNX0H"])
def test_real_serials_stay(serial: str) -> None:
    assert meaningful(f" {serial}\n") == serial


@pytest.mark.parametrize(
    "uuid",
    [
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "03000200-0400-0500-0006-000700080009",
        "Not Settable",
        "",
    ],
)
def test_uuids_that_many_boards_share_are_dropped(uuid: str) -> None:
    assert meaningful_uuid(uuid) == ""


def test_a_uuid_is_in_lower_case() -> None:
    assert meaningful_uuid("4C4C4544-0042-3310-8034-B4C04F4A3132\n") == "4c4c4544-0042-3310-8034-b4c04f4a3132"
