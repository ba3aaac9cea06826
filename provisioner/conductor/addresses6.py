"""Answers DHCPv6: decides by the rules of `provisioner.leases6`, saves what was decided, and says what to send then.

As in DHCPv4 a whole drain of the socket is answered in one transaction, each decision sees those before it, and a REPLY
waits for the disk. An ADVERTISE promises nothing: it is kept in memory for a minute and goes out at once.

An address is not probed before it is offered: every host has to do that itself before it uses one (RFC 4862 section
5.4), and says DECLINE.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

import structlog
from msgspec import Struct
from msgspec.structs import replace

from provisioner.bindings6 import Decision6, runs
from provisioner.clients6 import Arrival6
from provisioner.conductor.dhcp6_replies import Dhcp6Replies, server_address
from provisioner.conductor.lease_book6 import LeaseBook6
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.findings import Unheard
from provisioner.firmware import BootClient, ClientKind
from provisioner.firmware6 import boot_client6
from provisioner.leases6 import decide6
from provisioner.model.addresses import Lease
from provisioner.model.machines import Machine
from provisioner.netboot import NO_BOOT, Boot, as_url
from provisioner.wire.dhcp6 import CLIENT_PORT, SERVER_PORT, MessageType6, Relayed
from provisioner.wire.dhcp6_options import IA_NA, RELAY_SOURCE_PORT, decode_ia, hostname_of
from provisioner.wire.error import WireError

log = structlog.get_logger(__name__)

FAILED = "our own fault"
# Reasons, interfaces and relays told apart in `unheard`: a site has a handful, a scanner any number.
MOST_UNHEARD = 256
_FAREWELLS = (MessageType6.RELEASE, MessageType6.DECLINE)


class Choosing(Protocol):
    """Who says what a client loads first."""

    def choose(self, client: BootClient, machine: Machine | None, server: str, override: str = "") -> Boot:
        """What to tell the client that reaches us at address `server`; `override` is a reservation's boot file."""


class Reply6(Struct, frozen=True):
    """A datagram to send back to where its request came from, to this port there (0: the one it was sent from)."""

    data: bytes
    arrival: Arrival6
    port: int
    mac: str = ""


class Answers6(Struct, frozen=True):
    """What to send at once, what once `saved` is done, and why others get nothing. When `saved` fails, that waits."""

    at_once: list[Reply6]
    later: list[Reply6]
    ignored: list[str]
    saved: Future[None]
    macs: list[str] = []


