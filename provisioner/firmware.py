"""Who asks to be booted: which firmware, on which kind of machine, or iPXE; read from a client's DHCP options.

A client says it three times over: its class (option 60, `PXEClient:Arch:00007:UNDI:003000`), its architecture (option
93, RFC 4578) and, when it is iPXE, its user class (option 77) and its own option 175. Each can be missing or odd, hence
each stands in for the others.
"""

from enum import Enum
from functools import lru_cache
from typing import Final

from provisioner.frozen import Frozen
from provisioner.native import Native
from provisioner.wire.dhcp import DhcpMessage, MessageType
from provisioner.wire.dhcp_options import CLIENT_ARCH, CLIENT_UUID, IPXE_OPTIONS, USER_CLASS, VENDOR_CLASS


class ClientKind(Enum):
    """What asks: a firmware's PXE or HTTP client, iPXE, or something that does not netboot (an OS)."""

    PXE = "PXEClient"
    HTTP = "HTTPClient"
    IPXE = "iPXE"
    OTHER = ""

    # There is one of each: the hash of an enum's member is computed by a call otherwise.
    __hash__ = object.__hash__


# An enum's member costs a call each time it is named.
_OTHER: Final = ClientKind.OTHER
_DISCOVER: Final = MessageType.DISCOVER


class Platform(Enum):
    """What a boot loader is built for."""

    BIOS = "bios"
    IA32 = "uefi-ia32"
    X64 = "uefi-x64"
    ARM32 = "uefi-arm32"
    ARM64 = "uefi-arm64"
    RISCV64 = "uefi-riscv64"
    LOONGARCH64 = "uefi-loongarch64"

    __hash__ = object.__hash__


class Arch(Frozen, frozen=True):
    """One row of IANA's "Processor Architecture Types"; without a platform there is no loader for it anywhere."""

    name: str
    platform: Platform | None = None
    http: bool = False


# 9 is EBC by the letter and x64 in the firmware that sends it (RFC 4578 errata), and so is 17 for HTTP.
ARCHS: Final[dict[int, Arch]] = {
    0: Arch("BIOS", Platform.BIOS),
    1: Arch("NEC PC98"),
    2: Arch("UEFI Itanium"),
    3: Arch("DEC Alpha"),
    4: Arch("Arc x86"),
    5: Arch("Intel Lean Client"),
    6: Arch("UEFI ia32", Platform.IA32),
    7: Arch("UEFI x64", Platform.X64),
    8: Arch("UEFI Xscale"),
    9: Arch("UEFI x64", Platform.X64),
    10: Arch("UEFI arm32", Platform.ARM32),
    11: Arch("UEFI arm64", Platform.ARM64),
    12: Arch("Open Firmware"),
    13: Arch("POWER ePAPR"),
    14: Arch("POWER OPAL"),
    15: Arch("UEFI ia32 HTTP", Platform.IA32, http=True),
    16: Arch("UEFI x64 HTTP", Platform.X64, http=True),
    17: Arch("UEFI x64 HTTP", Platform.X64, http=True),
    18: Arch("UEFI arm32 HTTP", Platform.ARM32, http=True),
    19: Arch("UEFI arm64 HTTP", Platform.ARM64, http=True),
    20: Arch("BIOS HTTP", Platform.BIOS, http=True),
    21: Arch("U-Boot arm32", Platform.ARM32),
    22: Arch("U-Boot arm64", Platform.ARM64),
    23: Arch("U-Boot arm32 HTTP", Platform.ARM32, http=True),
    24: Arch("U-Boot arm64 HTTP", Platform.ARM64, http=True),
    25: Arch("UEFI riscv32"),
    26: Arch("UEFI riscv32 HTTP", http=True),
    27: Arch("UEFI riscv64", Platform.RISCV64),
    28: Arch("UEFI riscv64 HTTP", Platform.RISCV64, http=True),
    29: Arch("UEFI riscv128"),
    30: Arch("UEFI riscv128 HTTP", http=True),
    31: Arch("s390 basic"),
    32: Arch("s390 extended"),
    33: Arch("UEFI mips32"),
    34: Arch("UEFI mips64"),
    35: Arch("UEFI sunway32"),
    36: Arch("UEFI sunway64"),
    37: Arch("UEFI loongarch32"),
    38: Arch("UEFI loongarch32 HTTP", http=True),
    39: Arch("UEFI loongarch64", Platform.LOONGARCH64),
    40: Arch("UEFI loongarch64 HTTP", Platform.LOONGARCH64, http=True),
    41: Arch("Raspberry Pi ROM"),
}

# iPXE's option 175 holds options of its own; feature "HTTP" among them (ipxe.org/howto/dhcpd).
_IPXE_HTTP: Final = 19


