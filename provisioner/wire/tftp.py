"""TFTP packets: bytes to values and back (RFC 1350; options RFC 2347, 2348, 2349, 7440), and what is agreed on."""

from struct import Struct as Layout

from msgspec import Struct, field

from provisioner.wire.error import WireError

RRQ, WRQ, DATA, ACK, ERROR, OACK = 1, 2, 3, 4, 5, 6

NOT_DEFINED = 0
FILE_NOT_FOUND = 1
ACCESS_VIOLATION = 2
ILLEGAL_OPERATION = 4
UNKNOWN_TRANSFER = 5

OCTET = "octet"
NETASCII = "netascii"

DEFAULT_BLOCK_SIZE = 512
SMALLEST_BLOCK_SIZE = 8
LARGEST_BLOCK_SIZE = 65464
# RFC 7440 allows 65535 blocks; more than this overruns the receive buffer of every client we know of.
LARGEST_WINDOW = 64
# RFC 1350 sets no limit; a request is one small datagram, and firmware sends none with more than a few options.
LONGEST_REQUEST = 1500

_CODE = Layout("!H")
_TWO_NUMBERS = Layout("!HH")


class Request(Struct, frozen=True):
    """RRQ, or WRQ when `write`. `mode` and the names of `options` are in lower case."""

    filename: str
    mode: str = OCTET
    options: dict[str, str] = field(default_factory=dict)
    write: bool = False


class Data(Struct, frozen=True):
    """One block; shorter than the block size it is the last."""

    block: int
    payload: bytes


class Ack(Struct, frozen=True):
    """All blocks up to this one have arrived; 0 accepts an OACK."""

    block: int


class Error(Struct, frozen=True):
    """The transfer is over."""

    code: int
    message: str


class OptionAck(Struct, frozen=True):
    """Which options hold, and their values."""

    options: dict[str, str]


Packet = Request | Data | Ack | Error | OptionAck


def decode(data: bytes) -> Packet:
    """Read a datagram; raises WireError for whatever is no TFTP packet. Bytes behind an ACK are padding."""
    if len(data) < 4:
        raise WireError("shorter than a TFTP packet", f"{len(data)} bytes")
    code, number = _TWO_NUMBERS.unpack_from(data)
    if code == ACK:
        return Ack(number)
    if code == DATA:
        return Data(number, data[4:])
    if code in (RRQ, WRQ):
        return _decode_request(data, code == WRQ)
    if code == ERROR:
        return Error(number, _text(data[4:].split(b"\0", 1)[0]))
    if code == OACK:
        return OptionAck(_decode_options(data[2:].rstrip(b"\0").split(b"\0")))
    raise WireError("unknown TFTP operation", str(code))


def _decode_request(data: bytes, write: bool) -> Request:
    if len(data) > LONGEST_REQUEST:
        raise WireError("request too long", f"{len(data)} bytes")
    parts = data[2:].split(b"\0")
    if len(parts) < 3:
        raise WireError("request without NUL-terminated name and mode")
    # Kea and some ROMs leave 0xFF, the END option of DHCP, behind the name (netbootxyz/netboot.xyz#1198).
    filename = _text(parts[0].rstrip(b"\xff"))
    if not filename:
        raise WireError("request without file name")
    mode = _text(parts[1]).lower()
    if mode not in (OCTET, NETASCII):
        raise WireError("unknown mode", mode)
    return Request(filename, mode, _decode_options(_until_padding(parts[2:])), write)


def _until_padding(parts: list[bytes]) -> list[bytes]:
    """Options end where padding begins: datagrams padded by tunnels and switches are common."""
    for at in range(0, len(parts), 2):
        if not parts[at].strip(b"\xff"):
            return parts[:at]
    return parts


def _decode_options(parts: list[bytes]) -> dict[str, str]:
    if len(parts) % 2:
        raise WireError("option without value", _text(parts[-1]))
    return {_text(parts[at]).lower(): _text(parts[at + 1]) for at in range(0, len(parts), 2)}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")


def encode(packet: Packet) -> bytes:
    """Build a datagram."""
    match packet:
        case Data(block, payload):
            return _TWO_NUMBERS.pack(DATA, block & 0xFFFF) + payload
        case Ack(block):
            return _TWO_NUMBERS.pack(ACK, block & 0xFFFF)
        case OptionAck(options):
            return _CODE.pack(OACK) + _encode_options(options)
        case Error(code, message):
            return _TWO_NUMBERS.pack(ERROR, code) + message.encode() + b"\0"
        case Request(filename, mode, options, write):
            names = filename.encode() + b"\0" + mode.encode() + b"\0"
            return _CODE.pack(WRQ if write else RRQ) + names + _encode_options(options)


def _encode_options(options: dict[str, str]) -> bytes:
    return b"".join(f"{name}\0{value}\0".encode() for name, value in options.items())


def encode_blocks(first: int, content: bytes, block_size: int) -> bytes:
    """DATA datagrams one behind the other, numbered from `first` on; all but the last have a full block.

    An empty content is one empty block: it ends a file whose size is a multiple of the block size.
    """
    pack = _TWO_NUMBERS.pack
    parts: list[bytes | memoryview] = []
    view = memoryview(content)
    for place in range(max(1, -(-len(content) // block_size))):
        parts.append(pack(DATA, (first + place) & 0xFFFF))
        parts.append(view[place * block_size : (place + 1) * block_size])
    return b"".join(parts)


class Terms(Struct, frozen=True):
    """What holds for one transfer. `accepted` is the OACK's content; empty means that no OACK is sent."""

    block_size: int = DEFAULT_BLOCK_SIZE
    window: int = 1
    timeout_seconds: int = 0
    accepted: dict[str, str] = field(default_factory=dict)


class Limits(Struct, frozen=True):
    """The most that the server agrees to; a network with a smaller MTU wants a smaller block."""

    block_size: int = LARGEST_BLOCK_SIZE
    window: int = LARGEST_WINDOW


def agree(request: Request, size: int, limits: Limits = Limits()) -> Terms:
    """Which of the options asked for hold. A value out of range counts as not asked for (RFC 2347)."""
    asked = request.options
    accepted: dict[str, str] = {}
    terms = Terms(accepted=accepted)
    block_size = _number(asked.get("blksize"), SMALLEST_BLOCK_SIZE, LARGEST_BLOCK_SIZE)
    if block_size:
        block_size = min(block_size, limits.block_size)
        accepted["blksize"] = str(block_size)
    if _number(asked.get("tsize"), 0, 1 << 62) is not None:
        accepted["tsize"] = str(size)
    timeout = _number(asked.get("timeout"), 1, 255)
    if timeout:
        accepted["timeout"] = str(timeout)
    window = _number(asked.get("windowsize"), 1, 65535)
    if window:
        window = min(window, limits.window)
        accepted["windowsize"] = str(window)
    return Terms(block_size or terms.block_size, window or terms.window, timeout or 0, accepted)


def _number(text: str | None, least: int, most: int) -> int | None:
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 20:
        return None
    return number if least <= (number := int(text)) <= most else None


def to_netascii(content: bytes) -> bytes:
    """RFC 764's line ends: LF becomes CR LF, a CR alone becomes CR NUL."""
    return content.replace(b"\r", b"\r\0").replace(b"\n", b"\r\n")
