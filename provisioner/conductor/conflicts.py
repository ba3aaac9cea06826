"""Addresses that somebody uses without having them from us, found before they are offered to another.

A pool address is asked for before a client is offered it that does not have it already: `must_wait` holds the client's
DISCOVER back, and its offer is remembered meanwhile. Nobody answers: the DISCOVER is answered. Somebody does: the
address is in quarantine, the timeline says who it was, and the DISCOVER gets the next one.

So that hardly anybody waits, the addresses that a pool gives out next are asked for in advance and again before that is
long ago: its stock. Pools on networks of ours have one all the time, so that a hall that is switched on in the morning
finds it; pools behind relays once somebody has asked for an address of theirs. It is filled by a few at a time. Nothing
here delays a REQUEST. A reserved address is not asked for: whoever has it, the operator has decided whose it is, and
often it is the same machine's other card.
"""

from __future__ import annotations

from asyncio import Future
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network
from typing import Final

import structlog
from msgspec import Struct

from provisioner.conductor.lease_book import LeaseBook
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.dhcp_case import Offer, runs
from provisioner.frozen import Frozen
from provisioner.leases import QUARANTINE, Decision
from provisioner.links import Arrival
from provisioner.model.addresses import Lease, LeaseState, Probe, Subnet
from provisioner.wire.dhcp import DhcpMessage, MessageType

log = structlog.get_logger(__name__)

# For so long an address that nobody answered for counts as free. Shorter would be to ask for a thousand addresses
# without end, on a network where everybody hears each question; whoever takes one meanwhile is found by the client.
CLEAR_FOR: Final = timedelta(minutes=5)
# What is left of that when it is asked for again; more than the time between two rounds.
RENEWED_BEFORE: Final = timedelta(seconds=60)
# Of one pool: a hall of machines that are switched on together; and of all pools.
LARGEST_STOCK: Final = 1024
MOST_STOCKED: Final = 4096
# Nobody asked on a pool behind a relay for so long: its addresses are not asked for any more.
_POOL_SLEEPS_AFTER: Final = timedelta(hours=1)
# More clients than this at one time are offered addresses nobody asked for: a storm is not made to wait.
MOST_WAITING: Final = 1024

Message = tuple[DhcpMessage, Arrival]


# An enum's member costs a call each time it is named.
_OFFER: Final = MessageType.OFFER
_OFF: Final = Probe.OFF


class Question(Frozen, frozen=True):
    """An address to ask for: by ARP on `interface`, or by ICMP echo when that is empty, behind a relay."""

    address: str
    interface: str


def interface_on(networks: Sequence[tuple[str, IPv4Network]], address: str) -> str:
    """The interface on whose own network an address is, or empty."""
    found = IPv4Address(address)
    return next((interface for interface, network in networks if found in network), "")


