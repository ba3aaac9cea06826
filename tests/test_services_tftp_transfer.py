"""One transfer: where its bytes come from, and a kernel that takes no more for now."""

from __future__ import annotations

import asyncio
import socket
from random import Random

import pytest

from provisioner.services.tftp_transfer import CHUNK_BYTES, BytesSource, FileSource, Transfer
from provisioner.wire.tftp import Ack, Error, Terms, decode, encode
from provisioner.wire.tftp_sender import Sender

CONTENT = Random(1).randbytes(CHUNK_BYTES * 2 + 77)


def test_bytes_are_there_at_once():
    source = BytesSource(b"abcdef")
    assert (source.size, source.read(2, 3), source.read(4, 99)) == (6, b"cde", b"ef")


@pytest.fixture
def file_source(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    source = FileSource(path.open("rb"))
    yield source
    source.close()


def test_a_file_is_read_a_chunk_at_a_time(file_source):
    assert file_source.read(0, 10) is None
    file_source.load(0, 10)
    assert file_source.read(0, 10) == CONTENT[:10]
    assert file_source.read(CHUNK_BYTES - 5, 5) == CONTENT[CHUNK_BYTES - 5 : CHUNK_BYTES]
    assert file_source.read(CHUNK_BYTES - 5, 6) is None


def test_the_end_of_a_file_is_short(file_source):
    file_source.load(len(CONTENT) - 3, 100)
    assert file_source.read(len(CONTENT) - 3, 100) == CONTENT[-3:]
    assert file_source.read(len(CONTENT), 100) == b""


def test_a_file_cut_short_meanwhile_is_an_error(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    source = FileSource(path.open("rb"))
    path.write_bytes(b"")
    with pytest.raises(OSError, match="became shorter"):
        source.load(0, 10)
    source.close()


class Ends:
    """A transfer on one end of a pair of datagram sockets, whose queue is short, and a client on the other."""

    def __init__(self, source, **terms):
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.near.setblocking(False)
        self.far.setblocking(False)
        self.transfer = Transfer(self.near, Sender(Terms(**terms), source.size), source)

    async def receive(self):
        return decode(await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.far, 70000), 10))

    async def collect(self, window):
        """All blocks to the last, a window at a time."""
        content, size = b"", self.transfer._sender.terms.block_size
        while True:
            packet = await self.receive()
            content += packet.payload
            if packet.block % window == 0 or len(packet.payload) < size:
                self.far.send(encode(Ack(packet.block)))
            if len(packet.payload) < size:
                return content

    def close(self):
        self.near.close()
        self.far.close()


async def test_when_the_kernel_takes_no_more_the_rest_of_the_window_follows_later():
    ends = Ends(BytesSource(CONTENT), block_size=1024, window=600)
    content, _ = await asyncio.gather(ends.collect(600), ends.transfer.run())
    assert content == CONTENT
    assert ends.transfer._sender.resent == 0
    ends.close()


async def test_a_file_on_disk_is_sent_chunk_after_chunk(file_source):
    ends = Ends(file_source, block_size=1000, window=7)
    content, _ = await asyncio.gather(ends.collect(7), ends.transfer.run())
    assert (content, ends.transfer.error, ends.transfer.sent_bytes) == (CONTENT, "", len(CONTENT))
    ends.close()


async def test_a_transfer_that_is_ended_from_outside_tells_the_client():
    ends = Ends(BytesSource(CONTENT), block_size=1000)
    running = asyncio.ensure_future(ends.transfer.run())
    await ends.receive()
    ends.transfer.fail("enough")
    await running
    assert await ends.receive() == Error(0, "enough")
    assert (ends.transfer.error, ends.transfer.sent_bytes) == ("enough", 0)
    ends.close()


async def test_ending_twice_keeps_the_first_reason():
    ends = Ends(BytesSource(CONTENT), block_size=1000)
    running = asyncio.ensure_future(ends.transfer.run())
    await ends.receive()
    ends.transfer.fail("first")
    ends.transfer.fail("second")
    await running
    assert ends.transfer.error == "first"
    ends.close()
