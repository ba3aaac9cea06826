"""Beside dnsmasq, which gives the addresses: PXE clients hear both servers, and nobody else hears us."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest
from msgspec import json

from provisioner.model.addresses import Subnet
from tests.peers.cable import MAC, Cable4, run
from tests.peers.programs import program

pytestmark = pytest.mark.peer

OURS, THEIRS = "10.77.0.1", "10.77.0.254"
SUBNET = Subnet(name="office", cidr="10.77.0.0/24", proxy=True)


class SharedNetwork(Cable4):
    """A cable with a third namespace on the same wire, in which dnsmasq gives the addresses."""

    def __init__(self, folder):
        super().__init__(folder, "tests.peers.dhcp_server", json.encode([SUBNET]).decode())
        self.other = f"pv-o{os.getpid()}"
        self._dnsmasq = None

    async def up(self):
        await super().up()
        ip = self.ip
        await run(ip, "netns", "add", self.other)
        await run(ip, "-n", self.server, "addr", "flush", "dev", "srv0")
        await run(ip, "-n", self.server, "link", "add", "br0", "type", "bridge")
        await run(
            ip, "-n", self.server, "link", "add", "oth0", "type", "veth", "peer", "name", "dns0", "netns", self.other
        )
        for link in ("srv0", "oth0"):
            await run(ip, "-n", self.server, "link", "set", link, "master", "br0", "up")
        await run(ip, "-n", self.server, "addr", "add", f"{OURS}/24", "dev", "br0")
        await run(ip, "-n", self.server, "link", "set", "br0", "up")
        await run(ip, "-n", self.other, "addr", "add", f"{THEIRS}/24", "dev", "dns0")
        await run(ip, "-n", self.other, "link", "set", "dns0", "up")

    async def down(self):
        if self._dnsmasq is not None:
            self._dnsmasq.kill()
            await self._dnsmasq.wait()
        await super().down()
        if self.other in await run(self.ip, "netns", "list"):
            await run(self.ip, "netns", "delete", self.other)

    async def start_server(self):
        await self.start_other()
        await super().start_server()

    async def start_other(self):
        self._dnsmasq = await asyncio.create_subprocess_exec(
            self.ip, "netns", "exec", self.other, program("dnsmasq", "dnsmasq-base"), "--keep-in-foreground",
            "--conf-file=/dev/null", "--port=0", "--no-ping", "--interface=dns0", "--bind-interfaces", "--user=root",
            "--dhcp-range=10.77.0.100,10.77.0.120,1h", f"--dhcp-leasefile={self.folder / 'leases'}", "--pid-file=",
            "--dhcp-authoritative", stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    async def pxe(self, number, *arguments):
        """What a PXE client hears: a list of words for each answer, by the server's address."""
        await self.card(number)
        if arguments:
            await run(self.ip, "-n", self.clients, "addr", "add", "10.77.0.150/24", "dev", "cli0")
        told = await run(
            self.ip, "netns", "exec", self.clients, sys.executable, "-m", "tests.peers.pxe_client", "cli0",
            MAC.format(number), *arguments,
        )  # fmt: skip
        return {words[0]: words[1:] for words in map(str.split, told.splitlines())}

    async def events(self):
        """What our server has told of so far."""
        told = []
        while True:
            try:
                told.append((await asyncio.wait_for(self._process.stdout.readline(), 0.5)).decode().split())
            except TimeoutError:
                return told


async def test_beside_dnsmasq_pxe_clients_hear_both_and_nobody_else_hears_us(tmp_path):
    async with SharedNetwork(tmp_path) as net:
        heard = await net.pxe(1)
        assert heard[OURS] == ["OFFER", "-", "ipxe/undionly.kpxe", "PXEClient"]
        assert heard[THEIRS][0] == "OFFER" and heard[THEIRS][1].startswith("10.77.0.1")

        answered = await net.pxe(2, OURS)
        assert answered == {OURS: ["ACK", "-", "ipxe/snponly.efi", "PXEClient"]}

        await net.card(3)
        *_, bound = await net.udhcpc()
        assert bound[0] == "bound" and bound[-1] == THEIRS

        assert await net.events() == [
            ["dhcp.proxy", MAC.format(1), "ipxe/undionly.kpxe"],
            ["dhcp.proxy", MAC.format(2), "ipxe/snponly.efi"],
        ]
