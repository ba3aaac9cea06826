"""The file tree: one for TFTP and HTTP, rendered before static, and never out of its root."""

from __future__ import annotations

import os
from asyncio import Event, open_connection, wait_for
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote, unquote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from yarl import URL

from provisioner.conductor.boot import Boot
from provisioner.conductor.boot_context import Reached
from provisioner.conductor.tokens import Tokens
from provisioner.conductor.turns import Turns
from provisioner.errors import Denied, NotFound, ProvisionerError
from provisioner.script_names import read_script_name
from provisioner.services.files import SMALL_BYTES, Tree
from provisioner.services.http import App
from provisioner.services.transfers import Transfers
from tests.fakes.turns import FakeTurns


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

    def served(self, *told: Any) -> None:
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
    (root / "inner").symlink_to(root / "ipxe" / "snponly.efi")
    (root / "circle").symlink_to(root / "circle")
    return Tree(cast(Boot, boot), Transfers(boot, cast(Turns, FakeTurns())), root, b"the agent", 8091)


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


@pytest.mark.parametrize("path", ["ipxe", "ipxe/none", "", "n" * 300, "circle", "\udc80", "a\ud800"])
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


@asynccontextmanager
async def serving(tree: Tree) -> AsyncIterator[TestClient[Any, Any]]:
    app = web.Application()
    app.router.add_routes(tree.routes())
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_a_link_inside_of_the_root_is_followed(tree: Tree) -> None:
    assert tree.static("inner").name == "snponly.efi"


ODD_NAMES = [
    "with blank",
    "plus+and&",
    "pkg_1%3a2.deb",
    "hash#mark",
    "umlaut-ü",
    "100%",
    "semi;colon",
    "a\\b",
    "~x",
    "%2e%2e",
]


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_odd_names_are_served_when_the_client_writes_them_as_a_url_wants(
    tree: Tree, tmp_path: Path, name: str
) -> None:
    (tmp_path / "files" / name).write_text(name)
    async with serving(tree) as client:
        got = await client.get(URL(f"/files/{quote(name)}", encoded=True))
        assert (got.status, await got.text()) == (200, name)


@pytest.mark.parametrize(
    "path", ["/files/..%2fsecret", "/files/%2e%2e/secret", "/files/ipxe/..%2f..%2fsecret", "/files/%2fetc%2fpasswd",
             "/files//etc/passwd", "/files/link", "/files/a%00b"],
)  # fmt: skip
async def test_no_url_leads_out_of_the_root(tree: Tree, path: str) -> None:
    async with serving(tree) as client:
        with pytest.raises(ProvisionerError) as caught:
            await tree.get_file(
                make_mocked_request("GET", path, match_info={"path": unquote(path.removeprefix("/files/"))})
            )
        assert caught.value.status in (403, 404)
        assert (await client.get(URL(path, encoded=True))).status != 200


@pytest.mark.parametrize("path", ["/files", "/files/", "/files/ipxe", "/files/ipxe/"])
async def test_a_folder_is_not_listed(tree: Tree, path: str) -> None:
    app = App(cast(Tokens, None), cookies=False).build([tree.routes()])
    async with TestClient(TestServer(app)) as client:
        assert (await client.get(path)).status == 404


async def test_a_file_next_to_its_compressed_form_is_sent_as_it_is(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "files" / "disk").write_bytes(b"plain")
    (tmp_path / "files" / "disk.gz").write_bytes(b"\x1f\x8b")
    async with serving(tree) as client:
        plain = await client.get("/files/disk", headers={"Accept-Encoding": "gzip, br"})
        assert await plain.read() == b"plain" and "Content-Encoding" not in plain.headers
        packed = await client.get("/files/disk.gz")
        assert packed.headers["Content-Type"] == "application/gzip" and "Content-Encoding" not in packed.headers


