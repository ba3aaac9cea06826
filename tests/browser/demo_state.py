"""A rack of realistic machines in all their states, behind the real API and UI. Run it as a module to look around."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from argon2 import PasswordHasher

from provisioner.assembly import Applications, put_together
from provisioner.conductor.assets import JobAssets
from provisioner.config import read_config
from provisioner.errors import Conflict
from provisioner.model.access import User
from provisioner.model.addresses import Lease, LeaseState, Reservation, Subnet
from provisioner.model.content import Profile, Stage, Task, TaskFile, Workflow
from provisioner.model.machines import Clash, ExitState, JobState
from provisioner.packs import load_shipped
from provisioner.power.driver import PowerState
from provisioner.power.registry import PowerDrivers
from provisioner.store.database import Database
from provisioner.wire.dhcp import BOOTREPLY, encode
from tests.browser import hardware
from tests.browser.story import OPERATOR, Story, StoryClock
from tests.dhcp_messages import OVMF, changed, discover
from tests.fakes.power import FakePower

PASSWORD = "correct horse battery"


class Demo:
    """A whole server without sockets, BMCs in memory, and a story teller beside it."""

    def __init__(self, folder: Path) -> None:
        self.clock = StoryClock(datetime.now(UTC) - timedelta(hours=5))
        self.power = FakePower()
        self.database = Database(folder / "provisioner.db")
        self.database.open()
        settings = {"data_dir": str(folder), "machines.default_workflow": "discover"}
        settings |= {"repos.upstreams": "debian=http://deb.example/debian"}
        drivers = PowerDrivers({}, {"ipmi": self.power})
        self.parts = put_together(read_config(settings, {}), self.database, load_shipped(), drivers, self.clock)
        self.ledger, self.catalog, self.tokens = self.parts.ledger, self.parts.catalog, self.parts.tokens
        self.machines, self.registrations, self.jobs = self.parts.machines, self.parts.registrations, self.parts.jobs
        self.actions, self.networks, self.clashes = self.parts.actions, self.parts.networks, self.parts.clashes
        self.logs, self.assets, self.archive = self.parts.logs, self.parts.assets, self.parts.archive
        self.operations = self.parts.operations

    def app(self) -> web.Application:
        """The application that faces operators."""
        return Applications(self.parts, b"no agent", "0.1.0", lambda: ("", 0)).facing_people()

    async def open(self) -> None:
        """Begin with nothing but an administrator and a subnet."""
        self.database.start()
        tx = self.ledger.transaction()
        # The real parameters make a password slow to try on purpose; a hash carries its own.
        hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
        tx.put(User(name="admin", password_hash=hashed, created_at=tx.now))
        tx.event("server.start")
        await tx.commit()

    async def close(self) -> None:
        """End all threads."""
        await self.database.close()
        self.logs.close()
        self.assets.close()
        self.archive.close()
        self.tokens.close()

    def story(self, number: int) -> Story:
        """A machine with a MAC and an address of this number."""
        mac = f"3c:ec:ef:5a:10:{number:02x}"
        parts = (
            self.clock,
            self.ledger,
            self.machines,
            self.registrations,
            self.jobs,
            self.tokens,
            JobAssets(self.ledger, self.assets),
        )
        return Story(*parts, mac, f"10.77.0.{10 + number}")


async def discovered(demo: Demo, number: int, name: str, minutes_ago: float, **facts: Any) -> Story:
    """A machine that has been discovered so long ago and is idle since."""
    story = demo.story(number)
    demo.clock.set(datetime.now(UTC) - timedelta(minutes=minutes_ago))
    await story.netboot(firmware=facts.pop("pxe", "UEFI x64"))
    await story.come_up(**facts)
    await story.rename(name)
    await story.inventory(hardware.server(number))
    for log in (hardware.INVENTORY_LOG, hardware.NETWORK_LOG, hardware.BMC_LOG):
        await story.run(log, 1.4)
    params = {
        "power/address": f"10.77.1.{number}",
        "power/username": "provisioner",
        "power/password": "secret",
        "network/boot-interface": "ens3f0np0",
        "network/boot-mac": story.mac,
        "os/hostname": name,
    }
    await story.put(power="on", params=params)
    demo.power.states[f"10.77.1.{number}"] = PowerState.ON
    return story


async def deploying(story: Story) -> None:
    """Give it the deploy workflow and come to the task that writes the image."""
    await story.grant(hardware.DISK_WWN)
    await story.assign("deploy")
    await story.run(hardware.GRANT_LOG, 2.2)
    assert await story.begin() is not None


async def deployed(story: Story) -> None:
    """The whole deploy workflow, into the installed system."""
    await deploying(story)
    await story.write(hardware.IMAGE_LOG, 48)
    await story.end(seconds=3)
    await story.run(hardware.SETTINGS_LOG, 4)
    await story.claim()
    await story.reboot("disk")
    await story.dhcp("UEFI x64", seconds=38)
    await story.tell("boot.local", "local", 0.4, protocol="tftp", bytes=212)
    await story.come_up("local")
    while not story.machine.done and await story.run(hardware.OS_LOG, 2):
        pass


async def fill(demo: Demo) -> dict[str, Story]:
    """A rack in which everything happens at once."""
    await _addresses(demo)
    done = await discovered(demo, 2, "rack1-n02", 190)
    await deployed(done)
    old = await discovered(demo, 3, "rack1-n03", 170, pxe="BIOS", firmware="bios")
    await deployed(old)
    failed = await discovered(demo, 4, "rack1-n04", 42)
    await deploying(failed)
    await failed.write(hardware.BROKEN_LOG, 12)
    message = "SHA-256 of debian-12.img.zst is not what the server says: the disk was not touched"
    await failed.end(JobState.FAILED, ExitState.FAILED, 1, message)
    await discovered(demo, 5, "rack1-n05", 31)
    away = await discovered(demo, 6, "rack1-n06", 26)
    await away.grant("any")
    await away.assign("deploy")
    await away.run(hardware.GRANT_LOG, 2)
    await away.change(seconds=3, runnable=False)
    off = await discovered(demo, 7, "rack1-n07", 1500)
    await off.assign("deploy")
    await off.power("power-off", "is off", state="off", by="user:admin")
    demo.power.states["10.77.1.7"] = PowerState.OFF
    fresh = demo.story(12)
    demo.clock.set(datetime.now(UTC) - timedelta(seconds=19))
    await fresh.netboot(firmware="BIOS")
    await fresh.come_up(firmware="bios")
    await fresh.inventory(hardware.server(12))
    await fresh.begin()
    await fresh.write(hardware.INVENTORY_LOG, 0.4)
    busy = await discovered(demo, 1, "rack1-n01", 3.4)
    await deploying(busy)
    await busy.write("".join(hardware.IMAGE_LOG.splitlines(keepends=True)[:27]), 21)
    demo.jobs.heartbeat(busy.job.id, busy.job.instance, 58.0)
    demo.clock.set(datetime.now(UTC))
    demo.clock.run()
    return {"busy": busy, "done": done, "failed": failed, "away": away, "off": off, "fresh": fresh}


async def clashing(demo: Demo, known: Story, number: int) -> Clash:
    """A newcomer that says it is a known machine, which works all the while: it is held."""
    newcomer = demo.story(number)
    await newcomer.netboot()
    await known.assign("hello")
    await known.begin()
    with suppress(Conflict):
        await newcomer.come_up(identity=known.machine.identity)
    return demo.clashes.find(newcomer.mac)


async def mended(demo: Demo, number: int, name: str) -> Story:
    """A machine whose task failed, was repaired and is tried again; it is to stop before the task after that."""
    files = (TaskFile(name="run", contents="true\n"),)
    texts = {
        "firmware-write": "Write the firmware that the profile names",
        "firmware-unlock": "Take the write protection off and wait for the BMC",
        "firmware-check": "Compare versions with what should be there",
    }
    for task, words in texts.items():
        repairs = ("firmware-unlock",) if task == "firmware-write" else ()
        await demo.catalog.put(Task(name=task, description=words, files=files, on_error=repairs), OPERATOR)
    tasks = ("firmware-write", "firmware-check")
    await demo.catalog.put(Stage(name="firmware", bootenv="discovery", tasks=tasks), OPERATOR)
    await demo.catalog.put(Workflow(name="firmware-update", stages=("discover", "firmware", "complete")), OPERATOR)
    story = await discovered(demo, number, name, 9)
    await story.assign("firmware-update")
    for _ in range(3):
        await story.run("done\n", 2)
    await story.begin()
    await story.write("BMC firmware 1.73.06 to 1.74.00\nthe flash is write-protected\n", 4)
    await story.end(JobState.FAILED, ExitState.FAILED, 1, "the flash is write-protected")
    await story.run("write protection is off\n", 6)
    await story.begin()
    await story.write("BMC firmware 1.73.06 to 1.74.00\nwriting block 212 of 512\n", 8)
    await story.hand_in("flash-before.bin", bytes(33_554), 1)
    await story.hand_in("sensors.txt", b"all within limits\n", 1)
    demo.jobs.heartbeat(story.job.id, story.job.instance, 41.0)
    await story.change(stop_before=("firmware-check",))
    return story


async def fill_more(demo: Demo, told: dict[str, Story]) -> dict[str, Story]:
    """What is out of the ordinary, beside what `fill` has: repairs, stops, a lock, a held newcomer, broken content."""
    told["mended"] = await mended(demo, 8, "rack1-n08")
    await told["away"].change(step=True)
    rack = Profile(name="rack1", description="What all of rack 1 have", params={"hello/lines": 12})
    await demo.catalog.put(rack, OPERATOR)
    await told["mended"].change(profiles=("rack1",))
    await told["done"].change(profiles=("rack1",), params={"hello/lines": 3}, locked=True)
    burn = Stage(name="burn-in", description="A day of load", bootenv="discovery", tasks=("memtest", "inventory"))
    await demo.catalog.put(burn, OPERATOR)
    await clashing(demo, await discovered(demo, 9, "rack1-n09", 12), 13)
    await _troubled(demo, told["done"].machine.macs[0])
    demo.clock.set(datetime.now(UTC))
    demo.clock.run()
    return told


async def _troubled(demo: Demo, heard: str) -> None:
    """A boot network with what goes wrong most often, and the packets of one client."""
    now = datetime.now(UTC)
    strangers = [f"52:54:00:aa:00:{number:02x}" for number in range(1, 4)]
    demo.clock.set(now - timedelta(minutes=4))
    tx = demo.ledger.transaction(by="dhcp")
    chosen = {"ignored": "the client chose another server", "detail": "10.77.0.250", "interface": "eth1"}
    for mac in strangers:
        tx.event("dhcp.request", mac=mac, **chosen)
    tx.event("dhcp.offer", mac="52:54:00:aa:00:09", key="10.77.0.60", secs=32, interface="eth1", firmware="BIOS")
    told = {"firmware": "UEFI x64", "boot_file": "ipxe/snponly.efi", "next_server": "192.168.7.1", "interface": "eth1"}
    tx.event("dhcp.ack", mac="52:54:00:aa:00:0a", key="10.77.0.61", **told)
    tx.event("tftp.error", mac=strangers[0], key="pxelinux.0", message="there is no file 'pxelinux.0'")
    await tx.commit()
    recorder = demo.parts.recorder
    assert recorder is not None
    asked = discover(2, options=OVMF)
    offered = changed(
        asked, op=BOOTREPLY, yiaddr="10.77.0.12", options={53: b"\2", 54: b"\x0a\x4d\0\1", 51: b"\0\0\x0e\x10"}
    )
    client, ours = ("0.0.0.0", 68), ("10.77.0.1", 67)
    at = now.timestamp()
    recorder.keep("dhcp", at - 300, heard, False, encode(asked), client, ("255.255.255.255", 67), "eth1")
    recorder.keep("dhcp", at - 299.998, heard, True, encode(offered), ours, ("255.255.255.255", 68), "eth1")
    recorder.flush()


async def _addresses(demo: Demo) -> None:
    await demo.networks.put_subnet(
        Subnet(
            name="rack",
            cidr="10.77.0.0/24",
            pool_start="10.77.0.10",
            pool_end="10.77.0.99",
            gateway="10.77.0.1",
            dns_servers=("10.77.0.1",),
            domain="rack.example",
        ),
        OPERATOR,
    )
    reservation = Reservation(address="10.77.0.200", mac="b8:59:9f:00:12:34", hostname="pdu-left", boot_file="-")
    await demo.networks.put_reservation(reservation, OPERATOR)
    tx = demo.ledger.transaction()
    now = datetime.now(UTC)
    for last, state, minutes in ((71, LeaseState.EXPIRED, -400), (72, LeaseState.QUARANTINED, 7)):
        mac = f"52:54:00:00:00:{last}"
        expires = now + timedelta(minutes=minutes)
        tx.put(Lease(address=f"10.77.0.{last}", mac=mac, state=state, expires_at=expires, subnet="rack"))
    await tx.commit()


@asynccontextmanager
async def serving(folder: Path, port: int = 0) -> AsyncIterator[tuple[Demo, str]]:
    """An empty demo behind HTTP, and its URL."""
    demo = Demo(folder)
    await demo.open()
    server = TestServer(demo.app(), host="127.0.0.1", port=port or None)
    operations = asyncio.create_task(demo.operations.run())
    try:
        await server.start_server(shutdown_timeout=0.5)
        yield demo, str(server.make_url("/")).rstrip("/")
    finally:
        operations.cancel()
        await asyncio.gather(operations, return_exceptions=True)
        await server.close()
        await demo.close()


async def _write_on(story: Story) -> None:
    """Let the image be written for ever."""
    place = 0
    while True:
        await asyncio.sleep(1.5)
        place = (place + 7) % 100
        line = f"\x1b[36mwrite\x1b[0m  {place:3d} %  {place * 20.4:7.1f} MiB of 2040.0 MiB  \x1b[2m201.3 MiB/s\x1b[0m\n"
        await story.write(line, 0)


async def _main(port: int) -> None:
    with TemporaryDirectory() as folder:
        async with serving(Path(folder), port) as (demo, url):
            told = await fill_more(demo, await fill(demo))
            print(f"{url}  admin  {PASSWORD}", flush=True)
            await _write_on(told["busy"])


if __name__ == "__main__":
    parser = ArgumentParser(description="the web UI over a demo state")
    parser.add_argument("--port", type=int, default=8099)
    asyncio.run(_main(parser.parse_args().port))
