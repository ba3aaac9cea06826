"""A small TFTP client, and a proxy that loses, doubles and delays datagrams, for tests."""

from __future__ import annotations

import asyncio
import socket
from random import Random

from provisioner.wire.tftp import Ack, Data, Error, OptionAck, Packet, Request, decode, encode

Address = tuple[str, int]


class TftpClient:
    """Talks to a service packet by packet; `get` is a whole, patient transfer."""

    def __init__(self, service: Address, host: str = "127.0.0.1") -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.sock.setblocking(False)
        self.service = service
        self.peer: Address | None = None

    def __enter__(self) -> TftpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, packet: Packet | bytes, to: Address | None = None) -> None:
        data = packet if isinstance(packet, bytes) else encode(packet)
        self.sock.sendto(data, to or self.peer or self.service)

    def request(self, filename: str, mode: str = "octet", **options: str) -> None:
        self.peer = None
        self.send(Request(filename, mode, options), self.service)

    async def receive(self, seconds: float = 10.0) -> Packet:
        data, source = await asyncio.wait_for(asyncio.get_running_loop().sock_recvfrom(self.sock, 70000), seconds)
        self.peer = source
        return decode(data)

    async def ask(self, packet: Packet | bytes) -> Packet:
        self.send(packet)
        return await self.receive()

    async def get(self, filename: str, mode: str = "octet", repeat: float = 0.3, **options: str) -> bytes | Error:
        """The content, or the error; repeats what it said last when nothing comes, as clients do."""
        said: Packet = Request(filename, mode, options)
        self.request(filename, mode, **options)
        content, have, since, size, window = b"", 0, 0, 512, 1
        while True:
            try:
                packet = await self.receive(repeat)
            except TimeoutError:
                self.send(said)
                continue
            match packet:
                case Error():
                    return packet
                case OptionAck(accepted):
                    size, window = int(accepted.get("blksize", 512)), int(accepted.get("windowsize", 1))
                    said = Ack(0)
                case Data(block, payload):
                    if block == (have + 1) & 0xFFFF:
                        have += 1
                        since += 1
                        content += payload
                        said = Ack(have & 0xFFFF)
                        if len(payload) == size and since < window:
                            continue
                    else:
                        said = Ack(have & 0xFFFF)
                    since = 0
            self.send(said)
            if isinstance(packet, Data) and have and len(payload) < size and said == Ack(packet.block):
                return content


class LossyProxy(asyncio.DatagramProtocol):
    """Stands between client and service on its own port; drops, doubles and swaps what passes, by a seed."""

    def __init__(self, service: Address, seed: int, loss: float, double: float = 0.0, swap: float = 0.0) -> None:
        self._service = service
        self._random = Random(seed)
        self._chances = loss, double, swap
        self._client: Address | None = None
        self._upstream: asyncio.DatagramTransport | None = None
        self._peer: Address = service
        self._late: list[tuple[asyncio.DatagramTransport, bytes, Address]] = []
        self.transport: asyncio.DatagramTransport | None = None
        self.passed = 0

    @classmethod
    async def open(cls, *args: object, **options: float) -> LossyProxy:
        loop = asyncio.get_running_loop()
        proxy = cls(*args, **options)  # type: ignore[arg-type]
        transport, _ = await loop.create_datagram_endpoint(lambda: proxy, local_addr=("127.0.0.1", 0))
        proxy.transport = transport
        upstream, _ = await loop.create_datagram_endpoint(lambda: _Upstream(proxy), local_addr=("127.0.0.1", 0))
        proxy._upstream = upstream
        return proxy

    @property
    def address(self) -> Address:
        assert self.transport is not None
        name: Address = self.transport.get_extra_info("sockname")
        return name

    def datagram_received(self, data: bytes, source: Address) -> None:
        self._client = source
        assert self._upstream is not None
        self._pass(self._upstream, data, self._peer)

    def from_service(self, data: bytes, source: Address) -> None:
        self._peer = source
        assert self.transport is not None and self._client is not None
        self._pass(self.transport, data, self._client)

    def _pass(self, by: asyncio.DatagramTransport, data: bytes, to: Address) -> None:
        loss, double, swap = self._chances
        if self._random.random() < loss:
            return
        if self._random.random() < swap:
            self._late.append((by, data, to))
            return
        for _ in range(2 if self._random.random() < double else 1):
            self.passed += 1
            by.sendto(data, to)
        while self._late:
            late_by, late_data, late_to = self._late.pop()
            late_by.sendto(late_data, late_to)

    def close(self) -> None:
        assert self.transport is not None and self._upstream is not None
        self.transport.close()
        self._upstream.close()


class _Upstream(asyncio.DatagramProtocol):
    def __init__(self, proxy: LossyProxy) -> None:
        self._proxy = proxy

    def datagram_received(self, data: bytes, source: Address) -> None:
        self._proxy.from_service(data, source)
