"""Our codec against scapy's on mutated messages: where both read a message, both read the same.

They differ on purpose in this, and in nothing else:
- a malformed option makes us refuse the whole message; scapy hands the rest over as bytes and goes on;
- we join the parts of a long option (RFC 3396) and read overloaded fields (RFC 2131 section 4.1); scapy does neither;
- scapy also breaks off at an option whose length does not fit its type, which for us is whoever uses it to judge;
- scapy reads on behind the end of the options;
- scapy reads a message whatever its `op`, hardware address length and cookie; we take none but BOOTP's and DHCP's.
"""

from __future__ import annotations

from collections import Counter

from scapy.layers.dhcp import BOOTP, DHCP, DHCPOptionsField, DHCPRevOptions

from provisioner.wire.dhcp import LARGEST_LIMIT, DhcpMessage, decode, encode
from provisioner.wire.error import WireError
from tests.dhcp_messages import BIOS, IPXE, OVMF, decline, discover, inform, release, renew, select
from tests.mutations import Mutator

FIRMWARES = (OVMF, BIOS, IPXE, {})
CONVERSATIONS = [
    *(discover(each, hint="10.77.0.9", options=FIRMWARES[each % 4], giaddr="10.9.0.1") for each in range(4)),
    *(select(each, "10.77.0.9", options=FIRMWARES[each % 4]) for each in range(4)),
    renew(1, "10.77.0.9"), release(1, "10.77.0.9"), decline(1, "10.77.0.9"), inform(1, "10.77.0.9"),
    DhcpMessage(op=2, yiaddr="10.77.0.9", file="pxe.0", sname="s", options={53: b"\2", 121: b"\x08\x0a\x0a\x4d\0\1"}),
]  # fmt: skip
_FIELD = DHCPOptionsField("options", [])


class Theirs:
    """A message as scapy reads it: fields, options by code (those it split are joined), and whether it broke off."""

    def __init__(self, data):
        packet = BOOTP(data)
        self.fields = (packet.op, packet.htype, packet.hops, packet.xid, packet.secs, int(packet.flags))
        self.addresses = (packet.ciaddr, packet.yiaddr, packet.siaddr, packet.giaddr)
        self.mac = bytes(packet.chaddr)[: packet.hlen].hex(":")
        self.names = (_text(packet.sname), _text(packet.file))
        self.options, self.broken = {}, False
        for option in packet[DHCP].options if DHCP in packet else []:
            if option == "end":
                break
            if isinstance(option, bytes):
                self.broken = True
            elif isinstance(option, tuple):
                self._add(option)

    def _add(self, option):
        code = option[0] if isinstance(option[0], int) else DHCPRevOptions[option[0]][0]
        raw = _FIELD.i2m(None, [option])
        self.options[code] = self.options.get(code, b"") + raw[2:]


def _text(value):
    return bytes(value).split(b"\0", 1)[0].decode("latin-1")


# What we refuse though scapy reads it: see above.
REFUSED = {
    "no DHCP cookie",
    "neither request nor reply",
    "hardware address too long",
    "shorter than a DHCP header",
    "unknown overload",
}


def test_where_both_read_a_message_both_read_the_same_and_what_one_refuses_the_other_finds_broken():
    outcomes = Counter()
    for data in Mutator(3, [encode(each) for each in CONVERSATIONS]).datagrams(6000):
        overloaded = b"\x34\1" in data[240:]
        try:
            ours = decode(data)
        except WireError as error:
            assert error.reason in REFUSED or overloaded or Theirs(data).broken, data.hex()
            outcomes["refused"] += 1
            continue
        theirs = Theirs(data)
        assert (ours.op, ours.htype, ours.hops, ours.xid, ours.secs, ours.flags) == theirs.fields
        mine = (ours.ciaddr, ours.yiaddr, ours.siaddr, ours.giaddr)
        assert tuple(each or "0.0.0.0" for each in mine) == theirs.addresses
        assert ours.mac == theirs.mac
        if overloaded:
            outcomes["overloaded"] += 1
            continue
        assert (ours.sname, ours.file) == theirs.names
        if theirs.broken:
            read = {code: ours.options[code][: len(value)] for code, value in theirs.options.items()}
            assert read == theirs.options, data.hex()
            outcomes["of another type"] += 1
        else:
            assert ours.options == theirs.options, data.hex()
            outcomes["both"] += 1
    assert min(outcomes[each] for each in ("both", "refused", "overloaded")) > 100, outcomes


def test_what_was_read_is_written_and_read_again_as_the_same():
    again = 0
    for data in Mutator(4, [encode(each) for each in CONVERSATIONS]).datagrams(6000):
        try:
            ours = decode(data)
        except WireError:
            continue
        try:
            written = encode(ours, limit=LARGEST_LIMIT)
        except WireError as error:
            # Names without their NUL fill a field; and what was repeated may be longer than a frame.
            assert error.reason in ("name too long for the header", "options do not fit")
            continue
        assert decode(written) == ours
        again += 1
    assert again > 2000