class _Stock(Struct):
    """The addresses of one pool that are asked for in advance: where, and as which server.

    `left` of `size` have not been given out since they were looked up.
    """

    interface: str
    ours: tuple[str, ...]
    used_at: datetime
    size: int = 0
    left: int = 0


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
        # Pools whose next addresses are to be looked up, and what is to be asked for of those that were.
        self._stale: dict[str, None] = {}
        self._due: deque[Question] = deque()
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
                self._refill(decision)
            return False
        if len(self._waiting) >= MOST_WAITING:
            self.unasked += 1
            return False
        self._waiting[address] = (message, arrival)
        if address not in self._asking:
            self._urgent.append(Question(address, interface))
        self._refill(decision)
        return True

    def _refill(self, decision: Decision) -> None:
        assert decision.network is not None and self._wake is not None
        self._stale[decision.network.subnet.name] = None
        self._wake()

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
        stock = self._stocks.get(decision.network.subnet.name)
        if stock is None:
            stock = self._stocks[decision.network.subnet.name] = _Stock(interface, arrival.ours, now)
        stock.interface, stock.ours, stock.used_at = interface, arrival.ours, now
        return stock

    def needed(self) -> bool:
        """Whether there is any pool whose addresses are asked for."""
        return any(map(_has_pool, self._ledger.all(Subnet)))

    # --- for whoever asks -------------------------------------------------------------------------------------

    def wanted(self) -> list[Question]:
        """What somebody waits for. Each answer is told by `in_use`, silence by `free`."""
        questions, self._urgent = self._urgent, []
        self._asking.update(each.address for each in questions)
        return questions

    def due(self, count: int) -> list[Question]:
        """What to ask for in advance now, at most so much; nothing when all stocks are full."""
        now = self._ledger.clock()
        questions: list[Question] = []
        while len(questions) < count and (self._due or self._stale):
            if not self._due:
                self._look_up(next(iter(self._stale)), now)
                continue
            question = self._due.popleft()
            if self._is_due(question.address, now):
                self._asking.add(question.address)
                questions.append(question)
        return questions

    def _look_up(self, name: str, now: datetime) -> None:
        del self._stale[name]
        stock = self._stocks.get(name)
        if stock is None:
            return
        most = min(LARGEST_STOCK, MOST_STOCKED // len(self._stocks))
        upcoming = self._book.upcoming(name, now, stock.ours, most)
        stock.size = stock.left = len(upcoming)
        self._due.extend(Question(each, stock.interface) for each in upcoming if self._is_due(each, now))

    def _is_due(self, address: str, now: datetime) -> bool:
        # It may have been given out since it was looked up.
        lease = self._book.lease(address)
        is_given = (lease is not None and lease.expires_at > now) or self._book.offer(address) is not None
        return not is_given and address not in self._asking and not self._is_clear(address, now + RENEWED_BEFORE)

    def rest(self, networks: Sequence[tuple[str, IPv4Network]]) -> None:
        """Called from time to time, with the networks that this host is on and the interface of each.

        All stocks are looked up anew; what was found long ago is forgotten.
        """
        now = self._ledger.clock()
        self._clear = {each: until for each, until in self._clear.items() if self._is_clear(each, now)}
        for name, stock in list(self._stocks.items()):
            if now - stock.used_at > _POOL_SLEEPS_AFTER or self._ledger.get(Subnet, name) is None:
                del self._stocks[name]
        for subnet in filter(_has_pool, self._ledger.all(Subnet)):
            interface = interface_on(networks, subnet.pool_start)
            # The book leaves out a subnet that cannot be used.
            if interface and self._book.link(subnet.pool_start) is not None:
                self._stocks.setdefault(subnet.name, _Stock(interface, (), now)).used_at = now
        self._stale.update(dict.fromkeys(self._stocks))

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
        before = self._book.lease(address)
        is_known = before is not None and before.state is LeaseState.QUARANTINED and before.mac == mac
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
        tx = self._ledger.transaction(by="dhcp")
        tx.put(lease)
        if client or not is_known:
            self._tell(tx, lease, client)
        tx.commit().add_done_callback(_said)

    def _tell(self, tx: Transaction, lease: Lease, client: str) -> None:
        mac = lease.mac
        machine = self._ledger.machine_by_mac(mac) if mac else None
        told = {"subnet": lease.subnet, "asked": "arp" if mac else "icmp"} | ({"client": client} if client else {})
        tx.event("dhcp.conflict", machine=machine.id if machine else "", mac=mac, key=lease.address, **told)


def _has_pool(subnet: Subnet) -> bool:
    """Whether addresses of this subnet are given out, and asked for before."""
    is_asked_for = subnet.probe is not _OFF and ":" not in subnet.pool_start
    return bool(
        subnet.enabled and subnet.pool_start and is_asked_for and not (subnet.proxy or subnet.only_reservations)
    )


def _said(saved: Future[None]) -> None:
    error = None if saved.cancelled() else saved.exception()
    if error is not None:
        log.warning("dhcp.conflict-not-saved", error=str(error))
