"""DHCPv4 messages: bytes to values and back (RFC 2131, options as in RFC 2132, long options as in RFC 3396).

This is the hot path of a power-on storm, hence struct and not scapy, which takes 40 times as long. What an option
means is in `dhcp_options`; here an option is a code and its bytes.
"""

from collections.abc import Sequence
from enum import Enum, IntEnum
from socket import inet_aton, inet_ntoa
from struct import Struct as Layout
from typing import Final

from provisioner.native import Native
from provisioner.remembered import Remembered
from provisioner.wire.error import WireError

BOOTREQUEST: Final = 1
BOOTREPLY: Final = 2
BROADCAST_FLAG: Final = 0x8000
BROADCAST_ADDRESS: Final = "255.255.255.255"
SERVER_PORT: Final = 67
CLIENT_PORT: Final = 68

# RFC 2131 section 2: every client takes 576 bytes of IP datagram; more only if it says so in option 57.
DEFAULT_LIMIT: Final = 576 - 28
# One Ethernet frame: fragments are what ROMs cannot put together again.
LARGEST_LIMIT: Final = 1500 - 28
# RFC 951: BOOTP relays and clients may drop anything shorter.
SHORTEST_REPLY: Final = 300

_HEADER: Final = Layout("!BBBBIHH4s4s4s4s16s64s128s4s")
# What stands before the two name fields.
_FRONT: Final = Layout("!BBBBIHH4s4s4s4s16s")
_COOKIE: Final = b"\x63\x82\x53\x63"
_NO_ADDRESS: Final = b"\0\0\0\0"
# Each number as a byte: an option's code and its length are two of them.
_BYTES: Final = tuple(bytes((number,)) for number in range(256))
# Each client's address is read and written several times, and the servers' with every message.
_SHOWN: Final = Remembered(inet_ntoa, 4096)
_PACKED: Final = Remembered(inet_aton, 4096)
_PAD: Final = 0
_END: Final = 255
_OVERLOAD: Final = 52
_MESSAGE_TYPE: Final = 53
_FILE_IS_OPTIONS: Final = 1
_SNAME_IS_OPTIONS: Final = 2
_BOOT_FILE_NAME: Final = 67
_TFTP_SERVER_NAME: Final = 66
_RELAY_INFORMATION: Final = 82
# Without these a reply is none: mask, lease time, type, server, client.
_NEEDED: Final = frozenset({1, 51, _MESSAGE_TYPE, 54, 61})
_ETHERNET: Final = 1
_MAC_LETTERS: Final = 17
_SNAME_AT: Final = 44
_FILE_AT: Final = 108
_COOKIE_AT: Final = 236


