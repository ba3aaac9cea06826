"""The DHCP service on loopback sockets: batches, addresses to answer from, and packets that are none."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest

from provisioner.conductor.addresses import Answers, Reply
from provisioner.errors import StoreError
from provisioner.model.addresses import Subnet
from provisioner.services.datagrams import DRAIN_LIMIT
from provisioner.services.dhcp import DhcpService, open_socket
from provisioner.wire.dhcp import Destination, MessageType, Way, decode, encode
from tests.conversations.dhcp import Clock
from tests.dhcp_messages import OVMF, discover, renew
from tests.test_conductor_addresses import running


class Echo:
    """Answers every message with its own bytes, as if it came from a relay or renewed; saves when told to."""

    def __init__(self, way=Way.RELAY):
        self.batches = []
        self.saved = []
        self.at_once = True
        self.broken = False
        self._way = way

    def answer(self, messages):
        if self.broken:
            raise RuntimeError("broken")
        self.batches.append(list(messages))
        future = asyncio.get_running_loop().create_future()
        self.saved.append(future)
        if self.at_once:
            future.set_result(None)
        destination = Destination(self._way, "127.0.0.1", 67)
        return Answers([Reply(encode(m), destination, arrival) for m, arrival in messages], [], future)


class Client:
    """A UDP socket that sends to the service and waits for what comes back."""

    def __init__(self, to):
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.setblocking(False)
        self._to = to
        self.port = self._sock.getsockname()[1]

    def send(self, data):
        self._sock.sendto(data, self._to)

    async def receive(self):
        data, source = await asyncio.wait_for(asyncio.get_running_loop().sock_recvfrom(self._sock, 4096), 10)
        return decode(data), source

    def drain(self):
        """Throw away what has arrived."""
        with suppress(BlockingIOError):
            while True:
                self._sock.recv(4096)

    async def ask(self, message):
        self.send(encode(message))
        return await self.receive()

    def close(self):
        self._sock.close()


@asynccontextmanager
async def serving(answering, **options):
    sock = open_socket("127.0.0.1", 0)
    client = Client(sock.getsockname())
    service = DhcpService(sock, answering, client_port=client.port, relay_port=client.port, **options)
    task = asyncio.create_task(service.run())
    try:
        yield service, client
    finally:
        client.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition):
    """Let the loop turn until it is so; the test's timeout ends it otherwise."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_a_message_is_answered_from_the_address_at_which_it_arrived():
    async with serving(Echo()) as (service, client):
        reply, source = await client.ask(discover(7))
        assert (reply.xid, source) == (7, ("127.0.0.1", service._sock.getsockname()[1]))


async def test_the_arrival_tells_address_interface_and_that_it_was_unicast():
    echo = Echo()
    async with serving(echo) as (_, client):
        await client.ask(discover(7))
        [[(_, arrival)]] = echo.batches
        assert (arrival.address, arrival.interface, arrival.broadcast) == ("127.0.0.1", "lo", False)


async def test_the_arrival_tells_all_our_addresses_there_and_elsewhere():
    echo = Echo()
    addresses = {"lo": ("127.0.0.1", "127.0.0.9"), "": ("127.0.0.1", "127.0.0.9", "127.0.1.1", "10.0.0.1")}
    async with serving(echo, addresses_of=addresses.__getitem__) as (_, client):
        await client.ask(discover(7))
        [[(_, arrival)]] = echo.batches
        assert (arrival.also, arrival.elsewhere) == (("127.0.0.9",), ("10.0.0.1",))


async def test_what_is_waiting_is_decided_together():
    echo = Echo()
    async with serving(echo) as (service, client):
        for number in range(DRAIN_LIMIT + 6):
            client.send(encode(discover(number)))
        await until(lambda: service.sent == DRAIN_LIMIT + 6)
        assert [len(batch) for batch in echo.batches] == [DRAIN_LIMIT, 6]
        assert [m.xid for batch in echo.batches for m, _ in batch] == list(range(DRAIN_LIMIT + 6))


async def test_nothing_is_sent_before_it_is_saved():
    echo = Echo()
    echo.at_once = False
    async with serving(echo) as (service, client):
        client.send(encode(discover(1)))
        await until(lambda: echo.saved)
        for _ in range(10):
            await asyncio.sleep(0)
        assert service.sent == 0
        echo.saved[0].set_result(None)
        assert (await client.receive())[0].xid == 1


async def test_the_next_drain_is_decided_while_the_last_is_being_saved():
    echo = Echo()
    echo.at_once = False
    async with serving(echo) as (_, client):
        client.send(encode(discover(1)))
        await until(lambda: len(echo.batches) == 1)
        client.send(encode(discover(2)))
        await until(lambda: len(echo.batches) == 2)
        for future in echo.saved:
            future.set_result(None)
        assert [(await client.receive())[0].xid for _ in range(2)] == [1, 2]


