"""One transfer between a port that takes no more for now, a slow disk, and a client that says odd things."""

from __future__ import annotations

import asyncio
import socket
from random import Random

import pytest

from provisioner.services.tftp_content import CHUNK_BYTES, BytesSource, ChunkCache, FileSource
from provisioner.services.tftp_ports import OwnPort, Readers
from provisioner.services.tftp_transfer import Transfer
from provisioner.wire.tftp import Ack, Data, Error, OptionAck, Terms, decode, encode
from provisioner.wire.tftp_sender import Sender

CONTENT = Random(1).randbytes(CHUNK_BYTES * 2 + 77)


@pytest.fixture
def file_source(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    source = FileSource(path.open("rb"), ChunkCache())
    yield source
    source.close()


class Ends:
    """A transfer on one end of a pair of datagram sockets, whose queue is short, and a client on the other."""

    def __init__(self, source, **terms):
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.near.setblocking(False)
        self.far.setblocking(False)
        agreed = Terms(**terms)
        content = source.content(agreed.block_size)
        self.sender = Sender(agreed, source.size)
        self.transfer = Transfer(OwnPort(self.near), self.sender, content, source.size)
        self.readers = Readers()
        self.readers.start()
        self.readers.add(self.near, self.transfer.readable)

    async def receive(self):
        return decode(await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.far, 70000), 10))

    async def collect(self, window):
        """All blocks to the last, a window at a time."""
        content, size = b"", self.sender.terms.block_size
        while True:
            packet = await self.receive()
            content += packet.payload
            if packet.block % window == 0 or len(packet.payload) < size:
                self.far.send(encode(Ack(packet.block)))
            if len(packet.payload) < size:
                return content

    def close(self):
        self.readers.stop()
        self.near.close()
        self.far.close()


@pytest.fixture
def ends():
    made = []

    def make(source, **terms):
        made.append(Ends(source, **terms))
        return made[-1]

    yield make
    for each in made:
        each.near.close()
        each.far.close()


async def test_when_the_kernel_takes_no_more_the_rest_of_the_window_follows_later(ends):
    pair = ends(BytesSource(CONTENT), block_size=1024, window=1)
    pair.sender.terms = Terms(1024, 600)
    content, _ = await asyncio.gather(pair.collect(600), pair.transfer.run())
    assert content == CONTENT
    assert pair.transfer.resent == 0
    pair.close()


async def test_a_file_on_disk_is_sent_chunk_after_chunk(ends, file_source):
    pair = ends(file_source, block_size=1000)
    content, _ = await asyncio.gather(pair.collect(1), pair.transfer.run())
    assert (content, pair.transfer.error, pair.transfer.sent_bytes) == (CONTENT, "", len(CONTENT))
    pair.close()


async def test_a_transfer_that_is_ended_from_outside_tells_the_client(ends):
    pair = ends(BytesSource(CONTENT), block_size=1000)
    running = asyncio.ensure_future(pair.transfer.run())
    await pair.receive()
    pair.transfer.fail("enough")
    await running
    assert await pair.receive() == Error(0, "enough")
    assert (pair.transfer.error, pair.transfer.sent_bytes) == ("enough", 0)
    pair.close()


async def test_ending_twice_keeps_the_first_reason(ends):
    pair = ends(BytesSource(CONTENT), block_size=1000)
    running = asyncio.ensure_future(pair.transfer.run())
    await pair.receive()
    pair.transfer.fail("first")
    pair.transfer.fail("second")
    await running
    assert pair.transfer.error == "first"
    pair.close()


async def test_a_client_that_hangs_up_after_the_last_block_has_the_file(ends):
    pair = ends(BytesSource(b"short"))
    running = asyncio.ensure_future(pair.transfer.run())
    assert await pair.receive() == Data(1, b"short")
    pair.transfer._gone(ConnectionRefusedError())
    await running
    assert (pair.transfer.error, pair.transfer.sent_bytes) == ("", 5)
    pair.close()


async def test_a_client_that_hangs_up_in_the_middle_is_gone(ends):
    pair = ends(BytesSource(CONTENT))
    running = asyncio.ensure_future(pair.transfer.run())
    await pair.receive()
    pair.transfer._gone(ConnectionRefusedError(111, "refused"))
    await running
    assert pair.transfer.error == "the client is gone: refused"
    pair.close()


async def test_who_asks_for_the_size_alone_is_no_error(ends):
    pair = ends(BytesSource(CONTENT), accepted={"tsize": "9"})
    running = asyncio.ensure_future(pair.transfer.run())
    assert await pair.receive() == OptionAck({"tsize": "9"})
    pair.far.send(encode(Error(0, "User aborted the transfer")))
    await running
    assert (pair.transfer.error, pair.transfer.size_only, pair.transfer.options) == ("", True, {"tsize": "9"})
    pair.close()


@pytest.mark.parametrize(
    ("heard", "words"), [(True, "does not answer any more"), (False, "never answered; a firewall")]
)
async def test_silence_is_told_apart_from_never_having_been_heard(ends, heard, words):
    pair = ends(BytesSource(CONTENT))
    running = asyncio.ensure_future(pair.transfer.run())
    await pair.receive()
    if heard:
        pair.far.send(encode(Ack(1)))
        await pair.receive()
    pair.sender.abort()
    pair.transfer._expired()
    await running
    assert words in pair.transfer.error
    pair.close()


async def test_an_ack_that_came_before_its_timer_is_read_first(ends):
    pair = ends(BytesSource(CONTENT), block_size=1000)
    running = asyncio.ensure_future(pair.transfer.run())
    await pair.receive()
    pair.far.send(encode(Ack(1)))
    pair.transfer._expired()
    assert (await pair.receive()).block == 2
    assert pair.transfer.resent == 0
    pair.transfer.fail("enough")
    await running
    pair.close()


async def test_a_file_that_cannot_be_read_ends_the_transfer_with_an_error(ends, tmp_path):
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    source = FileSource(path.open("rb"), ChunkCache())
    pair = ends(source)
    path.write_bytes(b"")
    await pair.transfer.run()
    assert await pair.receive() == Error(0, "cannot read the file: it was changed while it was sent")
    source.close()
    pair.close()
