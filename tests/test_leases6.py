"""The rules of DHCPv6, and that no history of messages gives an address to two."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from provisioner.clients6 import Arrival6
from provisioner.leases6 import decide6
from provisioner.model.addresses import LeaseState, Reservation, Subnet
from provisioner.wire.dhcp6 import Dhcp6Message, MessageType6, Relay, Relayed, encode
from provisioner.wire.dhcp6_options import CLIENT_ID, IA_NA, RAPID_COMMIT, SERVER_ID, decode_ia
from provisioner.wire.error import WireError
from tests.dhcp6_messages import (
    PRIVATE,
    SERVER,
    arrival,
    ia,
    llt_duid,
    mac,
    message,
    relayed,
    request,
    solicit,
    to_server,
    uuid_duid,
)
from tests.fakes.address_view6 import View6

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POOL = Subnet(name="rack", cidr="fd00:77::/64", pool_start="fd00:77::10", pool_end="fd00:77::15")
HALL = Subnet(name="hall", cidr="fd00:9::/64", pool_start="fd00:9::10", pool_end="fd00:9::12")
RESERVED = Reservation(address="fd00:77::12", mac=mac(3))


def decide(packet, at=None, view=None, now=NOW):
    return decide6(packet, at or arrival(packet.message.xid), view or View6(POOL, HALL), now, SERVER)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (message(MessageType6.ADVERTISE, 1), "not for a server"),
        (message(MessageType6.RECONFIGURE, 1), "not for a server"),
        (Relayed(solicit(1).message, (Relay(kind=MessageType6.RELAY_REPLY, link="fd00:77::1"),)), "not for a server"),
        (Relayed(Dhcp6Message(kind=MessageType6.SOLICIT)), "no client id"),
        (message(MessageType6.REQUEST, 1, ia()), "no server id"),
        (message(MessageType6.RENEW, 1, ia()), "no server id"),
        (to_server(MessageType6.SOLICIT, 1, ia()), "a server id where none may be"),
        (to_server(MessageType6.REBIND, 1, ia()), "a server id where none may be"),
        (message(MessageType6.REQUEST, 1, (SERVER_ID, b"\0\3\0\1other"), ia()), "the client chose another server"),
        (message(MessageType6.CONFIRM, 1, ia()), "confirm without an address"),
        (message(MessageType6.INFORMATION_REQUEST, 1, ia()), "information request with an address"),
        (message(MessageType6.REBIND, 1, ia(1, "fd00:77::77")), "an address that another server gave"),
        (relayed(solicit(1), "fd00:55::1", 1), "no enabled subnet covers the client"),
    ],
)
def test_silence_has_a_reason(packet, reason):
    decision = decide(packet)
    assert (decision.reply, decision.reason) == (None, reason)
    assert decision.changes == decision.held == ()


def test_a_duid_of_impossible_length_is_refused():
    with pytest.raises(WireError, match="DUID"):
        decide(solicit(1, duid=b"\0"))


def test_a_server_id_of_impossible_length_is_refused():
    with pytest.raises(WireError, match="DUID"):
        decide(message(MessageType6.REQUEST, 1, (SERVER_ID, bytes(60_000)), ia()))


def test_what_is_told_of_a_confirm_with_a_thousand_addresses_is_short():
    strange = [f"fd00:55::{number:x}" for number in range(1, 1001)]
    decision = decide(message(MessageType6.CONFIRM, 1, ia(1, *strange)))
    assert decision.reason == "the address is on another network" and len(decision.detail) < 200


def test_an_information_request_needs_no_client_id():
    decision = decide(Relayed(Dhcp6Message(kind=MessageType6.INFORMATION_REQUEST)), arrival(1))
    assert (decision.reply, decision.configures) == (MessageType6.REPLY, True)


def test_only_so_many_associations_are_answered():
    decision = decide(solicit(1, *(ia(number) for number in range(20))))
    assert len([1 for code, _ in decision.associations if code == IA_NA]) == 8


# --- histories ------------------------------------------------------------------------------------------------

clients = st.integers(1, 6)
pooled = st.integers(0x0E, 0x17).map(lambda last: f"fd00:77::{last:x}")


class Histories(RuleBasedStateMachine):
    """Clients that say whatever clients say, in any order, and what each may believe to hold afterwards."""

    def __init__(self):
        super().__init__()
        self.view = View6(POOL, HALL, reservations=[RESERVED])
        self.now = NOW
        # Address to client and the time until which it holds it.
        self.held = {}

    def say(self, number, packet, private=False):
        at = PRIVATE if private else arrival(number)
        decision = decide6(packet, at, self.view, self.now, SERVER)
        self.view.apply(decision)
        if decision.reply is not MessageType6.REPLY:
            return
        for code, value in decision.associations:
            if code != IA_NA:
                continue
            for each in decode_ia(value).addresses:
                if each.valid:
                    self.take(number, each.address, each.valid)
                else:
                    self.held.pop((number, each.address), None)

    def take(self, number, address, seconds):
        others = [
            who for (who, what), until in self.held.items() if what == address and who != number and until > self.now
        ]
        assert not others, f"{address} of {others} was given to {number}"
        reserved = self.view.reservation(address)
        assert reserved is None or reserved.mac == mac(number)
        self.held[number, address] = self.now + timedelta(seconds=seconds)

    @rule(number=clients, iaid=st.integers(1, 3), hint=pooled, rapid=st.booleans(), llt=st.booleans())
    def solicits(self, number, iaid, hint, rapid, llt):
        duid = llt_duid(number) if llt else uuid_duid(number)
        more = ((RAPID_COMMIT, b""),) if rapid else ()
        self.say(number, solicit(number, ia(iaid, hint), *more, duid=duid), private=llt)

    @rule(number=clients, address=pooled)
    def requests(self, number, address):
        self.say(number, request(number, address))

    @rule(number=clients, address=pooled, kind=st.sampled_from([MessageType6.RENEW, MessageType6.REBIND]))
    def extends(self, number, address, kind):
        build = to_server if kind is MessageType6.RENEW else message
        self.say(number, build(kind, number, ia(1, address)))

    @rule(number=clients, address=pooled, kind=st.sampled_from([MessageType6.RELEASE, MessageType6.DECLINE]))
    def gives_up(self, number, address, kind):
        # Whoever gives up an address uses it no more; that of another cannot be given up.
        self.held.pop((number, address), None)
        self.say(number, to_server(kind, number, ia(1, address)))

    @rule(seconds=st.integers(1, 4000))
    def time_passes(self, seconds):
        self.now += timedelta(seconds=seconds)

    @rule()
    def the_server_restarts(self):
        self.view.offers.clear()

    @invariant()
    def every_lease_is_of_an_address_of_ours(self):
        for address, lease in self.view.leases.items():
            assert lease.state is not LeaseState.OFFERED
            assert address.startswith(("fd00:77::1", "fd00:9::1"))


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestHistories = Histories.TestCase


options = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 90), st.binary(max_size=40)),
        st.builds(ia, st.integers(0, 2**32 - 1), pooled),
        st.sampled_from([(SERVER_ID, SERVER), (CLIENT_ID, uuid_duid(1)), (CLIENT_ID, llt_duid(2))]),
    ),
    max_size=8,
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(list(MessageType6)), options, st.booleans(), st.sampled_from(["fd00:77::1", "fd00:9::1", "::"]))
def test_whatever_is_said_the_answer_is_a_decision_or_a_wire_error(kind, some, multicast, link):
    packet = Relayed(Dhcp6Message(kind=kind, xid=1, options=tuple(some)))
    at = Arrival6("fe80::1", ("fd00:77::1",), "eth0", 2, "" if multicast else "fd00:77::1")
    for each in (packet, relayed(packet, link, 1)):
        try:
            decision = decide(each, at)
        except WireError:
            continue
        assert decision.reply in (None, MessageType6.ADVERTISE, MessageType6.REPLY)
        assert bool(decision.reply) or decision.reason
        encode(each)
