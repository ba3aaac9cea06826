"""Configured options: encoded once for each subnet, reservation and address of ours, and for each client where they
name it.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from provisioner.conductor.configured_options import ConfiguredOptions
from provisioner.leases import Decision
from provisioner.links import Arrival, network
from provisioner.model.addresses import Reservation, Subnet
from provisioner.wire.dhcp import MessageType
from tests.dhcp_messages import OVMF, discover, mac
from tests.test_conductor_addresses import SUBNET, machine, running

PLAIN = Subnet(name="plain", cidr="10.77.0.0/24")
RACK = Subnet(
    name="rack",
    cidr="10.77.0.0/24",
    options={"42": "10.77.0.3", "150": "{{ server.address }}", "17": "/{{ client.mac }}", "15": "{{ machine.name }}"},
)
HERE, THERE = Arrival("10.77.0.1", "eth0"), Arrival("10.77.0.2", "eth0")


def offer(subnet, reservation=None):
    return Decision(reply=MessageType.OFFER, address="10.77.0.9", network=network(subnet), reservation=reservation)


def test_each_client_gets_what_names_it_and_all_get_the_rest():
    options = ConfiguredOptions(100)
    assert options.fixed(HERE, offer(RACK)) == {42: bytes((10, 77, 0, 3)), 150: bytes((10, 77, 0, 1))}
    for client in (1, 2):
        own = options.own(discover(client), HERE, offer(RACK), None)
        assert own == {17: f"/{mac(client)}".encode()}


def test_our_address_is_the_one_by_which_the_client_reaches_us():
    options = ConfiguredOptions(100)
    assert [options.fixed(each, offer(RACK))[150][-1] for each in (HERE, THERE)] == [1, 2]


def test_the_options_of_a_reservation_go_before_those_of_its_subnet():
    options = ConfiguredOptions(100)
    reserved = Reservation(address="10.77.0.9", mac=mac(1), options={"42": "10.77.0.4", "17": "/fixed"})
    assert options.fixed(HERE, offer(RACK, reserved))[42][-1] == 4
    assert options.fixed(HERE, offer(RACK))[42][-1] == 3


def test_a_change_counts_after_forgetting():
    options = ConfiguredOptions(100)
    options.fixed(HERE, offer(RACK))
    changed = Subnet(name="rack", cidr="10.77.0.0/24", options={"42": "10.77.0.5"})
    options.forget()
    assert options.fixed(HERE, offer(changed)) == {42: bytes((10, 77, 0, 5))}


def test_what_cannot_be_encoded_is_left_out_and_told_once():
    options = ConfiguredOptions(100)
    with capture_logs() as logs:
        for client in (1, 2, 3):
            options.own(discover(client), HERE, offer(RACK), None)
    assert [(each["event"], each["option"]) for each in logs] == [("dhcp.option-unusable", "15")]


def test_without_configured_options_there_are_none():
    options = ConfiguredOptions(100)
    assert options.own(discover(1), HERE, offer(PLAIN), None) == options.fixed(HERE, offer(PLAIN)) == {}
    assert options.fixed(HERE, Decision()) == {}


def test_no_more_is_kept_than_allowed():
    options = ConfiguredOptions(2)
    for number in range(5):
        assert options.fixed(Arrival(f"10.77.0.{number}"), offer(RACK))[150][-1] == number
    assert len(options._kept) <= 2


@pytest.fixture
async def server(tmp_path):
    async with running(tmp_path / "db") as server:
        await server.save(
            replace(
                SUBNET, options={"17": "/{{ client.mac }}", "150": "{{ server.address }}", "15": "{{ machine.name }}"}
            ),
            machine("node1", mac(2)),
        )
        yield server


async def test_a_client_that_asks_for_them_gets_its_own_values_and_the_shared_ones(server):
    asked = {55: bytes([1, 15, 17, 150])}
    stranger, known = await server.hear(discover(1, options=asked), discover(2, options=asked))
    assert (stranger.options[17], known.options[17]) == tuple(f"/{mac(client)}".encode() for client in (1, 2))
    assert stranger.options[150] == known.options[150] == bytes((10, 77, 0, 1))
    # A stranger has no machine to be named after: it gets the subnet's own domain.
    assert (stranger.options[15], known.options[15]) == (b"lab.example", b"node1")


async def test_a_client_that_does_not_ask_for_them_gets_none(server):
    [offer] = await server.hear(discover(1, options={55: bytes([1, 3])}))
    assert not {15, 17, 150} & offer.options.keys()


async def test_a_template_names_the_boot_file_of_each_machine(server):
    await server.save(replace(SUBNET, options={"67": "boot/{{ machine.name if machine else 'new' }}.efi"}))
    stranger, known = await server.hear(discover(1, options=OVMF), discover(2, options=OVMF))
    assert (stranger.file, known.file) == ("boot/new.efi", "boot/node1.efi")