async def test_when_saving_fails_nothing_is_sent_and_the_service_goes_on():
    echo = Echo()
    echo.at_once = False
    async with serving(echo) as (service, client):
        client.send(encode(discover(1)))
        await until(lambda: echo.saved)
        echo.saved[0].set_exception(StoreError("disk full"))
        await until(lambda: service.dropped["not saved"])
        assert service.sent == 0
        echo.at_once = True
        assert (await client.ask(discover(2)))[0].xid == 2


async def test_when_deciding_fails_the_service_goes_on():
    echo = Echo()
    echo.broken = True
    async with serving(echo) as (service, client):
        client.send(encode(discover(1)))
        await until(lambda: service.dropped["our own fault"])
        echo.broken = False
        assert (await client.ask(discover(2)))[0].xid == 2


async def test_a_truncated_packet_is_counted_by_its_reason_and_the_service_goes_on():
    async with serving(Echo()) as (service, client):
        client.send(encode(discover(1))[:100])
        client.send(encode(discover(1))[:241] + b"\x05")
        client.send(b"")
        assert (await client.ask(discover(2)))[0].xid == 2
        assert service.dropped == {"shorter than a DHCP header": 2, "option runs past the end": 1}
        assert service.received == 4


async def test_a_datagram_larger_than_any_message_is_dropped():
    async with serving(Echo()) as (service, client):
        client.send(encode(discover(1)).ljust(9000, b"\0"))
        assert (await client.ask(discover(2)))[0].xid == 2
        assert service.dropped == {"datagram too long": 1}


async def test_five_thousand_mutated_packets_leave_the_service_serving():
    random = Random(1)
    good = encode(discover(1, options=OVMF))
    async with serving(Echo()) as (service, client):
        for sent in range(1, 5001):
            data = bytearray(good[: random.choice([len(good), random.randint(0, len(good))])])
            for _ in range(random.randint(0, 6)):
                if data:
                    data[random.randrange(len(data))] = random.randrange(256)
            client.send(bytes(data))
            if sent % 50 == 0:
                await until(lambda sent=sent: service.received == sent)
                client.drain()
        client.send(encode(discover(9)))
        while (await client.receive())[0].xid != 9:
            pass
        assert sum(service.dropped.values()) > 1000


async def test_interfaces_not_in_the_list_are_not_served():
    async with serving(Echo(), interfaces=["eth9"]) as (service, client):
        client.send(encode(discover(1)))
        await until(lambda: service.dropped["interface not served"])


async def test_interfaces_in_the_list_are_served():
    async with serving(Echo(), interfaces=["eth9", "lo"]) as (_, client):
        assert (await client.ask(discover(1)))[0].xid == 1


async def test_a_reply_that_cannot_be_sent_is_counted_and_the_service_goes_on():
    class Unreachable(Echo):
        def answer(self, messages):
            answers = super().answer(messages)
            far = Destination(Way.RELAY, "255.255.255.254", 67)
            return Answers([Reply(each.data, far, each.arrival) for each in answers.replies], [], answers.saved)

    async with serving(Unreachable()) as (service, client):
        client.send(encode(discover(1)))
        await until(lambda: sum(service.dropped.values()))
        assert next(iter(service.dropped)).startswith("send: ")


async def test_reasons_for_silence_are_counted():
    class Silent(Echo):
        def answer(self, messages):
            return Answers([], ["no free address"] * len(messages), super().answer(messages).saved)

    async with serving(Silent()) as (service, client):
        client.send(encode(discover(1)))
        client.send(encode(discover(2)))
        await until(lambda: service.dropped["no free address"] == 2)


async def test_a_port_in_use_is_an_error_when_binding():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="in use"):
            open_socket("127.0.0.1", taken.getsockname()[1])


async def test_a_packet_from_before_the_service_is_dropped():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    client = Client(sock.getsockname())
    client.send(encode(discover(1)))
    service = DhcpService(sock, Echo(), relay_port=client.port)
    task = asyncio.create_task(service.run())
    await until(lambda: service.dropped)
    assert service.dropped == {"no packet information": 1}
    assert (await client.ask(discover(2)))[0].xid == 2
    client.close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_stopping_waits_for_what_is_being_saved():
    echo = Echo()
    echo.at_once = False
    async with serving(echo) as (service, client):
        client.send(encode(discover(1)))
        await until(lambda: echo.saved)
        asyncio.get_running_loop().call_soon(echo.saved[0].set_result, None)
    assert service.sent == 1


async def test_a_lease_is_given_and_renewed_over_the_wire_from_the_real_ledger(tmp_path):
    async with running(tmp_path / "db", Clock()) as server:
        await server.save(Subnet(name="lo", cidr="127.0.0.0/8", pool_start="127.0.0.1", pool_end="127.0.0.99"))
        async with serving(server.addresses) as (_, client):
            offer, _ = await client.ask(discover(1, giaddr="127.0.0.1"))
            assert offer.message_type is MessageType.OFFER
            assert offer.yiaddr == "127.0.0.2"
            ack, _ = await client.ask(renew(2, "127.0.0.1", giaddr="127.0.0.1"))
            assert ack.message_type is MessageType.NAK
