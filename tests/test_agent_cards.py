"""Network cards out of trees and out of the kernel's mouth."""

from pathlib import Path

from agent.cards import by_mac, cards, global_ipv6, kernel_addresses, kernel_permanent_mac
from tests.fakes.trees import SERVER, plant

IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000005 02 40 00 80     eth0
fe80000000000000505400fffeaabbcc 02 40 20 80     eth0
20010db8000000000000000000000006 03 40 00 80     eth1
"""


def test_a_card_with_link(tmp_path: Path) -> None:
    found = cards(plant(tmp_path, SERVER), lambda name: "", lambda name: [f"address of {name}"])
    assert found[0] == {
        "name": "eth0",
        "mac": "52:54:00:aa:bb:cc",
        "current_mac": "52:54:00:aa:bb:cc",
        "driver": "virtio_net",
        "speed_mbps": 10000,
        "link": True,
        "mtu": 1500,
        "pci": "0000:00:03.0",
        "addresses": ["address of eth0"],
    }


def test_a_card_without_link_has_no_speed(tmp_path: Path) -> None:
    card = cards(plant(tmp_path, SERVER), lambda name: "", lambda name: [])[1]
    assert (card["name"], card["link"], card["speed_mbps"], card["pci"]) == ("eth1", False, None, "0000:05:00.1")


def test_what_is_no_hardware_is_no_card(tmp_path: Path) -> None:
    found = cards(plant(tmp_path, SERVER), lambda name: "", lambda name: [])
    assert [card["name"] for card in found] == ["eth0", "eth1"]


def test_the_permanent_mac_is_the_cards_mac(tmp_path: Path) -> None:
    card = cards(plant(tmp_path, SERVER), lambda name: "02:00:00:00:00:01", lambda name: [])[0]
    assert (card["mac"], card["current_mac"]) == ("02:00:00:00:00:01", "52:54:00:aa:bb:cc")


def test_a_card_is_found_by_either_mac() -> None:
    found: list[dict[str, object]] = [{"name": "eth0", "mac": "a", "current_mac": "b"}]
    assert (by_mac(found, "a"), by_mac(found, "b"), by_mac(found, "c"), by_mac(found, "")) == ("eth0", "eth0", "", "")


def test_only_global_ipv6_addresses_count() -> None:
    assert global_ipv6(IF_INET6, "eth0") == ["2001:db8::5"]
    assert global_ipv6(IF_INET6, "lo") == []
    assert global_ipv6("garbage\n\n", "eth0") == []


def test_the_kernel_tells_the_address_of_the_loopback(tmp_path: Path) -> None:
    assert kernel_addresses("lo", str(tmp_path)) == ["127.0.0.1"]


def test_the_kernel_knows_nothing_of_a_card_that_is_not_there() -> None:
    assert kernel_addresses("nosuch0") == []
    assert kernel_permanent_mac("nosuch0") == ""


def test_the_loopback_has_no_permanent_mac() -> None:
    assert kernel_permanent_mac("lo") == ""
