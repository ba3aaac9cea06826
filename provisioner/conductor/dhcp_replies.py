"""Builds DHCP replies from decisions: what all clients of a subnet share is encoded once and kept.

What goes in: message type, server id and lease time always; of the rest only what the client lists in option 55, in
its order (RFC 2131 section 4.3.1; everything when it has no list); then what concerns this client alone: booting, host
name, client id (RFC 6842) and the relay's option 82 (RFC 3046).
"""

from __future__ import annotations

from socket import inet_aton
from typing import Final

from provisioner.conductor.configured_options import ConfiguredOptions, has_any
from provisioner.leases import Decision, renewal_times
from provisioner.links import Arrival, Network, address_text, selects_subnet, server_id
from provisioner.model.machines import Machine
from provisioner.netboot import NO_BOOT, Boot
from provisioner.wire.dhcp import (
    BOOTREPLY,
    BROADCAST_FLAG,
    DhcpMessage,
    MessageType,
    encode,
    encode_option,
    encode_options,
    encode_reply,
    fill_reply,
    message_limit,
    reply_names,
)
from provisioner.wire.dhcp_options import (
    BOOT_FILE_NAME,
    BROADCAST,
    CLIENT_ID,
    CLIENT_UUID,
    DNS_SERVERS,
    DOMAIN_NAME,
    HOST_NAME,
    LEASE_TIME,
    MESSAGE,
    MESSAGE_TYPE,
    PARAMETER_LIST,
    REBINDING_TIME,
    RELAY_INFORMATION,
    RENEWAL_TIME,
    ROUTERS,
    SERVER_ID,
    SUBNET_MASK,
    SUBNET_SELECTION,
    TFTP_SERVER_NAME,
)

# An enum's member costs a call each time it is named.
_ACK: Final = MessageType.ACK
_NAK: Final = MessageType.NAK

# Blocks differ by subnet, message type and parameter list; a site has a few dozen, a fuzzer any number.
MOST_BLOCKS: Final = 4096
# Of the header field `file`; a longer name goes into option 67 alone.
_LONGEST_FILE: Final = 127
# A longer one goes in pieces (RFC 3396), and whoever sends one as a UUID means no good.
_LONGEST_OPTION: Final = 255

# RFC 951: 64 bytes, of which the cookie and the end take five.
VENDOR_ROOM: Final = 64 - 5
_BOOTP_FIRST: Final = (SUBNET_MASK, ROUTERS, DNS_SERVERS, HOST_NAME, DOMAIN_NAME)
# RFC 1534, section 2: what RFC 1533 calls DHCP extensions, and what other standards made for DHCP clients.
_DHCP_ONLY: Final = frozenset({*range(50, 62), BOOT_FILE_NAME, TFTP_SERVER_NAME})

# RFC 6842, 3011 and 3046; the relay's comes last.
_ECHOED: Final[tuple[int, ...]] = (CLIENT_ID, SUBNET_SELECTION, RELAY_INFORMATION)

# Of the options that concern one client alone, those whose values are known without anybody having to look them up.
_FILLED_IN: Final = frozenset({CLIENT_UUID, HOST_NAME})

_BlockKey = tuple[object, ...]


class _Form:
    """A reply to be filled in: what is the same for all clients alike on one network, encoded.

    `options` stand as they are; after them come those that are the client's own, each by its code with the bytes that
    follow it. `network` and `boot` are kept so that their ids stay theirs.
    """

    __slots__ = ("boot", "names", "network", "options", "own", "siaddr")

    def __init__(
        self,
        network: Network,
        boot: Boot,
        options: bytes,
        own: tuple[tuple[int, bytes], ...],
        siaddr: bytes,
        names: bytes,
    ) -> None:
        self.network = network
        self.boot = boot
        self.options = options
        self.own = own
        self.siaddr = siaddr
        self.names = names


