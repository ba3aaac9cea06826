"""Port 4011 on loopback: who is answered, where the answer goes, and packets that are none."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest

from provisioner.conductor.proxy_answers import Told
from provisioner.services.dhcp import open_socket
from provisioner.services.proxy_dhcp import ProxyDhcpService
from provisioner.wire.dhcp import decode, encode
from tests.dhcp_messages import OVMF, renew


class Answering:
    """Answers with the question's own bytes, or as it is told."""

    def __init__(self):
        self.heard = []
        self.reason = ""
        self.broken = False

    def answer(self, message, arrival):
        self.heard.append((message, arrival))
        if self.broken:
            raise RuntimeError("broken")
        return Told(reason=self.reason) if self.reason else Told(encode(message))


class Recorder:
    """Notes what it is given."""

    def __init__(self):
        self.kept = []
        self.flushes = 0

    def keep(self, protocol, now, mac, outgoing, data, source, destination, interface):
        self.kept.append((protocol, mac, outgoing, source, destination, interface))

    def flush(self):
        self.flushes += 1


class Client:
    """A client's socket."""

    def __init__(self, to):
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.setblocking(False)
        self._to = to
        self.place = self._sock.getsockname()

    def send(self, data):
        self._sock.sendto(data, self._to)

    async def ask(self, data):
        self.send(data)
        reply = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._sock, 4096), 10)
        return decode(reply)

    def close(self):
        self._sock.close()


async def until(true):
    """Let the loop turn until it is so; the test's timeout ends it otherwise."""
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(answering, **options):
    sock = open_socket("127.0.0.1", 0)
    client = Client(sock.getsockname())
    service = ProxyDhcpService(sock, answering, **options)
    task = asyncio.create_task(service.run())
    await asyncio.sleep(0)
    try:
        yield service, client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        client.close()


QUESTION = encode(renew(1, "127.0.0.1", options=OVMF))


async def test_the_answer_goes_back_to_the_very_port_that_asked():
    answering = Answering()
    async with serving(answering) as (service, client):
        reply = await client.ask(QUESTION)
    assert reply.mac == "52:54:00:00:00:01"
    assert (service.received, service.sent) == (1, 1)


async def test_it_is_told_how_the_question_came():
    answering = Answering()
    async with serving(answering) as (_, client):
        await client.ask(QUESTION)
    [(_, arrival)] = answering.heard
    assert (arrival.address, arrival.interface, arrival.broadcast) == ("127.0.0.1", "lo", False)


async def test_silence_has_a_reason_that_is_counted():
    answering = Answering()
    answering.reason = "no enabled subnet covers the client"
    async with serving(answering) as (service, client):
        client.send(QUESTION)
        await until(lambda: service.dropped)
    assert service.dropped == {"no enabled subnet covers the client": 1}


async def test_an_interface_that_is_not_served_is_left_alone():
    answering = Answering()
    async with serving(answering, interfaces=["eth0"]) as (service, client):
        client.send(QUESTION)
        await until(lambda: service.dropped)
    assert answering.heard == [] and service.dropped == {"interface not served": 1}


@pytest.mark.parametrize("junk", [b"", b"x", QUESTION[:200], QUESTION[:236] + b"nope", QUESTION.ljust(5000, b"\0")])
async def test_what_is_no_dhcp_is_dropped_and_the_next_answered(junk):
    async with serving(Answering()) as (service, client):
        client.send(junk)
        assert (await client.ask(QUESTION)).mac == "52:54:00:00:00:01"
    assert sum(service.dropped.values()) == 1


async def test_a_fault_of_ours_costs_one_answer_only():
    answering = Answering()
    answering.broken = True
    async with serving(answering) as (service, client):
        client.send(QUESTION)
        await until(lambda: service.dropped)
        answering.broken = False
        assert await client.ask(QUESTION)
    assert service.dropped == {"our own fault": 1}


async def test_both_ways_are_recorded():
    recorder = Recorder()
    async with serving(Answering(), recorder=recorder) as (_, client):
        await client.ask(QUESTION)
        here, there = client._to, client.place
    assert recorder.kept == [
        ("proxy", "52:54:00:00:00:01", False, there, here, "lo"),
        ("proxy", "52:54:00:00:00:01", True, here, there, "lo"),
    ]
    assert recorder.flushes == 1
