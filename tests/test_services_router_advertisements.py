"""What is advertised on which link; sending is tried with real clients in tests/peers."""

from __future__ import annotations

import asyncio
import socket

from provisioner.model.addresses import Subnet
from provisioner.services.interfaces6 import Interface6
from provisioner.services.router_advertisements import RouterAdvertisements, advertisement
from provisioner.wire.router_advertisement import Prefix

RACK = Subnet(name="rack", cidr="fd00:77::/64", dns_servers=("fd00:77::53",), router_advertisements=True)
ETH0 = Interface6("eth0", 2, "fe80::5054:ff:fe77:101", ("fd00:77::1",))


def with_(**fields):
    values = {name: getattr(RACK, name) for name in RACK.__struct_fields__}
    return Subnet(**values | fields)


def test_the_subnet_of_the_link_is_told_with_its_name_servers():
    said = advertisement(ETH0, [RACK])
    assert said is not None
    assert [str(each.network) for each in said.prefixes] == ["fd00:77::/64"]
    assert isinstance(said.prefixes[0], Prefix)
    assert (said.router_seconds, said.dns, said.mac) == (0, ("fd00:77::53",), "52:54:00:77:01:01")


def test_nothing_is_told_where_no_subnet_wants_it():
    for subnet in (
        with_(router_advertisements=False),
        with_(enabled=False),
        with_(cidr="fd00:9::/64"),
        Subnet(name="four", cidr="10.0.0.0/24"),
    ):
        assert advertisement(ETH0, [subnet]) is None


def test_we_are_a_router_only_when_the_gateway_is_ours():
    assert advertisement(ETH0, [with_(gateway="fd00:77::1")]).router_seconds > 0
    assert advertisement(ETH0, [with_(gateway="fd00:77::2")]).router_seconds == 0


async def test_it_ends_cleanly_and_closes_its_socket():
    ours, theirs = (socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(2))
    ours.bind(("::1", 0))
    service = RouterAdvertisements(ours, lambda: [RACK], pause=lambda: 3600)
    task = asyncio.create_task(service.run())
    await asyncio.sleep(0)
    theirs.sendto(b"nonsense", ours.getsockname())
    while not service.dropped["no packet information"]:  # noqa: ASYNC110
        await asyncio.sleep(0)
    service.look()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ours.fileno() == -1
    theirs.close()
