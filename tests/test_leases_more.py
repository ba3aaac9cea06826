"""The rules of addresses where links, pickers, reservations of all kinds and BOOTP come in."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from provisioner.leases import FOREVER, renewal_times
from provisioner.links import Arrival, Networks
from provisioner.model.addresses import LeaseState, Picker, Reservation, Subnet
from provisioner.wire.dhcp import DhcpMessage
from tests.dhcp_messages import SERVER, decline, discover, inform, mac, reboot, renew, select
from tests.dhcp_site import ACK, NAK, NOW, OTHER, SUBNET, UNICAST, Site

# --- shared networks ------------------------------------------------------------------------------------------

FIRST = Subnet(
    name="first", cidr="10.77.0.0/24", pool_start="10.77.0.10", pool_end="10.77.0.11", shared_network="floor"
)
SECOND = Subnet(
    name="second", cidr="10.78.0.0/24", pool_start="10.78.0.10", pool_end="10.78.0.11", shared_network="floor"
)


def shared(*reservations, first=FIRST, second=SECOND):
    return Site(*reservations, subnets=(first, second, OTHER))


def test_when_the_first_subnet_of_a_link_is_full_the_others_help_out():
    site = shared()
    assert [site.lease(client) for client in range(1, 5)] == ["10.77.0.10", "10.77.0.11", "10.78.0.10", "10.78.0.11"]
    decision = site.hear(discover(5))
    assert (decision.reply, decision.detail) == (None, "subnet first, second")


def test_the_reply_is_of_the_subnet_that_the_address_lies_in():
    site = shared(first=replace(FIRST, only_reservations=True), second=replace(SECOND, lease_seconds=600))
    offer = site.hear(discover(1))
    assert (offer.address, offer.network.subnet.name, offer.lease_seconds) == ("10.78.0.10", "second", 600)


@pytest.mark.parametrize("giaddr", ["", "10.77.0.1", "10.78.0.1"])
def test_a_client_keeps_its_address_on_any_subnet_of_its_link(giaddr):
    site = shared()
    assert site.lease(1, "10.78.0.11") == "10.78.0.11"
    assert site.hear(reboot(1, "10.78.0.11", giaddr=giaddr)).reply is ACK
    assert site.hear(discover(1, giaddr=giaddr)).address == "10.78.0.11"


def test_an_address_reserved_on_another_subnet_of_the_link_is_given():
    site = shared(Reservation(address="10.78.0.99", mac=mac(7)))
    assert site.lease(7) == "10.78.0.99"


def test_of_two_reserved_addresses_the_client_gets_the_one_it_asks_for_else_that_of_its_own_subnet():
    site = shared(Reservation(address="10.78.0.99", mac=mac(7)), Reservation(address="10.77.0.99", mac=mac(7)))
    assert site.hear(discover(7)).address == "10.77.0.99"
    assert site.hear(discover(7, "10.78.0.99")).address == "10.78.0.99"
    assert site.hear(discover(7, giaddr="10.78.0.1")).address == "10.78.0.99"


def test_a_client_that_moved_to_another_link_is_refused_there():
    site = shared()
    address = site.lease(1)
    assert site.hear(reboot(1, address, giaddr="10.9.0.1")).reason == "the address is on another network"


def test_no_address_of_ours_on_the_interface_is_given():
    arrival = Arrival(SERVER, "eth0", also=("10.77.0.12",))
    assert Site().hear(discover(1, "10.77.0.12"), arrival).address == "10.77.0.10"


# --- pickers --------------------------------------------------------------------------------------------------


def picking(*pickers):
    return Site(subnets=(replace(SUBNET, pickers=pickers),))


def test_pickers_are_tried_in_their_order():
    site = picking(Picker.MOST_EXPIRED, Picker.NEXT_FREE)
    site.lease(1)
    site.wait(4000)
    offer = site.hear(discover(2, "10.77.0.13"))
    assert (offer.address, offer.picked) == ("10.77.0.10", Picker.MOST_EXPIRED)
    assert site.hear(discover(3)).picked is Picker.NEXT_FREE


def test_without_the_hint_picker_a_wish_is_not_heard():
    assert picking(Picker.NEXT_FREE).hear(discover(1, "10.77.0.13")).address == "10.77.0.10"


def test_a_taken_hint_falls_through_to_the_next_picker_and_never_to_silence():
    site = picking(Picker.HINT, Picker.MOST_EXPIRED)
    site.lease(1, "10.77.0.12")
    site.lease(2, "10.77.0.13")
    site.wait(4000)
    site.lease(2)
    offer = site.hear(discover(3, "10.77.0.13"))
    assert (offer.address, offer.picked) == ("10.77.0.12", Picker.MOST_EXPIRED)


def test_the_picker_none_gives_newcomers_nothing_and_lets_known_clients_be():
    site = Site()
    address = site.lease(1)
    site.view.networks = Networks([replace(SUBNET, pickers=(Picker.NONE,))])
    assert site.hear(discover(2)).reason == "no free address"
    assert site.hear(reboot(2, "10.77.0.13")).reason == "the address is not in the pool"
    assert site.hear(discover(1)).address == address
    assert site.hear(renew(1, address), UNICAST).reply is ACK


def test_with_only_reservations_former_clients_of_the_pool_are_refused_at_renewal():
    site = Site()
    address = site.lease(1)
    site.view.networks = Networks([replace(SUBNET, only_reservations=True)])
    assert site.hear(renew(1, address), UNICAST).reason == "the address is not in the pool"
    assert site.hear(discover(1)).reason == "no free address"


def test_what_a_client_had_before_was_not_picked():
    site = Site()
    site.lease(1)
    assert site.hear(discover(1)).picked is None


# --- proxy subnets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [discover(1), select(1, "10.77.0.10"), reboot(1, "10.77.0.99"), reboot(1, "192.168.1.1"), inform(1, "10.77.0.9")],
)
def test_where_another_server_gives_addresses_we_give_none_and_refuse_nobody(asked):
    decision = Site(subnets=(replace(SUBNET, proxy=True),)).hear(asked)
    assert (decision.reply, decision.reason) == (None, "another server gives the addresses here")
    assert (decision.detail, decision.holds, decision.changes) == ("subnet rack", (), ())


# --- what else a reservation says -----------------------------------------------------------------------------


def test_what_a_reservation_says_holds_also_while_its_address_cannot_be_had():
    site = Site()
    taken = site.lease(1)
    reservation = Reservation(address=taken, mac=mac(7), boot_file="-")
    site.view.reservations.append(reservation)
    offer = site.hear(discover(7))
    assert (offer.address, offer.reservation, offer.lease_seconds) == ("10.77.0.11", reservation, 3600)


def test_a_scoped_reservation_says_nothing_on_another_link():
    site = Site(Reservation(address="10.9.0.5", mac=mac(7), hostname="web"))
    assert site.hear(discover(7)).reservation is None


def test_a_reservation_that_is_not_scoped_speaks_for_its_mac_everywhere():
    reservation = Reservation(address="10.9.0.5", mac=mac(7), hostname="web", scoped=False)
    offer = Site(reservation).hear(discover(7))
    assert (offer.address, offer.reservation, offer.lease_seconds) == ("10.77.0.10", reservation, 3600)


def test_a_scoped_reservation_goes_before_one_that_is_not():
    near = Reservation(address="10.77.0.5", mac=mac(7))
    site = Site(Reservation(address="10.9.0.5", mac=mac(7), scoped=False), near)
    assert site.hear(discover(7)).reservation == near


def test_a_reservation_of_an_ipv6_address_is_none_of_dhcpv4s_business():
    site = Site(Reservation(address="fd00::5", mac=mac(7), scoped=False))
    assert site.hear(discover(7)).reservation is None


# --- BOOTP ----------------------------------------------------------------------------------------------------


def bootp(client, **fields):
    return DhcpMessage(mac=mac(client), xid=client, **fields)


def test_plain_bootp_gets_the_reserved_address_for_ever():
    site = Site(Reservation(address="10.77.0.99", mac=mac(7)))
    decision = site.hear(bootp(7))
    assert (decision.reply, decision.bootp, decision.address, decision.lease_seconds) == (ACK, True, "10.77.0.99", 0)
    assert site.view.leases["10.77.0.99"].expires_at == NOW + timedelta(seconds=FOREVER)


def test_plain_bootp_without_a_reservation_is_ignored():
    assert Site().hear(bootp(1)).reason == "plain BOOTP is served by reservation only"


def test_plain_bootp_waits_until_the_reserved_address_is_free():
    site = Site()
    taken = site.lease(1)
    site.view.reservations.append(Reservation(address=taken, mac=mac(7)))
    decision = site.hear(bootp(7))
    assert (decision.reply, decision.detail) == (None, f"{taken} by {mac(1)}")
    site.wait(3600)
    assert site.hear(bootp(7)).address == taken


def test_a_bootp_client_that_has_another_address_already_is_left_alone():
    site = Site(Reservation(address="10.77.0.99", mac=mac(7)))
    assert site.hear(bootp(7, ciaddr="10.77.0.20")).reason == "another address is reserved for it"
    assert site.hear(bootp(7, ciaddr="10.77.0.99")).reply is ACK


def test_a_machine_that_goes_on_from_bootp_to_dhcp_gets_a_lease_with_an_end():
    site = Site(Reservation(address="10.77.0.99", mac=mac(7)))
    site.hear(bootp(7))
    assert site.lease(7) == "10.77.0.99"
    assert site.view.leases["10.77.0.99"].expires_at == NOW + timedelta(seconds=7200)


# --- lease times ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "seconds", "times"),
    [
        ({}, 3600, (1800, 3150)),
        ({"renew_seconds": 600}, 3600, (600, 3150)),
        ({"renew_seconds": 600, "rebind_seconds": 900}, 3600, (600, 900)),
        ({"rebind_seconds": 900}, 3600, (900, 900)),
        ({}, FOREVER, (0, 0)),
        ({"renew_seconds": 600}, FOREVER, (0, 0)),
    ],
)
def test_when_a_lease_is_renewed_and_rebound(more, seconds, times):
    assert renewal_times(replace(SUBNET, **more), seconds) == times


# --- late and repeated messages -------------------------------------------------------------------------------


def test_a_request_that_was_sent_again_is_acknowledged_again():
    site = Site()
    address = site.lease(1)
    assert site.hear(select(1, address)).reply is ACK


def test_an_old_request_that_comes_late_does_not_end_the_lease_that_the_client_has_by_now():
    site = Site()
    old = site.hear(discover(1)).address
    site.wait(61)
    newer = site.lease(1, "10.77.0.13")
    assert newer != old and site.hear(select(1, old)).reply is ACK
    assert site.state(newer) is LeaseState.ACKED


def test_who_takes_up_a_new_offer_gives_up_its_former_address():
    site = Site()
    old = site.lease(7)
    site.view.reservations.append(Reservation(address="10.77.0.99", mac=mac(7)))
    assert site.lease(7) == "10.77.0.99"
    assert site.state(old) is LeaseState.EXPIRED


def test_one_mac_with_several_client_ids_is_one_client():
    site = Site()
    ids = [b"\0" + bytes(16), b"\1\x52\x54\0\0\0\1", b"\xff" + bytes(18)]
    assert len({site.hear(discover(1, options={61: each})).address for each in ids}) == 1


def test_the_reason_for_refusing_a_quarantined_address_is_quarantine():
    site = Site()
    address = site.lease(1)
    site.hear(decline(1, address))
    assert site.hear(reboot(2, address)).reason == "the address is in quarantine"


def test_a_burst_of_thirty_that_ask_twice_each_get_thirty_addresses_and_no_refusal():
    site = Site(subnets=(replace(SUBNET, pool_end="10.77.0.39"),))
    offers = {client: site.hear(discover(client)).address for client in (*range(1, 31), *range(30, 0, -1))}
    assert len(set(offers.values())) == 30
    assert {site.hear(select(client, address)).reply for client, address in offers.items()} == {ACK}


# --- our own addresses ----------------------------------------------------------------------------------------

OURS_TOO = Arrival(SERVER, "eth0", also=("10.77.0.10", "10.77.0.12"))


def test_no_address_of_the_interface_is_given_out_though_it_lies_in_the_pool():
    site = Site()
    assert [site.hear(discover(client), OURS_TOO).address for client in (1, 2, 3)] == ["10.77.0.11", "10.77.0.13", ""]


def test_an_address_of_ours_that_a_client_had_before_we_did_is_not_given_to_the_next_one():
    site = Site()
    site.lease(1, "10.77.0.12")
    site.wait(100_000)
    assert {site.hear(discover(client), OURS_TOO).address for client in (2, 3, 4)} == {"10.77.0.11", "10.77.0.13", ""}
    assert site.hear(renew(1, "10.77.0.12"), OURS_TOO).reply is NAK


@pytest.mark.parametrize("address", [SERVER, "10.77.0.10"])
def test_an_address_of_ours_is_not_given_to_the_one_it_is_reserved_for(address):
    site = Site(Reservation(address=address, mac=mac(7)))
    assert site.hear(discover(7), OURS_TOO).address == "10.77.0.11"
    assert site.hear(reboot(7, address), OURS_TOO).reply is NAK
    assert site.hear(DhcpMessage(mac=mac(7)), OURS_TOO).reply is None


def test_no_address_of_another_interface_of_ours_is_given_out():
    arrival = Arrival(SERVER, "eth0", elsewhere=("10.9.0.10", "10.9.0.11"))
    assert Site().hear(discover(1, giaddr="10.9.0.1"), arrival).address == "10.9.0.12"


def test_a_client_that_chose_another_address_of_ours_keeps_its_offer():
    site, arrival = Site(), Arrival(SERVER, "eth0", elsewhere=("10.9.0.1",))
    offered = site.hear(discover(1), arrival).address
    silence = site.hear(select(1, offered, "10.9.0.1"), arrival)
    assert (silence.reply, silence.reason, silence.holds) == (None, "the client chose another address of ours", ())
    assert site.hear(select(1, offered), arrival).reply is ACK


# --- declining everything -------------------------------------------------------------------------------------


def test_a_client_that_declines_whatever_it_gets_leaves_the_rest_of_the_pool_to_others():
    site = Site(subnets=[replace(SUBNET, pool_end="10.77.0.19")])
    for _ in range(20):
        site.hear(decline(1, site.lease(1)))
    assert [site.state(f"10.77.0.1{last}") for last in range(5)] == [LeaseState.QUARANTINED] * 4 + [LeaseState.ACKED]
    assert site.hear(decline(1, "10.77.0.14")).reason == "declined too many addresses"
    assert site.lease(2) == "10.77.0.15"
    site.wait(601)
    assert site.hear(decline(1, "10.77.0.14")).reason == ""
