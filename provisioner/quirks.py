"""Quirks of firmware: rows of param `boot/quirks` that match a client and change how it is answered.

A row matches when everything that its `match` names fits; of each effect the first matching row that has it counts. The
rows of a machine, its profiles and `global` stand before those shipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct, ValidationError, convert, field

from provisioner.errors import Invalid
from provisioner.firmware import BootClient, ClientKind


class VendorOptions(StrEnum):
    """When a PXE client is sent option 43: as usual (not to UEFI in proxy mode), always, or never."""

    USUAL = "usual"
    ALWAYS = "always"
    NEVER = "never"


class NameIn(StrEnum):
    """Where server and file name are written.

    `asked` is header fields, and options 66 and 67 for a client that lists them; `header` the fields alone, `options`
    the options alone, `both` is both whether asked or not.
    """

    ASKED = "asked"
    HEADER = "header"
    OPTIONS = "options"
    BOTH = "both"


class NameEnd(StrEnum):
    """How options 66 and 67 end: with a NUL byte, or with the last letter."""

    NUL = "nul"
    NONE = "none"

    @property
    def written(self) -> bytes:
        """The bytes that this is."""
        return b"\0" if self is NameEnd.NUL else b""


class Match(Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a row is for: first bytes of the MAC, beginnings of the class, architectures, first bytes of option 97."""

    oui: tuple[str, ...] = ()
    vendor_class: tuple[str, ...] = field(default=(), name="class")
    arch: tuple[int, ...] = ()
    uuid: tuple[str, ...] = ()
    client: tuple[str, ...] = ()

    def fits(self, client: BootClient) -> bool:
        """Whether all that is named here fits this client."""
        return (
            (not self.arch or client.arch in self.arch)
            and (not self.oui or client.mac.startswith(self.oui))
            and (not self.uuid or client.uuid[1:].hex().startswith(self.uuid))
            and (not self.vendor_class or client.vendor_class.startswith(self.vendor_class))
            and (not self.client or _CLIENTS[client.kind] in self.client)
        )


_CLIENTS = {ClientKind.PXE: "pxe", ClientKind.HTTP: "http", ClientKind.IPXE: "ipxe", ClientKind.OTHER: ""}


class Quirk(Struct, frozen=True, forbid_unknown_fields=True):
    """One row. What it does not set is left to the rows after it."""

    match: Match
    note: str = ""
    vendor_options: VendorOptions | None = None
    echo_uuid: bool | None = None
    name_in: NameIn | None = None
    name_end: NameEnd | None = None
    loader: str = ""
    answer_request: bool | None = None
    script: str = ""


class Behaviour(Struct, frozen=True):
    """How a client is answered, all rows considered.

    `answer_request`: in proxy mode also the REQUEST on port 67 is answered. `script`: iPXE gets its script by `tftp`,
    or by `http` as soon as it says that it can.
    """

    vendor_options: VendorOptions = VendorOptions.USUAL
    echo_uuid: bool = True
    name_in: NameIn = NameIn.ASKED
    name_end: NameEnd = NameEnd.NUL
    loader: str = ""
    answer_request: bool = False
    script: str = "http"


USUAL = Behaviour()


def read_quirks(rows: Any) -> tuple[Quirk, ...]:
    """The rows of the param's value; raises Invalid saying which is wrong."""
    try:
        quirks = convert(rows, tuple[Quirk, ...])
    except ValidationError as error:
        raise Invalid(f"boot/quirks: {error}", object="params/boot/quirks") from error
    return tuple(_comparable(quirk) for quirk in quirks)


def _comparable(quirk: Quirk) -> Quirk:
    match = quirk.match
    lowered = Match(
        tuple(oui.lower().replace("-", ":") for oui in match.oui),
        match.vendor_class,
        match.arch,
        tuple(uuid.lower().replace("-", "") for uuid in match.uuid),
        match.client,
    )
    return Quirk(
        lowered,
        quirk.note,
        quirk.vendor_options,
        quirk.echo_uuid,
        quirk.name_in,
        quirk.name_end,
        quirk.loader,
        quirk.answer_request,
        quirk.script,
    )


def behaviour(client: BootClient, quirks: Sequence[Quirk]) -> Behaviour:
    """How this client is answered."""
    rows = [quirk for quirk in quirks if quirk.match.fits(client)]
    if not rows:
        return USUAL
    found: dict[str, Any] = {}
    for row in reversed(rows):
        found |= {name: value for name in _EFFECTS if (value := getattr(row, name)) not in (None, "")}
    return Behaviour(**found)


_EFFECTS = tuple(name for name in Quirk.__struct_fields__ if name not in ("match", "note"))
