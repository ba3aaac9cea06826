"""HTTP clients that nobody here wrote, on boot files and scripts: curl, with the names of boot loaders too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from aiohttp import web

from provisioner.conductor.boot import Boot
from provisioner.conductor.boot_context import Reached
from provisioner.conductor.tokens import Tokens
from provisioner.conductor.turns import Turns
from provisioner.script_names import read_script_name
from provisioner.services.files import Tree
from provisioner.services.http import App
from provisioner.services.plain_site import PlainSite
from provisioner.services.stored import SLICE_BYTES
from provisioner.services.transfers import Transfers
from provisioner.sockets import tcp
from tests.fakes.turns import FakeTurns
from tests.peers.programs import program

pytestmark = pytest.mark.peer

CONTENT = Random(8).randbytes(SLICE_BYTES + 12_345)


class Scripts:
    """A script that says what it was asked for."""

    def named(self, path: str, reached: Reached, protocol: str, client: str) -> bytes | None:
        """By its name."""
        name = read_script_name(path)
        return f"{name.mac} {reached.url}".encode() if name is not None else None

    def file(self, path: str, reached: Reached, client: str) -> bytes | None:
        """There is none."""

    def served(self, *told: Any) -> None:
        """Nobody listens."""


@asynccontextmanager
async def serving(root: Path, address: str = "127.0.0.1") -> AsyncIterator[str]:
    boot = cast(Boot, Scripts())
    tree = Tree(boot, Transfers(boot, cast(Turns, FakeTurns())), root, b"the agent", 8091)
    runner = web.AppRunner(App(cast(Tokens, None), cookies=False).build([tree.routes()]), shutdown_timeout=0.1)
    await runner.setup()
    sock = tcp(address, 0)
    await PlainSite(runner, sock, lambda mac, reached, client: f"{mac} {reached.url}".encode()).start()
    host = f"[{address}]" if ":" in address else address
    try:
        yield f"http://{host}:{sock.getsockname()[1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    root.mkdir()
    (root / "big").write_bytes(CONTENT)
    (root / "boot.iso").write_bytes(CONTENT[:1000])
    (tmp_path / "secret").write_text("secret")
    return root


async def run(*command: str) -> tuple[int, bytes]:
    """The exit code and what was written."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, output


async def curl(*words: str) -> bytes:
    """What curl writes; it must have worked."""
    code, output = await run(program("curl", "curl"), "-sS", "--fail-with-body", "-g", *words)
    assert code == 0, output[-500:]
    return output


async def test_curl_fetches_a_file_whole_in_part_and_goes_on_where_it_stopped(root: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    async with serving(root) as url:
        assert await curl(f"{url}/files/big") == CONTENT
        assert await curl("-r", "5-9", f"{url}/files/big") == CONTENT[5:10]
        assert await curl("-r", "-7", f"{url}/files/big") == CONTENT[-7:]
        to.write_bytes(CONTENT[:1000])  # noqa: ASYNC240
        await curl("-C", "-", "-o", str(to), f"{url}/files/big")
        assert to.read_bytes() == CONTENT  # noqa: ASYNC240


async def test_curl_asks_for_a_file_only_when_it_has_changed(root: Path, tmp_path: Path) -> None:
    tag, to = str(tmp_path / "tag"), str(tmp_path / "to")
    ask = ("--etag-compare", tag, "--etag-save", tag, "-o", to, "-w", "%{http_code}")
    async with serving(root) as url:
        assert [await curl(*ask, f"{url}/files/big") for _ in range(2)] == [b"200", b"304"]
        assert await curl("-z", to, "-o", to, "-w", "%{http_code}", f"{url}/files/big") == b"304"


async def test_curl_hears_how_large_a_file_is_and_of_what_type(root: Path) -> None:
    async with serving(root) as url:
        head = (await curl("-I", f"{url}/files/boot.iso")).decode().lower()
    assert "content-length: 1000\r\n" in head and "content-type: application/vnd.efi-iso\r\n" in head


@pytest.mark.parametrize("agent", ["iPXE/1.21.1+git", "UefiHttpBoot/1.0", "GRUB 2.06-13+deb12u1"])
async def test_a_script_and_a_file_come_over_one_connection_whoever_asks(root: Path, agent: str) -> None:
    script = "/boot/52-54-00-00-00-01.ipxe"
    async with serving(root) as url:
        words = ("-A", agent, "-w", "|%{num_connects}|", f"{url}{script}", f"{url}/files/boot.iso", f"{url}{script}")
        output = await curl(*words)
    told = f"52:54:00:00:00:01 {url}".encode()
    assert output == told + b"|1|" + CONTENT[:1000] + b"|0|" + told + b"|0|"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("-H", "Host: [fd00::1]:8091"), "http://[fd00::1]:8091"),
        (("-H", "Host: boot.example.org"), "http://boot.example.org"),
        (("-H", "Host:", "--http1.0"), ""),
        (("-H", "Host: no such host!"), ""),
    ],
)
async def test_a_script_names_us_as_the_client_does_or_as_it_came(
    root: Path, words: tuple[str, ...], named: str
) -> None:
    async with serving(root) as url:
        output = await curl(*words, f"{url}/boot/52-54-00-00-00-01.ipxe")
        assert output.decode().split()[1] == (named or url)


async def test_over_ipv6_urls_have_brackets(root: Path) -> None:
    async with serving(root, "::1") as url:
        assert (await curl(f"{url}/boot/52-54-00-00-00-01.ipxe")).decode().split()[1] == url
        assert await curl(f"{url}/files/boot.iso") == CONTENT[:1000]


@pytest.mark.parametrize("path", ["../secret", "%2e%2e/secret", "..%2fsecret", "x/../../secret", "", "."])
async def test_no_path_as_it_is_leads_out_or_lists(root: Path, path: str) -> None:
    async with serving(root) as url:
        _, output = await run(
            program("curl", "curl"), "-sS", "--path-as-is", "-w", "%{http_code}", f"{url}/files/{path}"
        )
    assert output[-3:] in (b"403", b"404") and b"secret\n" not in output


async def test_eight_at_once_get_all_of_it(root: Path, tmp_path: Path) -> None:
    places = [str(tmp_path / f"to{number}") for number in range(8)]
    async with serving(root) as url:
        words = [word for place in places for word in ("-o", place, f"{url}/files/big")]
        await curl("-Z", *words)
    assert all(Path(place).read_bytes() == CONTENT for place in places)  # noqa: ASYNC240