class BootClient(Native):
    """Who asks, as far as booting goes. `arch` is the first of option 93, `xid` numbers the client's attempt.

    `begins` tells that the client starts anew (DISCOVER); `can_http` that it is an iPXE which loads by HTTP.
    """

    __match_args__ = ("kind", "arch", "mac", "uuid", "vendor_class", "can_http", "xid", "begins")

    def __init__(
        self,
        kind: ClientKind,
        arch: int,
        mac: str,
        uuid: bytes = b"",
        vendor_class: str = "",
        can_http: bool = False,
        xid: int = 0,
        begins: bool = False,
    ) -> None:
        self.kind: Final = kind
        self.arch: Final = arch
        self.mac: Final = mac
        self.uuid: Final = uuid
        self.vendor_class: Final = vendor_class
        self.can_http: Final = can_http
        self.xid: Final = xid
        self.begins: Final = begins

    @property
    def firmware(self) -> str:
        """The firmware in words: `UEFI x64`, `iPXE on BIOS`; empty for a client that does not netboot."""
        return _in_words(self.kind, self.arch)

    @property
    def platform(self) -> Platform | None:
        """What loaders must be built for, None when there are none for such a machine."""
        row = ARCHS.get(self.arch)
        return row.platform if row is not None else None


@lru_cache(maxsize=1024)
def _in_words(kind: ClientKind, arch: int) -> str:
    row = ARCHS.get(arch)
    if kind is ClientKind.OTHER:
        return ""
    name = row.name if row is not None else f"client architecture {arch}"
    if kind is ClientKind.IPXE:
        return f"iPXE on {name}"
    return f"{name} HTTP" if kind is ClientKind.HTTP and row is not None and not row.http else name


def boot_client(message: DhcpMessage) -> BootClient:
    """Who sent this message, as far as booting goes."""
    options = message.options
    kind, arch, vendor_class, can_http = _classified(
        options.get(VENDOR_CLASS), options.get(CLIENT_ARCH), options.get(USER_CLASS), options.get(IPXE_OPTIONS)
    )
    if kind is _OTHER:
        return BootClient(kind, 0, message.mac)
    begins = message.message_type is _DISCOVER
    return BootClient(
        kind, arch, message.mac, options.get(CLIENT_UUID, b""), vendor_class, can_http, message.xid, begins
    )


# A hall of machines says the same few things over and over.
@lru_cache(maxsize=1024)
def _classified(
    vendor: bytes | None, arch: bytes | None, user: bytes | None, ipxe: bytes | None
) -> tuple[ClientKind, int, str, bool]:
    """Kind, architecture, class as text, and whether it is an iPXE that loads by HTTP."""
    given = ((VENDOR_CLASS, vendor), (CLIENT_ARCH, arch), (USER_CLASS, user), (IPXE_OPTIONS, ipxe))
    options = {code: value for code, value in given if value is not None}
    vendor_class = _class_text(vendor or b"")
    kind = _kind(options, vendor_class)
    can_http = kind is ClientKind.IPXE and has_ipxe_feature(ipxe or b"", _IPXE_HTTP)
    return kind, _arch(options, vendor_class), vendor_class, can_http


def _class_text(value: bytes) -> str:
    """The class as text; what some ROMs put around it (a length, NULs, 0xFF) is left out."""
    return value.strip(b"\0\xff").decode("latin-1").lstrip("".join(map(chr, range(33))))


def _kind(options: dict[int, bytes], vendor_class: str) -> ClientKind:
    if _is_ipxe(options):
        return ClientKind.IPXE
    begin = vendor_class[:10].lower()
    if begin == "httpclient":
        return ClientKind.HTTP
    if begin.startswith("pxeclient"):
        return ClientKind.PXE
    if CLIENT_ARCH not in options:
        return ClientKind.OTHER
    # Operating systems do not send option 93: this is firmware that leaves its class out, or writes another (U-Boot).
    row = ARCHS.get(_arch(options, vendor_class))
    return ClientKind.HTTP if row is not None and row.http else ClientKind.PXE


def _is_ipxe(options: dict[int, bytes]) -> bool:
    # iPXE sends its user class bare; RFC 3004 wants a length byte before it, and some relays add one.
    user_class = options.get(USER_CLASS, b"")
    return IPXE_OPTIONS in options or b"iPXE" in user_class or b"gPXE" in user_class


def _arch(options: dict[int, bytes], vendor_class: str) -> int:
    value = options.get(CLIENT_ARCH, b"")
    if len(value) >= 2:
        return int.from_bytes(value[:2])
    # Some Intel cards leave option 93 out (danderson/pixiecore#21); the class says it too: PXEClient:Arch:00007:UNDI:..
    return arch_in_class(vendor_class)


def arch_in_class(vendor_class: str) -> int:
    """The architecture that a class names, 0 when it names none: BIOS ROMs are the ones that are so short of words."""
    parts = vendor_class.split(":")
    number = parts[2] if len(parts) > 2 else ""
    return int(number) if number.isascii() and number.isdigit() and len(number) <= 5 else 0


def has_ipxe_feature(value: bytes, feature: int) -> bool:
    """Whether iPXE's option 175 says that it has been built with this feature."""
    at = 0
    while at + 2 < len(value):
        if value[at] == feature:
            return value[at + 1] >= 1 and value[at + 2] != 0
        at += 2 + value[at + 1]
    return False
