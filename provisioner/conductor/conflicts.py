"""Addresses that somebody uses without having them from us, found before they are offered to another.

A pool address is asked for before a client is offered it that does not have it already: `must_wait` holds the client's
DISCOVER back, and its offer is remembered meanwhile. Nobody answers: the DISCOVER is answered. Somebody does: the
address is in quarantine, the timeline says who it was, and the DISCOVER gets the next one.

So that hardly anybody waits, the addresses that a pool gives out next are asked for in advance, as soon as anybody on
it has asked for an address: its stock, which grows when it runs out. Nothing here delays a REQUEST. A reserved address
is not asked for: whoever has it, the operator has decided whose it is, and often it is the same machine's other card.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import structlog
from msgspec import Struct

from provisioner.conductor.lease_book import LeaseBook
from provisioner.conductor.ledger import Ledger
from provisioner.dhcp_case import Offer, runs
from provisioner.leases import QUARANTINE, Decision
from provisioner.links import Arrival
from provisioner.model.addresses import Lease, LeaseState, Probe, Subnet
from provisioner.wire.dhcp import DhcpMessage, MessageType

log = structlog.get_logger(__name__)

# For so long an address that nobody answered for counts as free.
CLEAR_FOR = timedelta(seconds=60)
# What is left of that when it is asked for again; more than the time between two rounds.
_RENEWED_BEFORE = timedelta(seconds=25)
SMALLEST_STOCK, LARGEST_STOCK = 8, 256
# Nobody asked on the pool for so long: nobody is asked for its addresses any more.
_POOL_SLEEPS_AFTER = timedelta(minutes=10)
# More clients than this at one time are offered addresses nobody asked for: a storm is not made to wait.
MOST_WAITING = 1024

Message = tuple[DhcpMessage, Arrival]


# An enum's member costs a call each time it is named.
_OFFER, _OFF = MessageType.OFFER, Probe.OFF


class Question(Struct, frozen=True):
    """An address to ask for: by ARP on `interface`, or by ICMP echo when that is empty, behind a relay."""

    address: str
    interface: str


class _Stock(Struct):
    """The addresses of one pool that are asked for in advance: how many, where, and as which server."""

    interface: str
    ours: tuple[str, ...]
    used_at: datetime
    size: int = SMALLEST_STOCK
    left: int = 0
    begun: bool = False
    ran_out: bool = False


class Conflicts:
    """What is asked for, who waits for it, and what came of it. Nobody waits before `begin`."""

    def __init__(self, ledger: Ledger, book: LeaseBook) -> None:
        self._ledger = ledger
        self._book = book
        self._wake: Callable[[], None] | None = None
        self._waiting: dict[str, Message] = {}
        self._urgent: list[Question] = []
        self._asking: set[str] = set()
        self._clear: dict[str, datetime] = {}
        self._stocks: dict[str, _Stock] = {}
        self._generation = 0
        self.unasked = 0

    def begin(self, wake: Callable[[], None]) -> None:
        """Somebody can ask now; `wake` tells that `wanted` has something."""
        self._wake = wake

    def must_wait(self, message: DhcpMessage, arrival: Arrival, decision: Decision, now: datetime) -> bool:
        """Whether the offer has to wait until its address was asked for; the message comes back when it was."""
        if self._wake is None or decision.reply is not _OFFER or not self._is_asked_for(decision):
            return False
        address, interface = decision.address, "" if message.giaddr else arrival.interface
        if not message.giaddr and not interface:
            return False
        if address in self._waiting:
            self._waiting[address] = (message, arrival)
            return True
        if self._has(message.mac, address, now):
            return False
        stock = self._stock(decision, interface, arrival, now)
        stock.left -= 1
        if self._is_clear(address, now):
            del self._clear[address]
            if stock.left < stock.size // 2:
                self._wake()
            return False
        if len(self._waiting) >= MOST_WAITING:
            self.unasked += 1
            return False
        stock.ran_out = stock.begun
        self._waiting[address] = (message, arrival)
        if address not in self._asking:
            self._urgent.append(Question(address, interface))
        self._wake()
        return True

    def _is_asked_for(self, decision: Decision) -> bool:
        if decision.network is None or decision.network.subnet.probe is _OFF:
            return False
        return decision.reservation is None or decision.reservation.address != decision.address

    def _has(self, mac: str, address: str, now: datetime) -> bool:
        """Whether it was offered or given to this client, and still is."""
        offer, lease = self._book.offer(address), self._book.lease(address)
        if offer is not None and offer.mac == mac and offer.until > now:
            return True
        return lease is not None and lease.mac == mac and runs(lease, now)

    def _is_clear(self, address: str, now: datetime) -> bool:
        until = self._clear.get(address)
        # One that would last longer than any was found before the clock was set back.
        return until is not None and now < until <= now + CLEAR_FOR

    def _stock(self, decision: Decision, interface: str, arrival: Arrival, now: datetime) -> _Stock:
        assert decision.network is not None
        if self._generation != self._book.generation:
            self._generation = self._book.generation
            self._stocks.clear()
        stock = self._stocks.get(decision.network.subnet.name)
        if stock is None:
            stock = self._stocks[decision.network.subnet.name] = _Stock(interface, arrival.ours, now)
        stock.interface, stock.ours, stock.used_at = interface, arrival.ours, now
        return stock

    def needed(self) -> bool:
        """Whether there is any pool whose addresses are asked for."""
        subnets = self._ledger.all(Subnet)
        return any(each.enabled and each.pool_start and each.probe is not _OFF for each in subnets)

    # --- for whoever asks -------------------------------------------------------------------------------------

    def wanted(self) -> list[Question]:
        """What to ask for now. Each answer is told by `in_use`, silence by `free`."""
        now = self._ledger.clock()
        questions, self._urgent = self._urgent, []
        for name, stock in list(self._stocks.items()):
            if now - stock.used_at > _POOL_SLEEPS_AFTER:
                del self._stocks[name]
                continue
            if stock.ran_out:
                stock.size, stock.ran_out = min(2 * stock.size, LARGEST_STOCK), False
            upcoming = self._book.upcoming(name, now, stock.ours, stock.size)
            stock.left, stock.begun = len(upcoming), True
            old = (each for each in upcoming if not self._is_clear(each, now + _RENEWED_BEFORE))
            questions += [Question(each, stock.interface) for each in old if each not in self._asking]
        self._asking.update(each.address for each in questions)
        return questions

    def rest(self) -> None:
        """Called from time to time: stocks that did not run out shrink, what was found long ago is forgotten."""
        now = self._ledger.clock()
        self._clear = {each: until for each, until in self._clear.items() if self._is_clear(each, now)}
        for stock in self._stocks.values():
            stock.size = max(SMALLEST_STOCK, stock.size // 2)

    def free(self, addresses: Iterable[str]) -> list[Message]:
        """Nobody answered for these; returns the messages that waited for them."""
        now = self._ledger.clock()
        messages = []
        for address in addresses:
            if address not in self._asking:
                continue
            self._asking.discard(address)
            waited = self._waiting.pop(address, None)
            if waited is None:
                self._clear[address] = now + CLEAR_FOR
            else:
                messages.append(waited)
        return messages

    def in_use(self, address: str, mac: str) -> list[Message]:
        """Somebody answered for it, by ARP from `mac`; returns the message that waited for it."""
        now = self._ledger.clock()
        self._asking.discard(address)
        self._clear.pop(address, None)
        waited = self._waiting.pop(address, None)
        if waited is not None and mac and self._is_same(waited[0].mac, mac):
            return [waited]
        lease, offer = self._book.lease(address), self._book.offer(address)
        taken = lease is not None and lease.expires_at > now and lease.state is not LeaseState.EXPIRED
        promised = waited is None and offer is not None and offer.until > now
        # Too late: it is given away or in quarantine, and the client itself may be who answers.
        if not taken and not promised:
            self._quarantine(address, mac, waited, now)
        return [waited] if waited is not None else []

    def _is_same(self, client: str, mac: str) -> bool:
        """Whether the client answers for itself: systems also do that on another card than the one with the address."""
        machine = self._ledger.machine_by_mac(client)
        return client == mac or (machine is not None and mac in machine.macs)

    def _quarantine(self, address: str, mac: str, waited: Message | None, now: datetime) -> None:
        link = self._book.link(address)
        if link is None:
            return
        client = waited[0].mac if waited is not None else ""
        lease = Lease(
            address=address,
            mac=mac,
            state=LeaseState.QUARANTINED,
            expires_at=now + QUARANTINE,
            subnet=link.here.subnet.name,
        )
        self._book.put(lease)
        if client:
            self._book.hold([Offer(address, client, now)], now)
        machine = self._ledger.machine_by_mac(mac) if mac else None
        tx = self._ledger.transaction(by="dhcp")
        tx.put(lease)
        told = {"subnet": lease.subnet, "asked": "arp" if mac else "icmp"} | ({"client": client} if client else {})
        tx.event("dhcp.conflict", machine=machine.id if machine else "", mac=mac, key=address, **told)
        tx.commit().add_done_callback(_said)


def _said(saved: Future[None]) -> None:
    error = None if saved.cancelled() else saved.exception()
    if error is not None:
        log.warning("dhcp.conflict-not-saved", error=str(error))
