"""DHCPv4 datagrams that differ only in what is each client's own: read once, afterwards compared.

A hall of machines sends the same few datagrams over and over. What such have in common, all bytes but those of `xid`,
`secs`, `ciaddr`, the hardware address and the options in OWN, is their shape: a datagram with the bytes of a shape
means what the first of that shape meant, and only its own has to be read.
"""

from __future__ import annotations

from socket import inet_ntoa
from struct import Struct as Layout
from typing import Final

from provisioner.wire.dhcp import DhcpMessage, decode

# Host name, requested address, client id, the relay's information and the UUID.
OWN: Final = frozenset({12, 50, 61, 82, 97})
# A site has a few dozen; a fuzzer any number.
MOST_SHAPES: Final = 512
# Those that begin alike and are equally long are tried one after the other.
MOST_ALIKE: Final = 8

_OPTIONS_AT: Final = 240
_HARDWARE_AT: Final = 28
# The message type stands first in nearly all.
_KEY_END: Final = _OPTIONS_AT + 8
_PAD: Final = 0
_OVERLOAD: Final = 52
_END: Final = 255
# Of the header: `xid` and `secs`, and `ciaddr`.
_OWN_FIELDS: Final = Layout("!4xIH2x4s")
_NO_ADDRESS: Final = b"\0\0\0\0"

_Key = tuple[int, bytes]


class _Shape:
    """What datagrams have in common: which bytes, and what these mean."""

    __slots__ = ("hardware_end", "message", "own", "same")

    def __init__(self, data: bytes, message: DhcpMessage, own: list[tuple[int, int, int]]) -> None:
        self.message = message
        self.hardware_end = _HARDWARE_AT + data[2]
        self.own = own
        # `xid` and `secs` from 4 on, `ciaddr` from 12 on.
        gaps = [(4, 10), (12, 16), (_HARDWARE_AT, self.hardware_end), *((start, end) for _, start, end in own)]
        starts, ends = [0, *(end for _, end in gaps)], [*(start for start, _ in gaps), len(data)]
        self.same = [(start, end, data[start:end]) for start, end in zip(starts, ends, strict=True) if start < end]

    def read(self, data: bytes) -> DhcpMessage:
        """A datagram of this shape as a message."""
        like = self.message
        options = like.options.copy()
        for code, start, end in self.own:
            options[code] = data[start:end]
        xid, secs, ciaddr = _OWN_FIELDS.unpack_from(data)
        return DhcpMessage(
            op=like.op,
            htype=like.htype,
            hops=like.hops,
            xid=xid,
            secs=secs,
            flags=like.flags,
            ciaddr=inet_ntoa(ciaddr) if ciaddr != _NO_ADDRESS else "",
            yiaddr=like.yiaddr,
            siaddr=like.siaddr,
            giaddr=like.giaddr,
            mac=data[_HARDWARE_AT : self.hardware_end].hex(":"),
            sname=like.sname,
            file=like.file,
            options=options,
        )


class Decoder:
    """Reads datagrams and remembers their shapes, of which `remembered` are the number."""

    def __init__(self, most_shapes: int = MOST_SHAPES, most_alike: int = MOST_ALIKE) -> None:
        self._most_shapes = most_shapes
        self._most_alike = most_alike
        self._shapes: dict[_Key, list[_Shape]] = {}
        self.remembered = 0

    def decode(self, data: bytes) -> DhcpMessage:
        """What `wire.dhcp.decode` makes of it; raises WireError just as that."""
        key = (len(data), data[_OPTIONS_AT:_KEY_END])
        shapes = self._shapes.get(key)
        if shapes is not None:
            for shape in shapes:
                for start, end, same in shape.same:
                    if data[start:end] != same:
                        break
                else:
                    return shape.read(data)
        message = decode(data)
        own = _own_options(data)
        if own is not None:
            self._remember(key, _Shape(data, message, own))
        return message

    def _remember(self, key: _Key, shape: _Shape) -> None:
        if self.remembered >= self._most_shapes:
            self._shapes.clear()
            self.remembered = 0
        shapes = self._shapes.setdefault(key, [])
        if len(shapes) < self._most_alike:
            self.remembered += 1
        else:
            shapes.pop(0)
        shapes.append(shape)


def _own_options(data: bytes) -> list[tuple[int, int, int]] | None:
    """Code, start and end of the options in OWN, in a datagram that is well-formed.

    None where one of them has several parts, or where options stand in other fields too.
    """
    found: list[tuple[int, int, int]] = []
    at = _OPTIONS_AT
    while at < len(data) and data[at] != _END:
        code = data[at]
        if code == _PAD:
            at += 1
            continue
        start = at + 2
        at = start + data[at + 1]
        if code == _OVERLOAD or (code in OWN and any(code == each for each, _, _ in found)):
            return None
        if code in OWN:
            found.append((code, start, at))
    return found
