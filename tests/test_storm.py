"""A boot storm through real connections: in turns, in order, and nobody is lost."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientSession, TCPConnector, web

from provisioner.conductor.boot import Boot
from provisioner.conductor.boot_context import Reached
from provisioner.conductor.turns import HEAVY_BYTES, Turns
from provisioner.services.files import Tree
from provisioner.services.http import App
from provisioner.services.plain_site import PlainSite
from provisioner.services.transfers import Transfers
from provisioner.sockets import tcp
from tests.parts import Parts, opened

MACHINES, LIMIT = 30, 3
INITRD_BYTES = 3 << 20


class Site:
    """The boot plane of one server, without DHCP and TFTP; `known` are MACs by address, as its host has heard them."""

    def __init__(self, parts: Parts, root: Path, known: Mapping[str, str]) -> None:
        self.parts = parts
        self.turns = Turns(parts.ledger, LIMIT, lambda address: known.get(address, ""), parts.clock.seconds)
        self.boot = Boot(
            parts.ledger, parts.catalog, parts.tokens, parts.clashes, parts.boot_context, parts.notes, self.turns
        )
        self.tree = Tree(self.boot, Transfers(self.boot, self.turns, parts.clock.seconds), root, b"agent", 8091)
        self.url = ""
        self.most = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve on loopback."""
        app = App(self.parts.tokens, cookies=False).build([self.tree.routes()])
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        sock = tcp("127.0.0.1", 0)
        await PlainSite(runner, sock, self.give).start()
        self.url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        try:
            yield
        finally:
            await runner.cleanup()

    def give(self, mac: str, reached: Reached, client: str) -> bytes:
        """A script, and how many have a turn then."""
        made = self.boot.script(mac, reached, "http", client)
        self.most = max(self.most, self.turns.now().taken)
        return made

    async def machine(self, number: int, address: str) -> list[int]:
        """Boot: ask until there is a script with a kernel, fetch what it names. The places it had in the queue."""
        mac = mac_of(number).replace(":", "-")
        places: list[int] = []
        async with ClientSession(connector=TCPConnector(local_addr=(address, 0))) as session:
            while True:
                async with session.get(f"{self.url}/boot/{mac}.ipxe") as answer:
                    script = await answer.text()
                waits = re.search(r"^echo (\d+) of \d+", script, re.MULTILINE)
                if waits is None:
                    break
                places.append(int(waits[1]))
                await asyncio.sleep(0)
            for url in re.findall(r"^(?:kernel|initrd) (\S+)", script, re.MULTILINE):
                async with session.get(url) as answer:
                    assert answer.status == 200
                    body = await answer.read()
                    assert len(body) == answer.content_length
        return places


def mac_of(number: int) -> str:
    return f"52:54:00:00:01:{number:02x}"


def address_of(number: int) -> str:
    return f"127.0.1.{number + 1}"


def fill(root: Path) -> None:
    (root / "discovery").mkdir(parents=True)
    (root / "discovery" / "vmlinuz").write_bytes(b"k" * 100_000)
    (root / "discovery" / "initrd.img").write_bytes(b"i" * INITRD_BYTES)
    (root / "image").write_bytes(b"d" * HEAVY_BYTES)


async def storm(site: Site, address_of: Callable[[int], str]) -> list[list[int]]:
    """Let all machines boot; the places each had in the queue."""
    async with site.serving():
        queued = await asyncio.gather(*(site.machine(number, address_of(number)) for number in range(MACHINES)))
    assert all(places == sorted(places, reverse=True) for places in queued)
    assert (site.turns.now().taken, site.turns.waiting) == (0, 0)
    return queued


async def test_all_machines_boot_in_turns_and_each_moves_up_in_the_queue(tmp_path: Path) -> None:
    fill(tmp_path / "files")
    async with opened(tmp_path) as parts:
        site = Site(parts, tmp_path / "files", {address_of(number): mac_of(number) for number in range(MACHINES)})
        queued = await storm(site, address_of)
        assert site.most == LIMIT and sum(not places for places in queued) >= LIMIT
        events = await parts.events("boot.render", "boot.wait", "http.read")
        assert len([key for key, _ in events if key == "/files/discovery/initrd.img"]) == MACHINES
        assert len(events) == 3 * MACHINES + sum(bool(places) for places in queued)


async def test_behind_one_address_all_boot_as_well_a_few_at_a_time(tmp_path: Path) -> None:
    fill(tmp_path / "files")
    async with opened(tmp_path) as parts:
        site = Site(parts, tmp_path / "files", {})
        queued = await storm(site, lambda number: "127.0.0.1")
        assert site.most == 1 and len(queued) == MACHINES


async def test_whoever_fetches_an_image_waits_for_its_turn_and_then_has_all_of_it(tmp_path: Path) -> None:
    fill(tmp_path / "files")
    async with opened(tmp_path) as parts:
        site = Site(parts, tmp_path / "files", {})
        async with site.serving(), ClientSession() as session:
            for number in range(LIMIT):
                site.turns.ask(f"52:54:00:00:02:{number:02x}", "", ("/files/image",))
            async with session.get(f"{site.url}/files/image") as answer:
                assert answer.content_length == HEAVY_BYTES
                assert await answer.content.readexactly(1) == b"d"
                assert [each.mac for each in site.turns.now().waiting] == [""]
                parts.clock.pass_seconds(61)
                assert len(await answer.read()) == HEAVY_BYTES - 1
