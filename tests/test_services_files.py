"""The file tree: one for TFTP and HTTP, rendered before static, and never out of its root."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from provisioner.conductor.boot import Boot, Reached
from provisioner.errors import Denied, NotFound
from provisioner.services.files import Tree


class FakeBoot:
    """Scripts that say what they were asked for, and what was told of transfers."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    async def script(self, mac: str, reached: Reached, protocol: str, client: str) -> bytes:
        return f"{mac} {reached.url} {protocol} {client}".encode()

    def file(self, path: str, reached: Reached, client: str) -> bytes | None:
        return b"rendered" if path == "machines/seed" else None

    async def served(self, *told: Any) -> None:
        self.told.append(told)


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
