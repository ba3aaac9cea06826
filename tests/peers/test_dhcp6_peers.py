"""DHCPv6 clients that nobody here wrote, on a network of their own: dhclient, dhcpcd, systemd-networkd, perfdhcp."""

from __future__ import annotations

import asyncio
import os
import re

import pytest

from tests.peers.cable import MAC, Cable, run
from tests.peers.programs import missing, program

pytestmark = pytest.mark.peer

FIRST = "fd00:77::100"
DHCLIENT_SCRIPT = """#!/bin/sh
echo "$reason $new_ip6_address $new_dhcp6_name_servers $new_dhcp6_domain_search" >> "{out}"
"""
DHCPCD_SCRIPT = """#!/bin/sh
echo "$reason $new_dhcp6_ia_na1_ia_addr1 $nd1_flags $nd1_prefix_information1_flags" >> "{out}"
"""
NETWORKD = "/usr/lib/systemd/systemd-networkd"
NETWORKD_SCRIPT = """
mount -t tmpfs none /run
mkdir -p /run/systemd/network /run/systemd/netif/leases /run/systemd/netif/links /run/systemd/netif/lldp
chown -R systemd-network /run/systemd/netif
cp {network} /run/systemd/network/10-test.network
mount -o remount,bind,ro /sys || mount -t sysfs -o ro none /sys
SYSTEMD_LOG_LEVEL=debug exec {networkd}
"""
NETWORK = """[Match]
Name=cli0
[Network]
DHCP=ipv6
LinkLocalAddressing=ipv6
IPv6AcceptRA=yes
[DHCPv6]
WithoutRA=solicit
DUIDType=link-layer
"""


