"""TFTP clients that nobody here wrote against our service: curl, atftp, tftp-hpa, busybox."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from tests.fakes.file_tree import MemoryTree
from tests.peers.programs import program
from tests.test_services_tftp import serving
from tests.tftp_client import LossyProxy

pytestmark = pytest.mark.peer

CONTENT = Random(5).randbytes(300_001)
SIZES = [0, 1, 511, 512, 1468, 300_001]


async def run(*command: str) -> tuple[int, str]:
    """The exit code and what was said."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace")


def curl(address, name, to, *options):
    return [program("curl", "curl"), "-sS", "-o", to, *options, f"tftp://{address[0]}:{address[1]}/{name}"]


def atftp(address, name, to, *options):
    words = [word for option in options for word in ("--option", option)]
    return [program("atftp", "atftp"), *words, "-g", "-r", name, "-l", to, address[0], str(address[1])]


def tftp_hpa(address, name, to, *options):
    return [program("tftp", "tftp-hpa"), *options, "-m", "binary", address[0], str(address[1]), "-c", "get", name, to]


def busybox(address, name, to, *options):
    return [program("busybox", "busybox"), "tftp", *options, "-g", "-r", name, "-l", to, address[0], str(address[1])]


CLIENTS = [
    pytest.param(curl, [], id="curl"),
    pytest.param(curl, ["--tftp-blksize", "1468"], id="curl-blksize"),
    pytest.param(curl, ["--tftp-no-options"], id="curl-no-options"),
    pytest.param(atftp, [], id="atftp"),
    pytest.param(atftp, ["blksize 1468", "tsize"], id="atftp-blksize"),
    pytest.param(atftp, ["blksize 1428", "windowsize 16"], id="atftp-window"),
    pytest.param(atftp, ["blksize 65464"], id="atftp-largest"),
    pytest.param(tftp_hpa, [], id="tftp-hpa"),
    pytest.param(busybox, [], id="busybox"),
    pytest.param(busybox, ["-b", "1468"], id="busybox-blksize"),
]


# curl 7.88 ends with code 71 on any empty file, dnsmasq's as well as ours.
CASES = [
    pytest.param(*case.values, size, id=f"{case.id}-{size}")
    for case in CLIENTS
    for size in SIZES
    if size or case.values[0] is not curl
]


@pytest.mark.parametrize(("client", "options", "size"), CASES)
async def test_a_file_arrives_whole(tmp_path, client, options, size):
    target = tmp_path / "out"
    async with serving({"f": CONTENT[:size]}) as (address, _, notebook, _):
        code, said = await run(*client(address, "f", str(target), *options))
        assert code == 0, said
        # Some clients make no file when nothing came.
        assert (target.read_bytes() if target.exists() else b"") == CONTENT[:size]
        assert (await notebook.wait())[-1] == ("tftp", "f", "127.0.0.1", size, "")


@pytest.mark.parametrize("client", [curl, atftp, tftp_hpa, busybox])
async def test_a_missing_file_is_said_to_be_missing(tmp_path, client):
    async with serving({}) as (address, _, notebook, _):
        code, said = await run(*client(address, "nothing", str(tmp_path / "out")))
        # curl 7.88 says something else, but its code 68 is "not found".
        assert code == 68 if client is curl else "not found" in said.lower() or "there is no file" in said
        assert (await notebook.wait())[0][4] == "there is no file 'nothing'"


@pytest.mark.parametrize("client", [atftp, tftp_hpa, busybox])
async def test_leaving_the_tree_is_refused(tmp_path, client):
    target = tmp_path / "out"
    async with serving({}) as (address, tree, notebook, _):
        await run(*client(address, "../../etc/passwd", str(target)))
        assert isinstance(tree, MemoryTree) and tree.asked == []
        assert "access violation" in (await notebook.wait())[0][4]
        assert not target.exists() or target.read_bytes() == b""


@pytest.mark.parametrize("loss", [0.01, 0.1])
@pytest.mark.parametrize(
    ("client", "options"),
    [
        # With options curl asks for a timeout of 6 s, which each loss then costs.
        pytest.param(curl, ["--tftp-no-options"], id="curl"),
        pytest.param(atftp, ["blksize 1468", "windowsize 8"], id="atftp-window"),
        pytest.param(busybox, ["-b", "1468"], id="busybox"),
    ],
)
async def test_a_file_arrives_whole_through_a_lossy_network(tmp_path, client, options, loss):
    target = tmp_path / "out"
    content = CONTENT[:40_000]
    async with serving({"f": content}) as (address, *_):
        proxy = await LossyProxy.open(address, 11, loss)
        try:
            code, said = await run(*client(proxy.address, "f", str(target), *options))
        finally:
            proxy.close()
        assert code == 0, said
        assert target.read_bytes() == content
