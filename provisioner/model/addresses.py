"""Networks we answer DHCP on, and who has which address there."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from msgspec import Struct, field


class LeaseState(StrEnum):
    """Where a lease stands; `quarantined` addresses were declined or answered a probe."""

    OFFERED = "offered"
    ACKED = "acked"
    EXPIRED = "expired"
    QUARANTINED = "quarantined"


class Picker(StrEnum):
    """A way to find a pool address for a client that has none: the one it asks for, the next that nobody ever had,
    the one whose lease ended longest ago; or `none`, which ends the search.
    """

    HINT = "hint"
    NEXT_FREE = "next-free"
    MOST_EXPIRED = "most-expired"
    NONE = "none"


class Probe(StrEnum):
    """Whether a pool address is tried before it is offered: by ARP on the link and ICMP behind relays, or never."""

    AUTO = "auto"
    OFF = "off"


class Subnet(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A network we answer DHCP on. `pool_start` to `pool_end` are handed out; `options` maps code to text value.

    Subnets with the same `shared_network` are on one link: a client there may get an address of any of them. `pickers`
    are tried in this order. With `only_reservations` the pool is for nobody. In a `proxy` subnet another server gives
    the addresses, and we say only what to boot. A lease is renewed after `renew_seconds` and with any server after
    `rebind_seconds`; 0 is half of its time and seven eighths of it (four
    fifths in IPv6). A subnet is of IPv4 or of IPv6, by its `cidr`, and so is all that stands in it. With
    `router_advertisements` we tell the link of an IPv6 subnet that addresses come by DHCPv6; without, a router there
    has to.
    """

    kind: ClassVar[str] = "subnets"
    name: str
    cidr: str
    pool_start: str = ""
    pool_end: str = ""
    enabled: bool = True
    gateway: str = ""
    dns_servers: tuple[str, ...] = ()
    domain: str = ""
    next_server: str = ""
    lease_seconds: int = 3600
    reserved_lease_seconds: int = 7200
    renew_seconds: int = 0
    rebind_seconds: int = 0
    shared_network: str = ""
    pickers: tuple[Picker, ...] = (Picker.HINT, Picker.NEXT_FREE, Picker.MOST_EXPIRED)
    only_reservations: bool = False
    proxy: bool = False
    probe: Probe = Probe.AUTO
    router_advertisements: bool = False
    options: dict[str, str] = field(default_factory=dict)
    description: str = ""


class Reservation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An address kept for one MAC. `boot_file` (file, URL or loader) empty: by firmware; `-`: never.

    What else it says holds on the address' own link, or wherever the MAC appears when it is not `scoped`. There may be
    one scoped reservation of a MAC in each subnet, and one that is not.
    """

    kind: ClassVar[str] = "reservations"
    address: str
    mac: str
    hostname: str = ""
    next_server: str = ""
    boot_file: str = ""
    scoped: bool = True
    options: dict[str, str] = field(default_factory=dict)
    description: str = ""


class Lease(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    """An address given to a MAC for `seconds`, until `expires_at`. `via` is the relay's address, empty when local."""

    kind: ClassVar[str] = "leases"
    address: str
    mac: str
    state: LeaseState
    expires_at: datetime
    seconds: int = 0
    subnet: str = ""
    hostname: str = ""
    via: str = ""
    client_id: str = ""
