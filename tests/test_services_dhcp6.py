"""The DHCPv6 service on loopback sockets: batches, interfaces, replies at once and later, and packets that are none."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest

from provisioner.conductor.addresses6 import Answers6, Reply6
from provisioner.errors import StoreError
from provisioner.services.datagrams import DRAIN_LIMIT
from provisioner.services.dhcp6 import Dhcp6Service, open_socket
from provisioner.wire.dhcp6 import MessageType6, decode, encode
from tests.dhcp6_messages import firmware, message, relayed, solicit


class Echo:
    """Answers every message with its own bytes: SOLICIT at once, others when they are saved."""

    def __init__(self):
        self.batches = []
        self.saved = []
        self.at_once = True
        self.broken = False

    def answer(self, messages):
        if self.broken:
            raise RuntimeError("broken")
        self.batches.append(list(messages))
        future = asyncio.get_running_loop().create_future()
        self.saved.append(future)
        if self.at_once:
            future.set_result(None)
        replies = [(each.message.kind, Reply6(encode(each), arrival, 546, "mac")) for each, arrival in messages]
        now = [reply for kind, reply in replies if kind is MessageType6.SOLICIT]
        later = [reply for kind, reply in replies if kind is not MessageType6.SOLICIT]
        return Answers6(now, later, [], future, ["mac"] * len(messages))


class Notebook:
    """A recorder that remembers."""

    def __init__(self):
        self.kept = []
        self.flushed = 0

    def keep(self, protocol, now, mac, outgoing, data, source, destination, interface):
        self.kept.append((protocol, mac, outgoing, data, interface))

    def flush(self):
        self.flushed += 1


class Client:
    """A UDP socket that sends to the service and waits for what comes back."""

    def __init__(self, to):
        self.sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.sock.bind(("::1", 0))
        self.sock.setblocking(False)
        self._to = to
        self.port = self.sock.getsockname()[1]

    def send(self, data):
        self.sock.sendto(data, self._to)

    async def receive(self):
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, 4096), 10)
        return decode(data)

    async def ask(self, packet):
        self.send(encode(packet))
        return await self.receive()


@asynccontextmanager
async def serving(answering, **options):
    sock = open_socket("::1", 0)
    client = Client(sock.getsockname())
    service = Dhcp6Service(sock, answering, reply_port=client.port, **options)
    task = asyncio.create_task(service.run())
    try:
        yield service, client
    finally:
        client.sock.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition):
    """Let the loop turn until it is so; the test's timeout ends it otherwise."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


def renew(number):
    return message(MessageType6.RENEW, number)


async def test_the_arrival_tells_who_asked_where(tmp_path):
    echo = Echo()
    async with serving(echo) as (_, client):
        await client.ask(solicit(7))
        [[(_, arrival)]] = echo.batches
        assert (arrival.source, arrival.interface, arrival.address, arrival.port) == ("::1", "lo", "::1", client.port)
        assert arrival.addresses == ()


async def test_what_is_waiting_is_decided_together():
    echo = Echo()
    async with serving(echo) as (service, client):
        for number in range(DRAIN_LIMIT + 6):
            client.send(encode(solicit(number)))
        await until(lambda: service.sent == DRAIN_LIMIT + 6)
        assert [len(batch) for batch in echo.batches] == [DRAIN_LIMIT, 6]


async def test_an_offer_goes_at_once_and_a_reply_when_it_is_saved():
    echo = Echo()
    echo.at_once = False
    async with serving(echo) as (service, client):
        client.send(encode(renew(1)))
        client.send(encode(solicit(2)))
        assert (await client.receive()).message.xid == 2
        assert service.sent == 1
        for each in echo.saved:
            each.set_result(None)
        assert (await client.receive()).message.xid == 1


async def test_what_could_not_be_saved_is_not_sent():
    echo = Echo()
    echo.at_once = False
    async with serving(echo) as (service, client):
        client.send(encode(renew(1)))
        await until(lambda: echo.saved)
        echo.saved[0].set_exception(StoreError("disk full"))
        await until(lambda: service.dropped["not saved"])
        assert service.sent == 0


async def test_a_drain_that_fails_stops_nothing():
    echo = Echo()
    async with serving(echo) as (service, client):
        echo.broken = True
        client.send(encode(solicit(1)))
        await until(lambda: service.dropped["our own fault"])
        echo.broken = False
        assert (await client.ask(solicit(2))).message.xid == 2


async def test_interfaces_that_are_not_named_are_not_served():
    async with serving(Echo(), interfaces=["eth7"]) as (service, client):
        client.send(encode(solicit(1)))
        await until(lambda: service.dropped["interface not served"])
    async with serving(Echo(), interfaces=["lo"]) as (service, client):
        assert (await client.ask(solicit(1))).message.xid == 1


async def test_everything_heard_and_said_is_recorded():
    book = Notebook()
    async with serving(Echo(), recorder=book) as (_, client):
        await client.ask(renew(1))
        await until(lambda: len(book.kept) == 2)
        data = encode(renew(1))
        assert book.kept == [("dhcp6", "mac", False, data, "lo"), ("dhcp6", "mac", True, data, "lo")]
        assert book.flushed


async def test_nonsense_leaves_the_service_serving():
    random, good = Random(7), [encode(solicit(1, *firmware())), encode(relayed(solicit(2), "fd00::1", 2))]
    async with serving(Echo()) as (service, client):
        for number in range(2000):
            data = bytearray(random.choice(good))
            for _ in range(random.randint(1, 6)):
                data[random.randrange(len(data))] = random.randrange(256)
            client.send(bytes(data[: random.randrange(len(data) + 1)]))
            if number % 200 == 0:
                await until(lambda: not service._pending)
        await until(lambda: service.received >= 1)
        with suppress(BlockingIOError):
            while True:
                client.sock.recv(4096)
        client.send(encode(renew(0xABCDEF)))
        while (await client.receive()).message.xid != 0xABCDEF:
            pass


async def test_the_last_answers_go_out_when_it_ends():
    echo = Echo()
    echo.at_once = False
    sock = open_socket("::1", 0)
    client = Client(sock.getsockname())
    task = asyncio.create_task(Dhcp6Service(sock, echo, reply_port=client.port).run())
    client.send(encode(renew(1)))
    await until(lambda: echo.saved)
    task.cancel()
    await asyncio.sleep(0)
    echo.saved[0].set_result(None)
    assert (await client.receive()).message.xid == 1
    await asyncio.gather(task, return_exceptions=True)
    client.sock.close()


def test_a_port_that_is_taken_is_said():
    first = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    first.bind(("::1", 0))
    with pytest.raises(OSError, match="in use"):
        open_socket("::1", first.getsockname()[1])
    first.close()
