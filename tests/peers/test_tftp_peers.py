"""TFTP clients that nobody here wrote: curl, atftp, tftp-hpa, busybox; over good networks and bad ones."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ctypes import addressof, create_string_buffer
from fcntl import ioctl
from random import Random
from socket import AF_INET, SOCK_DGRAM, socket

import pytest

from provisioner.wire.tftp import to_netascii
from tests.fakes.file_tree import MemoryTree
from tests.lab import BadCable, Lab, sniffer
from tests.peers.programs import program
from tests.test_services_tftp import serving

pytestmark = pytest.mark.peer

CONTENT = Random(5).randbytes(300_001)
TEXT = b"one\ntwo\r\nthree\rfour\n" * 500
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


def curl_text(address, name, to):
    return [*curl(address, f"{name};mode=netascii", to)]


def atftp(address, name, to, *options):
    words = [word for option in options for word in ("--option", option)]
    return [program("atftp", "atftp"), *words, "-g", "-r", name, "-l", to, address[0], str(address[1])]


def tftp_hpa(address, name, to, mode="binary"):
    return [program("tftp", "tftp-hpa"), "-m", mode, address[0], str(address[1]), "-c", "get", name, to]


def busybox(address, name, to, *options):
    return [program("busybox", "busybox"), "tftp", *options, "-g", "-r", name, "-l", to, address[0], str(address[1])]


CLIENTS = [
    pytest.param(curl, [], id="curl"),
    pytest.param(curl, ["--tftp-blksize", "1468"], id="curl-blksize"),
    pytest.param(curl, ["--tftp-no-options"], id="curl-no-options"),
    pytest.param(atftp, [], id="atftp"),
    pytest.param(atftp, ["blksize 1468", "tsize"], id="atftp-blksize"),
    pytest.param(atftp, ["timeout 2", "blksize 512", "windowsize 1"], id="atftp-timeout"),
    pytest.param(atftp, ["blksize 1428", "windowsize 4"], id="atftp-window"),
    pytest.param(atftp, ["blksize 1468", "windowsize 64"], id="atftp-large-window"),
    pytest.param(atftp, ["blksize 8192", "windowsize 7"], id="atftp-window-of-fragments"),
    pytest.param(atftp, ["blksize 65464"], id="atftp-largest"),
    pytest.param(tftp_hpa, [], id="tftp-hpa"),
    pytest.param(busybox, [], id="busybox"),
    pytest.param(busybox, ["-b", "1468"], id="busybox-blksize"),
    pytest.param(busybox, ["-b", "65464"], id="busybox-largest"),
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


@pytest.mark.parametrize(("client", "options"), CLIENTS)
async def test_a_file_arrives_whole_from_a_single_port(tmp_path, client, options):
    target, path = tmp_path / "out", tmp_path / "in"
    path.write_bytes(CONTENT)
    async with serving({"f": path}, single_port=True) as (address, *_):
        code, said = await run(*client(address, "f", str(target), *options))
    assert code == 0, said
    assert target.read_bytes() == CONTENT


async def test_block_numbers_wrap_round(tmp_path):
    target, content = tmp_path / "out", Random(1).randbytes(8 * 70_000)
    async with serving({"f": content}) as (address, *_):
        code, said = await run(*atftp(address, "f", str(target), "blksize 8", "windowsize 64"))
    assert code == 0, said
    assert target.read_bytes() == content


async def test_text_arrives_as_netascii(tmp_path):
    kept, made = tmp_path / "curl", tmp_path / "hpa"
    async with serving({"f": TEXT}) as (address, *_):
        code, said = await run(*curl_text(address, "f", str(kept)))
        assert code == 0, said
        code, said = await run(*tftp_hpa(address, "f", str(made), "netascii"))
        assert code == 0, said
    # curl keeps what is on the wire; tftp-hpa makes the line ends of this system of it.
    assert kept.read_bytes() == to_netascii(TEXT)
    assert made.read_bytes() == TEXT


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


# --- networks that lose, double and swap ------------------------------------------------------------------------------

SERVER, CLIENT = "10.79.0.1", "10.79.0.2"
# With options curl asks for a timeout of 6 s, which each loss then costs: it has none.
OVER_BAD_CABLES = [
    (curl, ["--tftp-no-options"]),
    (atftp, ["blksize 1468"]),
    (atftp, ["blksize 1468", "windowsize 4"]),
    (atftp, ["blksize 1468", "windowsize 16"]),
    (tftp_hpa, []),
    (busybox, ["-b", "1468"]),
]


@pytest.mark.parametrize("single_port", [False, True])
async def test_a_window_of_blocks_that_do_not_fit_into_a_frame_travels_as_fragments(tmp_path, single_port):
    target = tmp_path / "out"
    with bad_cable(0.0, 0.0, 0.0) as (lab, _), lab.inside("server"):
        async with serving({"f": CONTENT}, host=SERVER, single_port=single_port) as (address, _, notebook, _):
            command = atftp(address, "f", str(target), "blksize 8192", "windowsize 4")
            code, said = await run(*lab.command("client", *command))
            assert (await notebook.wait())[0][3:] == (len(CONTENT), "")
    assert code == 0, said
    assert target.read_bytes() == CONTENT


async def run_until_it_begins(*command: str) -> tuple[int, str]:
    """atftp 0.8 gives up when it gets an OACK a second time; the network does that, or the loss of its first ACK."""
    for _ in range(9):
        code, said = await run(*command)
        if "unexpected OACK" not in said:
            break
    return code, said


def _whole_frames(card: str) -> None:
    """No work left to the card: what is picked up on the way must be frames with checksums (SIOCETHTOOL)."""
    with socket(AF_INET, SOCK_DGRAM) as sock:
        for command in (0x17, 0x1F, 0x24):  # checksums, segmentation of TCP, of all else
            value = create_string_buffer(struct.pack("II", command, 0))
            ioctl(sock, 0x8946, struct.pack("16sP16x", card.encode(), addressof(value)))


@contextmanager
def bad_cable(lost: float, twice: float, swapped: float) -> Iterator[tuple[Lab, BadCable]]:
    """Server and clients in namespaces of their own, and frames between them that do not all arrive."""
    with ExitStack() as stack:
        lab = stack.enter_context(Lab())
        for name in ("server", "middle", "client"):
            lab.namespace(name)
        ends = (("server", "near", SERVER, CLIENT), ("client", "far", CLIENT, SERVER))
        for name, card, *_ in ends:
            lab.cable("middle", card, name, "eth0")
        for name, _, own, other in ends:
            peer = "client" if name == "server" else "server"
            neighbour = f"neigh add {other} lladdr {lab.mac(peer, 'eth0')} dev eth0"
            lab.do(name, f"address add {own}/24 dev eth0", neighbour)
            with lab.inside(name):
                _whole_frames("eth0")
        near, far = (lab.opened("middle", lambda card=card: sniffer(card)) for card in ("near", "far"))
        yield lab, stack.enter_context(BadCable(near, far, 7, lost=lost, twice=twice, swapped=swapped))


@pytest.mark.parametrize("single_port", [False, True])
@pytest.mark.parametrize(
    ("lost", "twice", "swapped", "size"),
    [(0.01, 0.0, 0.0, 100_000), (0.1, 0.0, 0.0, 12_000), (0.0, 0.3, 0.0, 100_000), (0.03, 0.05, 0.05, 50_000)],
)
async def test_files_arrive_whole_over_a_bad_cable(tmp_path, lost, twice, swapped, size, single_port):
    with bad_cable(lost, twice, swapped) as (lab, cable), lab.inside("server"):
        async with serving({"f": CONTENT[:size]}, host=SERVER, single_port=single_port) as (address, *_):
            targets = [tmp_path / str(place) for place in range(len(OVER_BAD_CABLES))]
            commands = [
                lab.command("client", *client(address, "f", str(target), *options))
                for (client, options), target in zip(OVER_BAD_CABLES, targets, strict=True)
            ]
            ended = await asyncio.gather(*(run_until_it_begins(*command) for command in commands))
        assert cable.carried > 100
    found = [
        (client.__name__, options, said)
        for (code, said), target, (client, options) in zip(ended, targets, OVER_BAD_CABLES, strict=True)
        if code != 0 or target.read_bytes() != CONTENT[:size]
    ]
    assert found == []