class DhcpReplies:
    """Replies as datagrams. `forget` when subnets or reservations have changed."""

    def __init__(self, most_blocks: int = MOST_BLOCKS) -> None:
        self._most_blocks = most_blocks
        self._blocks: dict[_BlockKey, bytes] = {}
        self._forms: dict[_BlockKey, _Form] = {}
        self._configured = ConfiguredOptions(most_blocks)

    def forget(self) -> None:
        """Drop what was encoded from an earlier configuration."""
        self._blocks.clear()
        self._forms.clear()
        self._configured.forget()

    def boot_file(self, request: DhcpMessage, arrival: Arrival, decision: Decision, machine: Machine | None) -> str:
        """The boot file that configured option 67 insists on; empty leaves it to the firmware."""
        if not has_any(decision):
            return ""
        own = self._configured.own(request, arrival, decision, machine)
        name = own.get(BOOT_FILE_NAME) or self._configured.fixed(arrival, decision).get(BOOT_FILE_NAME, b"")
        return name.rstrip(b"\0").decode("utf-8", "replace")

    def build(
        self,
        request: DhcpMessage,
        arrival: Arrival,
        decision: Decision,
        boot: Boot = NO_BOOT,
        hostname: str = "",
        machine: Machine | None = None,
    ) -> bytes:
        """The reply that `decision` calls for. Raises WireError when it does not fit what the client takes."""
        if decision.reply is _NAK:
            return self._refusal(request, arrival, decision)
        if decision.bootp:
            return self._bootp(request, arrival, decision, boot, hostname)
        if (boot.shared or boot is NO_BOOT) and decision.reservation is None:
            form = self._form(request, arrival, decision, boot, hostname)
            reply = _filled_in(form, request, decision, hostname) if form is not None else b""
            if reply:
                return reply
        own = self._own_options(request, arrival, decision, boot, hostname)
        configured = self._configured.own(request, arrival, decision, machine)
        if configured:
            asked = request.options.get(PARAMETER_LIST)
            own = {code: value for code, value in configured.items() if asked is None or code in asked} | own
        next_server = boot_server(arrival, decision) if boot.file else ""
        in_header = boot.in_header
        return encode_reply(
            request,
            self._block(request, arrival, decision, tuple(own)) + encode_options(own),
            message_limit(request),
            ciaddr=request.ciaddr if decision.reply is MessageType.ACK else "",
            yiaddr=decision.address,
            siaddr=next_server,
            sname=next_server if in_header and not boot.is_url else "",
            file=boot.file if in_header and len(boot.file) <= _LONGEST_FILE else "",
        )

    def _form(
        self, request: DhcpMessage, arrival: Arrival, decision: Decision, boot: Boot, hostname: str
    ) -> _Form | None:
        """The form for this reply; None where the subnet's own options differ from client to client."""
        network, options, address = decision.network, request.options, arrival.address
        assert network is not None
        if network.subnet.options and self._configured.any_own(arrival, decision):
            return None
        key = (
            id(network),
            id(boot),
            decision.reply,
            decision.lease_seconds,
            options.get(PARAMETER_LIST),
            address,
            server_id(request, arrival) if RELAY_INFORMATION in options else address,
            CLIENT_UUID in options,
            hostname != "",
        )
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= self._most_blocks:
                self._forms.clear()
            form = self._forms[key] = self._make_form(request, arrival, decision, boot, hostname)
        return form

    def _make_form(
        self, request: DhcpMessage, arrival: Arrival, decision: Decision, boot: Boot, hostname: str
    ) -> _Form:
        assert decision.network is not None
        own = self._own_options(request, arrival, decision, boot, hostname)
        for code in _ECHOED:
            own.pop(code, None)
        options = self._block(request, arrival, decision, (*own, *_ECHOED))
        filled_in: list[tuple[int, bytes]] = []
        for code, value in own.items():
            if code in _FILLED_IN:
                filled_in.append((code, b""))
            elif filled_in:
                before, after = filled_in[-1]
                filled_in[-1] = before, after + encode_options({code: value})
            else:
                options += encode_options({code: value})
        server = boot_server(arrival, decision) if boot.file else ""
        return _Form(
            decision.network,
            boot,
            options,
            tuple(filled_in),
            inet_aton(server) if server else b"\0\0\0\0",
            reply_names(
                server if boot.in_header and not boot.is_url else "",
                boot.file if boot.in_header and len(boot.file) <= _LONGEST_FILE else "",
            ),
        )

    def _bootp(self, request: DhcpMessage, arrival: Arrival, decision: Decision, boot: Boot, hostname: str) -> bytes:
        """A reply without the options that are DHCP's own (RFC 1534), and only as many as BOOTP has room for."""
        assert decision.network is not None
        values = _network_options(decision.network) | self._configured.fixed(arrival, decision)
        if hostname:
            values[HOST_NAME] = hostname.encode("ascii", "replace")
        echoed = {code: value for code, value in _echoed(request).items() if code != CLIENT_ID}
        room = VENDOR_ROOM
        options = {}
        for code in (*_BOOTP_FIRST, *values):
            if code in values and code not in options and code not in _DHCP_ONLY and len(values[code]) + 2 <= room:
                options[code] = values[code]
                room -= len(values[code]) + 2
        next_server = boot_server(arrival, decision)
        message = DhcpMessage(
            op=BOOTREPLY,
            htype=request.htype,
            xid=request.xid,
            flags=request.flags,
            ciaddr=request.ciaddr,
            yiaddr=decision.address,
            siaddr=next_server if boot.file else "",
            giaddr=request.giaddr,
            mac=request.mac,
            file=boot.file if len(boot.file) <= _LONGEST_FILE else "",
            options=options | echoed,
        )
        return encode(message, limit=message_limit(request))

    def _refusal(self, request: DhcpMessage, arrival: Arrival, decision: Decision) -> bytes:
        options = {
            MESSAGE_TYPE: bytes([MessageType.NAK]),
            SERVER_ID: inet_aton(server_id(request, arrival)),
            MESSAGE: decision.reason.encode(),
        }
        message = DhcpMessage(
            op=BOOTREPLY,
            htype=request.htype,
            xid=request.xid,
            # The relay must broadcast it: the client may hold an address that is wrong here (RFC 2131, 4.3.2).
            flags=request.flags | BROADCAST_FLAG if request.giaddr else request.flags,
            giaddr=request.giaddr,
            mac=request.mac,
            options=options | _echoed(request),
        )
        return encode(message, limit=message_limit(request))

    def _own_options(
        self, request: DhcpMessage, arrival: Arrival, decision: Decision, boot: Boot, hostname: str
    ) -> dict[int, bytes]:
        """What concerns this client alone."""
        own = dict(boot.options)
        if CLIENT_UUID in own:
            # What is told to all alike has that of the first of them.
            own[CLIENT_UUID] = request.options.get(CLIENT_UUID, b"")
        asked = request.options.get(PARAMETER_LIST)
        if hostname and (asked is None or HOST_NAME in asked):
            own[HOST_NAME] = hostname.encode("ascii", "replace")
        if boot.file:
            # NUL at the end is usual: PXE ROMs with that bug are many, clients that mind few (RFC 2132, section 2).
            end = boot.name_end.written
            if boot.in_options(asked is not None and BOOT_FILE_NAME in asked) or len(boot.file) > _LONGEST_FILE:
                own[BOOT_FILE_NAME] = boot.file.encode() + end
            if boot.in_options(asked is not None and TFTP_SERVER_NAME in asked) and not boot.is_url:
                own[TFTP_SERVER_NAME] = boot_server(arrival, decision).encode() + end
        own.update(_echoed(request))
        return own

    def _block(self, request: DhcpMessage, arrival: Arrival, decision: Decision, without: tuple[int, ...]) -> bytes:
        """What this client shares with others, encoded; `without` the options that it gets on its own."""
        assert decision.network is not None
        reservation = decision.reservation
        ours = server_id(request, arrival)
        key = (
            decision.network.subnet.name,
            reservation.address if reservation is not None and reservation.options else "",
            decision.reply,
            decision.lease_seconds,
            ours,
            arrival.address,
            request.options.get(PARAMETER_LIST),
            without,
        )
        block = self._blocks.get(key)
        if block is None:
            if len(self._blocks) >= self._most_blocks:
                self._blocks.clear()
            block = self._blocks[key] = encode_options(self._shared(request, arrival, ours, decision, without))
        return block

    def _shared(
        self, request: DhcpMessage, arrival: Arrival, ours: str, decision: Decision, without: tuple[int, ...]
    ) -> dict[int, bytes]:
        assert decision.reply is not None and decision.network is not None
        options = {MESSAGE_TYPE: bytes([decision.reply]), SERVER_ID: inet_aton(ours)}
        values = _network_options(decision.network) | self._configured.fixed(arrival, decision)
        if decision.lease_seconds:
            options[LEASE_TIME] = decision.lease_seconds.to_bytes(4)
            renew, rebind = renewal_times(decision.network.subnet, decision.lease_seconds)
            if renew:
                values[RENEWAL_TIME], values[REBINDING_TIME] = renew.to_bytes(4), rebind.to_bytes(4)
        asked = request.options.get(PARAMETER_LIST)
        for code in values if asked is None else asked:
            if code in values and code not in without:
                options.setdefault(code, values[code])
        return options


