"""DHCP clients that nobody here wrote, on a network of their own: busybox's udhcpc without an address to begin with."""

from __future__ import annotations

import pytest

from tests.peers.cable import Cable4

pytestmark = pytest.mark.peer


def network(folder):
    return Cable4(folder, "tests.peers.dhcp_server")


@pytest.mark.parametrize("options", [[], ["-B"], ["-C"]], ids=["unicast", "broadcast", "no-client-id"])
async def test_udhcpc_gets_a_lease_with_all_it_needs(tmp_path, options):
    async with network(tmp_path) as net:
        await net.card(1)
        *_, bound = await net.udhcpc("-O", "ntpsrv", *options)
        assert bound == [
            "bound", "10.77.0.10", "10.77.0.1", "10.77.0.1", "peers.test", "10.77.0.3", "3600", "10.77.0.1",
        ]  # fmt: skip


async def test_clients_get_different_addresses_and_each_its_own_again(tmp_path):
    async with network(tmp_path) as net:
        addresses = {}
        for number in (1, 2, 3, 1, 2, 3):
            await net.card(number)
            addresses.setdefault(number, set()).add((await net.udhcpc())[-1][1])
        assert addresses == {1: {"10.77.0.10"}, 2: {"10.77.0.11"}, 3: {"10.77.0.12"}}


async def test_leases_outlive_a_killed_server(tmp_path):
    async with network(tmp_path) as net:
        await net.card(1)
        await net.udhcpc()
        await net.stop_server()
        await net.start_server()
        await net.card(2)
        assert (await net.udhcpc())[-1][1] == "10.77.0.11"
        await net.card(1)
        assert (await net.udhcpc())[-1][1] == "10.77.0.10"


async def test_a_wish_of_the_client_is_granted(tmp_path):
    async with network(tmp_path) as net:
        await net.card(1)
        assert (await net.udhcpc("-r", "10.77.0.55"))[-1][1] == "10.77.0.55"
