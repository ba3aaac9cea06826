"""DHCPv6 replies from decisions: what is in them, in which order, and what is left out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from provisioner.conductor.dhcp6_replies import Dhcp6Replies, server_address
from provisioner.firmware6 import boot_client6
from provisioner.leases6 import decide6
from provisioner.model.addresses import Reservation, Subnet
from provisioner.netboot import Boot
from provisioner.wire.dhcp6 import MessageType6, decode
from provisioner.wire.dhcp6_options import (
    BOOT_FILE_URL,
    CLIENT_FQDN,
    CLIENT_ID,
    DNS_SERVERS,
    DOMAIN_SEARCH,
    IA_NA,
    INFORMATION_REFRESH_TIME,
    PREFERENCE,
    RELAY_SOURCE_PORT,
    SERVER_ID,
    VENDOR_CLASS,
)
from tests.dhcp6_messages import SERVER, arrival, firmware, ia, mac, message, relayed, requested, solicit
from tests.fakes.address_view6 import View6

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RACK = Subnet(
    name="rack", cidr="fd00:77::/64", pool_start="fd00:77::10", pool_end="fd00:77::1f", dns_servers=("fd00:77::53",),
    domain="lab.example", options={"sntp-servers": "fd00:77::123", "4711": "hex:00ff"},
)  # fmt: skip


def reply(packet, subnet=RACK, boot=Boot(), hostname="", reservations=(), at=None):
    at = at or arrival(1)
    decision = decide6(packet, at, View6(subnet, reservations=reservations), NOW, SERVER)
    replies = Dhcp6Replies(SERVER)
    return decode(replies.build(packet, at, decision, boot_client6(packet.message, mac(1)), boot, hostname))


def codes(packet):
    return [code for code, _ in packet.message.options]


def test_a_client_without_a_list_gets_everything_that_is_configured():
    assert codes(reply(solicit(1))) == [CLIENT_ID, SERVER_ID, IA_NA, DNS_SERVERS, DOMAIN_SEARCH, 31, 4711]


def test_a_client_with_a_list_gets_what_it_lists():
    assert codes(reply(solicit(1, requested(4711, DNS_SERVERS, 99)))) == [
        CLIENT_ID,
        SERVER_ID,
        IA_NA,
        4711,
        DNS_SERVERS,
    ]


def test_the_reservations_options_go_before_the_subnets():
    kept = Reservation(address="fd00:77::5", mac=mac(1), options={"4711": "hex:01"})
    assert reply(solicit(1), reservations=[kept]).message.option(4711) == b"\1"


def test_an_option_that_is_wrong_disables_only_itself():
    said = reply(solicit(1), replace(RACK, options={"sntp-servers": "nonsense", "4711": "hex:00ff"}))
    assert (said.message.option(31), said.message.option(4711)) == (None, b"\0\xff")


def test_firmware_by_http_gets_url_class_and_preference():
    said = reply(solicit(1, *firmware()), boot=Boot("http://[fd00:77::1]/x.efi"))
    assert codes(said) == [
        CLIENT_ID, BOOT_FILE_URL, SERVER_ID, IA_NA, PREFERENCE, DNS_SERVERS, VENDOR_CLASS,
    ]  # fmt: skip


def test_firmware_by_pxe_gets_no_class_because_it_would_look_for_a_boot_server_then():
    said = reply(solicit(1, *firmware("PXEClient", 7)), boot=Boot("ipxe/snponly.efi"), at=arrival(1))
    assert said.message.option(BOOT_FILE_URL) == b"tftp://[fd00:77::1]/ipxe/snponly.efi"
    assert VENDOR_CLASS not in codes(said)


def test_the_url_is_never_the_last_option_even_where_nothing_else_is_configured():
    bare = Subnet(name="bare", cidr="fd00:77::/64", pool_start="fd00:77::10", pool_end="fd00:77::1f")
    asked = message(MessageType6.INFORMATION_REQUEST, 1, *firmware("PXEClient", 7))
    assert codes(reply(asked, bare, Boot("ipxe/snponly.efi"))) == [CLIENT_ID, BOOT_FILE_URL, SERVER_ID]


def test_a_client_that_shall_not_boot_is_not_told_that_it_may():
    said = reply(solicit(1, *firmware()), boot=Boot(reason="its reservation says no"))
    assert BOOT_FILE_URL not in codes(said) and VENDOR_CLASS not in codes(said)


def test_a_configured_url_is_said_once():
    subnet = replace(RACK, options={"boot-file-url": "http://elsewhere/x"})
    packet = solicit(1, *firmware())
    decision = decide6(packet, arrival(1), View6(subnet), NOW, SERVER)
    assert Dhcp6Replies(SERVER).boot_file(decision) == "http://elsewhere/x"
    said = reply(packet, subnet, Boot("http://elsewhere/x"))
    assert said.message.every(BOOT_FILE_URL) == [b"http://elsewhere/x"]


def test_nothing_is_configured_where_nothing_was_given():
    said = reply(message(MessageType6.CONFIRM, 1, ia(1, "fd00:77::10")))
    assert codes(said) == [CLIENT_ID, SERVER_ID, 13]


def test_information_says_when_to_ask_again():
    said = reply(message(MessageType6.INFORMATION_REQUEST, 1, requested(INFORMATION_REFRESH_TIME, DNS_SERVERS)))
    assert said.message.option(INFORMATION_REFRESH_TIME) == (3600).to_bytes(4)


@pytest.mark.parametrize(
    ("hostname", "domain", "name"),
    [
        ("node1", "lab.example", b"\4\5node1\3lab\7example\0"),
        ("node1", "", b"\4\5node1\0"),
        ("n" * 70, "", b"\4"),
        ("", "lab.example", None),
    ],
)
def test_a_client_that_says_its_name_is_told_ours_for_it(hostname, domain, name):
    packet = solicit(1, (CLIENT_FQDN, b"\0\1x\0"))
    assert reply(packet, replace(RACK, domain=domain), hostname=hostname).message.option(CLIENT_FQDN) == name


def test_a_relay_gets_its_own_options_back_and_no_others():
    packet = relayed(solicit(1), "fd00:77::fe", 1, (18, b"p"), (RELAY_SOURCE_PORT, b"\0\0"), (37, b"x"), (79, b"y"))
    [relay] = reply(packet).relays
    assert (relay.kind, relay.options) == (MessageType6.RELAY_REPLY, ((18, b"p"), (RELAY_SOURCE_PORT, b"\0\0")))


@pytest.mark.parametrize(
    ("at", "subnet", "expected"),
    [
        (arrival(1), RACK, "fd00:77::1"),
        (replace(arrival(1), addresses=("2001:db8::1", "fd00:77::1")), RACK, "fd00:77::1"),
        (arrival(1), replace(RACK, next_server="fd00::2"), "fd00::2"),
    ],
)
def test_the_boot_file_comes_from_the_nearest_address_of_ours(at, subnet, expected):
    decision = decide6(solicit(1), at, View6(subnet), NOW, SERVER)
    assert server_address(at, decision) == expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (replace(arrival(1, "2001:db8::5"), addresses=("2001:db8::1",)), "2001:db8::5"),
        (replace(arrival(1, "fe80::5"), addresses=("2001:db8::1",)), "2001:db8::1"),
        (replace(arrival(1), addresses=()), ""),
    ],
)
def test_through_a_relay_it_comes_from_where_the_relay_reached_us(at, expected):
    decision = decide6(relayed(solicit(1), "fd00:77::fe", 1), at, View6(RACK), NOW, SERVER)
    assert server_address(at, decision) == expected
