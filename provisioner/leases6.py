"""Who gets which IPv6 address: the rules of DHCPv6 (RFC 8415) as one pure function, `decide6`.

A client is its MAC, as in DHCPv4; how that is found is in `clients6`.

What `decide6` does with each message, on the link where the client is:

    nothing covers the client     silence, whatever it asks: this is someone else's network
    SOLICIT                       for each IA_NA the address reserved, else its last, else the one it asks for, else a
                                  free one; held for 60 s. With rapid commit it is given at once
    REQUEST                       the same, given; another server's id: silence, and our offer is taken back
    RENEW, REBIND                 each address that it may keep; one it may not gets lifetimes of 0 and another beside
    CONFIRM                       whether its addresses belong on this link
    RELEASE                       its addresses are free at once, and remembered as its last
    DECLINE                       they are quarantined for ten minutes
    INFORMATION-REQUEST           options without an address
    IA_TA, IA_PD                  refused by status: we give neither temporary addresses nor prefixes

A renewal of a free address that we have no record of is granted: the record was lost with a disk, the client was not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from provisioner.bindings6 import MOST_ADDRESSES, AddressView6, Case, Decision6
from provisioner.clients6 import Arrival6, Client6, Network6, identify, link_addresses
from provisioner.events import CHOSE_ANOTHER, NO_FREE_ADDRESS, UNCOVERED
from provisioner.model.addresses import Lease, LeaseState
from provisioner.wire.dhcp6 import MessageType6, Option, Relayed
from provisioner.wire.dhcp6_options import (
    CLIENT_ID,
    IA_NA,
    IA_PD,
    IA_TA,
    RAPID_COMMIT,
    SERVER_ID,
    STATUS_CODE,
    IaNa,
    Status,
    check_duid,
    encode_status,
)

QUARANTINE = timedelta(minutes=10)


def decide6(relayed: Relayed, arrival: Arrival6, view: AddressView6, now: datetime, server: bytes) -> Decision6:
    """What to do with the message; changes nothing. `server` is our DUID. Raises WireError for a broken IA_NA."""
    message = relayed.message
    rule = _RULES.get(message.kind)
    answers = [each.kind.name for each in relayed.relays if each.kind is not MessageType6.RELAY_FORWARD]
    if rule is None or answers:
        return Decision6(reason="not for a server", detail=(*answers, message.kind.name)[0])
    client = identify(relayed, arrival, view.mac_of)
    fault = _fault(relayed, arrival)
    if fault:
        return Decision6(client=client, reason=fault, detail=message.kind.name)
    link = link_addresses(relayed, arrival)
    networks = view.networks(link)
    if not networks:
        return Decision6(client=client, reason=UNCOVERED, detail=", ".join(link))
    case = Case(relayed, client, arrival, view, now, networks)
    if arrival.address and not relayed.relays and message.kind in _TO_ONE_SERVER:
        return _use_multicast(client, networks)
    named = message.option(SERVER_ID)
    if named is not None and named != server:
        return case.silence(CHOSE_ANOTHER, named.hex(), withdrawn=case.offered())
    return rule(case)


def _fault(relayed: Relayed, arrival: Arrival6) -> str:
    """Why the message must be dropped (RFC 8415 section 16), '' when it need not."""
    message = relayed.message
    duid, named = message.option(CLIENT_ID), message.option(SERVER_ID)
    if named is not None:
        check_duid(named)
    if duid is not None:
        check_duid(duid)
    elif message.kind is not MessageType6.INFORMATION_REQUEST:
        return "no client id"
    if named is None and message.kind in _TO_ONE_SERVER:
        return "no server id"
    if named is not None and message.kind in _TO_ALL_SERVERS:
        return "a server id where none may be"
    if arrival.address and not relayed.relays and message.kind in _TO_ALL_SERVERS:
        return "sent to us alone and not to all servers"
    return ""


def _use_multicast(client: Client6, networks: Sequence[Network6]) -> Decision6:
    """RFC 8415 section 18.4: we never allow unicast."""
    status = (STATUS_CODE, encode_status(Status.USE_MULTICAST, "send to ff02::1:2"))
    why = "sent to us alone and not to all servers"
    return Decision6(client=client, reply=MessageType6.REPLY, reason=why, network=networks[0], associations=(status,))


_TO_ONE_SERVER = (MessageType6.REQUEST, MessageType6.RENEW, MessageType6.RELEASE, MessageType6.DECLINE)
_TO_ALL_SERVERS = (MessageType6.SOLICIT, MessageType6.CONFIRM, MessageType6.REBIND)


def _solicit(case: Case) -> Decision6:
    answers = [_assigned(case, ia) for ia in case.associations]
    why = NO_FREE_ADDRESS if case.associations and not case.given else ""
    detail = f"subnet {case.networks[0].subnet.name}" if why else ""
    if case.message.option(RAPID_COMMIT) is not None and case.given:
        return case.answer(answers, reply=MessageType6.REPLY, rapid=True, selecting=True, changes=case.saved())
    return case.answer(
        answers, reply=MessageType6.ADVERTISE, reason=why, detail=detail, selecting=True, held=case.held()
    )


def _assigned(case: Case, ia: IaNa, named_first: bool = False) -> Option:
    address = case.choose(ia, named_first)
    if not address:
        return case.association(ia, status=Status.NO_ADDRESSES, why=NO_FREE_ADDRESS)
    case.give(address, ia)
    return case.association(ia)


def _request(case: Case) -> Decision6:
    answers = []
    for ia in case.associations:
        if any(case.network(each.address) is None for each in ia.addresses):
            answers.append(case.association(ia, status=Status.NOT_ON_LINK, why="the address is on another network"))
        else:
            answers.append(_assigned(case, ia, named_first=True))
    why = "" if case.given or not case.associations else "nothing it asks for can be had"
    return case.answer(answers, reply=MessageType6.REPLY, reason=why, selecting=True, changes=case.saved())


def _extend(case: Case) -> Decision6:
    """RENEW and REBIND (RFC 8415 sections 18.3.4 and 18.3.5)."""
    named = [each.address for ia in case.associations for each in ia.addresses[:MOST_ADDRESSES]]
    if case.message.kind is MessageType6.REBIND and named and all(_foreign(case, each) for each in named):
        return case.silence("an address that another server gave", named[0])
    answers, gone = [], []
    for ia in case.associations:
        lost = _kept(case, ia)
        gone += [lease for each in lost if (lease := case.running(each, ia)) is not None]
        if not any(whose is ia for _, _, whose in case.given.values()) and (address := case.choose(ia)):
            case.give(address, ia)
        answers.append(case.association(ia, lost, Status.NO_BINDING, "it has no such address here"))
    lost_all = bool(named) and not case.given
    return case.answer(
        answers,
        reply=MessageType6.REPLY,
        reason="the address cannot be kept" if gone or lost_all else "",
        detail=", ".join(each.address for each in gone),
        changes=case.saved(gone),
    )


def _kept(case: Case, ia: IaNa) -> list[str]:
    """Give the association again what it may keep; returns what it may not."""
    reserved = case.reserved_address(ia)
    lost = []
    for each in ia.addresses[:MOST_ADDRESSES]:
        if case.may_have(each.address, ia) and reserved in ("", each.address):
            case.give(each.address, ia)
        elif each.address not in case.given:
            lost.append(each.address)
    return lost


def _foreign(case: Case, address: str) -> bool:
    """Whether the address is on this link and nothing of ours: not of a pool, not reserved, never leased."""
    found = case.network(address)
    if found is None or found.pools(address):
        return False
    return case.view.reservation(address) is None and case.view.lease(address) is None


def _confirm(case: Case) -> Decision6:
    named = [each.address for ia in case.associations for each in ia.addresses]
    if not named:
        return case.silence("confirm without an address")
    strange = [each for each in named if case.network(each) is None]
    if strange:
        status = encode_status(Status.NOT_ON_LINK, "the address is on another network")
        reason = "the address is on another network"
    else:
        status, reason = encode_status(Status.SUCCESS), ""
    return Decision6(
        client=case.client,
        reply=MessageType6.REPLY,
        network=case.networks[0],
        reason=reason,
        detail=", ".join(strange[:MOST_ADDRESSES]),
        associations=((STATUS_CODE, status),),
    )


def _give_up(case: Case) -> Decision6:
    """RELEASE and DECLINE: what the client has of these addresses ends."""
    declines = case.message.kind is MessageType6.DECLINE
    changes: list[Lease] = []
    answers: list[Option] = [(STATUS_CODE, encode_status(Status.SUCCESS))]
    for ia in case.associations:
        leases = [case.running(each.address, ia) for each in ia.addresses[:MOST_ADDRESSES]]
        found = [lease for lease in leases if lease is not None]
        # EDK2 asks under two IAIDs at once, gets one address, and releases one of the two while it uses the other.
        changes += [each for each in found if declines or each.client_id == case.client_id(ia)]
        if not found:
            answers.append(case.association(ia, status=Status.NO_BINDING, why="it has no such address here"))
    if declines:
        until = case.now + QUARANTINE
        ended = tuple(replace(each, state=LeaseState.QUARANTINED, expires_at=until) for each in changes)
    else:
        ended = tuple(map(case.ended, changes))
    return Decision6(
        client=case.client,
        reply=MessageType6.REPLY,
        network=case.networks[0],
        reason="" if changes else "it has no such address here under this IAID",
        associations=tuple(answers),
        changes=ended,
    )


def _inform(case: Case) -> Decision6:
    if any(case.message.option(code) is not None for code in (IA_NA, IA_TA, IA_PD)):
        return case.silence("information request with an address")
    return Decision6(client=case.client, reply=MessageType6.REPLY, network=case.networks[0], informs=True)


_RULES: dict[MessageType6, Callable[[Case], Decision6]] = {
    MessageType6.SOLICIT: _solicit,
    MessageType6.REQUEST: _request,
    MessageType6.RENEW: _extend,
    MessageType6.REBIND: _extend,
    MessageType6.CONFIRM: _confirm,
    MessageType6.RELEASE: _give_up,
    MessageType6.DECLINE: _give_up,
    MessageType6.INFORMATION_REQUEST: _inform,
}
