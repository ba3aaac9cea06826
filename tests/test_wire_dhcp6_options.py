"""DHCPv6 options: who a DUID is, the MAC in an address, classes, names."""

from __future__ import annotations

import pytest
from scapy.layers.dhcp6 import DUID_EN, DUID_LL, DUID_LLT, DUID_UUID, DHCP6OptUserClass, DHCP6OptVendorClass
from scapy.layers.dhcp6 import USER_CLASS_DATA as UserClassData
from scapy.layers.dhcp6 import VENDOR_CLASS_DATA as VendorClassData

from provisioner.wire.dhcp6 import Dhcp6Message, MessageType6
from provisioner.wire.dhcp6_options import (
    CLIENT_FQDN,
    check_duid,
    classes,
    duid_mac,
    duid_text,
    duid_uuid,
    encode_domains,
    encode_vendor_class,
    eui64_mac,
    hostname_of,
    link_layer_mac,
    link_local,
    shorts,
    vendor_classes,
)
from provisioner.wire.error import WireError

MAC = "52:54:00:12:34:56"
UUID = "4c4c4544-0042-3510-8054-b4c04f564433"


@pytest.mark.parametrize(
    ("duid", "mac", "uuid", "text"),
    [
        (DUID_LLT(lladdr=MAC, timeval=5), MAC, "", f"llt {MAC}"),
        (DUID_LL(lladdr=MAC), MAC, "", f"ll {MAC}"),
        (DUID_EN(enterprisenum=343, id=b"ab"), "", "", "en 343 6162"),
        (DUID_UUID(uuid=UUID), "", UUID, f"uuid {UUID}"),
        (b"\0\3\0\6infini", "", "", "00030006696e66696e69"),
        (b"\0\3\0\1short", "", "", "0003000173686f7274"),
        (b"\0\4short", "", "", "000473686f7274"),
        (b"", "", "", ""),
    ],
)
def test_a_duid_tells_what_it_is_made_of(duid, mac, uuid, text):
    assert (duid_mac(bytes(duid)), duid_uuid(bytes(duid)), duid_text(bytes(duid))) == (mac, uuid, text)


@pytest.mark.parametrize("length", [0, 2, 131])
def test_a_duid_of_impossible_length_is_refused(length):
    with pytest.raises(WireError, match="DUID of impossible length"):
        check_duid(bytes(length))


def test_the_mac_is_found_in_an_address_that_was_made_of_it():
    assert link_local(MAC) == "fe80::5054:ff:fe12:3456"
    assert eui64_mac("fe80::5054:ff:fe12:3456") == eui64_mac("fd00::5054:ff:fe12:3456%3") == MAC
    assert eui64_mac("fe80::1") == eui64_mac("nonsense") == ""


def test_a_relay_tells_the_mac_of_ethernet_only():
    assert link_layer_mac(b"\0\1" + bytes.fromhex(MAC.replace(":", ""))) == MAC
    assert link_layer_mac(b"\0\x06abcdef") == link_layer_mac(b"\0\1abc") == link_layer_mac(b"") == ""


def test_classes_are_read_as_scapy_writes_them():
    user = DHCP6OptUserClass(userclassdata=[UserClassData(data=b"iPXE"), UserClassData(data=b"x")])
    assert classes(bytes(user)[4:]) == [b"iPXE", b"x"]
    vendor = DHCP6OptVendorClass(enterprisenum=343, vcdata=[VendorClassData(data=b"HTTPClient")])
    assert vendor_classes(bytes(vendor)[4:]) == (343, [b"HTTPClient"])
    assert encode_vendor_class(343, b"HTTPClient") == bytes(vendor)[4:]


def test_a_class_whose_length_lies_ends_the_list():
    assert classes(b"\0\1a\0\x09b") == [b"a"]


def test_numbers_are_read_in_pairs_of_bytes():
    assert (shorts(b"\0\x3b\0\x3c"), shorts(b"\0\1\2"), shorts(b"")) == ((59, 60), (1,), ())


def test_domains_are_labels():
    assert encode_domains(["lab.example", "x."]) == b"\3lab\7example\0\1x\0"
    with pytest.raises(ValueError, match="no domain name"):
        encode_domains(["a..b"])


@pytest.mark.parametrize(
    ("value", "name"), [(b"\0\4node\3lab\0", "node"), (b"\0", ""), (b"", ""), (b"\0\xff", ""), (b"\0\3abc", "abc")]
)
def test_the_host_name_is_the_first_label_of_what_the_client_says(value, name):
    assert hostname_of(Dhcp6Message(kind=MessageType6.SOLICIT, options=((CLIENT_FQDN, value),))) == name