class Addresses6:
    """The one who gives out IPv6 addresses; `server` is our DUID.

    `follow_clock` puts leases right when the clock was set, and returns the time; it is called before anything is
    decided.
    """

    def __init__(
        self, ledger: Ledger, choices: Choosing, server: bytes, follow_clock: Callable[[], datetime] | None = None
    ) -> None:
        self._ledger = ledger
        self._follow_clock = follow_clock or ledger.clock
        self._choices = choices
        self._server = server
        self._book = LeaseBook6(ledger)
        self._replies = Dhcp6Replies(server)
        self._generation = 0
        self._unheard: dict[tuple[str, str, str], Unheard] = {}

    def follow(self) -> None:
        """Take in the loaded ledger; call it once, before the first answer."""
        self._book.follow()

    def answer(self, messages: Sequence[tuple[Relayed, Arrival6]]) -> Answers6:
        """Decide on all messages in order and begin to save what was decided. `macs` are who sent them, in order."""
        if self._generation != self._book.generation:
            self._generation = self._book.generation
            self._replies.forget()
        tx = self._ledger.transaction(by="dhcp", now=self._follow_clock())
        self._book.prune(tx.now)
        at_once: list[Reply6] = []
        later: list[Reply6] = []
        ignored: list[str] = []
        macs: list[str] = []
        for relayed, arrival in messages:
            mac = reason = ""
            try:
                decision, reply = self._answer(tx, relayed, arrival)
                mac, reason = decision.client.mac, decision.reason
            except WireError as error:
                reply, reason = None, error.reason
                log.info("dhcp6.malformed", source=arrival.source, error=error.message)
            except Exception:
                # One message must not cost the others of its drain their answer.
                reply, reason = None, FAILED
                log.exception("dhcp6.failed", source=arrival.source, xid=relayed.message.xid)
            macs.append(mac)
            if reply is None:
                ignored.append(reason)
            elif decision.reply is MessageType6.ADVERTISE:
                at_once.append(reply)
            else:
                later.append(reply)
        # Whoever was only offered something waits for nothing.
        return Answers6(at_once, later, ignored, tx.commit(lazy=not later), macs)

    def _answer(self, tx: Transaction, relayed: Relayed, arrival: Arrival6) -> tuple[Decision6, Reply6 | None]:
        """One message. The reply is built before anything is changed: what cannot be sent shall not be saved."""
        decision = decide6(relayed, arrival, self._book, tx.now, self._server)
        if decision.network is None:
            self._not_ours(relayed, arrival, decision, tx.now)
            return decision, None
        machine = self._ledger.machine_by_mac(decision.client.mac) if decision.client.mac else None
        client = boot_client6(relayed.message, decision.client.mac)
        boot = self._boot(client, arrival, decision, machine)
        reply = None
        if decision.reply is not None:
            data = self._replies.build(relayed, arrival, decision, client, boot, _hostname(decision, machine))
            reply = Reply6(data, arrival, _port(relayed), decision.client.mac)
        self._apply(tx, decision)
        _tell(tx, relayed, arrival, decision, machine, client, boot)
        if machine is not None and decision.granted and decision.reply is MessageType6.REPLY:
            self._follow_lease(tx, machine.id, decision)
        return decision, reply

    def unheard(self) -> list[Unheard]:
        """What was not answered because no subnet covers it: kinds of it with an example each."""
        return list(self._unheard.values())

    def _not_ours(self, relayed: Relayed, arrival: Arrival6, decision: Decision6, now: datetime) -> None:
        # Where nobody uses IPv6 its hosts ask all the time, and that is no news.
        if not self._book.serves():
            return
        via = relayed.relays[-1].link if relayed.relays else ""
        key = (decision.reason, arrival.interface, via)
        before = self._unheard.get(key)
        if before is None and len(self._unheard) >= MOST_UNHEARD:
            return
        self._unheard[key] = Unheard(
            reason=decision.reason,
            count=before.count + 1 if before is not None else 1,
            detail=decision.detail or f"a link without an IPv6 address of ours ({arrival.interface})",
            interface=arrival.interface,
            via=via,
            last=now,
        )

    def _apply(self, tx: Transaction, decision: Decision6) -> None:
        for address in decision.withdrawn:
            self._book.withdraw(address)
        for offer in decision.held:
            self._book.hold(offer)
        for lease in decision.changes:
            self._book.put(lease)
            tx.put(lease)

    def _boot(self, client: BootClient, arrival: Arrival6, decision: Decision6, machine: Machine | None) -> Boot:
        if not client.firmware or not decision.configures:
            return NO_BOOT
        if not client.mac and client.kind is ClientKind.IPXE:
            return Boot(reason="its MAC is not known, after which its script is named")
        reserved = self._book.reservations_of(client.mac) if client.mac else ()
        override = next((each.boot_file for each in reserved if each.boot_file), "")
        override = override or self._replies.boot_file(decision)
        server = server_address(arrival, decision)
        if not server and "://" not in override:
            return Boot(reason="this server has no address that the client could reach it by")
        return self._choices.choose(client, machine, server, override)

    def _follow_lease(self, tx: Transaction, machine_id: str, decision: Decision6) -> None:
        """Set the machine's address to its new lease, unless it holds another: one it has by DHCPv4 stays."""
        address = decision.granted[0]
        machine = tx.get(Machine, machine_id)
        if machine is None or machine.address in decision.granted or self._holds(machine, tx.now):
            return
        for other in self._ledger.machines_by_address(address):
            if other.id != machine_id:
                tx.put(replace(tx.get(Machine, other.id) or other, address=""))
        tx.put(replace(machine, address=address))

    def _holds(self, machine: Machine, now: datetime) -> bool:
        lease = self._ledger.get(Lease, machine.address) if machine.address else None
        return lease is not None and lease.mac in machine.macs and runs(lease, now)


def _port(relayed: Relayed) -> int:
    if not relayed.relays:
        return CLIENT_PORT
    # RFC 8357: a relay that may not use port 547 says so.
    return 0 if relayed.relays[0].option(RELAY_SOURCE_PORT) is not None else SERVER_PORT


def _hostname(decision: Decision6, machine: Machine | None) -> str:
    reserved = decision.reservation.hostname if decision.reservation is not None else ""
    return reserved or (machine.name if machine is not None else "")


def _tell(
    tx: Transaction,
    relayed: Relayed,
    arrival: Arrival6,
    decision: Decision6,
    machine: Machine | None,
    client: BootClient,
    boot: Boot,
) -> None:
    """One event for the exchange: of the kind of the reply, or of the request when it has none or takes leave."""
    message = relayed.message
    kind = message.kind if decision.reply is None or message.kind in _FAREWELLS else decision.reply
    named = _named(relayed)
    via = next((each.link for each in reversed(relayed.relays) if each.link != "::"), "")
    answered = decision.reply is not None and decision.network is not None
    data = {
        "request": message.kind.name,
        "interface": arrival.interface,
        "via": via,
        "firmware": client.firmware,
        "hostname": hostname_of(message),
        "requested": ", ".join(named),
        "duid": decision.client.duid.hex() if not decision.client.mac else "",
        "subnet": decision.network.subnet.name if answered and decision.network is not None else "",
        "server": server_address(arrival, decision) if answered else "",
        "lease_seconds": decision.lease_seconds,
        "more": ", ".join(decision.granted[1:]),
        "boot_file": as_url(boot, server_address(arrival, decision)),
        "boot": boot.reason,
        "reason" if answered else "ignored": decision.reason,
        "detail": decision.detail,
    }
    told: dict[str, Any] = {name: value for name, value in data.items() if value}
    key = next(iter((*decision.granted, *named)), "")
    tx.event(
        EVENT_KINDS[kind], machine=machine.id if machine is not None else "", mac=decision.client.mac, key=key, **told
    )


def _named(relayed: Relayed) -> list[str]:
    """The addresses that the client speaks of."""
    return [each.address for value in relayed.message.every(IA_NA) for each in decode_ia(value).addresses][:8]


EVENT_KINDS = {kind: f"dhcp6.{kind.name.lower().replace('_', '-')}" for kind in MessageType6}
