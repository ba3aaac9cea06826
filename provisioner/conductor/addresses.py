"""Answers DHCP: decides by the rules of `provisioner.leases`, saves what was decided, and says what to send then.

A whole drain of the socket is answered in one transaction. Each decision sees those before it, because the lease book
is told at once. An ACK is sent when the transaction is on disk, so no crash can make us give an address twice; an
offer is a promise for a minute, kept in memory only, and is sent at once.

The timeline gets one event for each exchange: of the reply's kind, with what was asked (`request`); or of the request's
kind, with why it was ignored. What no subnet covers is not ours to log: `unheard` counts it, with an example.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

import structlog
from msgspec.structs import replace

from provisioner.conductor.boot_choices import BootChoices
from provisioner.conductor.clock_steps import ClockSteps
from provisioner.conductor.conflicts import Conflicts
from provisioner.conductor.dhcp_replies import DhcpReplies, boot_server
from provisioner.conductor.lease_book import LeaseBook
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.conductor.proxy_answers import ProxyAnswers
from provisioner.dhcp_case import Offer, runs
from provisioner.findings import Unheard
from provisioner.firmware import boot_client
from provisioner.leases import BESIDE_ANOTHER, OFFER_HOLD, Decision, decide
from provisioner.links import Arrival, placed
from provisioner.model.addresses import Lease
from provisioner.model.machines import Machine
from provisioner.native import Native
from provisioner.netboot import NEVER, NO_BOOT, Boot
from provisioner.wire.dhcp import Destination, DhcpMessage, MessageType, reply_destination
from provisioner.wire.dhcp_options import HOST_NAME, REQUESTED_ADDRESS
from provisioner.wire.error import WireError

log = structlog.get_logger(__name__)

_EVENT_KINDS: Final = {kind: f"dhcp.{kind.name.lower()}" for kind in MessageType}

_REQUESTS: Final = {kind: kind.name for kind in MessageType}

FAILED: Final = "our own fault"
# The offer comes when its address has been asked for.
WAITS: Final = Decision()
# How long a client has asked in vain when that is worth a word: PXE ROMs ask again after four seconds.
TOLD_SECONDS: Final = 4
# Reasons, interfaces and relays told apart in `unheard`: a site has a handful, a scanner any number.
MOST_UNHEARD: Final = 256


# An enum's member costs a call each time it is named.
_OFFER: Final = MessageType.OFFER
_ACK: Final = MessageType.ACK


class Reply(Native):
    """A datagram to send to `destination`, from the address and interface at which the request arrived."""

    __match_args__ = ("data", "destination", "arrival", "mac")

    def __init__(self, data: bytes, destination: Destination, arrival: Arrival, mac: str = "") -> None:
        self.data: Final = data
        self.destination: Final = destination
        self.arrival: Final = arrival
        self.mac: Final = mac


class Answers:
    """What to send once `saved` is done (nothing when it fails), why others get nothing, and what to send at once."""

    __slots__ = ("at_once", "ignored", "replies", "saved")

    def __init__(
        self, replies: list[Reply], ignored: list[str], saved: Future[None], at_once: Sequence[Reply] = ()
    ) -> None:
        self.replies = replies
        self.ignored = ignored
        self.saved = saved
        self.at_once = at_once


class _Exchange:
    """A message on its way through the stages, and what each stage made of it.

    `before` are the leases that those of the decision took the place of; `done` tells that the first stage was all.
    """

    __slots__ = ("arrival", "before", "boot", "decision", "done", "firmware", "machine", "message", "reply")

    def __init__(self, message: DhcpMessage, arrival: Arrival) -> None:
        self.message = message
        self.arrival = arrival
        self.decision = WAITS
        self.machine: Machine | None = None
        self.before: Sequence[Lease | None] = ()
        self.boot = NO_BOOT
        self.firmware = ""
        self.reply: Reply | None = None
        self.done = False


_Stage = Callable[[Transaction, _Exchange], None]


class Addresses:
    """The one who gives out addresses; `choices` says what each client loads first.

    `steady` counts seconds and is never set: by it a step of the ledger's clock is seen before it can end a lease.
    `heard` learns who has which address where another server gives them.
    """

    def __init__(
        self,
        ledger: Ledger,
        choices: BootChoices,
        steady: Callable[[], float] | None = None,
        heard: Callable[[str, str], None] = lambda address, mac: None,
    ) -> None:
        self._ledger = ledger
        self._steps = ClockSteps(ledger, steady) if steady is not None else None
        self._choices = choices
        self._book = LeaseBook(ledger)
        self.conflicts = Conflicts(ledger, self._book)
        self._replies = DhcpReplies()
        self.proxy = ProxyAnswers(ledger, choices, self._book.link, self._replies.boot_file, heard)
        self._generation = 0
        self._unheard: dict[tuple[str, str, str], Unheard] = {}

    def follow(self) -> None:
        """Take in the loaded ledger; call it once, before the first answer."""
        self._book.follow()

    def follow_clock(self) -> datetime:
        """Put all leases right if the clock was set; before anything is decided by it, also by `Addresses6`.

        Returns the time to decide by.
        """
        return self._steps.follow() if self._steps is not None else self._ledger.clock()

    def answer(self, messages: Sequence[tuple[DhcpMessage, Arrival]]) -> Answers:
        """Decide on all messages in order and begin to save what was decided.

        All go through one stage before any goes through the next: that takes two thirds of the time, because what a
        stage needs is still in the processor's cache for the second message.
        """
        if self._generation != self._book.generation:
            self._generation = self._book.generation
            self._replies.forget()
        tx = self._ledger.transaction(by="dhcp", now=self.follow_clock())
        ignored: list[str] = []
        exchanges = [_Exchange(message, arrival) for message, arrival in messages]
        for stage in (self._decide, self._boot, self._reply, self._tell):
            exchanges = self._through(stage, tx, exchanges, ignored)
        at_once: list[Reply] = []
        replies: list[Reply] = []
        for exchange in exchanges:
            reply, decision = exchange.reply, exchange.decision
            if reply is None:
                if decision.reason:
                    ignored.append(decision.reason)
            elif decision.reply is _OFFER and not decision.changes:
                at_once.append(reply)
            else:
                replies.append(reply)
        saved = tx.commit(lazy=not replies)
        if replies:
            saved.add_done_callback(partial(self._hold_again, exchanges))
        return Answers(replies, ignored, saved, at_once)

    def _through(
        self, stage: _Stage, tx: Transaction, exchanges: list[_Exchange], ignored: list[str]
    ) -> list[_Exchange]:
        """Those that have come through the stage; of the others, whatever was decided is taken back."""
        done: list[_Exchange] = []
        failed: list[_Exchange] = []
        unsent: list[tuple[_Exchange, WireError]] = []
        for exchange in exchanges:
            try:
                stage(tx, exchange)
            except WireError as error:
                ignored.append(error.reason)
                failed.append(exchange)
                unsent.append((exchange, error))
            except Exception:
                # One message must not cost the others of its drain their answer.
                ignored.append(FAILED)
                failed.append(exchange)
                log.exception("dhcp.failed", mac=exchange.message.mac, xid=exchange.message.xid)
            else:
                done.append(exchange)
        # The last first: each puts back what it found.
        for exchange in reversed(failed):
            self._take_back(exchange)
        for exchange, why in unsent:
            self._tell_unsent(tx, exchange, why)
        return done

    def unheard(self) -> list[Unheard]:
        """What was asked on networks that no subnet covers, since the server started."""
        return list(self._unheard.values())

    def _decide(self, tx: Transaction, exchange: _Exchange) -> None:
        """The first stage: what comes after in the same drain builds on it, hence the book is told at once."""
        message, now, book = exchange.message, tx.now, self._book
        if exchange.arrival.also or (message.giaddr and exchange.arrival.elsewhere):
            exchange.arrival = placed(message, exchange.arrival, book.link)
        arrival = exchange.arrival
        decision = decide(message, arrival, book, now)
        if decision.network is None:
            exchange.decision, exchange.done = decision, True
            self._not_ours(message, arrival, decision, now)
            return
        if decision.reason == BESIDE_ANOTHER:
            exchange.done = True
            exchange.reply, exchange.decision = self._beside_another(tx, message, arrival, decision)
            return
        if self.conflicts.must_wait(message, arrival, decision, now):
            exchange.done = True
            book.hold(decision.holds, now)
            return
        exchange.decision = decision
        if decision.changes:
            exchange.before = [book.lease(lease.address) for lease in decision.changes]
            for lease in decision.changes:
                book.put(lease)
        if decision.holds:
            book.hold(decision.holds, now)

    def _take_back(self, exchange: _Exchange) -> None:
        """What cannot be sent shall not be saved, and nobody shall have to wait for its end."""
        now, decision = self._ledger.clock(), exchange.decision
        for lease, before in zip(decision.changes, exchange.before, strict=False):
            if self._book.lease(lease.address) is lease:
                self._book.put_back(lease, before)
        self._book.hold([Offer(each.address, each.mac, now) for each in decision.holds], now)

    def _hold_again(self, exchanges: Sequence[_Exchange], saved: Future[None]) -> None:
        """When leases could not be saved: nobody heard of them, and who asks again shall find what it was offered."""
        if saved.cancelled() or saved.exception() is None:
            return
        now, book = self._ledger.clock(), self._book
        for exchange in exchanges:
            address, mac = exchange.decision.address, exchange.message.mac
            taken_up = exchange.decision.reply is _ACK and any(
                each.address == address for each in exchange.decision.holds
            )
            lease = book.lease(address) if taken_up else None
            others = lease is not None and lease.mac != mac and runs(lease, now)
            if taken_up and not others and book.offer(address) is None:
                book.hold([Offer(address, mac, now + OFFER_HOLD)], now)

    def _beside_another(
        self, tx: Transaction, message: DhcpMessage, arrival: Arrival, decision: Decision
    ) -> tuple[Reply | None, Decision]:
        assert decision.network is not None
        told = self.proxy.beside(tx, message, arrival, decision.network)
        if told.kind is None:
            return None, Decision(reason=told.reason)
        return Reply(told.data, reply_destination(message, told.kind, ""), arrival, message.mac), Decision(reply=_OFFER)

    def _tell_unsent(self, tx: Transaction, exchange: _Exchange, error: WireError) -> None:
        """Say why there is no reply, though there should be one: its client would wait for ever, and nobody know."""
        exchange.decision = Decision(reason=error.reason, detail=error.message)
        exchange.machine = self._ledger.machine_by_mac(exchange.message.mac)
        exchange.firmware = boot_client(exchange.message).firmware
        _tell(tx, exchange)

    def _not_ours(self, message: DhcpMessage, arrival: Arrival, decision: Decision, now: datetime) -> None:
        key = (decision.reason, arrival.interface, message.giaddr)
        before = self._unheard.get(key)
        if before is None and len(self._unheard) >= MOST_UNHEARD:
            return
        self._unheard[key] = Unheard(
            reason=decision.reason,
            count=before.count + 1 if before is not None else 1,
            detail=decision.detail,
            interface=arrival.interface,
            via=message.giaddr,
            last=now,
        )

    def _boot(self, tx: Transaction, exchange: _Exchange) -> None:
        """The second stage: what the client is told to load."""
        if exchange.done:
            return
        message, arrival, decision = exchange.message, exchange.arrival, exchange.decision
        exchange.machine = machine = self._ledger.machine_by_mac(message.mac)
        override = decision.reservation.boot_file if decision.reservation is not None else ""
        if not override:
            override = self._replies.boot_file(message, arrival, decision, machine)
        if decision.bootp:
            exchange.firmware = "BOOTP"
            if override not in ("", NEVER):
                exchange.boot = Boot(override, reason="as configured")
            return
        client = boot_client(message)
        exchange.firmware = firmware = client.firmware
        if firmware and (decision.reply is _OFFER or decision.reply is _ACK):
            exchange.boot = self._choices.choose(client, machine, arrival.address, override, shared=True, now=tx.now)

    def _reply(self, tx: Transaction, exchange: _Exchange) -> None:
        """The third stage: the datagram."""
        message, arrival, decision = exchange.message, exchange.arrival, exchange.decision
        if exchange.done or decision.reply is None:
            return
        machine, reservation = exchange.machine, decision.reservation
        hostname = reservation.hostname if reservation is not None else ""
        if not hostname and machine is not None:
            hostname = machine.name
        data = self._replies.build(message, arrival, decision, exchange.boot, hostname, machine)
        to = reply_destination(message, decision.reply, decision.address)
        exchange.reply = Reply(data, to, arrival, message.mac)

    def _tell(self, tx: Transaction, exchange: _Exchange) -> None:
        """The last stage: what is saved."""
        if exchange.done:
            return
        decision, machine = exchange.decision, exchange.machine
        for lease in decision.changes:
            tx.put(lease)
        _tell(tx, exchange)
        if machine is not None and decision.reply is _ACK and decision.address:
            self._follow_lease(tx, machine.id, decision)

    def _follow_lease(self, tx: Transaction, machine_id: str, decision: Decision) -> None:
        """Set the machine's address to its new lease; whoever else claims that address has lost it.

        A renewal on a second network card does not take the place of an address that the machine still holds.
        """
        machine = tx.get(Machine, machine_id)
        if machine is None or machine.address == decision.address:
            return
        if not decision.selecting and self._holds(machine, tx.now):
            return
        for other in self._ledger.machines_by_address(decision.address):
            if other.id != machine_id:
                tx.put(replace(tx.get(Machine, other.id) or other, address=""))
        tx.put(replace(machine, address=decision.address))

    def _holds(self, machine: Machine, now: datetime) -> bool:
        lease = self._book.lease(machine.address) if machine.address else None
        return lease is not None and lease.mac in machine.macs and runs(lease, now)


def _tell(tx: Transaction, exchange: _Exchange) -> None:
    """One event for the request and what came of it; what is empty is left out of its data."""
    message, arrival, decision = exchange.message, exchange.arrival, exchange.decision
    asked, reply = message.message_type, decision.reply
    if asked is None and reply is None:
        return
    machine, firmware, boot = exchange.machine, exchange.firmware, exchange.boot
    requested = message.ciaddr or message.address_option(REQUESTED_ADDRESS)
    data: dict[str, Any] = {}
    if arrival.interface:
        data["interface"] = arrival.interface
    if message.giaddr:
        data["via"] = message.giaddr
    if firmware:
        data["firmware"] = firmware
    if message.secs >= TOLD_SECONDS:
        data["secs"] = message.secs
    if HOST_NAME in message.options:
        data["hostname"] = message.text_option(HOST_NAME)
    if requested:
        data["requested"] = requested
    if decision.detail:
        data["detail"] = decision.detail
    if reply is None:
        if decision.reason:
            data["ignored"] = decision.reason
        assert asked is not None
        kind, key = _EVENT_KINDS[asked], decision.address or requested
    else:
        assert decision.network is not None
        kind, key = _EVENT_KINDS[reply], decision.address
        data["request"] = _REQUESTS[asked] if asked is not None else "BOOTP"
        data["server"] = arrival.address
        data["subnet"] = decision.network.subnet.name
        if decision.lease_seconds:
            data["lease_seconds"] = decision.lease_seconds
        if boot.file:
            data["boot_file"] = boot.file
            if (server := boot_server(arrival, decision)) != arrival.address:
                data["next_server"] = server
        if boot.reason:
            data["boot"] = boot.reason
        if decision.reason:
            data["reason"] = decision.reason
    tx.tell(kind, machine.id if machine is not None else "", message.mac, key, data)
