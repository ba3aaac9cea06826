"""DHCP clients that nobody here wrote, on a network of their own: busybox's udhcpc without an address to begin with."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager

import pytest

from tests.peers.programs import program, root

pytestmark = pytest.mark.peer

MAC = "52:54:00:77:01:{:02x}"
SCRIPT = """#!/bin/sh
echo "$1 $ip $router $dns $domain $ntpsrv $lease $siaddr $serverid" >> "{out}"
case "$1" in
bound|renew) {ip} addr replace "$ip/24" dev "$interface" ;;
deconfig) {ip} addr flush dev "$interface" ;;
esac
"""


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (command, output.decode())
    return output.decode()


class Network:
    """Two namespaces joined by a cable: the server's and the clients'."""

    def __init__(self, folder):
        self.server = f"pv-s{os.getpid()}"
        self.clients = f"pv-c{os.getpid()}"
        self.folder = folder
        self.ip = program("ip", "iproute2")
        self._process = None

    async def up(self):
        for name in (self.server, self.clients):
            await run(self.ip, "netns", "add", name)
            await run(self.ip, "-n", name, "link", "set", "lo", "up")
        await run(
            self.ip, "-n", self.server, "link", "add", "srv0", "type", "veth", "peer", "name", "cli0",
            "netns", self.clients,
        )  # fmt: skip
        await run(self.ip, "-n", self.server, "addr", "add", "10.77.0.1/24", "dev", "srv0")
        await run(self.ip, "-n", self.server, "link", "set", "srv0", "up")
        await run(self.ip, "-n", self.clients, "link", "set", "cli0", "up")

    async def down(self):
        await self.stop_server()
        there = await run(self.ip, "netns", "list")
        for name in (self.server, self.clients):
            if name in there:
                await run(self.ip, "netns", "delete", name)

    async def start_server(self):
        self._process = await asyncio.create_subprocess_exec(
            self.ip, "netns", "exec", self.server, sys.executable, "-m", "tests.peers.dhcp_server",
            str(self.folder / "db"), stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert await asyncio.wait_for(self._process.stdout.readline(), 30) == b"ready\n"

    async def stop_server(self):
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
            # asyncio keeps the pipe open otherwise, until the collector complains.
            self._process._transport.close()
            self._process = None

    async def card(self, number):
        """Give the client's card the MAC of client `number`."""
        await run(self.ip, "-n", self.clients, "addr", "flush", "dev", "cli0")
        await run(self.ip, "-n", self.clients, "link", "set", "cli0", "address", MAC.format(number))

    async def udhcpc(self, *options):
        """One run of udhcpc: what its script was told, a line for each call."""
        out, script = self.folder / "said", self.folder / "script"
        script.write_text(SCRIPT.format(out=out, ip=self.ip))
        script.chmod(0o755)
        out.unlink(missing_ok=True)
        await run(
            self.ip, "netns", "exec", self.clients, program("busybox", "busybox"), "udhcpc", "-i", "cli0", "-n", "-q",
            "-f", "-t", "5", "-T", "1", "-s", str(script), *options,
        )  # fmt: skip
        return [line.split() for line in out.read_text().splitlines()]


@asynccontextmanager
async def network(folder):
    root()
    made = Network(folder)
    try:
        await made.up()
        await made.start_server()
        yield made
    finally:
        await made.down()


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
