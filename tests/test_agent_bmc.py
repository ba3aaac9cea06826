"""The BMC as seen from inside."""

from pathlib import Path

import pytest

from agent.bmc import find, parse_lan_print

LAN = """\
Set in Progress         : Set Complete
Auth Type Support       : NONE MD5 PASSWORD
Auth Type Enable        : Callback : MD5
                        : User     : MD5
IP Address Source       : Static Address
IP Address              : 10.0.0.7
Subnet Mask             : 255.255.255.0
MAC Address             : d0:94:66:00:00:01
Default Gateway IP      : 10.0.0.1
802.1q VLAN ID          : Disabled
"""
NO_CHANNEL = "Channel 1 is not a LAN channel\n"


class Ipmitool:
    """Answers `lan print` by channel."""

    def __init__(self, answers: dict[int, str]) -> None:
        self._answers = answers
        self.asked: list[int] = []

    def __call__(self, words: object) -> str:
        assert tuple(words)[:3] == ("ipmitool", "lan", "print")  # type: ignore[arg-type]
        channel = int(tuple(words)[3])  # type: ignore[arg-type]
        self.asked.append(channel)
        return self._answers.get(channel, "")


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/ipmi0").touch()
    return str(tmp_path)


def test_the_settings_are_read() -> None:
    assert parse_lan_print(LAN) == {
        "source": "Static Address",
        "address": "10.0.0.7",
        "netmask": "255.255.255.0",
        "mac": "d0:94:66:00:00:01",
        "gateway": "10.0.0.1",
        "vlan": "Disabled",
    }


@pytest.mark.parametrize("text", ["", NO_CHANNEL, "IP Address : unknown\n"])
def test_what_has_no_address_is_no_lan(text: str) -> None:
    assert parse_lan_print(text) == {}


def test_the_first_channel_with_an_address_counts(root: str) -> None:
    tool = Ipmitool({1: NO_CHANNEL, 2: LAN, 3: LAN})
    assert find(root, tool)["channel"] == "2"
    assert tool.asked == [1, 2]


def test_a_channel_without_an_address_yet_is_better_than_none(root: str) -> None:
    zero = LAN.replace("10.0.0.7", "0.0.0.0")
    assert find(root, Ipmitool({1: zero}))["mac"] == "d0:94:66:00:00:01"
    assert find(root, Ipmitool({1: zero, 8: LAN}))["address"] == "10.0.0.7"


def test_without_a_device_nobody_is_asked(tmp_path: Path) -> None:
    tool = Ipmitool({1: LAN})
    assert find(str(tmp_path), tool) == {}
    assert tool.asked == []


def test_a_bmc_that_does_not_answer_is_no_bmc(root: str) -> None:
    assert find(root, Ipmitool({})) == {}
