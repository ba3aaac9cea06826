"""DHCPv6 messages: bytes to values and back (RFC 8415), the relays around them included.

Here an option is a code and its bytes, in the order in which it stands, because IA_NA and others may come several
times. What an option means is in `dhcp6_options`. Addresses are text as inet_ntop(3) writes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from socket import AF_INET6, inet_ntop, inet_pton
from struct import Struct as Layout

from msgspec import Struct

from provisioner.wire.error import WireError

SERVER_PORT = 547
CLIENT_PORT = 546
ALL_SERVERS_AND_RELAYS = "ff02::1:2"
ALL_SERVERS = "ff05::1:3"

# RFC 8415 section 7.6: a relay drops what has passed so many already.
MOST_RELAYS = 8

RELAY_MESSAGE = 9

_RELAY_HEADER = Layout("!BB16s16s")
_OPTION_HEADER = Layout("!HH")
_HEADER_BYTES = 4

Option = tuple[int, bytes]


class MessageType6(IntEnum):
    """RFC 8415 section 7.3."""

    SOLICIT = 1
    ADVERTISE = 2
    REQUEST = 3
    CONFIRM = 4
    RENEW = 5
    REBIND = 6
    REPLY = 7
    RELEASE = 8
    DECLINE = 9
    RECONFIGURE = 10
    INFORMATION_REQUEST = 11
    RELAY_FORWARD = 12
    RELAY_REPLY = 13


_TYPES = {int(kind): kind for kind in MessageType6}
_RELAYED = (MessageType6.RELAY_FORWARD, MessageType6.RELAY_REPLY)


class Dhcp6Message(Struct, frozen=True, kw_only=True):
    """What a client and a server say to each other."""

    kind: MessageType6
    xid: int = 0
    options: tuple[Option, ...] = ()

    def option(self, code: int) -> bytes | None:
        """The first option of this code, None when there is none."""
        for each, value in self.options:
            if each == code:
                return value
        return None

    def every(self, code: int) -> list[bytes]:
        """All options of this code, in their order."""
        return [value for each, value in self.options if each == code]


class Relay(Struct, frozen=True, kw_only=True):
    """What one relay put around a message: where it is (`link`), whom it heard (`peer`), and its own options."""

    kind: MessageType6 = MessageType6.RELAY_FORWARD
    hops: int = 0
    link: str = "::"
    peer: str = "::"
    options: tuple[Option, ...] = ()

    def option(self, code: int) -> bytes | None:
        """The first option of this code, None when there is none."""
        for each, value in self.options:
            if each == code:
                return value
        return None


class Relayed(Struct, frozen=True):
    """A message with the relays around it, the one nearest to us first; none for a client on our own link."""

    message: Dhcp6Message
    relays: tuple[Relay, ...] = ()


def decode(data: bytes) -> Relayed:
    """Read a datagram; raises WireError for what is no message of DHCPv6."""
    relays: list[Relay] = []
    while True:
        kind = _TYPES.get(data[0]) if data else None
        if kind is None:
            raise WireError("no DHCPv6 message", f"type {data[0]}" if data else "empty")
        if kind not in _RELAYED:
            return Relayed(_message(kind, data), tuple(relays))
        if len(relays) == MOST_RELAYS:
            raise WireError("too many relays", f"more than {MOST_RELAYS}")
        relay, data = _relay(kind, data)
        relays.append(relay)


def _message(kind: MessageType6, data: bytes) -> Dhcp6Message:
    if len(data) < _HEADER_BYTES:
        raise WireError("shorter than a DHCPv6 header", f"{len(data)} of {_HEADER_BYTES} bytes")
    return Dhcp6Message(
        kind=kind, xid=int.from_bytes(data[1:_HEADER_BYTES]), options=decode_options(data, _HEADER_BYTES)
    )


def _relay(kind: MessageType6, data: bytes) -> tuple[Relay, bytes]:
    if len(data) < _RELAY_HEADER.size:
        raise WireError("shorter than a relay header", f"{len(data)} of {_RELAY_HEADER.size} bytes")
    _, hops, link, peer = _RELAY_HEADER.unpack_from(data)
    options = decode_options(data, _RELAY_HEADER.size)
    carried = [value for code, value in options if code == RELAY_MESSAGE]
    if len(carried) != 1:
        raise WireError("not one relayed message", f"{len(carried)} of them")
    own = tuple(each for each in options if each[0] != RELAY_MESSAGE)
    return Relay(kind=kind, hops=hops, link=address_text(link), peer=address_text(peer), options=own), carried[0]


def decode_options(data: bytes, at: int = 0) -> tuple[Option, ...]:
    """The options from `at` to the end; raises WireError when one is longer than what is there."""
    options: list[Option] = []
    end = len(data)
    while at < end:
        value_at = at + _OPTION_HEADER.size
        if value_at > end:
            raise WireError("option without length", data[at:].hex())
        code, size = _OPTION_HEADER.unpack_from(data, at)
        at = value_at + size
        if at > end:
            raise WireError("option runs past the end", f"option {code}")
        options.append((code, data[value_at:at]))
    return tuple(options)


def encode_options(options: Iterable[Option]) -> bytes:
    """Options as they stand in a message; raises WireError for a value that its length cannot be said of."""
    parts = []
    for code, value in options:
        if len(value) > 0xFFFF:
            raise WireError("option too long", f"option {code} has {len(value)} bytes")
        parts.append(_OPTION_HEADER.pack(code, len(value)))
        parts.append(value)
    return b"".join(parts)


def encode(relayed: Relayed) -> bytes:
    """Build a datagram, the relays' part included."""
    message = relayed.message
    data = bytes((message.kind,)) + message.xid.to_bytes(3) + encode_options(message.options)
    for relay in reversed(relayed.relays):
        data = (
            _RELAY_HEADER.pack(relay.kind, relay.hops, address_bytes(relay.link), address_bytes(relay.peer))
            + encode_options(relay.options)
            + encode_options([(RELAY_MESSAGE, data)])
        )
    return data


def address_text(packed: bytes) -> str:
    """16 bytes as an IPv6 address."""
    return inet_ntop(AF_INET6, packed)


def address_bytes(text: str) -> bytes:
    """An IPv6 address as 16 bytes; OSError when it is none."""
    return inet_pton(AF_INET6, text)
