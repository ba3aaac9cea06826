"""What a machine loads first: who asks (`firmware`), which loader (`loaders`) and how it wants it told (`quirks`).

Every netboot goes the same way: firmware loads a loader over TFTP or HTTP. iPXE asks again by DHCP, is recognised and
loads its script `<mac-with-dashes>.ipxe`; GRUB loads the machine's `grub.cfg`. A machine that shall boot its own disk
goes that way too and its script says exit, because firmware that is offered no file waits for one (OVMF for about a
minute) before it turns to the disk.
"""

from __future__ import annotations

from typing import Final

from provisioner.firmware import BootClient, ClientKind, Platform
from provisioner.loaders import IPXE_FILES, NO_LOADER, file_of
from provisioner.model.content import Bootenv
from provisioner.native import Native
from provisioner.quirks import USUAL, Behaviour, NameEnd, NameIn, VendorOptions
from provisioner.script_names import script_name
from provisioner.wire.dhcp_options import CLIENT_UUID, IPXE_OPTIONS, VENDOR_CLASS, VENDOR_OPTIONS

# A reservation with this boot file never boots from the network.
NEVER: Final = "-"

# PXE 2.1, table 2-1: discovery control with bit 3, "take the boot file name from this very packet". Without it some
# BIOS ROMs go on to look for a boot server; old UEFI firmware breaks on it.
_USE_THIS_FILE: Final = b"\x06\x01\x08\xff"

# iPXE's encapsulated option 176, no-pxedhcp: do not wait for a proxyDHCP server, which costs a second or more.
_DO_NOT_WAIT: Final = b"\xb0\x01\x01"


class Boot(Native):
    """What the reply says about booting: a file and options, or neither; `reason` says why.

    `file` is a name for TFTP or a URL. `name_in` and `name_end` say how it is written, `loader` which row it is.
    A `shared` one is the same object for all clients alike: its option 97 stands for each client's own.
    """

    __match_args__ = ("file", "reason", "options", "loader", "name_in", "name_end", "answer_request", "shared")

    def __init__(
        self,
        file: str = "",
        reason: str = "",
        options: dict[int, bytes] | None = None,
        loader: str = "",
        name_in: NameIn = NameIn.ASKED,
        name_end: NameEnd = NameEnd.NUL,
        answer_request: bool = False,
        shared: bool = False,
    ) -> None:
        self.file: Final = file
        self.reason: Final = reason
        self.options: Final[dict[int, bytes]] = {} if options is None else options
        self.loader: Final = loader
        self.name_in: Final = name_in
        self.name_end: Final = name_end
        self.answer_request: Final = answer_request
        self.shared: Final = shared

    def with_options(self, options: dict[int, bytes], *, shared: bool) -> Boot:
        """The same with other options, for all clients alike or for one."""
        return Boot(
            self.file,
            self.reason,
            options,
            self.loader,
            self.name_in,
            self.name_end,
            self.answer_request,
            shared,
        )

    @property
    def is_url(self) -> bool:
        """Whether the file is named by a whole URL."""
        return "://" in self.file

    @property
    def in_header(self) -> bool:
        """Whether the name goes into the header's fields `file` and `sname`."""
        return self.name_in is not NameIn.OPTIONS

    def in_options(self, asked: bool) -> bool:
        """Whether it goes into options 66 and 67, for a client that did or did not list them."""
        return self.name_in in (NameIn.OPTIONS, NameIn.BOTH) or (self.name_in is NameIn.ASKED and asked)


NO_BOOT: Final = Boot()


def choose_boot(
    client: BootClient,
    bootenv: Bootenv | None,
    loader: str,
    *,
    override: str = "",
    http: str = "",
    behaviour: Behaviour = USUAL,
    proxy: bool = False,
) -> Boot:
    """What the client loads first.

    `bootenv` None is an unknown machine, `override` a reservation's boot file, `loader` the row whose turn it is ('' is
    none for this firmware), `http` our URL as the client reaches it. `proxy`: another server gave the address.
    """
    if client.kind is ClientKind.OTHER:
        return NO_BOOT
    if override == NEVER:
        return Boot(reason="its reservation says that it never boots from the network")
    if loader == NO_LOADER and not override:
        return Boot(reason="its settings say that it loads nothing from the network (loader none)", loader=loader)
    if client.kind is ClientKind.IPXE:
        return _for_ipxe(client, bootenv, override, http, behaviour, proxy)
    file = override or file_of(loader, client.platform)
    if not file:
        return Boot(reason=f"there is no boot loader for {client.firmware}")
    name_in = behaviour.name_in
    if client.kind is ClientKind.HTTP:
        if "://" not in file:
            if not http:
                return Boot(reason="the firmware boots by HTTP, and this server does not listen for HTTP")
            file = f"{http}/files/{file}"
        # HTTPClient firmware reads option 67 first; the header field alone is too short for a long URL.
        name_in = NameIn.BOTH if name_in is NameIn.ASKED else name_in
    options = _options(client, behaviour, proxy)
    told = "" if override else loader
    return Boot(file, _purpose(bootenv), options, told, name_in, behaviour.name_end, behaviour.answer_request)


def _for_ipxe(
    client: BootClient, bootenv: Bootenv | None, override: str, http: str, behaviour: Behaviour, proxy: bool
) -> Boot:
    if override and override not in IPXE_FILES:
        file = override
    elif client.can_http and http and behaviour.script == "http":
        file = f"{http}/boot/{script_name(client.mac)}"
    else:
        file = script_name(client.mac)
    # iPXE takes an offer without an address for a proxy's only when it bears this class.
    options = {VENDOR_CLASS: ClientKind.PXE.value.encode()} if proxy else {}
    options[IPXE_OPTIONS] = _DO_NOT_WAIT
    return Boot(file, _purpose(bootenv), options, "", behaviour.name_in, behaviour.name_end, behaviour.answer_request)


def _purpose(bootenv: Bootenv | None) -> str:
    if bootenv is None:
        return "unknown machine"
    if not bootenv.netboots:
        return f"boot environment {bootenv.name}: boots its own disk"
    return f"boot environment {bootenv.name}"


def _options(client: BootClient, behaviour: Behaviour, proxy: bool) -> dict[int, bytes]:
    """The class is echoed as the bare word: firmware takes an answer without it for no answer at all."""
    options = {VENDOR_CLASS: client.kind.value.encode()}
    if client.uuid and behaviour.echo_uuid:
        options[CLIENT_UUID] = client.uuid
    if client.kind is ClientKind.PXE and _wants_vendor_options(client, behaviour, proxy):
        options[VENDOR_OPTIONS] = _USE_THIS_FILE
    return options


def _wants_vendor_options(client: BootClient, behaviour: Behaviour, proxy: bool) -> bool:
    if behaviour.vendor_options is VendorOptions.USUAL:
        # UEFI that is told so by a proxy may ignore the answer (HPE Gen9: danderson/netboot#43); it asks on 4011 then.
        return client.platform is Platform.BIOS or not proxy
    return behaviour.vendor_options is VendorOptions.ALWAYS


def as_url(boot: Boot, server: str) -> str:
    """The boot file as a URL, for those who are told nothing else (DHCPv6 option 59); '' when there is none."""
    if not boot.file or boot.is_url:
        return boot.file
    host = f"[{server}]" if ":" in server else server
    return f"tftp://{host}/{boot.file}"
