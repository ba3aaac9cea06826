"""Tells clients what to load where another server gives the addresses: proxyDHCP (PXE 2.1, sections 2.2 and 2.4).

    DISCOVER on port 67      an OFFER without an address: class, our address and boot file; nothing is promised
    REQUEST on port 67       meant for the other server: silence, except for firmware that a quirk names
    anything on port 4011    an ACK with the boot file: the client has its address and asks the boot server

UEFI is sent no option 43 here, so it always comes to port 4011; BIOS takes the file from the offer. There is never a
NAK or a lease. What clients say of their addresses is kept (`Neighbours`): we have no lease to look them up in.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from socket import inet_aton
from typing import Any

import structlog
from msgspec import Struct

from provisioner.conductor.boot_choices import BootChoices
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.events import UNCOVERED
from provisioner.firmware import BootClient, ClientKind, boot_client
from provisioner.leases import BESIDE_ANOTHER, Decision
from provisioner.links import Arrival, Link, Network, client_link, server_id
from provisioner.model.addresses import Subnet
from provisioner.model.machines import Machine
from provisioner.netboot import NO_BOOT, Boot
from provisioner.wire.dhcp import BOOTREPLY, BOOTREQUEST, DhcpMessage, MessageType, encode, message_limit
from provisioner.wire.dhcp_options import (
    BOOT_FILE_NAME,
    CLIENT_ID,
    MESSAGE_TYPE,
    PARAMETER_LIST,
    RELAY_INFORMATION,
    REQUESTED_ADDRESS,
    SERVER_ID,
    TFTP_SERVER_NAME,
    VENDOR_CLASS,
    VENDOR_OPTIONS,
)

log = structlog.get_logger(__name__)

# In option 43.
_BOOT_ITEM, _END = 71, 255
# Of the header field `file`.
_LONGEST_FILE = 127
_ASKING = frozenset({MessageType.DISCOVER, MessageType.REQUEST, MessageType.INFORM})
NO_FILE = "there is nothing to tell it to load"


class Told(Struct, frozen=True):
    """A reply without an address, or the reason why there is none. `boot` is what it says."""

    data: bytes = b""
    kind: MessageType | None = None
    reason: str = ""
    boot: Boot = NO_BOOT


class ProxyAnswers:
    """Answers beside another server. `links` finds the link of an address, `configured` the boot file of a subnet.

    `heard` learns who has which address.
    """

    def __init__(
        self,
        ledger: Ledger,
        choices: BootChoices,
        links: Callable[[str], Link | None],
        configured: Callable[[DhcpMessage, Arrival, Decision, Machine | None], str],
        heard: Callable[[str, str], None] = lambda address, mac: None,
    ) -> None:
        self._ledger = ledger
        self._choices = choices
        self._links = links
        self._configured = configured
        self._heard = heard

    def beside(self, tx: Transaction, message: DhcpMessage, arrival: Arrival, network: Network) -> Told:
        """What to reply on port 67 of a link where another server gives the addresses. Raises WireError."""
        client, kind = boot_client(message), message.message_type
        if kind is MessageType.REQUEST:
            self._heard(message.ciaddr or message.address_option(REQUESTED_ADDRESS), message.mac)
        if client.kind is ClientKind.OTHER or kind not in (MessageType.DISCOVER, MessageType.REQUEST):
            return Told(reason=BESIDE_ANOTHER)
        boot, machine = self._choose(client, message, arrival, network)
        if kind is MessageType.REQUEST and not boot.answer_request:
            return Told(reason=BESIDE_ANOTHER)
        reply = MessageType.OFFER if kind is MessageType.DISCOVER else MessageType.ACK
        return self._tell(tx, message, arrival, network.subnet, client, boot, machine, reply)

    def answer(self, message: DhcpMessage, arrival: Arrival) -> Told:
        """What to reply on port 4011. Raises WireError."""
        tx = self._ledger.transaction(by="dhcp")
        told = self._at_4011(tx, message, arrival)
        tx.commit(lazy=True).add_done_callback(_settled)
        return told

    def _at_4011(self, tx: Transaction, message: DhcpMessage, arrival: Arrival) -> Told:
        if message.op != BOOTREQUEST or message.message_type not in _ASKING:
            return Told(reason="not a question for a boot file")
        link = self._links(client_link(message, arrival))
        if link is None:
            return Told(reason=UNCOVERED)
        client = boot_client(message)
        if client.kind is ClientKind.OTHER:
            return Told(reason="not a client that boots from the network")
        self._heard(message.ciaddr, message.mac)
        boot, machine = self._choose(client, message, arrival, link.here)
        return self._tell(tx, message, arrival, link.here.subnet, client, boot, machine, MessageType.ACK)

    def _choose(
        self, client: BootClient, message: DhcpMessage, arrival: Arrival, network: Network
    ) -> tuple[Boot, Machine | None]:
        machine = self._ledger.machine_by_mac(message.mac)
        all_of_it = self._ledger.reservations_by_mac(message.mac)
        reserved = (each.boot_file for each in all_of_it if each.boot_file and ":" not in each.address)
        override = next(reserved, "") or self._configured(message, arrival, Decision(network=network), machine)
        return self._choices.choose(client, machine, arrival.address, override, proxy=True), machine

    def _tell(
        self,
        tx: Transaction,
        message: DhcpMessage,
        arrival: Arrival,
        subnet: Subnet,
        client: BootClient,
        boot: Boot,
        machine: Machine | None,
        reply: MessageType,
    ) -> Told:
        data = _build(message, arrival, subnet, boot, reply) if boot.file else b""
        asked = message.message_type
        told: dict[str, Any] = {
            "request": asked.name if asked is not None else "",
            "reply": reply.name if data else "",
            "interface": arrival.interface,
            "via": message.giaddr,
            "firmware": client.firmware,
            "requested": message.ciaddr,
            "server": arrival.address,
            "subnet": subnet.name,
            "boot_file": boot.file,
            "boot": boot.reason,
        }
        shown = {name: value for name, value in told.items() if value}
        tx.tell("dhcp.proxy", machine.id if machine is not None else "", message.mac, boot.file, shown)
        return Told(data, reply, boot=boot) if data else Told(reason=NO_FILE, boot=boot)


def _settled(saved: Future[None]) -> None:
    if not saved.cancelled() and (error := saved.exception()) is not None:
        log.error("proxy.not-told", error=str(error))


def _build(message: DhcpMessage, arrival: Arrival, subnet: Subnet, boot: Boot, reply: MessageType) -> bytes:
    server = subnet.next_server or arrival.address
    in_header = boot.in_header
    return encode(
        DhcpMessage(
            op=BOOTREPLY,
            htype=message.htype,
            xid=message.xid,
            flags=message.flags,
            ciaddr=message.ciaddr if reply is MessageType.ACK else "",
            siaddr=server,
            giaddr=message.giaddr,
            mac=message.mac,
            sname=server if in_header and not boot.is_url else "",
            file=boot.file if in_header and len(boot.file) <= _LONGEST_FILE else "",
            options=_options(message, arrival, boot, server, reply),
        ),
        limit=message_limit(message),
    )


def _boot_item(value: bytes) -> bytes:
    """The boot item that a client asks a boot server for, whole: it takes no answer without it (PXE 2.1, table 2-1)."""
    at = 0
    while at + 1 < len(value) and value[at] != _END:
        end = at + 2 + value[at + 1]
        if value[at] == _BOOT_ITEM and end <= len(value):
            return value[at:end]
        at = end
    return b""


def _options(message: DhcpMessage, arrival: Arrival, boot: Boot, server: str, reply: MessageType) -> dict[int, bytes]:
    options = {MESSAGE_TYPE: bytes([reply]), SERVER_ID: inet_aton(server_id(message, arrival))}
    if VENDOR_CLASS in boot.options:
        # Some ROMs look no further than the first few options for it.
        options[VENDOR_CLASS] = boot.options[VENDOR_CLASS]
    options |= boot.options
    item = _boot_item(message.options.get(VENDOR_OPTIONS, b""))
    if item:
        options[VENDOR_OPTIONS] = options.get(VENDOR_OPTIONS, b"\xff")[:-1] + item + b"\xff"
    asked = message.options.get(PARAMETER_LIST, b"")
    end = boot.name_end.written
    if boot.in_options(BOOT_FILE_NAME in asked) or len(boot.file) > _LONGEST_FILE:
        options[BOOT_FILE_NAME] = boot.file.encode() + end
    if boot.in_options(TFTP_SERVER_NAME in asked) and not boot.is_url:
        options[TFTP_SERVER_NAME] = server.encode() + end
    for code in (CLIENT_ID, RELAY_INFORMATION):
        if code in message.options:
            options[code] = message.options[code]
    return options
