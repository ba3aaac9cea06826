"""The words of the doctor: the facts that it looks at, and what it finds."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from provisioner.events import Event
from provisioner.model.addresses import Reservation

_SHOWN_CLIENTS = 10


class Severity(StrEnum):
    """How bad: machines do not boot, will or may not, or it is only good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is wrong: what was seen, what to do, and for whom. `code` is stable; `subject` tells two apart."""

    code: str
    severity: Severity
    subject: str
    title: str
    advice: str
    macs: tuple[str, ...] = ()
    count: int = 1
    last: datetime | None = None

    @property
    def whom(self) -> str:
        """The clients, shortened to a readable number."""
        more = len(self.macs) - _SHOWN_CLIENTS
        return ", ".join(self.macs[:_SHOWN_CLIENTS]) + (f" and {more} more" if more > 0 else "")


class Unheard(Struct, frozen=True):
    """Messages of one kind that were dropped: why, how many, and an example."""

    reason: str
    count: int
    detail: str = ""
    interface: str = ""
    via: str = ""
    last: datetime | None = None


class ForeignServer(Struct, frozen=True):
    """Another DHCP server that answered a probe on an interface."""

    address: str
    interface: str
    offered: str = ""


class PoolUse(Struct, frozen=True):
    """How much of a subnet's pool is given away; `local` when the subnet is on an interface of ours."""

    subnet: str
    used: int
    size: int
    enabled: bool = True
    local: bool = True
    proxy: bool = False


class Awaited(Struct, frozen=True):
    """A machine that shall boot from the network."""

    id: str
    name: str
    macs: tuple[str, ...] = ()


class Facts(Struct, frozen=True, kw_only=True):
    """All that is known at `now`. `addresses` are ours; `events` are of all clients, oldest first."""

    now: datetime
    events: tuple[Event, ...] = ()
    addresses: frozenset[str] = frozenset()
    unheard: tuple[Unheard, ...] = ()
    foreign: tuple[ForeignServer, ...] = ()
    pools: tuple[PoolUse, ...] = ()
    reserved: tuple[Reservation, ...] = ()
    awaited: tuple[Awaited, ...] = ()
