"""Who gets which address: the rules of DHCP (RFC 2131) and BOOTP (RFC 951, 1534) as one pure function, `decide`.

A client is its MAC and nothing else: firmware, iPXE, installer and installed system of one machine send different
client identifiers and must all get the same address.

What `decide` does with each message, on the link where the client is (`client_link`):

    nothing covers the client     silence, whatever it asks: this is someone else's network
    another server leases there   silence (proxy subnets): boot information is all we give there
    DISCOVER                      the address reserved for it, else the one on offer to it, else its last one, else
                                  what the pickers find; held for 60 s
    REQUEST, names our server id  (SELECTING) what we offered, held for it: ACK, unless the pool, the gateway or a
                                  reservation for another was set otherwise in that minute
    REQUEST, another server id    silence; our own offer is taken back, unless it is another address of ours
    REQUEST, no server id         (INIT-REBOOT, RENEWING, REBINDING) an address that it has or may have: ACK, else NAK
    DECLINE                       its address is quarantined for ten minutes, though not more than a few for one client
    RELEASE                       its address is free at once, and remembered as its last
    INFORM                        options without an address
    BOOTP, no message type        the address reserved for it, for ever; else silence

An address is free for a client when no one else's offer or lease on it runs, it is not in quarantine, it is not
reserved for another MAC, and it is none of our own. A reserved address that
another still holds is not taken from under it: its holder is refused when it wants to renew, and gives it up by taking
another or at the end of its lease. Until then the one it is reserved for gets an address of the pool, and is refused
that in turn as soon as its own is free.

An INIT-REBOOT for a free address that we have no record of is acknowledged: the record was lost with a disk, the client
was not.

Offers are for memory only (`Decision.holds`). Should a crash forget one, whoever requests the address first has it, and
the other is refused: an address is never acknowledged twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from provisioner.dhcp_case import AddressView, Case, Offer
from provisioner.events import CHOSE_ANOTHER, NO_FREE_ADDRESS, UNCOVERED
from provisioner.links import Arrival, Network, client_link, server_id
from provisioner.model.addresses import Lease, LeaseState, Picker, Reservation, Subnet
from provisioner.native import Native
from provisioner.wire.dhcp import BOOTREQUEST, DhcpMessage, MessageType
from provisioner.wire.dhcp_options import MESSAGE_TYPE, REQUESTED_ADDRESS, SERVER_ID

# Longer than any firmware takes from OFFER to REQUEST, its retries included.
OFFER_HOLD: Final = timedelta(seconds=60)
QUARANTINE: Final = timedelta(minutes=10)
# In quarantine at one time because one client declined them. One that declines whatever it is given (a switch answers
# ARP for everybody) shall not take the pool from all others: it is given the same address again.
MOST_DECLINED: Final = 4
# Why there is no address on a link with a proxy subnet: what to boot is told there, and nothing else.
BESIDE_ANOTHER: Final = "another server gives the addresses here"
# A lease time of all ones has no end (RFC 2131, section 3.3); as a date it is far enough.
FOREVER: Final = 0xFFFF_FFFF
# A lease with more time left than this is such a one.
_FAR: Final = timedelta(seconds=FOREVER) / 2

# An enum's member costs a call each time it is named.
_OFFER: Final = MessageType.OFFER
_ACK: Final = MessageType.ACK
_NAK: Final = MessageType.NAK


class Decision(Native):
    """What to do with a message. `reply` None is silence; `reason` is one of few texts, `detail` names the thing.

    `changes` are leases to save; an ACK may not be sent before they are. `holds` are offers to remember. `picked` is
    how an address was found that the client did not have before. What `reservation` says is for this client, also while
    its address cannot be had. A reply to `bootp` has no DHCP options.
    """

    __match_args__ = (
        "reply", "reason", "detail", "address", "network", "reservation", "lease_seconds", "selecting", "bootp",
        "picked", "holds", "changes",
    )  # fmt: skip

    def __init__(
        self,
        *,
        reply: MessageType | None = None,
        reason: str = "",
        detail: str = "",
        address: str = "",
        network: Network | None = None,
        reservation: Reservation | None = None,
        lease_seconds: int = 0,
        selecting: bool = False,
        bootp: bool = False,
        picked: Picker | None = None,
        holds: tuple[Offer, ...] = (),
        changes: tuple[Lease, ...] = (),
    ) -> None:
        self.reply: Final = reply
        self.reason: Final = reason
        self.detail: Final = detail
        self.address: Final = address
        self.network: Final = network
        self.reservation: Final = reservation
        self.lease_seconds: Final = lease_seconds
        self.selecting: Final = selecting
        self.bootp: Final = bootp
        self.picked: Final = picked
        self.holds: Final = holds
        self.changes: Final = changes


def decide(message: DhcpMessage, arrival: Arrival, view: AddressView, now: datetime) -> Decision:
    """What to do with `message`; changes nothing."""
    kind = message.message_type
    rule = _bootp if kind is None else _RULES.get(kind)
    if kind is None and MESSAGE_TYPE in message.options:
        return Decision(reason="unknown message type", detail=message.options[MESSAGE_TYPE].hex())
    if rule is None or message.op != BOOTREQUEST:
        return Decision(reason="a reply of another DHCP server", detail=message.address_option(SERVER_ID))
    if not message.mac.strip("0:"):
        return Decision(reason="no hardware address")
    place = client_link(message, arrival)
    link = view.link(place)
    if link is None:
        return Decision(reason=UNCOVERED, detail=place)
    if link.proxy:
        return Decision(
            reason=BESIDE_ANOTHER,
            detail=f"subnet {link.here.subnet.name}",
            network=link.here,
        )
    return rule(Case(message, arrival, view, now, link))


def renewal_times(subnet: Subnet, lease_seconds: int) -> tuple[int, int]:
    """T1 and T2 in seconds (RFC 2131, section 4.4.5); none for a lease that has no end."""
    if lease_seconds == FOREVER:
        return 0, 0
    rebind = subnet.rebind_seconds or lease_seconds * 7 // 8
    return subnet.renew_seconds or min(lease_seconds // 2, rebind), rebind


def is_endless(ends: datetime, now: datetime) -> bool:
    """Whether a lease that ends then is one for ever, which is counted from when its client asked last."""
    return ends - now > _FAR


def _silence(case: Case, reason: str, detail: str = "", holds: tuple[Offer, ...] = ()) -> Decision:
    return Decision(reason=reason, detail=detail, network=case.link.here, holds=holds)


def _discover(case: Case) -> Decision:
    reservation, picked = case.reservation(), None
    address = reservation.address if reservation else case.last_address()
    if not address:
        address, picked = case.pick()
    if not address:
        names = ", ".join(each.subnet.name for each in case.link.networks)
        return _silence(case, NO_FREE_ADDRESS, f"subnet {names}")
    settings, network = case.settings(address), case.network_of(address)
    return Decision(
        reply=_OFFER,
        address=address,
        network=network,
        reservation=settings,
        lease_seconds=case.seconds(address, settings, network),
        selecting=True,
        picked=picked,
        holds=_held(case, address),
    )


def _held(case: Case, address: str) -> tuple[Offer, ...]:
    """What to remember so that nobody else is offered the address for a while."""
    until = case.now + OFFER_HOLD
    running = case.running(address)
    if running is not None and running.expires_at >= until:
        return ()
    return (*case.withdrawn(but=address), Offer(address, case.mac, until))


def _request(case: Case) -> Decision:
    message = case.message
    server = message.address_option(SERVER_ID)
    requested = message.address_option(REQUESTED_ADDRESS)
    if not server:
        address = message.ciaddr or requested
        if not address:
            return _silence(case, "request without an address")
        return _confirm(case, address)
    if server != server_id(message, case.arrival):
        if case.arrival.has(server):
            return _silence(case, "the client chose another address of ours", server)
        return _silence(case, CHOSE_ANOTHER, server, case.withdrawn())
    if not requested:
        # Some clients say in ciaddr what they were offered (RFC 2131 wants that only of those who have it).
        requested = message.ciaddr
    if not requested:
        return _silence(case, "request without an address")
    offer = case.view.offer(requested)
    promised = offer is not None and offer.mac == case.mac and offer.until > case.now
    if promised and case.keeps(requested):
        return _acknowledge(case, requested, selecting=True, promised=True)
    return _confirm(case, requested, selecting=True)


def _confirm(case: Case, address: str, selecting: bool = False) -> Decision:
    """Whether the client can have (or keep) the address it names."""
    network = case.link.covering(address)
    if network is None:
        return _refuse(case, address, "the address is on another network", f"subnet {case.link.here.subnet.name}")
    reserved = case.reservation()
    if reserved is not None and reserved.address != address:
        return _refuse(case, address, "another address is reserved for it", reserved.address)
    other = case.view.reservation(address)
    if other is not None and other.mac != case.mac:
        return _refuse(case, address, "the address is reserved for another", other.mac)
    holder = case.taken_by(address)
    if holder is not None:
        lease = case.view.lease(address)
        quarantined = lease is not None and lease.state is LeaseState.QUARANTINED
        reason = "the address is in quarantine" if quarantined else "the address is in use by another"
        return _refuse(case, address, reason, holder)
    if reserved is None and not case.may_have(address, network):
        return _refuse(case, address, "the address is not in the pool", f"subnet {network.subnet.name}")
    return _acknowledge(case, address, selecting)


def _acknowledge(case: Case, address: str, selecting: bool, promised: bool = False) -> Decision:
    settings, network = case.settings(address), case.network_of(address)
    seconds = case.seconds(address, settings, network)
    # Only who was offered it just now has given up the others: a request may also be an old one that comes late.
    ended = _others_ended(case, address) if promised else ()
    return Decision(
        reply=_ACK,
        address=address,
        network=network,
        reservation=settings,
        lease_seconds=seconds,
        selecting=selecting or not case.message.ciaddr,
        holds=case.withdrawn() if promised else _let_go(case, address),
        changes=(case.lease(address, seconds, network), *ended),
    )


def _others_ended(case: Case, address: str) -> tuple[Lease, ...]:
    """Its leases on other addresses of the link, which it has given up by taking this one."""
    others = [each for each in case.view.leases_of(case.mac) if each.address != address]
    if not others:
        return ()
    running = [each for each in others if case.link.covering(each.address) and case.running(each.address)]
    return tuple([case.ended(each) for each in running])


def _refuse(case: Case, address: str, reason: str, detail: str) -> Decision:
    """NAK. A lease of the client runs on until it takes another address: the refusal may be lost on its way, and then
    the client goes on with what it has.
    """
    return Decision(
        reply=_NAK,
        reason=reason,
        detail=detail,
        address=address,
        network=case.link.here,
        holds=_let_go(case, address),
    )


def _let_go(case: Case, address: str) -> tuple[Offer, ...]:
    """Its offer of this address taken back. Another stays: the request may be an old one that comes late, and the
    client is just taking up what it was offered since.
    """
    withdrawn = case.withdrawn()
    return tuple([each for each in withdrawn if each.address == address]) if withdrawn else ()


def _decline(case: Case) -> Decision:
    address = case.message.address_option(REQUESTED_ADDRESS)
    lease = case.running(address) if address else None
    if lease is None:
        return _silence(case, "declined an address that it does not have", address)
    if len(case.declined()) >= MOST_DECLINED:
        return _silence(case, "declined too many addresses", address)
    quarantined = replace(lease, state=LeaseState.QUARANTINED, expires_at=case.now + QUARANTINE)
    return Decision(address=address, network=case.network_of(address), changes=(quarantined,))


def _release(case: Case) -> Decision:
    address = case.message.ciaddr
    lease = case.running(address) if address else None
    if lease is None:
        return _silence(case, "released an address that it does not have", address)
    return Decision(address=address, network=case.network_of(address), changes=(case.ended(lease),))


def _inform(case: Case) -> Decision:
    address = case.message.ciaddr
    if not address:
        return _silence(case, "inform without an address")
    network = case.network_of(address)
    return Decision(reply=_ACK, network=network, reservation=case.settings(address))


def _bootp(case: Case) -> Decision:
    """Plain BOOTP knows neither leases nor refusals: the address is the client's for as long as it is reserved."""
    reservation = case.reservation()
    if reservation is None:
        taken = next(((each.address, case.taken_by(each.address)) for each in case.on_link()), None)
        if taken is None:
            return _silence(case, "plain BOOTP is served by reservation only")
        return _silence(case, "the reserved address is in use by another", f"{taken[0]} by {taken[1]}")
    address = reservation.address
    if case.message.ciaddr and case.message.ciaddr != address:
        return _silence(case, "another address is reserved for it", address)
    return Decision(
        reply=_ACK,
        address=address,
        network=case.network_of(address),
        reservation=reservation,
        selecting=not case.message.ciaddr,
        bootp=True,
        holds=case.withdrawn(),
        changes=(case.lease(address, FOREVER, case.network_of(address)),),
    )


_RULES: Final[dict[MessageType, Callable[[Case], Decision]]] = {
    MessageType.DISCOVER: _discover,
    MessageType.REQUEST: _request,
    MessageType.DECLINE: _decline,
    MessageType.RELEASE: _release,
    MessageType.INFORM: _inform,
}
