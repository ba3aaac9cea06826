"""Gathers what the rules of `provisioner.diagnosis` look at: the timelines of a day, what was dropped, the pools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network

from msgspec import Struct
from msgspec.structs import replace

from provisioner.conductor.ledger import Ledger
from provisioner.conductor.machine_changes import is_address
from provisioner.diagnosis import diagnose
from provisioner.errors import Refused
from provisioner.events import UNCOVERED
from provisioner.findings import Awaited, Facts, Finding, ForeignServer, PoolUse, Unheard
from provisioner.model.addresses import Lease, LeaseState, Reservation, Subnet
from provisioner.model.content import LOCAL_BOOTENV
from provisioner.model.machines import Machine
from provisioner.sockets import local_addresses
from provisioner.store.event_search import EventQuery

# How far back timelines are read, and how many events at most: enough for a hall of 5,000 machines powered on.
PERIOD = timedelta(hours=24)
MOST_EVENTS = 50_000
_KINDS = (
    "dhcp.discover",
    "dhcp.offer",
    "dhcp.request",
    "dhcp.ack",
    "dhcp.nak",
    "dhcp.decline",
    "dhcp.conflict",
    "dhcp.proxy",
    "tftp.read",
    "tftp.error",
    "http.read",
    "http.error",
    "boot.render",
    "boot.local",
    "boot.held",
    "boot.loader",
    "boot.error",
    "agent.register",
    "agent.hello",
    "agent.reboot",
    "power.done",
)

_NO_POOL = range(0)

Probe = Callable[[], Awaitable[Iterable[ForeignServer]]]


class Examination(Struct, frozen=True):
    """What was found, and out of what: the events since then. `probed_at` is when other servers were called last."""

    items: list[Finding]
    examined_at: datetime
    since: datetime
    events: int
    probed_at: datetime | None = None


class Doctor:
    """Examines the boot network.

    `unheard` tells what was dropped, `probe` calls for other DHCP servers; None where the server has no right to.
    """

    def __init__(
        self,
        ledger: Ledger,
        unheard: Callable[[], Iterable[Unheard]],
        probe: Probe | None,
        addresses: Callable[[], frozenset[str]] = local_addresses,
    ) -> None:
        self._ledger = ledger
        self._unheard = unheard
        self._probe = probe
        self._addresses = addresses
        self._foreign: tuple[ForeignServer, ...] = ()
        self._probed_at: datetime | None = None

    async def probe(self) -> None:
        """Call for DHCP servers on all networks we serve, and keep who answered; takes some seconds. Refused."""
        if self._probe is None:
            raise Refused(
                "this server cannot call for other DHCP servers: its DHCP is off, or it started without CAP_NET_RAW",
                code="probe-impossible",
            )
        foreign = tuple(await self._probe())
        self._foreign, self._probed_at = foreign, self._ledger.clock()

    async def examine(self, machine: Machine | None = None) -> Examination:
        """What is wrong as far as can be seen now; of one machine, only what its own timeline shows."""
        now = self._ledger.clock()
        since = now - PERIOD
        query = EventQuery(kinds=_KINDS, since=since, limit=MOST_EVENTS, newest_first=True)
        if machine is not None:
            query = replace(query, machine=machine.id, macs=machine.macs)
        events = tuple(reversed(await self._ledger.database.events(query)))
        facts = Facts(
            now=now,
            events=events,
            addresses=self._addresses(),
            unheard=tuple(each for each in self._unheard() if not self._mended(each)) if machine is None else (),
            foreign=self._foreign if machine is None else (),
            pools=tuple(self._pools(now)) if machine is None else (),
            reserved=tuple(self._ledger.read_all(Reservation)) if machine is None else (),
            awaited=tuple(_awaited([machine] if machine is not None else self._ledger.read_all(Machine))),
        )
        # A part of a timeline tells less, never something else: rules begin with what they know to be a beginning.
        if len(events) == MOST_EVENTS:
            since = events[0].time
        return Examination(diagnose(facts), now, since, len(events), self._probed_at)

    def _mended(self, unheard: Unheard) -> bool:
        """Whether a subnet that there is by now covers what none did."""
        place = unheard.detail or unheard.via
        if unheard.reason != UNCOVERED or not is_address(place):
            return False
        address = ip_address(place)
        return any(each.enabled and address in ip_network(each.cidr) for each in self._ledger.read_all(Subnet))

    def _pools(self, now: datetime) -> Iterable[PoolUse]:
        pools = {subnet.name: _pool(subnet) for subnet in self._ledger.read_all(Subnet)}
        used = Counter(
            lease.subnet
            for lease in self._ledger.read_all(Lease)
            if lease.state is not LeaseState.EXPIRED
            and lease.expires_at > now
            # What is reserved outside of the pool takes nothing from it.
            and int(ip_address(lease.address)) in pools.get(lease.subnet, _NO_POOL)
        )
        for subnet in self._ledger.read_all(Subnet):
            pool = pools[subnet.name]
            size = pool.stop - pool.start
            yield PoolUse(subnet.name, used[subnet.name], size, subnet.enabled, proxy=subnet.proxy)


def _pool(subnet: Subnet) -> range:
    if not (subnet.pool_start and subnet.pool_end):
        return _NO_POOL
    return range(int(ip_address(subnet.pool_start)), int(ip_address(subnet.pool_end)) + 1)


def _awaited(machines: Iterable[Machine]) -> Iterable[Awaited]:
    return (Awaited(each.id, each.name, each.macs) for each in machines if each.bootenv != LOCAL_BOOTENV)
