"""Building replies: what is shared is encoded once, and what is kept never outlives what it was made from."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from provisioner.conductor.dhcp_replies import DhcpReplies, boot_server
from provisioner.leases import Decision
from provisioner.links import Arrival, network
from provisioner.model.addresses import Reservation, Subnet
from provisioner.netboot import Boot
from provisioner.wire.dhcp import BOOTREPLY, DhcpMessage, MessageType, decode
from tests.dhcp_messages import SERVER, changed, discover, mac, reboot, renew

HERE = Arrival(SERVER, "eth0")
SUBNET = Subnet(
    name="rack", cidr="10.77.0.0/16", gateway="10.77.0.254", domain="lab.example", options={"42": "10.77.0.3"}
)
OFFER = Decision(reply=MessageType.OFFER, address="10.77.1.2", network=network(SUBNET), lease_seconds=3600)
BOOT = Boot("ipxe/snponly.efi", "why", {60: b"PXEClient"})


def build(replies=None, request=None, decision=OFFER, boot=BOOT, hostname=""):
    return decode((replies or DhcpReplies()).build(request or discover(1), HERE, decision, boot, hostname))


def test_the_header_is_copied_from_the_request_where_the_rfc_says_so():
    request = discover(1, xid=77, secs=9, hops=3, giaddr="10.9.0.1", ciaddr="10.77.1.2")
    reply = build(request=request)
    assert (reply.op, reply.xid, reply.flags, reply.giaddr, reply.mac) == (BOOTREPLY, 77, 0x8000, "10.9.0.1", mac(1))
    assert (reply.secs, reply.hops, reply.ciaddr, reply.yiaddr) == (0, 0, "", "10.77.1.2")


def test_only_an_ack_has_the_clients_own_address():
    ack = changed(OFFER, reply=MessageType.ACK)
    assert build(request=renew(1, "10.77.1.2"), decision=ack).ciaddr == "10.77.1.2"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=12)), max_size=8))
def test_what_is_kept_changes_no_reply(lists):
    kept = DhcpReplies()
    for asked in lists:
        request = discover(1, options={} if asked is None else {55: asked})
        assert build(kept, request) == build(DhcpReplies(), request)


def test_clients_of_one_kind_share_what_is_encoded():
    replies = DhcpReplies()
    for client in range(50):
        build(replies, discover(client))
    assert len(replies._blocks) == 1


def test_a_fuzzer_cannot_fill_the_memory():
    replies = DhcpReplies(most_blocks=10)
    for code in range(1, 100):
        build(replies, discover(1, options={55: bytes([code])}))
    assert len(replies._blocks) <= 10


def test_an_option_asked_for_twice_is_sent_once():
    assert list(build(request=discover(1, options={55: b"\1\3\1\3"})).options) == [53, 54, 51, 1, 3, 60]


def test_the_reservations_options_go_before_the_subnets():
    decision = changed(OFFER, reservation=Reservation(address="10.77.1.2", mac=mac(1), options={"42": "10.77.0.4"}))
    replies = DhcpReplies()
    assert build(replies, decision=decision).options[42] == b"\x0a\x4d\0\4"
    assert build(replies).options[42] == b"\x0a\x4d\0\3"


def test_boot_options_go_before_configured_ones():
    subnet = replace(SUBNET, options={"60": "Something"})
    decision = changed(OFFER, network=network(subnet))
    assert build(decision=decision).options[60] == b"PXEClient"
    assert build(decision=decision, boot=Boot()).options[60] == b"Something"


@pytest.mark.parametrize(("asked", "sent"), [(None, False), (b"\1", False), (b"\x42\x43", True)])
def test_the_boot_file_is_an_option_only_when_asked_for(asked, sent):
    reply = build(request=discover(1, options={} if asked is None else {55: asked}))
    assert (67 in reply.options, 66 in reply.options) == (sent, sent)
    assert (reply.file, reply.sname, reply.siaddr) == ("ipxe/snponly.efi", SERVER, SERVER)


def test_the_host_name_is_sent_when_asked_for():
    assert build(request=discover(1, options={55: b"\x0c"}), hostname="node1").options[12] == b"node1"
    assert 12 not in build(request=discover(1, options={55: b"\1"}), hostname="node1").options


def test_the_boot_server_is_the_reservations_then_the_subnets_then_we():
    assert boot_server(HERE, OFFER) == SERVER
    other = changed(OFFER, network=network(replace(SUBNET, next_server="10.77.0.8")))
    assert boot_server(HERE, other) == "10.77.0.8"
    reserved = Reservation(address="10.77.1.2", mac=mac(1), next_server="10.77.0.9")
    assert boot_server(HERE, changed(other, reservation=reserved)) == "10.77.0.9"


def test_a_refusal_says_why_and_gives_nothing():
    refusal = Decision(reply=MessageType.NAK, reason="the address is on another network", network=network(SUBNET))
    reply = build(request=reboot(1, "192.168.1.1"), decision=refusal, boot=Boot())
    assert (reply.yiaddr, reply.siaddr, reply.file) == ("", "", "")
    assert reply.options == {53: b"\6", 54: b"\x0a\x4d\0\1", 56: b"the address is on another network"}


# --- BOOTP ----------------------------------------------------------------------------------------------------

BOOTP = changed(OFFER, reply=MessageType.ACK, bootp=True, lease_seconds=0)


def test_bootp_gets_none_of_the_options_that_are_dhcps_own():
    subnet = replace(SUBNET, options={"tftp-server-name": "x", "67": "file", "42": "10.77.0.3"})
    reply = build(request=DhcpMessage(mac=mac(1)), decision=changed(BOOTP, network=network(subnet)), hostname="node1")
    assert (reply.message_type, reply.file, reply.siaddr) == (None, BOOT.file, SERVER)
    assert list(reply.options) == [1, 3, 12, 15, 28, 42]


def test_bootp_gets_no_more_options_than_its_vendor_field_holds():
    subnet = replace(SUBNET, options={"root-path": "r" * 30, "path-mtu-plateau-table": "68"}, domain="d" * 25)
    data = DhcpReplies().build(
        DhcpMessage(mac=mac(1)), HERE, changed(BOOTP, network=network(subnet)), Boot("f" * 200), "node1"
    )
    assert len(data) == 300 and data.index(b"\xff") < 300
    reply = decode(data)
    assert 17 not in reply.options and {1, 3, 12, 15, 28} <= set(reply.options)
    assert reply.file == ""


# --- what is sent back as it came -----------------------------------------------------------------------------


def test_the_relays_information_is_the_last_option_and_a_selected_subnet_is_confirmed():
    given = {61: b"\1abc", 118: b"\x0a\x4d\0\0", 82: b"\1\1x", 55: b"\1"}
    reply = build(request=discover(1, giaddr="10.77.0.1", options=given), boot=Boot())
    assert list(reply.options)[-3:] == [61, 118, 82]
    assert all(reply.options[code] == given[code] for code in (61, 118, 82))
