"""What the agent says of the machine when it registers and says hello."""

from pathlib import Path

import pytest

from agent.host import architecture, boot_id, firmware, greeting, local_address, macs, registration_card
from agent.job_protocol import Holder
from agent.version import VERSION
from tests.fakes.trees import SERVER, plant


@pytest.fixture
def root(tmp_path: Path) -> str:
    return plant(tmp_path, SERVER)


def test_macs_are_of_hardware_only_and_in_lower_case(root: str) -> None:
    assert macs(root) == ["52:54:00:aa:bb:cc", "52:54:00:aa:bb:dd"]


def test_the_mac_that_booted_comes_first_and_once(root: str) -> None:
    assert macs(root, "52:54:00:aa:bb:dd") == ["52:54:00:aa:bb:dd", "52:54:00:aa:bb:cc"]
    assert macs(root, "02:00:00:00:00:09")[0] == "02:00:00:00:00:09"


def test_a_machine_without_network_cards_has_no_macs(tmp_path: Path) -> None:
    assert macs(str(tmp_path)) == []


def test_firmware(root: str, tmp_path: Path) -> None:
    assert firmware(root) == "uefi"
    assert firmware(str(tmp_path / "elsewhere")) == "bios"


@pytest.mark.parametrize(("uname", "word"), [("x86_64", "amd64"), ("aarch64", "arm64"), ("riscv64", "riscv64")])
def test_architectures_have_our_words(uname: str, word: str) -> None:
    assert architecture(uname) == word


def test_the_boot_id(root: str, tmp_path: Path) -> None:
    assert boot_id(root) == "11111111-aaaa"
    assert boot_id(str(tmp_path / "elsewhere")) == ""


def test_the_address_by_which_we_reach_a_server() -> None:
    assert local_address("http://127.0.0.1:8091") == "127.0.0.1"
    assert local_address("http://name.invalid") == ""


def test_the_card_that_a_machine_shows(root: str) -> None:
    card = registration_card("t", "52:54:00:aa:bb:cc", "discovery", "http://127.0.0.1:1", {"serial": "S"}, root)
    assert card["ticket"] == "t"
    assert card["macs"] == ["52:54:00:aa:bb:cc", "52:54:00:aa:bb:dd"]
    assert (card["firmware"], card["bootenv"], card["address"]) == ("uefi", "discovery", "127.0.0.1")
    assert card["identity"] == {"serial": "S"}
    assert set(card) == {"ticket", "macs", "arch", "firmware", "bootenv", "hostname", "address", "identity"}


def test_what_an_agent_says_when_it_comes_up(root: str) -> None:
    said = greeting(
        Holder("b", "i"), "discovery", "http://127.0.0.1:1", root, lambda name: "/" if name == "zstd" else None
    )
    assert said["capabilities"] == ["zstd"]
    assert said["version"] == VERSION
    assert (said["boot_id"], said["instance"], said["bootenv"], said["addresses"]) == (
        "b",
        "i",
        "discovery",
        ["127.0.0.1"],
    )


def test_without_a_way_to_the_server_there_is_no_address(root: str) -> None:
    assert greeting(Holder("b", "i"), "discovery", "http://name.invalid", root)["addresses"] == []
