"""The file tree: one for TFTP and HTTP, rendered before static, and never out of its root."""

from __future__ import annotations

from asyncio import Event, open_connection, wait_for
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from provisioner.conductor.boot import Boot
from provisioner.conductor.boot_context import Reached
from provisioner.errors import Denied, NotFound
from provisioner.script_names import read_script_name
from provisioner.services.files import Tree


class FakeBoot:
    """Scripts that say what they were asked for, and what was told of transfers."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.has_told = Event()

    def named(self, path: str, reached: Reached, protocol: str, client: str) -> bytes | None:
        name = read_script_name(path)
        return f"{name.mac} {reached.url} {protocol} {client}".encode() if name is not None else None

    def file(self, path: str, reached: Reached, client: str) -> bytes | None:
        return b"rendered" if path == "machines/seed" else None

    async def served(self, *told: Any) -> None:
        self.told.append(told)
        self.has_told.set()


@pytest.fixture
def boot() -> FakeBoot:
    return FakeBoot()


@pytest.fixture
def tree(boot: FakeBoot, tmp_path: Path) -> Tree:
    root = tmp_path / "files"
    (root / "ipxe").mkdir(parents=True)
    (root / "ipxe" / "snponly.efi").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    return Tree(cast(Boot, boot), root, b"the agent", 8091)


async def test_a_script_is_rendered_for_the_mac_in_its_name(tree: Tree) -> None:
    made = await tree.open("52-54-00-00-00-01.ipxe", "10.0.0.9", "10.0.0.1")
    assert made == b"52:54:00:00:00:01 http://10.0.0.1:8091 tftp 10.0.0.9"


async def test_grub_is_served_by_tftp_and_http_alike(tree: Tree, boot: FakeBoot) -> None:
    assert (await tree.open("grub/grub.cfg", "10.0.0.9", "10.0.0.1")).startswith(b" http://10.0.0.1:8091 tftp")
    app = web.Application()
    app.add_routes(tree.routes())
    async with TestClient(TestServer(app)) as client:
        response = await client.get("/grub/52:54:00:00:00:01.cfg")
        assert (await response.text()).startswith("52:54:00:00:00:01 http://127.0.0.1:")
        assert (await client.get("/boot/grub/grub.cfg")).status == 200


async def test_a_rendered_file_comes_before_a_static_one(tree: Tree) -> None:
    assert await tree.open("machines/seed", "10.0.0.9", "10.0.0.1") == b"rendered"


async def test_a_static_file_is_opened(tree: Tree) -> None:
    opened = await tree.open("ipxe/snponly.efi", "10.0.0.9", "10.0.0.1")
    with cast(BinaryIO, opened) as file:
        assert len(file.read()) == 25600


@pytest.mark.parametrize("path", ["../secret", "ipxe/../../secret", "/etc/passwd", "link", "a\0b"])
def test_no_path_leads_out_of_the_root(tree: Tree, path: str) -> None:
    with pytest.raises(Denied):
        tree.static(path)


@pytest.mark.parametrize("path", ["ipxe", "ipxe/none", "", "n" * 300])
def test_what_is_no_file_is_not_found(tree: Tree, path: str) -> None:
    with pytest.raises(NotFound):
        tree.static(path)


async def test_http_sends_files_whole_in_part_and_by_head_and_tells(tree: Tree, boot: FakeBoot) -> None:
    app = web.Application()
    app.router.add_routes(tree.routes())
    async with TestClient(TestServer(app)) as client:
        whole = await client.get("/files/ipxe/snponly.efi")
        assert (whole.status, len(await whole.read())) == (200, 25600)
        part = await client.get("/files/ipxe/snponly.efi", headers={"Range": "bytes=10-19"})
        assert (part.status, await part.read()) == (206, bytes(range(10, 20)))
        head = await client.head("/files/ipxe/snponly.efi")
        assert (head.status, head.headers["Content-Length"]) == (200, "25600")
        agent = await client.get("/agent.pyz")
        assert await agent.read() == b"the agent"
    assert [(told[1], told[3]) for told in boot.told] == [
        ("/files/ipxe/snponly.efi", 25600),
        ("/files/ipxe/snponly.efi", 10),
        ("/agent.pyz", 9),
    ]


@pytest.mark.parametrize("cancelling", [True, False])
async def test_a_client_that_hangs_up_is_told_of_and_is_no_fault_of_ours(
    tree: Tree, boot: FakeBoot, tmp_path: Path, caplog: pytest.LogCaptureFixture, cancelling: bool
) -> None:
    with (tmp_path / "files" / "big").open("wb") as big:
        big.truncate(1 << 30)
    app = web.Application()
    app.router.add_routes(tree.routes())
    runner = web.AppRunner(app, handler_cancellation=cancelling, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await open_connection(*runner.addresses[0])
    writer.write(b"GET /files/big HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readexactly(1000)
    writer.transport.abort()
    await wait_for(boot.has_told.wait(), 10)
    await runner.cleanup()
    ((_, path, _, size, _, error),) = boot.told
    assert (path, size) == ("/files/big", 0) and error.startswith("cut off: ")
    assert not caplog.records


async def test_a_file_for_a_connection_that_is_gone_is_refused_as_that(tree: Tree, boot: FakeBoot) -> None:
    request = make_mocked_request("GET", "/files/ipxe/snponly.efi", match_info={"path": "ipxe/snponly.efi"})
    response = await tree.get_file(request)
    request.protocol.transport = None
    with pytest.raises(ConnectionError):
        await response.prepare(request)
    assert [told[5].partition(":")[0] for told in boot.told] == ["cut off"]
