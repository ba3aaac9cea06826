"""Answers DHCP: decides by the rules of `provisioner.leases`, saves what was decided, and says what to send then.

A whole drain of the socket is answered in one transaction. Each decision sees those before it, because the lease book
is told at once; nothing is sent before the transaction is on disk, so no crash can make us give an address twice.
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
from provisioner.conductor.dhcp_replies import DhcpReplies
from provisioner.conductor.lease_book import LeaseBook
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.dhcp_case import runs
from provisioner.firmware import boot_client
from provisioner.leases import Decision, decide
from provisioner.links import Arrival
from provisioner.model import Machine
from provisioner.netboot import NEVER, NO_BOOT, Boot
from provisioner.wire.dhcp import Destination, DhcpMessage, MessageType, reply_destination
from provisioner.wire.dhcp_options import HOST_NAME, REQUESTED_ADDRESS
from provisioner.wire.error import WireError

log = structlog.get_logger(__name__)

_EVENT_KINDS = {kind: f"dhcp.{kind.name.lower()}" for kind in MessageType}

FAILED = "our own fault"


class Reply(Struct, frozen=True):
    """A datagram to send to `destination`, from the address and interface at which the request arrived."""

    data: bytes
    destination: Destination
    arrival: Arrival


class Answers(Struct, frozen=True):
    """What to send once `saved` is done, and why the others get nothing. When `saved` fails, nothing is sent."""

    replies: list[Reply]
    ignored: list[str]
    saved: Future[None]


class Addresses:
    """The one who gives out addresses; `choices` says what each client loads first.

    `steady` counts seconds and is never set: by it a step of the ledger's clock is seen before it can end a lease.
    """

    def __init__(self, ledger: Ledger, choices: BootChoices, steady: Callable[[], float] | None = None) -> None:
        self._ledger = ledger
        self._steps = ClockSteps(ledger, steady) if steady is not None else None
        self._choices = choices
        self._book = LeaseBook(ledger)
        self.conflicts = Conflicts(ledger, self._book)
        self._replies = DhcpReplies()
        self._generation = 0

    def follow(self) -> None:
        """Take in the loaded ledger; call it once, before the first answer."""
        self._book.follow()

    def answer(self, messages: Sequence[tuple[DhcpMessage, Arrival]]) -> Answers:
        """Decide on all messages in order and begin to save what was decided."""
        if self._generation != self._book.generation:
            self._generation = self._book.generation
            self._replies.forget()
        if self._steps is not None:
            self._steps.follow()
        tx = self._ledger.transaction(by="dhcp")
        replies: list[Reply] = []
        ignored: list[str] = []
        for message, arrival in messages:
            try:
                reply, reason = self._answer(tx, message, arrival)
            except WireError as error:
                reply, reason = None, error.reason
                log.warning("dhcp.reply-impossible", mac=message.mac, error=error.message)
            except Exception:
                # One message must not cost the others of its drain their answer.
                reply, reason = None, FAILED
                log.exception("dhcp.failed", mac=message.mac, xid=message.xid)
            if reply is not None:
                replies.append(reply)
            elif reason:
                ignored.append(reason)
        return Answers(replies, ignored, tx.commit())

    def _answer(self, tx: Transaction, message: DhcpMessage, arrival: Arrival) -> tuple[Reply | None, str]:
        """One message. The reply is built before anything is changed: what cannot be sent shall not be saved."""
        decision = decide(message, arrival, self._book, tx.now)
        machine = self._ledger.machine_by_mac(message.mac)
        if decision.network is None:
            if machine is not None:
                _tell_request(tx, message, arrival, decision, machine.id, "")
            return None, decision.reason
        if self.conflicts.must_wait(message, arrival, decision, tx.now):
            self._book.hold(decision.holds, tx.now)
            return None, ""
        boot, firmware = self._boot(message, arrival, decision, machine)
        reply = self._reply(message, arrival, decision, boot, machine) if decision.reply else None
        self._book.hold(decision.holds, tx.now)
        for lease in decision.changes:
            self._book.put(lease)
            tx.put(lease)
        machine_id = machine.id if machine is not None else ""
        _tell_request(tx, message, arrival, decision, machine_id, firmware)
        if reply is not None:
            _tell_reply(tx, message, arrival, decision, machine_id, boot)
        if machine is not None and decision.reply is MessageType.ACK and decision.address:
            self._follow_lease(tx, machine.id, decision)
        return reply, decision.reason

    def _boot(
        self, message: DhcpMessage, arrival: Arrival, decision: Decision, machine: Machine | None
    ) -> tuple[Boot, str]:
        override = decision.reservation.boot_file if decision.reservation is not None else ""
        override = override or self._replies.boot_file(decision)
        if decision.bootp:
            return (Boot(override, reason="as configured") if override not in ("", NEVER) else NO_BOOT), "BOOTP"
        client = boot_client(message)
        if decision.reply not in (MessageType.OFFER, MessageType.ACK) or not client.firmware:
            return NO_BOOT, client.firmware
        return self._choices.choose(client, machine, arrival.address, override), client.firmware

    def _reply(
        self, message: DhcpMessage, arrival: Arrival, decision: Decision, boot: Boot, machine: Machine | None
    ) -> Reply:
        assert decision.reply is not None
        hostname = (decision.reservation.hostname if decision.reservation is not None else "") or (
            machine.name if machine is not None else ""
        )
        data = self._replies.build(message, arrival, decision, boot, hostname)
        return Reply(data, reply_destination(message, decision.reply, decision.address), arrival)

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


def _tell_request(
    tx: Transaction, message: DhcpMessage, arrival: Arrival, decision: Decision, machine: str, firmware: str
) -> None:
    kind = message.message_type
    if kind is None:
        return
    data: dict[str, Any] = {}
    requested = message.ciaddr or message.address_option(REQUESTED_ADDRESS)
    hostname = message.text_option(HOST_NAME) if HOST_NAME in message.options else ""
    for name, value in (
        ("interface", arrival.interface),
        ("via", message.giaddr),
        ("firmware", firmware),
        ("hostname", hostname),
        ("requested", requested),
        ("ignored", "" if decision.reply or not decision.reason else decision.reason),
        ("detail", "" if decision.reply else decision.detail),
    ):
        if value:
            data[name] = value
    tx.event(_EVENT_KINDS[kind], machine=machine, mac=message.mac, key=decision.address or requested, **data)


def _tell_reply(
    tx: Transaction, message: DhcpMessage, arrival: Arrival, decision: Decision, machine: str, boot: Boot
) -> None:
    assert decision.reply is not None and decision.network is not None
    data: dict[str, Any] = {"server": arrival.address, "subnet": decision.network.subnet.name}
    for name, value in (
        ("lease_seconds", decision.lease_seconds),
        ("boot_file", boot.file),
        ("boot", boot.reason),
        ("reason", decision.reason),
        ("detail", decision.detail),
    ):
        if value:
            data[name] = value
    tx.event(_EVENT_KINDS[decision.reply], machine=machine, mac=message.mac, key=decision.address, **data)