class MessageType(IntEnum):
    """Option 53 (RFC 2132 section 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


_TYPES: Final[dict[bytes | None, MessageType]] = {bytes([number]): number for number in MessageType}


def address_shown(packed: bytes) -> str:
    """Four bytes as an IPv4 address."""
    return _SHOWN.of(packed)


def address_packed(text: str) -> bytes:
    """An IPv4 address as four bytes; OSError when it is none."""
    return _PACKED.of(text)


class DhcpMessage(Native):
    """One message. Addresses are text, empty for 0.0.0.0; `mac` is chaddr cut to its length, as `52:54:00:..`.

    `message_type` None is plain BOOTP, or a type nobody defined.
    """

    __match_args__ = (
        "op", "htype", "hops", "xid", "secs", "flags", "ciaddr", "yiaddr", "siaddr", "giaddr", "mac", "sname", "file",
        "options",
    )  # fmt: skip

    def __init__(
        self,
        *,
        op: int = BOOTREQUEST,
        htype: int = 1,
        hops: int = 0,
        xid: int = 0,
        secs: int = 0,
        flags: int = 0,
        ciaddr: str = "",
        yiaddr: str = "",
        siaddr: str = "",
        giaddr: str = "",
        mac: str = "",
        sname: str = "",
        file: str = "",
        options: dict[int, bytes] | None = None,
    ) -> None:
        self.op: Final = op
        self.htype: Final = htype
        self.hops: Final = hops
        self.xid: Final = xid
        self.secs: Final = secs
        self.flags: Final = flags
        self.ciaddr: Final = ciaddr
        self.yiaddr: Final = yiaddr
        self.siaddr: Final = siaddr
        self.giaddr: Final = giaddr
        self.mac: Final = mac
        self.sname: Final = sname
        self.file: Final = file
        self.options: Final[dict[int, bytes]] = {} if options is None else options
        self.message_type: Final = _TYPES.get(self.options.get(_MESSAGE_TYPE))

    @property
    def wants_broadcast(self) -> bool:
        """Whether the client cannot receive unicast before it has an address."""
        return bool(self.flags & BROADCAST_FLAG)

    def address_option(self, code: int) -> str:
        """An option that holds one address, as text; empty when absent, zero or not four bytes."""
        value = self.options.get(code)
        return address_shown(value) if value is not None and len(value) == 4 and value != _NO_ADDRESS else ""

    def text_option(self, code: int) -> str:
        """An option that holds text, without the NUL bytes some clients end it with."""
        value = self.options.get(code)
        return value.rstrip(b"\0").decode("utf-8", "backslashreplace") if value is not None else ""


def decode(data: bytes) -> DhcpMessage:
    """Read a datagram; raises WireError for whatever is not BOOTP with a DHCP cookie and well-formed options."""
    if len(data) < _HEADER.size:
        raise WireError("shorter than a DHCP header", f"{len(data)} of {_HEADER.size} bytes")
    op, htype, hlen, hops, xid, secs, flags, ci, yi, si, gi, chaddr, sname, file, cookie = _HEADER.unpack_from(data)
    if cookie != _COOKIE:
        raise WireError("no DHCP cookie", cookie.hex())
    if op not in (BOOTREQUEST, BOOTREPLY):
        raise WireError("neither request nor reply", f"op {op}")
    if hlen > len(chaddr):
        raise WireError("hardware address too long", f"{hlen} bytes")
    options: dict[int, bytes] = {}
    _read_options(data, _HEADER.size, options)
    if _OVERLOAD in options:
        sname, file = _read_overload(options, sname, file)
    return DhcpMessage(
        op=op,
        htype=htype,
        hops=hops,
        xid=xid,
        secs=secs,
        flags=flags,
        ciaddr=inet_ntoa(ci) if ci != _NO_ADDRESS else "",
        yiaddr=inet_ntoa(yi) if yi != _NO_ADDRESS else "",
        siaddr=inet_ntoa(si) if si != _NO_ADDRESS else "",
        giaddr=inet_ntoa(gi) if gi != _NO_ADDRESS else "",
        mac=chaddr[:hlen].hex(":"),
        sname=_text(sname),
        file=_text(file),
        options=options,
    )


def _read_options(data: bytes, at: int, options: dict[int, bytes]) -> None:
    """Collect options from `at` to END, or to the end of the data, since many clients leave END out."""
    end = len(data)
    while at < end:
        code = data[at]
        if code == _PAD:
            at += 1
            continue
        if code == _END:
            return
        value_at = at + 2
        if value_at > end:
            raise WireError("option without length", f"option {code}")
        at = value_at + data[at + 1]
        if at > end:
            raise WireError("option runs past the end", f"option {code}")
        if code in options:
            options[code] += data[value_at:at]
        else:
            options[code] = data[value_at:at]


def _read_overload(options: dict[int, bytes], sname: bytes, file: bytes) -> tuple[bytes, bytes]:
    """Read options from `file`, then `sname` (RFC 2131 section 4.1), and return what is left of the two as text."""
    overload = options.pop(_OVERLOAD)
    if overload not in (b"\1", b"\2", b"\3"):
        raise WireError("unknown overload", overload.hex())
    if overload[0] & _FILE_IS_OPTIONS:
        _read_options(file, 0, options)
        file = b""
    if overload[0] & _SNAME_IS_OPTIONS:
        _read_options(sname, 0, options)
        sname = b""
    # Overload inside an overloaded field means nothing; it must not survive into a copy.
    options.pop(_OVERLOAD, None)
    return sname, file


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("latin-1") if value and value[0] else ""


def _hardware(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


# A client is answered at least twice.
_MAC_BYTES: Final = Remembered(_hardware, 4096)


def encode_options(options: dict[int, bytes]) -> bytes:
    """Options as they stand in a message, without END; values over 255 bytes are split (RFC 3396)."""
    parts: list[bytes] = []
    for code, value in options.items():
        if len(value) <= 255:
            parts.append(encode_option(code, value))
        else:
            parts.extend(encode_option(code, value[at : at + 255]) for at in range(0, len(value), 255))
    return b"".join(parts)


def encode_option(code: int, value: bytes) -> bytes:
    """An option as it stands in a message; of at most 255 bytes."""
    return _BYTES[code] + _BYTES[len(value)] + value


def reply_names(sname: str, file: str) -> bytes:
    """The two name fields and the cookie, as `fill_reply` takes them; raises WireError for names too long."""
    return _field(sname, 64).ljust(64, b"\0") + _field(file, 128).ljust(128, b"\0") + _COOKIE


def fill_reply(
    request: DhcpMessage, ciaddr: str, yiaddr: str, siaddr: bytes, names: bytes, options: bytes, limit: int
) -> bytes:
    """A reply from parts made ready; empty when it does not fit into `limit` and `encode_reply` has to see to it."""
    size = _SNAME_AT + len(names) + len(options) + 1
    if size > limit:
        return b""
    hardware = _MAC_BYTES.of(request.mac)
    front = _FRONT.pack(
        BOOTREPLY,
        request.htype,
        len(hardware),
        0,
        request.xid,
        0,
        request.flags,
        _address(ciaddr),
        _address(yiaddr),
        siaddr,
        _address(request.giaddr),
        hardware,
    )
    data = b"".join((front, names, options, b"\xff"))
    return data if size >= SHORTEST_REPLY else data.ljust(SHORTEST_REPLY, b"\0")


def encode_reply(
    request: DhcpMessage, options: bytes, limit: int, *, ciaddr: str, yiaddr: str, siaddr: str, sname: str, file: str
) -> bytes:
    """The reply to `request` with options already encoded: `encode` without a DhcpMessage, for the hot path."""
    if _HEADER.size + len(options) + 1 > limit:
        message = DhcpMessage(
            op=BOOTREPLY,
            htype=request.htype,
            xid=request.xid,
            flags=request.flags,
            ciaddr=ciaddr,
            yiaddr=yiaddr,
            siaddr=siaddr,
            giaddr=request.giaddr,
            mac=request.mac,
            sname=sname,
            file=file,
        )
        return _encode_overloaded(message, options, limit)
    hardware = _MAC_BYTES.of(request.mac)
    header = _HEADER.pack(
        BOOTREPLY,
        request.htype,
        len(hardware),
        0,
        request.xid,
        0,
        request.flags,
        _address(ciaddr),
        _address(yiaddr),
        _address(siaddr),
        _address(request.giaddr),
        hardware,
        _field(sname, 64),
        _field(file, 128),
        _COOKIE,
    )
    return (header + options + b"\xff").ljust(SHORTEST_REPLY, b"\0")


def encode(message: DhcpMessage, block: bytes = b"", limit: int = DEFAULT_LIMIT) -> bytes:
    """Build a datagram of at most `limit` bytes; `block` are options already encoded that go before the message's own.

    What does not fit overflows into `file` and `sname` where these are empty (option 52), in that order.
    Raises WireError when it fits nowhere.
    """
    options = block + encode_options(message.options)
    if _HEADER.size + len(options) + 1 > limit:
        return _encode_overloaded(message, options, limit)
    return (_header(message, b"", b"") + options + b"\xff").ljust(SHORTEST_REPLY, b"\0")


def _header(message: DhcpMessage, sname: bytes, file: bytes) -> bytes:
    hardware = _MAC_BYTES.of(message.mac)
    return _HEADER.pack(
        message.op,
        message.htype,
        len(hardware),
        message.hops,
        message.xid,
        message.secs,
        message.flags,
        _address(message.ciaddr),
        _address(message.yiaddr),
        _address(message.siaddr),
        _address(message.giaddr),
        hardware,
        sname or _field(message.sname, 64),
        file or _field(message.file, 128),
        _COOKIE,
    )


def _address(text: str) -> bytes:
    return address_packed(text) if text else _NO_ADDRESS


def _field(text: str, size: int) -> bytes:
    value = text.encode("latin-1", "replace")
    # Firmware reads these as C strings: the NUL must be there.
    if len(value) >= size:
        raise WireError("name too long for the header", f"{text!r} has {len(value)} bytes, {size - 1} fit")
    return value


def _encode_overloaded(message: DhcpMessage, options: bytes, limit: int) -> bytes:
    """As many options as fit (RFC 2131 section 4.3.1): each goes into the first field with room for it.

    Names that stand in the header anyway give way first, then whatever has found no room; never what the protocol
    itself needs.
    """
    parts = _parts(options)
    # A relay looks for its own in the options field alone (RFC 3046 section 2.1): at the end of that.
    relayed = b"".join(part for part in parts if part[0] == _RELAY_INFORMATION)
    # Three bytes for option 52 itself, one for END.
    room = limit - _HEADER.size - 4 - len(relayed)
    main, waiting = _first_fit([part for part in parts if part[0] != _RELAY_INFORMATION], room)
    file = sname = b""
    if waiting and not message.file:
        file, waiting = _first_fit(waiting, 127)
    if waiting and not message.sname:
        sname, waiting = _first_fit(waiting, 63)
    left_out = {part[0] for part in waiting}
    gone = _said_in_header(parts, message) if left_out else set()
    if not gone:
        if room < 0 or left_out & _NEEDED:
            raise WireError("options do not fit", f"{len(options)} bytes of options into {limit} bytes of message")
        # Half of a long option is none.
        gone = left_out & {part[0] for part in _parts(main + file + sname)}
    if gone:
        return _encode_overloaded(message, b"".join(part for part in parts if part[0] not in gone), limit)
    overload = (_FILE_IS_OPTIONS if file else 0) | (_SNAME_IS_OPTIONS if sname else 0)
    if overload:
        main += bytes((_OVERLOAD, 1, overload))
    return (_header(message, _ended(sname), _ended(file)) + main + relayed + b"\xff").ljust(SHORTEST_REPLY, b"\0")


def _said_in_header(parts: Sequence[bytes], message: DhcpMessage) -> set[int]:
    """The options that say what the header says too."""
    named = {code for code, name in ((_BOOT_FILE_NAME, message.file), (_TFTP_SERVER_NAME, message.sname)) if name}
    return named & {part[0] for part in parts}


def _ended(options: bytes) -> bytes:
    return options + b"\xff" if options else b""


def _parts(options: bytes) -> list[bytes]:
    """Encoded options one by one; a long one has several parts."""
    parts, at = [], 0
    while at < len(options):
        end = at + 2 + options[at + 1]
        parts.append(options[at:end])
        at = end
    return parts


def _first_fit(parts: Sequence[bytes], room: int) -> tuple[bytes, list[bytes]]:
    """Take the parts that fit, in their order; returns them and those that did not.

    Fields are read in the order that they are filled in, and so must be the parts of a long option (RFC 3396): what
    comes after one that has no room here has none either.
    """
    taken = b""
    waiting: list[bytes] = []
    for part in parts:
        if len(taken) + len(part) <= room and all(part[0] != each[0] for each in waiting):
            taken += part
        else:
            waiting.append(part)
    return taken, waiting


def message_limit(request: DhcpMessage) -> int:
    """How many bytes of UDP payload the client takes (option 57 counts IP and UDP headers too)."""
    value = request.options.get(57)
    if value is None or len(value) != 2:
        return DEFAULT_LIMIT
    return min(max((value[0] << 8 | value[1]) - 28, DEFAULT_LIMIT), LARGEST_LIMIT)


class Way(Enum):
    """How a reply reaches the client."""

    RELAY = "relay"
    UNICAST = "unicast"
    BROADCAST = "broadcast"
    HARDWARE = "hardware"


# An enum's member costs a call each time it is named.
_RELAY: Final = Way.RELAY
_UNICAST: Final = Way.UNICAST
_BROADCAST: Final = Way.BROADCAST
_HARDWARE: Final = Way.HARDWARE
_NAK: Final = MessageType.NAK


class Destination(Native):
    """Where a reply goes. HARDWARE means a frame to the client's MAC for an address it does not answer ARP for yet;
    `mac` is empty when that is no Ethernet address, and then the reply is broadcast."""

    __match_args__ = ("way", "address", "port", "mac")

    def __init__(self, way: Way, address: str, port: int, mac: str = "") -> None:
        self.way: Final = way
        self.address: Final = address
        self.port: Final = port
        self.mac: Final = mac


def reply_destination(request: DhcpMessage, kind: MessageType, yiaddr: str) -> Destination:
    """Where the reply to `request` goes (RFC 2131 section 4.1)."""
    if request.giaddr:
        return Destination(_RELAY, request.giaddr, SERVER_PORT)
    if kind is _NAK:
        return Destination(_BROADCAST, BROADCAST_ADDRESS, CLIENT_PORT)
    if request.ciaddr:
        return Destination(_UNICAST, request.ciaddr, CLIENT_PORT)
    if request.wants_broadcast or not yiaddr:
        return Destination(_BROADCAST, BROADCAST_ADDRESS, CLIENT_PORT)
    ethernet = request.htype == _ETHERNET and len(request.mac) == _MAC_LETTERS
    return Destination(_HARDWARE, yiaddr, CLIENT_PORT, request.mac if ethernet else "")
