"""A socket that is emptied in batches: order, bounds, errors, and replies that wait for the disk."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest

from provisioner.services.datagrams import DRAIN_LIMIT, DatagramService, prepare


class Echo(DatagramService):
    """Sends back what came, once `saved` is done."""

    def __init__(self, sock):
        super().__init__("echo", sock, 64, 0)
        self.batches = []
        self.saved = None
        self.ended = False

    def _begin(self):
        prepare(self._sock)

    def _end(self):
        self.ended = True

    def _take(self, datagrams):
        self.batches.append([data for data, *_ in datagrams])
        if self.saved is None:
            self._send(datagrams)
        else:
            self._when_saved(self.saved, self._send, datagrams)

    def _send(self, datagrams):
        for data, _, _, source in datagrams:
            self._sock.sendto(data, source)
            self.sent += 1


class Refusing:
    """A socket that has an ICMP error to tell before its datagram."""

    def __init__(self):
        self._told = [ConnectionRefusedError(111, "Connection refused"), (b"x", [], 0, ("192.0.2.1", 68))]

    def recvmsg(self, largest, ancillary_bytes):
        if not self._told:
            raise BlockingIOError
        first = self._told.pop(0)
        if isinstance(first, OSError):
            raise first
        return first

    def sendto(self, data, to):
        return len(data)


async def until(true):
    """Let the loop turn until it is so; the test's timeout ends it otherwise."""
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0)


@asynccontextmanager
async def serving():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(sock.getsockname())
    client.settimeout(10)
    service = Echo(sock)
    task = asyncio.create_task(service.run())
    try:
        await asyncio.sleep(0)
        yield service, client, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        client.close()


async def test_what_came_is_taken_in_order_and_in_bounded_batches():
    async with serving() as (service, client, _):
        for number in range(DRAIN_LIMIT + 6):
            client.send(b"%d" % number)
        await until(lambda: service.sent == DRAIN_LIMIT + 6)
        assert [len(batch) for batch in service.batches] == [DRAIN_LIMIT, 6]
        assert [int(data) for batch in service.batches for data in batch] == list(range(DRAIN_LIMIT + 6))
        assert service.received == DRAIN_LIMIT + 6


def test_an_error_of_something_sent_earlier_is_counted_and_the_rest_taken():
    service = Echo(Refusing())
    service._readable()
    assert service.dropped == {"receive: Connection refused": 1}
    assert service.batches == [[b"x"]]


async def test_what_cannot_be_saved_is_not_sent():
    async with serving() as (service, client, _):
        service.saved = asyncio.get_running_loop().create_future()
        client.send(b"x")
        await until(lambda: service.batches)
        service.saved.set_exception(OSError("disk full"))
        await until(lambda: service.dropped)
        assert (service.dropped, service.sent) == ({"not saved": 1}, 0)


async def test_in_the_end_what_is_being_saved_is_still_answered():
    async with serving() as (service, client, task):
        service.saved = asyncio.get_running_loop().create_future()
        client.send(b"x")
        await until(lambda: service.batches)
        task.cancel()
        await until(lambda: service.ended)
        service.saved.set_result(None)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.recv(64) == b"x"


async def test_only_the_first_drop_for_a_reason_is_said_aloud(capsys):
    service = Echo(Refusing())
    for _ in range(3):
        service._drop("no cookie", source="192.0.2.1")
    assert service.dropped == {"no cookie": 3}
    assert capsys.readouterr().out.count("warning") == 1
