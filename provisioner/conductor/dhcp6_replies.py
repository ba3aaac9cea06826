"""Builds DHCPv6 replies from decisions: what all clients of a subnet share is encoded once and kept.

Order matters to firmware: the boot file's URL is never the last option, because old EDK2 reads it as a C string, and
the first byte of the next option's code is its end.
"""

from __future__ import annotations

from ipaddress import IPv6Address

import structlog

from provisioner.bindings6 import Decision6
from provisioner.clients6 import Arrival6, Network6
from provisioner.errors import Invalid
from provisioner.firmware import BootClient, ClientKind
from provisioner.model.addresses import Reservation, Subnet
from provisioner.netboot import NO_BOOT, Boot, as_url
from provisioner.wire.dhcp6 import Dhcp6Message, MessageType6, Option, Relay, Relayed, encode
from provisioner.wire.dhcp6_options import (
    BOOT_FILE_URL,
    CLIENT_FQDN,
    CLIENT_ID,
    DNS_SERVERS,
    DOMAIN_SEARCH,
    INFORMATION_REFRESH_TIME,
    INTERFACE_ID,
    OPTION_REQUEST,
    PREFERENCE,
    PXE_ENTERPRISE,
    RAPID_COMMIT,
    RELAY_SOURCE_PORT,
    SERVER_ID,
    VENDOR_CLASS,
    encode_domains,
    encode_vendor_class,
    shorts,
)
from provisioner.wire.dhcp6_text import encode_configured

log = structlog.get_logger(__name__)

_MOST_KEPT = 4096
# A client that is told 255 takes this offer at once, instead of waiting a second for better ones.
_TAKE_THIS = b"\xff"
# RFC 8415 section 21.23: IRT_MINIMUM.
_SHORTEST_REFRESH_SECONDS = 600
# RFC 4704 section 4.1: N, the server makes no DNS updates.
_NO_UPDATES = b"\x04"


class Dhcp6Replies:
    """Replies as datagrams; `server` is our DUID. `forget` when subnets or reservations have changed."""

    def __init__(self, server: bytes) -> None:
        self._server = server
        self._configured: dict[tuple[str, str], dict[int, bytes]] = {}

    def forget(self) -> None:
        """Drop what was encoded from an earlier configuration."""
        self._configured.clear()

    def boot_file(self, decision: Decision6) -> str:
        """The boot file that configured option 59 insists on; empty leaves it to the firmware."""
        if decision.network is None:
            return ""
        configured = self._configured_options(decision.network, decision.reservation)
        return configured.get(BOOT_FILE_URL, b"").decode("utf-8", "replace")

    def build(
        self,
        request: Relayed,
        arrival: Arrival6,
        decision: Decision6,
        client: BootClient,
        boot: Boot = NO_BOOT,
        hostname: str = "",
    ) -> bytes:
        """The reply that `decision` calls for, through the relays that the request came through."""
        assert decision.reply is not None
        message = request.message
        duid = message.option(CLIENT_ID)
        url = as_url(boot, server_address(arrival, decision)) if decision.configures else ""
        options: list[Option] = [(CLIENT_ID, duid)] if duid is not None else []
        if url:
            options.append((BOOT_FILE_URL, url.encode()))
        options.append((SERVER_ID, self._server))
        options += decision.associations
        if decision.rapid:
            options.append((RAPID_COMMIT, b""))
        if url and decision.reply is MessageType6.ADVERTISE:
            options.append((PREFERENCE, _TAKE_THIS))
        if decision.configures:
            options += self._asked_for(message, decision, hostname)
        # UEFI takes a PXEClient in it for "ask a boot server on port 4011" and gives up (EDK2, PxeBcParseDhcp6Packet).
        if client.kind is ClientKind.HTTP and (url or not boot.reason):
            options.append((VENDOR_CLASS, encode_vendor_class(PXE_ENTERPRISE, client.kind.value.encode())))
        reply = Dhcp6Message(kind=decision.reply, xid=message.xid, options=tuple(options))
        return encode(Relayed(reply, tuple(map(_back, request.relays))))

    def _asked_for(self, message: Dhcp6Message, decision: Decision6, hostname: str) -> list[Option]:
        """Options of subnet and reservation, as far as the client lists them; all when it has no list."""
        assert decision.network is not None
        values = self._configured_options(decision.network, decision.reservation)
        if message.kind is MessageType6.INFORMATION_REQUEST:
            seconds = max(decision.network.subnet.lease_seconds, _SHORTEST_REFRESH_SECONDS)
            values = {INFORMATION_REFRESH_TIME: seconds.to_bytes(4)} | values
        if hostname and message.option(CLIENT_FQDN) is not None:
            values = values | {CLIENT_FQDN: _full_name(hostname, decision.network.subnet.domain)}
        asked = message.option(OPTION_REQUEST)
        codes = values if asked is None else dict.fromkeys(shorts(asked))
        return [(code, values[code]) for code in codes if code in values and code != BOOT_FILE_URL]

    def _configured_options(self, network: Network6, reservation: Reservation | None) -> dict[int, bytes]:
        subnet = network.subnet
        key = (subnet.name, reservation.address if reservation is not None else "")
        options = self._configured.get(key)
        if options is None:
            if len(self._configured) >= _MOST_KEPT:
                self._configured.clear()
            options = self._configured[key] = _encode_subnet(subnet) | _encode_options(subnet, reservation)
        return options


def server_address(arrival: Arrival6, decision: Decision6) -> str:
    """From where the client loads its boot file: as configured, else our address on its network, else by which it
    reached us, else any of the interface; empty when we have none there but a link-local one.
    """
    reservation, network = decision.reservation, decision.network
    given = (reservation.next_server if reservation is not None else "") or (
        network.subnet.next_server if network is not None else ""
    )
    if given:
        return given
    ours = [each for each in arrival.addresses if network is not None and network.covers(each)]
    if ours:
        return ours[0]
    if arrival.address and not IPv6Address(arrival.address).is_link_local:
        return arrival.address
    return arrival.addresses[0] if arrival.addresses else ""


def _back(relay: Relay) -> Relay:
    """The envelope for a reply through this relay: what it needs to find the client again."""
    echoed = tuple(each for each in relay.options if each[0] in (INTERFACE_ID, RELAY_SOURCE_PORT))
    return Relay(kind=MessageType6.RELAY_REPLY, hops=relay.hops, link=relay.link, peer=relay.peer, options=echoed)


def _full_name(hostname: str, domain: str) -> bytes:
    try:
        return _NO_UPDATES + encode_domains([f"{hostname}.{domain}" if domain else hostname])
    except ValueError:
        return _NO_UPDATES


def _encode_subnet(subnet: Subnet) -> dict[int, bytes]:
    options = {DNS_SERVERS: b"".join(IPv6Address(each).packed for each in subnet.dns_servers)}
    if subnet.domain:
        options[DOMAIN_SEARCH] = encode_domains([subnet.domain])
    return {code: value for code, value in options.items() if value}


def _encode_options(subnet: Subnet, reservation: Reservation | None) -> dict[int, bytes]:
    """Options as operators set them, the reservation's over the subnet's; one that is wrong disables only itself."""
    texts = subnet.options | (reservation.options if reservation is not None else {})
    encoded: dict[int, bytes] = {}
    for name, text in texts.items():
        try:
            encoded |= encode_configured({name: text})
        except Invalid as error:
            log.warning("dhcp6.option-unusable", subnet=subnet.name, option=name, error=error.message)
    return encoded