async def test_the_tag_of_a_file_changes_with_the_file(tree: Tree, tmp_path: Path) -> None:
    path = tmp_path / "files" / "a"
    path.write_text("one")
    async with serving(tree) as client:
        first = (await client.get("/files/a")).headers["ETag"]
        assert (await client.get("/files/a", headers={"If-None-Match": first})).status == 304
        (tmp_path / "new").write_text("two")
        os.utime(tmp_path / "new", ns=(path.stat().st_mtime_ns, path.stat().st_mtime_ns))
        (tmp_path / "new").replace(path)
        assert (await client.get("/files/a", headers={"If-None-Match": first})).status == 200


async def test_a_rendered_file_has_its_length_also_by_head_and_is_kept_by_nobody(tree: Tree, boot: FakeBoot) -> None:
    async with serving(tree) as client:
        got = await client.get("/boot/machines/seed")
        head = await client.head("/boot/machines/seed")
        assert got.headers["Content-Length"] == head.headers["Content-Length"] == "8"
        assert got.headers["Cache-Control"] == "no-store"
    assert len(boot.told) == 1


async def test_asking_for_the_size_of_a_script_is_no_boot(tree: Tree) -> None:
    async with serving(tree) as client:
        made = await (await client.get("/boot/52-54-00-00-00-01.ipxe")).text()
        head = await client.head("/boot/52-54-00-00-00-01.ipxe")
    assert made.split()[2] == "http" and int(head.headers["Content-Length"]) == len(made) - len("http")


async def test_scripts_by_tftp_over_ipv6_have_urls_that_can_be_used(tree: Tree) -> None:
    made = await tree.open("52-54-00-00-00-01.ipxe", "fd00::9", "fd00::1")
    assert cast(bytes, made).split()[1] == b"http://[fd00::1]:8091"


@pytest.mark.parametrize("path", ["ipxe/snponly.efi", "inner", "empty"])
async def test_a_small_file_has_the_same_head_and_content_either_way(
    tree: Tree, boot: FakeBoot, tmp_path: Path, path: str
) -> None:
    (tmp_path / "files" / "empty").touch()
    app = web.Application()
    app.add_routes(tree.routes())
    async with TestClient(TestServer(app)) as client:
        response = await client.get(f"/files/{path}")
        slow = {name: response.headers[name] for name in ("Content-Type", "ETag", "Last-Modified", "Accept-Ranges")}
        body = await response.read()
    made = tree.small(path, "10.0.0.9")
    assert made is not None
    fields = dict(line.split(": ", 1) for line in made[0].decode().splitlines())
    assert (made[1], fields) == (body, slow)
    assert boot.told[-1][:4] == ("http", f"/files/{path}", "10.0.0.9", len(body))


@pytest.mark.parametrize("path", ["missing", "link", "circle", "ipxe", "pipe", "large", "n" * 300])
def test_whatever_is_no_small_file_inside_is_left_to_the_slow_way(
    tree: Tree, boot: FakeBoot, tmp_path: Path, path: str
) -> None:
    os.mkfifo(tmp_path / "files" / "pipe")
    (tmp_path / "files" / "large").write_bytes(bytes(SMALL_BYTES + 1))
    assert (tree.small(path, "10.0.0.9"), boot.told) == (None, [])


def test_a_root_that_is_a_link_may_be_pointed_elsewhere(boot: FakeBoot, tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    root = tmp_path / "root"
    root.symlink_to("old")
    tree = Tree(cast(Boot, boot), Transfers(boot, cast(Turns, FakeTurns())), root, b"the agent", 8091)
    contents = [tree.small("file", "")]
    root.unlink()
    root.symlink_to("new")
    contents.append(tree.small("file", ""))
    assert [each and each[1] for each in contents] == [b"old", b"new"]


async def test_a_file_that_may_not_be_read_is_refused(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "files" / "locked").write_text("x")
    (tmp_path / "files" / "locked").chmod(0)
    with as_nobody(tmp_path), pytest.raises(Denied, match="the server cannot read 'locked'"):
        await tree.open("locked", "10.0.0.9", "10.0.0.1")


@contextmanager
def as_nobody(folder: Path) -> Iterator[None]:
    """Go on as a user who may enter the folder and is not root, who may read everything."""
    if os.geteuid() != 0:
        yield
        return
    for each in (folder, *folder.parents):
        if not each.stat().st_mode & 0o001:
            each.chmod(0o711)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
