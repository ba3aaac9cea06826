"""DHCP clients as they are installed on servers, each on a cable of its own, through good cables and bad ones.

All of them run at once, on good cables and on such as lose, double and swap frames; each test then tells what became
of one of them. The kernel that tests run on need not have netem: the bad cables are carried by hand (tests/lab.py).
Lease times are shorter than an operator may set, so that a lease is renewed while we look.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from msgspec import json

from provisioner.model.addresses import Subnet
from tests.lab import BadCable, Lab, sniffer
from tests.peers.programs import missing, program, root

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]

TIMES = {"lease_seconds": 20, "renew_seconds": 2, "rebind_seconds": 5}
# Lost, doubled, swapped with the next.
CABLES = {"good": (0.0, 0.0, 0.0), "1%": (0.01, 0.01, 0.01), "10%": (0.1, 0.05, 0.05)}
LONGEST_SECONDS = 40
NETWORKD = "/lib/systemd/systemd-networkd"
RELAYED_CLIENTS = 20


def subnet(name, net):
    return Subnet(
        name=name, cidr=f"{net}.0/24", pool_start=f"{net}.10", pool_end=f"{net}.99", gateway=f"{net}.1", **TIMES
    )


SUBNETS = [subnet("clients", "10.77.0"), *(subnet(f"relay{place}", f"10.78.{place}") for place in range(len(CABLES)))]


class Server:
    """Our server in its namespace, with what it tells."""

    def __init__(self) -> None:
        self.told: dict[str, list[str]] = {}
        self._news = asyncio.Condition()

    async def listen(self, stream: asyncio.StreamReader) -> None:
        async for line in stream:
            kind, mac, _ = line.decode().split(" ", 2)
            async with self._news:
                self.told.setdefault(mac, []).append(kind)
                self._news.notify_all()

    async def until(self, mac: str, kind: str, count: int = 1) -> None:
        """Wait until so many such events were told of a MAC, or of those that begin so."""

        def told() -> bool:
            return sum(kinds.count(kind) for each, kinds in self.told.items() if each.startswith(mac)) >= count

        async with self._news:
            await self._news.wait_for(told)


class Client:
    """One client program in a namespace of its own, at the end of its cable."""

    def __init__(self, lab: Lab, server: Server, name: str, mac: str, folder: Path) -> None:
        self.lab = lab
        self.server = server
        self.name = name
        self.mac = mac
        self.folder = folder
        folder.mkdir()

    async def start(self, *argv: str) -> asyncio.subprocess.Process:
        log = (self.folder / "log").open("ab")
        process = await asyncio.create_subprocess_exec(
            *self.lab.command(self.name, *argv), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )
        log.close()
        return process

    async def lives(self, process: asyncio.subprocess.Process, release: Callable[[], Awaitable[None]]) -> None:
        """A lease, a renewal at the least, and its end; the end is only heard of where no frame gets lost."""
        await self.server.until(self.mac, "dhcp.ack", 2)
        await release()
        if "good" in self.name:
            await self.server.until(self.mac, "dhcp.release")
        await end(process)

    def script(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        await process.wait()


# --- the clients ----------------------------------------------------------------------------------------------


async def udhcpc(client: Client) -> None:
    script = client.script(
        "script",
        '#!/bin/sh\ncase "$1" in bound|renew) ip addr replace "$ip/24" dev eth0 ;;'
        " deconfig) ip link set eth0 up; ip addr flush dev eth0 ;; esac\n",
    )
    process = await client.start(
        program("busybox", "busybox"), "udhcpc", "-f", "-i", "eth0", "-s", script, "-t", "9", "-T", "1", "-A", "1", "-R"
    )
    await client.server.until(client.mac, "dhcp.ack")
    # It waits for half of the lease whatever option 58 says, unless it is told.
    process.send_signal(signal.SIGUSR1)

    async def release() -> None:
        process.send_signal(signal.SIGUSR2)

    await client.lives(process, release)


async def dhclient(client: Client) -> None:
    script = client.script(
        "script",
        '#!/bin/sh\ncase "$reason" in PREINIT) ip link set eth0 up ;;\n'
        'BOUND|RENEW|REBIND|REBOOT) ip addr replace "$new_ip_address/24" dev eth0 ;;\n'
        "EXPIRE|FAIL|RELEASE|STOP) ip addr flush dev eth0 ;; esac\n",
    )
    config = client.script("conf", "timeout 30; retry 1; initial-interval 1; backoff-cutoff 2; initial-delay 0;\n")
    files = ["-cf", config, "-sf", script, "-lf", str(client.folder / "leases"), "-pf", str(client.folder / "pid")]
    argv = [program("dhclient", "isc-dhcp-client"), "-4", *files, "eth0"]
    process = await client.start(*argv[:1], "-d", *argv[1:])

    async def release() -> None:
        releasing = await client.start(*argv[:1], "-r", *argv[1:])
        await releasing.wait()

    await client.lives(process, release)


async def dhcpcd(client: Client) -> None:
    config = client.script("conf", "ipv4only\nnoarp\nnohook resolv.conf, hostname\nclientid\n")
    own = "mount -t tmpfs tmpfs /run && mkdir -p /run/dhcpcd && mount -t tmpfs tmpfs /var/lib/dhcpcd && exec "
    dhcpcd_program = program("dhcpcd", "dhcpcd-base")
    process = await client.start("sh", "-c", f"{own} {dhcpcd_program} -4 -B -f {config} -c /bin/true eth0")

    async def release() -> None:
        # Of the signals and messages for this, dhcpcd 9 with its several processes loses one now and then.
        inside = ["nsenter", "-t", str(process.pid), "-m", "-n"]
        while process.returncode is None:
            asked = await asyncio.create_subprocess_exec(
                *inside, dhcpcd_program, "-4", "-k", "-f", config, "eth0", stderr=asyncio.subprocess.DEVNULL
            )
            await asked.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 2)

    await client.lives(process, release)


async def networkd(client: Client) -> None:
    if shutil.which(NETWORKD) is None:
        missing(f"{NETWORKD} is not installed (apt-get install systemd)")
    network = client.script(
        "10-eth0.network",
        "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
        "[DHCPv4]\nClientIdentifier=mac\nSendRelease=yes\n",
    )
    # Without udev to wait for, which a read-only /sys says there is none of; and without a bus.
    own = (
        "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases"
        " && chown -R systemd-network /run/systemd/netif && mount -o remount,ro /sys"
        f" && cp {network} /run/systemd/network/ && exec {NETWORKD}"
    )
    process = await client.start("sh", "-c", own)

    async def release() -> None:
        process.terminate()

    await client.lives(process, release)


async def perfdhcp(client: Client) -> None:
    """As a relay for many clients; it neither repeats what gets lost nor wants all of it."""
    net = f"10.78.{list(CABLES).index(client.name.split('-')[1])}"
    client.lab.do(client.name, f"addr add {net}.2/24 dev eth0")
    process = await client.start(
        program("perfdhcp", "kea-admin"), "-4", "-g", "single", "-l", "eth0", "-b", f"mac={client.mac}", "-r", "20",
        "-R", str(RELAYED_CLIENTS), "-n", str(2 * RELAYED_CLIENTS), "-f", "5", "-F", "5", "-W", "1000000", f"{net}.1",
    )  # fmt: skip
    # Its status is 3 when something got lost, and it takes it for a loss that a RELEASE gets no answer.
    assert await process.wait() in (0, 3)
    said = (client.folder / "log").read_text()
    if "good" in client.name:
        assert [line for line in said.splitlines() if line.startswith("drops: ")][:3] == ["drops: 0"] * 3, said
        await client.server.until(client.mac.removesuffix("00"), "dhcp.release")
    assert "received packets: 0" not in said.split("***Statistics for: RELEASE***")[0], said


CLIENTS = {"udhcpc": udhcpc, "dhclient": dhclient, "dhcpcd": dhcpcd, "networkd": networkd, "perfdhcp": perfdhcp}
CASES = [(client, cable) for cable in CABLES for client in CLIENTS]


# --- all at once ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(lab: Lab, folder: Path):
    lab.namespace("server")
    lab.do("server", "link add br0 type bridge", "addr add 10.77.0.1/24 dev br0", "link set br0 up")
    lab.do("server", *(f"addr add 10.78.{place}.1/24 dev br0" for place in range(len(CABLES))))
    process = await asyncio.create_subprocess_exec(
        *lab.command("server", sys.executable, "-m", "tests.peers.dhcp_server", str(folder / "db")),
        json.encode(SUBNETS).decode(), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"ready\n"
    server = Server()
    listening = asyncio.create_task(server.listen(process.stdout))
    try:
        yield server
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await listening
        process._transport.close()  # type: ignore[attr-defined]


def connect(lab: Lab, name: str, mac: str, place: int, stack: AsyncExitStack) -> None:
    """The client's namespace with its cable to the server's bridge."""
    lab.namespace(name)
    chances = CABLES[name.split("-")[1]]
    if not any(chances):
        lab.cable("server", f"port{place}", name, "eth0", mac)
        lab.do("server", f"link set port{place} master br0")
        return
    lab.cable("server", f"port{place}", "cables", f"near{place}")
    lab.do("server", f"link set port{place} master br0")
    lab.cable("cables", f"far{place}", name, "eth0", mac)
    near, far = (lab.opened("cables", lambda card=card: sniffer(f"{card}{place}")) for card in ("near", "far"))
    lost, twice, swapped = chances
    stack.enter_context(BadCable(near, far, place, lost=lost, twice=twice, swapped=swapped))


async def live(client: Client) -> str:
    """What went wrong, or nothing."""
    try:
        await asyncio.wait_for(CLIENTS[client.name.split("-")[0]](client), LONGEST_SECONDS)
    except (AssertionError, TimeoutError) as error:
        log = client.folder / "log"
        said = log.read_text(errors="replace") if log.exists() else ""
        return f"{type(error).__name__}: {error}\ntold: {client.server.told.get(client.mac)}\n{said[-3000:]}"
    except pytest.skip.Exception as error:
        return f"skip: {error}"
    return ""


async def everybody(folder: Path) -> dict[tuple[str, str], str]:
    async with AsyncExitStack() as stack:
        lab = stack.enter_context(Lab())
        server = await stack.enter_async_context(serving(lab, folder))
        lab.namespace("cables")
        clients = []
        for place, (kind, cable) in enumerate(CASES):
            mac = f"52:54:00:77:{place:02x}:00"
            name = f"{kind}-{cable}"
            connect(lab, name, mac, place, stack)
            clients.append(Client(lab, server, name, mac, folder / name))
        results = await asyncio.gather(*(live(each) for each in clients))
        for each in clients:
            for pid in lab.run("netns", "pids", lab.full(each.name)).split():
                os.kill(int(pid), signal.SIGKILL)
    return dict(zip(CASES, results, strict=True))


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    root()
    return asyncio.run(everybody(tmp_path_factory.mktemp("clients")))


@pytest.mark.parametrize(("client", "cable"), CASES)
def test_a_client_gets_a_lease_renews_and_releases_it(lives, client, cable):
    wrong = lives[client, cable]
    if wrong.startswith("skip: "):
        missing(wrong)
    assert wrong == ""
