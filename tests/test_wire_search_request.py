"""The requests that search for servers: what our own codec reads in them."""

from __future__ import annotations

from provisioner.wire.dhcp import MessageType, decode
from provisioner.wire.ipv4 import read_udp
from provisioner.wire.search_request import search_requests

MAC = "52:54:00:aa:00:01"


def test_a_search_asks_as_a_client_and_as_a_boot_rom():
    packets = search_requests(MAC, [7, 8])
    messages = [decode(read_udp(packet)[2]) for packet in packets]
    assert [each.xid for each in messages] == [7, 8]
    assert {(each.message_type, each.mac, each.wants_broadcast) for each in messages} == {
        (MessageType.DISCOVER, MAC, True)
    }
    plain, rom = messages
    assert 60 not in plain.options
    assert rom.text_option(60).startswith("PXEClient:Arch:00007")
    assert (rom.options[93], rom.options[94], len(rom.options[97])) == (b"\0\7", b"\1\3\x10", 17)


def test_a_search_goes_to_the_port_of_servers():
    assert [read_udp(packet)[1] for packet in search_requests(MAC, [7, 8])] == [67, 67]
