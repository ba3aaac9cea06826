"""The search for other DHCP servers, on a network where dnsmasq is one and our own service another."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from ipaddress import IPv4Network

import pytest

from provisioner.findings import ForeignServer
from provisioner.model.addresses import Subnet
from provisioner.raw_sockets import connected_networks, raw
from provisioner.services.server_search import ServerSearch, served_interfaces
from tests.lab import Lab
from tests.peers.programs import program

pytestmark = pytest.mark.peer


@pytest.fixture
def lab():
    """A server with two cards and a foreign server at the end of each cable."""
    with Lab() as made:
        for name in ("server", "rogue", "helper"):
            made.namespace(name)
        made.cable("server", "srv0", "rogue", "eth0")
        made.cable("server", "srv1", "helper", "eth0")
        made.do("server", "addr add 10.77.0.1/24 dev srv0", "addr add 10.78.0.1/24 dev srv1")
        made.do("rogue", "addr add 10.77.0.250/24 dev eth0")
        made.do("helper", "addr add 10.78.0.250/24 dev eth0")
        yield made


@asynccontextmanager
async def dnsmasq(lab, name, *options):
    process = await asyncio.create_subprocess_exec(
        *lab.command(
            name, program("dnsmasq", "dnsmasq-base"), "-k", "-C", "/dev/null", "--port=0", "--log-dhcp", "--no-ping",
            "--log-facility=-", "--leasefile-ro", "--user=root", "--pid-file=", "--interface=eth0", *options
        ),
        stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    said = b""
    while b"DHCP" not in said:
        line = await asyncio.wait_for(process.stderr.readline(), 10)
        assert line, said
        said += line
    try:
        yield
    finally:
        process.terminate()
        await process.communicate()


async def search(lab, interfaces, ours=frozenset()):
    sockets = lab.opened("server", raw)
    try:
        return await ServerSearch(sockets.frames, sockets.offers, lambda: interfaces, lambda: ours, 1.0)()
    finally:
        sockets.close()


async def test_a_foreign_server_is_found_where_it_is_with_what_it_offers(lab):
    async with dnsmasq(lab, "rogue", "--dhcp-range=10.77.0.77,10.77.0.77"):
        found = await search(lab, ["srv0", "srv1"])
    assert found == [ForeignServer("10.77.0.250", "srv0", "10.77.0.77")]


async def test_a_foreign_server_of_boot_files_is_found(lab):
    async with dnsmasq(lab, "helper", "--dhcp-range=10.78.0.0,proxy", "--pxe-service=X86-64_EFI,boot,boot.efi"):
        found = await search(lab, ["srv1"])
    assert found == [ForeignServer("10.78.0.250", "srv1")]


async def test_a_server_of_ours_is_none_to_report(lab):
    async with dnsmasq(lab, "rogue", "--dhcp-range=10.77.0.77,10.77.0.77"):
        assert await search(lab, ["srv0"], frozenset({"10.77.0.250"})) == []


async def test_without_another_server_none_is_found(lab):
    assert await search(lab, ["srv0", "srv1"]) == []


async def test_an_interface_that_is_gone_is_passed_over(lab):
    async with dnsmasq(lab, "rogue", "--dhcp-range=10.77.0.77,10.77.0.77"):
        found = await search(lab, ["eth9", "srv0"])
    assert [each.interface for each in found] == ["srv0"]


def test_the_networks_of_a_host_are_those_on_its_interfaces(lab):
    with lab.inside("server"):
        assert {(name, str(net)) for name, net in connected_networks()} == {
            ("srv0", "10.77.0.0/24"), ("srv1", "10.78.0.0/24"),
        }  # fmt: skip


def test_only_networks_on_which_we_give_addresses_are_searched():
    connected = [(name, IPv4Network(net)) for name, net in (
        ("br0", "10.77.0.0/24"), ("br1", "10.78.0.0/24"), ("br2", "10.79.0.0/24"), ("eth9", "192.0.2.0/24"),
    )]  # fmt: skip
    subnets = [
        Subnet(name="a", cidr="10.77.0.0/25"),
        Subnet(name="b", cidr="10.78.0.0/24", proxy=True),
        Subnet(name="c", cidr="10.79.0.0/24"),
        Subnet(name="d", cidr="192.0.2.0/24", enabled=False),
        Subnet(name="e", cidr="fd00:1::/64"),
    ]
    assert served_interfaces(connected, subnets, ()) == ["br0", "br2"]
    assert served_interfaces(connected, subnets, ["br2", "br1"]) == ["br2"]
