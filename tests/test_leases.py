"""The rules of addresses, as playbooks; and that no history gives an address to two clients."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from provisioner.dhcp_case import Offer, runs
from provisioner.leases import FOREVER, OFFER_HOLD, QUARANTINE, decide, is_endless
from provisioner.links import Arrival, Networks
from provisioner.model.addresses import LeaseState, Picker, Reservation, Subnet
from provisioner.wire.dhcp import BOOTREPLY, DhcpMessage, MessageType
from tests.dhcp_messages import decline, discover, inform, mac, message, reboot, release, renew, select
from tests.dhcp_site import ACK, HERE, NAK, NOW, OFFER, OTHER, SUBNET, UNICAST, Site
from tests.fakes.address_view import PlainView

# --- DISCOVER -------------------------------------------------------------------------------------------------


def test_a_new_client_is_offered_the_first_address_of_the_pool():
    site = Site()
    offer = site.hear(discover(1))
    assert (offer.reply, offer.address, offer.lease_seconds) == (OFFER, "10.77.0.10", 3600)
    assert (offer.holds, offer.changes) == ((Offer("10.77.0.10", mac(1), NOW + OFFER_HOLD),), ())
    assert offer.picked is Picker.NEXT_FREE


def test_two_clients_are_never_offered_the_same_address():
    site = Site()
    assert [site.hear(discover(client)).address for client in (1, 2, 3, 4)] == [
        "10.77.0.10", "10.77.0.11", "10.77.0.12", "10.77.0.13",
    ]  # fmt: skip


def test_an_offer_is_repeated_to_the_same_client():
    site = Site()
    assert site.hear(discover(1)).address == site.hear(discover(1)).address


def test_a_full_pool_means_silence_with_the_reason():
    site = Site()
    for client in range(4):
        site.hear(discover(client + 1))
    decision = site.hear(discover(5))
    assert (decision.reply, decision.reason, decision.detail) == (None, "no free address", "subnet rack")


def test_an_offer_that_nobody_took_is_free_again_after_a_minute():
    site = Site()
    for client in range(4):
        site.hear(discover(client + 1))
    site.wait(60)
    assert site.hear(discover(5)).address == "10.77.0.10"


def test_the_address_that_expired_longest_ago_is_reused_first():
    site = Site()
    for client, pause in ((1, 10), (2, 10), (3, 10), (4, 10)):
        site.lease(client)
        site.wait(pause)
    site.hear(renew(1, "10.77.0.10"))
    site.wait(4000)
    assert site.hear(discover(9)).address == "10.77.0.11"


def test_addresses_never_used_come_before_expired_ones():
    site = Site()
    site.lease(1)
    site.wait(4000)
    assert site.hear(discover(2)).address == "10.77.0.11"


def test_a_client_gets_its_last_address_again_although_it_expired():
    site = Site()
    site.lease(1)
    address = site.lease(2)
    site.wait(4000)
    assert site.hear(discover(2)).address == address


def test_a_hint_is_honoured_when_free():
    assert Site().hear(discover(1, "10.77.0.12")).address == "10.77.0.12"


@pytest.mark.parametrize("hint", ["10.77.0.10", "10.77.0.200", "192.168.1.1", "10.77.0.1"])
def test_a_hint_that_cannot_be_had_falls_through_to_the_next_free_address(hint):
    site = Site()
    site.lease(1)
    assert site.hear(discover(2, hint)).address == "10.77.0.11"


def test_an_offer_does_not_shorten_a_running_lease():
    site = Site()
    address = site.lease(1)
    offer = site.hear(discover(1))
    assert (offer.address, offer.holds, offer.changes) == (address, (), ())


def test_an_offer_on_a_lease_about_to_expire_holds_it_long_enough():
    site = Site()
    address = site.lease(1)
    site.wait(3595)
    site.hear(discover(1))
    assert site.view.offers[address].until == site.now + OFFER_HOLD
    site.wait(20)
    assert site.hear(discover(2, address)).address != address


def test_addresses_of_the_gateway_and_of_ours_are_never_given():
    subnet = Subnet(name="s", cidr="10.77.0.0/29", pool_start="10.77.0.0", pool_end="10.77.0.7", gateway="10.77.0.2")
    site = Site(subnets=(subnet,))
    offered = [site.hear(discover(client)).address for client in range(1, 7)]
    assert offered == ["10.77.0.3", "10.77.0.4", "10.77.0.5", "10.77.0.6", "", ""]


# --- reservations ---------------------------------------------------------------------------------------------


def test_a_reserved_address_is_offered_to_its_mac_only():
    site = Site(Reservation(address="10.77.0.10", mac=mac(7)))
    assert site.hear(discover(1)).address == "10.77.0.11"
    offer = site.hear(discover(7))
    assert (offer.address, offer.lease_seconds) == ("10.77.0.10", 7200)


def test_a_reservation_may_lie_outside_of_the_pool():
    site = Site(Reservation(address="10.77.0.99", mac=mac(7)))
    assert site.lease(7) == "10.77.0.99"


def test_a_reservation_on_another_network_is_left_aside():
    site = Site(Reservation(address="10.9.0.5", mac=mac(7)), Reservation(address="10.77.0.77", mac=mac(7)))
    assert site.hear(discover(7)).address == "10.77.0.77"
    assert site.hear(discover(7, giaddr="10.9.0.1")).address == "10.9.0.5"


def test_while_another_holds_the_reserved_address_the_client_gets_one_of_the_pool():
    site = Site()
    taken = site.lease(1)
    site.view.reservations.append(Reservation(address=taken, mac=mac(7)))
    assert site.lease(7) == "10.77.0.11"


def test_the_holder_of_an_address_reserved_for_another_is_refused_at_renewal():
    site = Site()
    taken = site.lease(1)
    site.view.reservations.append(Reservation(address=taken, mac=mac(7)))
    refusal = site.hear(renew(1, taken), UNICAST)
    assert (refusal.reply, refusal.reason, refusal.detail) == (NAK, "the address is reserved for another", mac(7))
    assert site.lease(7) == "10.77.0.11"
    assert site.lease(1) == "10.77.0.12"
    assert site.hear(renew(7, "10.77.0.11"), UNICAST).detail == taken
    assert site.lease(7) == taken


def test_a_refusal_that_is_lost_leaves_its_client_the_address_until_the_lease_ends():
    site = Site()
    taken = site.lease(1)
    site.view.reservations.append(Reservation(address=taken, mac=mac(7)))
    site.hear(renew(1, taken), UNICAST)
    site.wait(3599)
    assert site.lease(7) != taken
    site.wait(1)
    assert site.lease(7) == taken


def test_a_client_with_a_new_reservation_is_moved_to_it_at_renewal():
    site = Site()
    old = site.lease(7)
    site.view.reservations.append(Reservation(address="10.77.0.99", mac=mac(7)))
    assert site.hear(renew(7, old), UNICAST).reason == "another address is reserved for it"
    assert site.lease(7) == "10.77.0.99"
    assert site.state(old) is LeaseState.EXPIRED


def test_with_an_empty_pool_only_reservations_are_served():
    site = Site(Reservation(address="10.5.0.9", mac=mac(7)), subnets=(Subnet(name="s", cidr="10.5.0.0/24"),))
    arrival = Arrival("10.5.0.1")
    assert site.hear(discover(7), arrival).address == "10.5.0.9"
    assert site.hear(discover(1), arrival).reason == "no free address"


# --- REQUEST, SELECTING ---------------------------------------------------------------------------------------


def test_a_request_for_our_offer_is_acknowledged_for_the_whole_lease():
    site = Site()
    offer = site.hear(discover(1, options={12: b"node1", 61: b"\1abc"}))
    ack = site.hear(select(1, offer.address, options={12: b"node1", 61: b"\1abc"}))
    assert (ack.reply, ack.address, ack.selecting) == (ACK, offer.address, True)
    lease = site.view.leases[offer.address]
    assert (lease.state, lease.expires_at) == (LeaseState.ACKED, NOW + timedelta(seconds=3600))
    assert (lease.hostname, lease.client_id) == ("node1", "01616263")


def test_a_request_for_another_servers_offer_takes_ours_back():
    site = Site()
    offer = site.hear(discover(1))
    decision = site.hear(select(1, "10.77.0.200", server="10.77.0.2"))
    assert (decision.reply, decision.reason, decision.detail) == (
        None, "the client chose another server", "10.77.0.2",
    )  # fmt: skip
    assert site.view.offers == {}
    assert site.hear(discover(2)).address == offer.address


def test_choosing_another_server_does_not_end_a_lease_that_was_acknowledged():
    site = Site()
    address = site.lease(1)
    site.hear(select(1, "10.77.0.200", server="10.77.0.2"))
    assert site.state(address) is LeaseState.ACKED


def test_an_offer_taken_up_late_is_acknowledged_if_still_free():
    site = Site()
    address = site.hear(discover(1)).address
    site.wait(300)
    assert site.hear(select(1, address)).reply is ACK


def test_an_offer_taken_up_too_late_is_refused_when_another_has_the_address():
    site = Site()
    for client in (1, 2, 3, 4):
        site.hear(discover(client))
    site.wait(61)
    site.lease(5)
    refusal = site.hear(select(1, "10.77.0.10"))
    assert (refusal.reply, refusal.reason, refusal.detail) == (NAK, "the address is in use by another", mac(5))
    assert site.view.leases["10.77.0.10"].mac == mac(5)


@pytest.mark.parametrize(
    ("subnet", "reason"),
    [
        (replace(SUBNET, pool_start="10.77.0.12"), "the address is not in the pool"),
        (replace(SUBNET, gateway="10.77.0.10"), "the address is not in the pool"),
        (replace(SUBNET, only_reservations=True), "the address is not in the pool"),
        (replace(SUBNET, cidr="10.77.0.0/29", pool_start="10.77.0.4", pool_end="10.77.0.6"), "on another network"),
        (replace(SUBNET, enabled=False), "no enabled subnet covers the client"),
        (replace(SUBNET, proxy=True), "another server gives the addresses here"),
    ],
)
def test_an_offer_is_looked_at_again_when_it_is_taken_up(subnet, reason):
    site = Site()
    address = site.hear(discover(1)).address
    site.view.networks = Networks([subnet, OTHER])
    decision = site.hear(select(1, address))
    assert decision.reply is not ACK
    assert reason in decision.reason


def test_an_offer_of_an_address_that_was_reserved_for_another_meanwhile_is_refused():
    site = Site()
    address = site.hear(discover(1)).address
    site.view.reservations.append(Reservation(address=address, mac=mac(7)))
    refusal = site.hear(select(1, address))
    assert (refusal.reply, refusal.reason) == (NAK, "the address is reserved for another")


def test_an_offer_of_a_reserved_address_whose_reservation_is_gone_is_refused_outside_of_the_pool():
    site = Site(Reservation(address="10.77.0.99", mac=mac(7)))
    assert site.hear(discover(7)).address == "10.77.0.99"
    site.view.reservations.clear()
    assert site.hear(select(7, "10.77.0.99")).reason == "the address is not in the pool"


def test_an_offer_holds_although_another_address_was_reserved_for_the_client_until_it_renews():
    site = Site()
    address = site.hear(discover(1)).address
    site.view.reservations.append(Reservation(address="10.77.0.99", mac=mac(1)))
    ack = site.hear(select(1, address))
    assert (ack.reply, ack.lease_seconds) == (ACK, 3600)
    assert site.hear(renew(1, address), UNICAST).reason == "another address is reserved for it"


def test_a_request_without_an_address_is_ignored():
    site = Site()
    assert site.hear(message(MessageType.REQUEST, 1)).reason == "request without an address"
    chosen = message(MessageType.REQUEST, 1, {54: b"\x0a\x4d\0\1"})
    assert site.hear(chosen).reason == "request without an address"


# --- REQUEST, INIT-REBOOT, RENEWING, REBINDING ----------------------------------------------------------------


@pytest.mark.parametrize("arrival", [HERE, UNICAST])
def test_a_renewal_extends_the_lease(arrival):
    site = Site()
    address = site.lease(1)
    site.wait(1800)
    ack = site.hear(renew(1, address), arrival)
    assert (ack.reply, ack.address, ack.selecting) == (ACK, address, False)
    assert site.view.leases[address].expires_at == site.now + timedelta(seconds=3600)


def test_a_rebooted_client_is_confirmed():
    site = Site()
    address = site.lease(1)
    ack = site.hear(reboot(1, address))
    assert (ack.reply, ack.address, ack.selecting) == (ACK, address, True)


def test_a_rebooted_client_we_have_no_record_of_is_confirmed_if_the_address_is_free():
    site = Site()
    assert site.hear(reboot(1, "10.77.0.12")).reply is ACK
    assert site.view.leases["10.77.0.12"].mac == mac(1)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.168.1.5", "the address is on another network"),
        ("10.9.0.10", "the address is on another network"),
        ("10.77.0.200", "the address is not in the pool"),
        ("10.77.0.10", "the address is in use by another"),
        ("10.77.0.1", "the address is in use by another"),
    ],
)
def test_an_address_that_the_client_cannot_have_is_refused(address, reason):
    site = Site()
    site.lease(2)
    refusal = site.hear(reboot(1, address))
    assert (refusal.reply, refusal.reason, refusal.changes) == (NAK, reason, ())


def test_a_client_that_moved_here_with_a_running_lease_from_there_is_refused():
    site = Site()
    offer = site.hear(discover(1, giaddr="10.9.0.1"))
    site.hear(select(1, offer.address, giaddr="10.9.0.1"))
    assert site.hear(renew(1, offer.address)).reason == "the address is on another network"


def test_a_renewal_by_unicast_from_behind_a_relay_is_confirmed_although_no_relay_touched_it():
    site = Site()
    offer = site.hear(discover(1, giaddr="10.9.0.1"))
    site.hear(select(1, offer.address, giaddr="10.9.0.1"))
    assert site.hear(renew(1, offer.address), UNICAST).reply is ACK


def test_when_the_pool_has_shrunk_its_former_addresses_are_refused():
    site = Site()
    address = site.lease(1)
    smaller = Subnet(name="rack", cidr="10.77.0.0/24", pool_start="10.77.0.20", pool_end="10.77.0.29")
    site.view.networks = Networks([smaller])
    assert site.hear(renew(1, address), UNICAST).reason == "the address is not in the pool"
    assert site.lease(1) == "10.77.0.20"
    assert site.state(address) is LeaseState.EXPIRED


# --- DECLINE, RELEASE, INFORM ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "kind"), [("10.77.0.13", ACK), ("10.9.0.1", NAK)])
def test_an_old_request_that_comes_late_takes_nothing_back_that_was_offered_since(old, kind):
    site = Site()
    address = site.hear(discover(1)).address
    assert site.hear(select(1, old)).reply is kind
    assert site.view.offers[address].mac == mac(1)
    assert site.hear(discover(2)).address != address


def test_a_declined_address_is_quarantined_for_ten_minutes():
    site = Site()
    address = site.lease(1)
    decision = site.hear(decline(1, address))
    assert (decision.reply, site.state(address)) == (None, LeaseState.QUARANTINED)
    assert site.view.leases[address].expires_at == NOW + QUARANTINE
    assert site.hear(discover(1)).address == "10.77.0.11"
    assert site.hear(discover(2, address)).address == "10.77.0.12"


def test_after_quarantine_the_address_is_used_again():
    site = Site()
    site.hear(decline(1, site.lease(1)))
    site.wait(600)
    assert site.hear(discover(1)).address == "10.77.0.10"


def test_a_decline_by_someone_else_changes_nothing():
    site = Site()
    address = site.lease(1)
    assert site.hear(decline(2, address)).reason == "declined an address that it does not have"
    assert site.state(address) is LeaseState.ACKED


def test_a_released_address_is_free_at_once_but_remembered():
    site = Site()
    for client in (1, 2, 3, 4):
        site.lease(client)
    decision = site.hear(release(2, "10.77.0.11"), UNICAST)
    assert (decision.reply, decision.reason, site.state("10.77.0.11")) == (None, "", LeaseState.EXPIRED)
    assert site.hear(discover(2)).address == "10.77.0.11"


def test_a_release_by_someone_else_changes_nothing():
    site = Site()
    address = site.lease(1)
    assert site.hear(release(2, address), UNICAST).changes == ()
    assert site.state(address) is LeaseState.ACKED


def test_inform_is_answered_without_an_address_and_without_a_lease():
    decision = Site().hear(inform(1, "10.77.0.50"), UNICAST)
    assert (decision.reply, decision.address, decision.changes, decision.lease_seconds) == (ACK, "", (), 0)


# --- silence --------------------------------------------------------------------------------------------------

ELSEWHERE = Arrival("172.16.0.1", "eth1")


@pytest.mark.parametrize(
    "asked",
    [
        discover(1), select(1, "172.16.0.9", "172.16.0.1"), reboot(1, "172.16.0.9"), renew(1, "172.16.0.9"),
        decline(1, "172.16.0.9"), release(1, "172.16.0.9"), inform(1, "172.16.0.9"),
        discover(1, giaddr="172.16.9.1"), reboot(1, "10.77.0.10", giaddr="172.16.9.1"),
    ],
)  # fmt: skip
def test_on_someone_elses_network_there_is_silence_and_never_a_nak(asked):
    decision = Site().hear(asked, ELSEWHERE)
    assert (decision.reply, decision.reason) == (None, "no enabled subnet covers the client")
    assert decision.changes == ()


def test_a_disabled_subnet_is_someone_elses_network():
    site = Site(
        subnets=(Subnet(name="s", cidr="10.77.0.0/24", pool_start="10.77.0.9", pool_end="10.77.0.9", enabled=False),)
    )
    assert site.hear(reboot(1, "10.77.0.9")).reason == "no enabled subnet covers the client"


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (DhcpMessage(mac=mac(1), op=BOOTREPLY), "a reply of another DHCP server"),
        (DhcpMessage(mac=mac(1), options={53: b"\x63"}), "unknown message type"),
        (discover(1, op=BOOTREPLY), "a reply of another DHCP server"),
        (message(OFFER, 1, op=BOOTREPLY), "a reply of another DHCP server"),
        (discover(1, mac=""), "no hardware address"),
        (discover(1, mac="00:00:00:00:00:00"), "no hardware address"),
    ],
)
def test_what_is_not_a_clients_request_is_ignored(asked, reason):
    decision = Site().hear(asked)
    assert (decision.reply, decision.reason, decision.network) == (None, reason, None)


def test_a_lease_for_ever_is_told_from_one_that_ends_also_years_later():
    ends = NOW + timedelta(seconds=FOREVER)
    assert is_endless(ends, NOW) and is_endless(ends, NOW + timedelta(days=10_000))
    assert not is_endless(NOW + timedelta(days=10_000), NOW)


# --- every history --------------------------------------------------------------------------------------------

CLIENTS = 6
steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["discover", "discover", "hint", "select", "select", "elsewhere", "reboot", "renew", "decline", "release",
             "wait", "wait long", "restart", "reserve", "unreserve"]
        ),
        st.integers(1, CLIENTS),
        st.integers(8, 15),
    ),
    max_size=80,
)  # fmt: skip


class History:
    """A server through any sequence of messages, and what each client believes to hold."""

    def __init__(self):
        self.site = Site()
        self.offers = {}
        self.believed = {}

    def step(self, what, client, last_octet):
        address = f"10.77.0.{last_octet}"
        mine = self.believed.get(client, (address, None))[0]
        match what:
            case "discover":
                self.answer(client, self.site.hear(discover(client)))
            case "hint":
                self.answer(client, self.site.hear(discover(client, address)))
            case "select":
                self.answer(client, self.site.hear(select(client, self.offers.get(client, address))))
            case "elsewhere":
                self.site.hear(select(client, address, server="10.77.0.2"))
            case "reboot":
                self.answer(client, self.site.hear(reboot(client, address)))
            case "renew":
                self.answer(client, self.site.hear(renew(client, mine), UNICAST))
            case "decline":
                self.site.hear(decline(client, mine))
                self.believed.pop(client, None)
            case "release":
                self.site.hear(release(client, mine), UNICAST)
                self.believed.pop(client, None)
            case "wait":
                self.site.wait(last_octet)
            case "wait long":
                self.site.wait(last_octet * 300)
            case "restart":
                view = self.site.view
                self.site.view = PlainView((SUBNET, OTHER), view.reservations, view.leases.values())
            case "reserve":
                self.unreserve(client)
                if self.site.view.reservation(address) is None:
                    self.site.view.reservations.append(Reservation(address=address, mac=mac(client)))
            case "unreserve":
                self.unreserve(client)

    def unreserve(self, client):
        view = self.site.view
        view.reservations = [each for each in view.reservations if each.mac != mac(client)]

    def answer(self, client, decision):
        if decision.reply is OFFER:
            self.offers[client] = decision.address
            self.check_nobody_else_has(client, decision.address)
        elif decision.reply is ACK:
            self.check_nobody_else_has(client, decision.address)
            until = self.site.now + timedelta(seconds=decision.lease_seconds)
            self.believed[client] = (decision.address, until)
        elif decision.reply is NAK:
            self.believed.pop(client, None)

    def check_nobody_else_has(self, client, address):
        for other, (held, until) in self.believed.items():
            assert other == client or held != address or until <= self.site.now


@settings(max_examples=400, deadline=None)
@given(steps)
def test_no_address_is_given_to_two_clients_in_any_history(history):
    run = History()
    for step in history:
        run.step(*step)


@settings(max_examples=200, deadline=None)
@given(steps)
def test_no_address_is_on_offer_to_two_clients_in_any_history(history):
    run = History()
    for step in history:
        run.step(*step)
        taken = {lease.address for lease in run.site.view.leases.values() if runs(lease, run.site.now)}
        taken |= {offer.address for offer in run.site.view.offers.values() if offer.until > run.site.now}
        decision = decide(discover(99), HERE, run.site.view, run.site.now)
        assert decision.address not in taken