class Network(Cable):
    """A cable with addresses of IPv6."""

    def __init__(self, folder, lease_seconds=3600):
        super().__init__(folder, "tests.peers.dhcp6_server", str(lease_seconds))

    async def up(self):
        await super().up()
        for name in (self.server, self.clients):
            # Otherwise an address cannot be used before a second has passed.
            await self.inside(name, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
            await self.inside(name, "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0")
        await run(self.ip, "-n", self.server, "addr", "add", "fd00:77::1/64", "dev", "srv0", "nodad")
        await run(self.ip, "-n", self.server, "link", "set", "srv0", "addrgenmode", "eui64", "up")
        await self.card(1)

    async def card(self, number):
        """Give the client's card the MAC of client `number`, and a link-local address made of it."""
        link = (self.ip, "-n", self.clients, "link", "set", "cli0")
        await run(*link, "down")
        await run(*link, "address", MAC.format(number), "addrgenmode", "eui64")
        await run(*link, "up")
        for _ in range(100):
            shown = await run(self.ip, "-n", self.clients, "-6", "addr", "show", "dev", "cli0", "-tentative")
            if "fe80" in shown:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(shown)

    def script(self, text):
        out, script = self.folder / "said", self.folder / "script"
        script.write_text(text.format(out=out))
        script.chmod(0o755)
        out.unlink(missing_ok=True)
        return out, str(script)

    def dhclient_command(self, script, *options):
        files = ("-lf", str(self.folder / "leases"), "-pf", str(self.folder / "pid"))
        return program("dhclient", "isc-dhcp-client"), "-6", "-sf", script, *files, *options, "cli0"

    async def dhclient(self, *options):
        """One run of dhclient: what its script was told, a line for each call. It stays behind; `-x` ends it."""
        out, script = self.script(DHCLIENT_SCRIPT)
        await self.inside(self.clients, *self.dhclient_command(script, "-1", *options))
        await self.inside(self.clients, *self.dhclient_command("/bin/true", "-x"))
        return [line.split() for line in out.read_text().splitlines()]


async def until(condition):
    """Look again and again until it is so; the test's timeout ends it otherwise."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def test_dhclient_gets_a_lease_with_all_it_needs_confirms_and_releases_it(tmp_path):
    async with Network(tmp_path) as net:
        bound = (await net.dhclient())[-1]
        assert bound == ["BOUND6", FIRST, "fd00:77::53", "peers.test."]
        # With the lease kept it asks whether that is right here (CONFIRM).
        assert (await net.dhclient())[-1][1] == FIRST
        out, script = net.script(DHCLIENT_SCRIPT)
        await net.inside(net.clients, *net.dhclient_command(script, "-r"))
        assert out.read_text().split()[0] == "RELEASE6"


async def test_dhclient_renews_and_keeps_its_address(tmp_path):
    async with Network(tmp_path, lease_seconds=4) as net:
        out, script = net.script(DHCLIENT_SCRIPT)
        await net.inside(net.clients, *net.dhclient_command(script, "-1"))
        try:
            await until(lambda: "RENEW6" in out.read_text())
        finally:
            await net.inside(net.clients, *net.dhclient_command("/bin/true", "-x"))
        [renewed, *_] = [line.split() for line in out.read_text().splitlines() if line.startswith("RENEW6")]
        assert renewed[1] == FIRST


async def test_each_client_gets_its_own_address_again_also_from_a_killed_server(tmp_path):
    async with Network(tmp_path) as net:
        addresses = {}
        for number in (1, 2, 1):
            await net.card(number)
            (tmp_path / "leases").unlink(missing_ok=True)
            addresses.setdefault(number, set()).add((await net.dhclient())[-1][1])
        assert addresses == {1: {FIRST}, 2: {"fd00:77::101"}}
        await net.stop_server()
        await net.start_server()
        (tmp_path / "leases").unlink()
        assert (await net.dhclient())[-1][1] == FIRST


async def test_dhcpcd_is_told_by_the_router_advertisement_to_ask(tmp_path):
    async with Network(tmp_path) as net:
        out, script = net.script(DHCPCD_SCRIPT)
        config = tmp_path / "dhcpcd.conf"
        config.write_text("duid\nnoipv4\nipv6only\nslaac hwaddr\n")
        (tmp_path / "db").touch()
        for name in ("lib", "run"):
            (tmp_path / name).mkdir()
        dhcpcd = f"{program('dhcpcd', 'dhcpcd-base')} -6 -1 -B -f {config} -t 15 -c {script} cli0"
        binds = f"mkdir -p /var/lib/dhcpcd /run/dhcpcd; mount --bind {tmp_path}/lib /var/lib/dhcpcd"
        await net.inside(
            net.clients, "unshare", "-m", "sh", "-c", f"{binds}; mount --bind {tmp_path}/run /run/dhcpcd; {dhcpcd}"
        )
        told = [line.split() for line in out.read_text().splitlines()]
        assert ["ROUTERADVERT", "MO", "L"] in told
        assert told[-1] == ["BOUND6", FIRST]


async def test_networkd_gets_the_address_that_another_client_of_the_machine_had(tmp_path):
    if not os.access(NETWORKD, os.X_OK):
        missing("systemd-networkd is not installed (apt-get install systemd)")
    async with Network(tmp_path) as net:
        await net.dhclient()
        (tmp_path / "cli0.network").write_text(NETWORK)
        script = NETWORKD_SCRIPT.format(network=tmp_path / "cli0.network", networkd=NETWORKD)
        process = await asyncio.create_subprocess_exec(
            net.ip, "netns", "exec", net.clients, "unshare", "-m", "sh", "-c", script,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            said = ""
            while "DHCPv6 addresses and routes set" not in said:
                line = await asyncio.wait_for(process.stdout.readline(), 30)
                assert line, said
                said += line.decode()
        finally:
            process.terminate()
            await process.communicate()
        assert re.search(rf"DHCPv6 address .*{FIRST}/128", said), said


async def test_a_relay_is_answered_through_itself(tmp_path):
    async with Network(tmp_path) as net:
        await run(net.ip, "-n", net.clients, "addr", "add", "fd00:77::99/64", "dev", "cli0", "nodad")
        perfdhcp = program("perfdhcp", "kea-admin")
        command = (perfdhcp, "-6", "-A1", "-r", "20", "-n", "30", "-R", "30", "-l", "fd00:77::99", "fd00:77::1")
        # It ends without waiting for the last answers, and says so by its exit code; a busy host may owe it many.
        said = await net.inside(net.clients, "sh", "-c", f"{' '.join(command)} || test $? = 3")
        received = [int(each) for each in re.findall(r"received packets: (\d+)", said)]
        assert len(received) == 2 and min(received) >= 5, said
        assert "non unique addresses: 0" in said and "rejected leases: 0" in said
