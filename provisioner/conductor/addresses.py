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
from typing import Any

import structlog
from msgspec import Struct
from msgspec.structs import replace

from provisioner.conductor.boot_choices import BootChoices
from provisioner.conductor.clock_steps import ClockSteps
from provisioner.conductor.conflicts import Conflicts
from provisioner.conductor.dhcp_replies import DhcpReplies, boot_server
from provisioner.conductor.lease_book import LeaseBook
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.conductor.proxy_answers import ProxyAnswers
from provisioner.dhcp_case import runs
from provisioner.diagnosis import Unheard
from provisioner.firmware import boot_client
from provisioner.leases import BESIDE_ANOTHER, Decision, decide
from provisioner.links import Arrival, placed
from provisioner.model import Machine
from provisioner.netboot import NEVER, NO_BOOT, Boot
from provisioner.wire.dhcp import Destination, DhcpMessage, MessageType, reply_destination
from provisioner.wire.dhcp_options import HOST_NAME, REQUESTED_ADDRESS
from provisioner.wire.error import WireError

log = structlog.get_logger(__name__)

_EVENT_KINDS = {kind: f"dhcp.{kind.name.lower()}" for kind in MessageType}

_REQUESTS = {kind: kind.name for kind in MessageType}

FAILED = "our own fault"
# The offer comes when its address has been asked for.
WAITS = Decision()
# How long a client has asked in vain when that is worth a word: PXE ROMs ask again after four seconds.
TOLD_SECONDS = 4
# Reasons, interfaces and relays told apart in `unheard`: a site has a handful, a scanner any number.
MOST_UNHEARD = 256


# An enum's member costs a call each time it is named.
_OFFER, _ACK = MessageType.OFFER, MessageType.ACK


class Reply(Struct, frozen=True):
    """A datagram to send to `destination`, from the address and interface at which the request arrived."""

    data: bytes
    destination: Destination
    arrival: Arrival
    mac: str = ""


class Answers(Struct, frozen=True):
    """What to send once `saved` is done (nothing when it fails), why others get nothing, and what to send at once."""

    replies: list[Reply]
    ignored: list[str]
    saved: Future[None]
    at_once: Sequence[Reply] = ()


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

    def follow_clock(self) -> None:
        """Put all leases right if the clock was set; before anything is decided by it, also by `Addresses6`."""
        if self._steps is not None:
            self._steps.follow()

    def answer(self, messages: Sequence[tuple[DhcpMessage, Arrival]]) -> Answers:
        """Decide on all messages in order and begin to save what was decided."""
        if self._generation != self._book.generation:
            self._generation = self._book.generation
            self._replies.forget()
        self.follow_clock()
        tx = self._ledger.transaction(by="dhcp")
        at_once: list[Reply] = []
        replies: list[Reply] = []
        ignored: list[str] = []
        for message, arrival in messages:
            try:
                reply, decision = self._answer(tx, message, arrival)
            except WireError as error:
                ignored.append(error.reason)
                self._tell_unsent(tx, message, arrival, error)
                continue
            except Exception:
                # One message must not cost the others of its drain their answer.
                ignored.append(FAILED)
                log.exception("dhcp.failed", mac=message.mac, xid=message.xid)
                continue
            if reply is None:
                if decision.reason:
                    ignored.append(decision.reason)
            elif decision.reply is _OFFER and not decision.changes:
                at_once.append(reply)
            else:
                replies.append(reply)
        return Answers(replies, ignored, tx.commit(lazy=not replies), at_once)

    def unheard(self) -> list[Unheard]:
        """What was asked on networks that no subnet covers, since the server started."""
        return list(self._unheard.values())

    def _answer(self, tx: Transaction, message: DhcpMessage, arrival: Arrival) -> tuple[Reply | None, Decision]:
        """One message. The reply is built before anything is changed: what cannot be sent shall not be saved."""
        if arrival.also:
            arrival = placed(message, arrival, self._book.link)
        decision = decide(message, arrival, self._book, tx.now)
        if decision.network is None:
            self._not_ours(message, arrival, decision, tx.now)
            return None, decision
        if decision.reason == BESIDE_ANOTHER:
            return self._beside_another(tx, message, arrival, decision)
        machine = self._ledger.machine_by_mac(message.mac)
        if self.conflicts.must_wait(message, arrival, decision, tx.now):
            self._book.hold(decision.holds, tx.now)
            return None, WAITS
        boot, firmware = self._boot(message, arrival, decision, machine)
        reply = self._reply(message, arrival, decision, boot, machine) if decision.reply else None
        for lease in decision.changes:
            self._book.put(lease)
            tx.put(lease)
        if decision.holds:
            self._book.hold(decision.holds, tx.now)
        _tell(tx, message, arrival, decision, machine.id if machine is not None else "", firmware, boot)
        if machine is not None and decision.reply is _ACK and decision.address:
            self._follow_lease(tx, machine.id, decision)
        return reply, decision

    def _beside_another(
        self, tx: Transaction, message: DhcpMessage, arrival: Arrival, decision: Decision
    ) -> tuple[Reply | None, Decision]:
        assert decision.network is not None
        told = self.proxy.beside(tx, message, arrival, decision.network)
        if told.kind is None:
            return None, Decision(reason=told.reason)
        return Reply(told.data, reply_destination(message, told.kind, ""), arrival, message.mac), Decision(reply=_OFFER)

    def _tell_unsent(self, tx: Transaction, message: DhcpMessage, arrival: Arrival, error: WireError) -> None:
        """Say why there is no reply, though there should be one: its client would wait for ever, and nobody know."""
        machine = self._ledger.machine_by_mac(message.mac)
        unsent = Decision(reason=error.reason, detail=error.message)
        firmware = boot_client(message).firmware
        _tell(tx, message, arrival, unsent, machine.id if machine is not None else "", firmware, NO_BOOT)

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

    def _boot(
        self, message: DhcpMessage, arrival: Arrival, decision: Decision, machine: Machine | None
    ) -> tuple[Boot, str]:
        override = decision.reservation.boot_file if decision.reservation is not None else ""
        if not override:
            override = self._replies.boot_file(message, arrival, decision, machine)
        if decision.bootp:
            return (Boot(override, reason="as configured") if override not in ("", NEVER) else NO_BOOT), "BOOTP"
        client = boot_client(message)
        firmware = client.firmware
        if decision.reply not in (_OFFER, _ACK) or not firmware:
            return NO_BOOT, firmware
        return self._choices.choose(client, machine, arrival.address, override, shared=True), firmware

    def _reply(
        self, message: DhcpMessage, arrival: Arrival, decision: Decision, boot: Boot, machine: Machine | None
    ) -> Reply:
        assert decision.reply is not None
        hostname = (decision.reservation.hostname if decision.reservation is not None else "") or (
            machine.name if machine is not None else ""
        )
        data = self._replies.build(message, arrival, decision, boot, hostname, machine)
        return Reply(data, reply_destination(message, decision.reply, decision.address), arrival, message.mac)

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

    def mac_of(self, address: str) -> str:
        """The MAC that last held this address, or ''."""
        lease = self._book.lease(address)
        return lease.mac if lease is not None else ""


def _tell(
    tx: Transaction,
    message: DhcpMessage,
    arrival: Arrival,
    decision: Decision,
    machine: str,
    firmware: str,
    boot: Boot,
) -> None:
    """One event for the request and what came of it; what is empty is left out of its data."""
    asked, reply = message.message_type, decision.reply
    if asked is None and reply is None:
        return
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
    tx.tell(kind, machine, message.mac, key, data)