def boot_server(arrival: Arrival, decision: Decision) -> str:
    """From whom the client loads its boot file: as configured, else from us."""
    reservation, network = decision.reservation, decision.network
    return (
        (reservation.next_server if reservation is not None else "")
        or (network.subnet.next_server if network is not None else "")
        or arrival.address
    )


def _filled_in(form: _Form, request: DhcpMessage, decision: Decision, hostname: str) -> bytes:
    """The reply; empty when it is longer than the client takes, or one of its own options has to be split."""
    given = request.options
    parts = [form.options]
    for code, after in form.own:
        value = given[CLIENT_UUID] if code == CLIENT_UUID else hostname.encode("ascii", "replace")
        if len(value) > _LONGEST_OPTION:
            return b""
        parts.append(encode_option(code, value))
        parts.append(after)
    if CLIENT_ID in given or RELAY_INFORMATION in given or SUBNET_SELECTION in given:
        parts.append(encode_options(_echoed(request)))
    options = b"".join(parts)
    ciaddr = request.ciaddr if decision.reply is _ACK else ""
    return fill_reply(request, ciaddr, decision.address, form.siaddr, form.names, options, message_limit(request))


def _echoed(request: DhcpMessage) -> dict[int, bytes]:
    options = request.options
    found: dict[int, bytes] = {}
    for code in _ECHOED:
        value = options.get(code)
        if value is not None:
            found[code] = value
    if SUBNET_SELECTION in found and not selects_subnet(request):
        # To send it back would say that it counted (RFC 3011).
        del found[SUBNET_SELECTION]
    return found


def _network_options(network: Network) -> dict[int, bytes]:
    subnet = network.subnet
    size = network.last - network.first
    options = {
        SUBNET_MASK: (0xFFFFFFFF - size).to_bytes(4),
        ROUTERS: inet_aton(subnet.gateway) if subnet.gateway else b"",
        DNS_SERVERS: b"".join(inet_aton(address) for address in subnet.dns_servers),
        DOMAIN_NAME: subnet.domain.encode(),
        BROADCAST: inet_aton(address_text(network.last)),
    }
    return {code: value for code, value in options.items() if value}
