"""A hall that powers on, as one process: `python -m tests.bench.storm_machines SERVER LOCAL COUNT FILE`.

Every machine asks for an address as its firmware, loads iPXE by TFTP, asks again as iPXE, loads its script and FILE by
HTTP, and registers with the ticket of its script. LOCAL is the relay all of them are behind. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

TRIES, PATIENCE = 5, (1.0, 2.0, 4.0, 8.0, 8.0)
_LISTED = bytes([1, 3, 6, 12, 15, 43, 54, 60, 66, 67, 97])
_PXE = b"PXEClient:Arch:00007:UNDI:003016"
_HEADER = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_BLOCK = 1428
# <asm-generic/socket.h>: SO_RCVBUFFORCE.
_RECEIVE_FORCE = 33
LIMIT_SECONDS = 300


@dataclass
class Seen:
    """Seconds of each step, how often something was sent again, and which machines failed at what."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    resent: int = 0
    failed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bytes: int = 0


class Relay(asyncio.DatagramProtocol):
    """The relay all machines are behind: hands each reply to whoever waits for its transaction."""

    def __init__(self, local: str, server: str) -> None:
        self.local = socket.inet_aton(local)
        self._server = (server, 67)
        self._waiting: dict[int, tuple[tuple[bytes, ...], asyncio.Future[bytes]]] = {}

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        # Each machine has a socket of its own in truth; this one stands for all of them.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, _RECEIVE_FORCE, 64 << 20)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        kinds, waiting = self._waiting.get(int.from_bytes(data[4:8]), ((), None))
        # A second offer, for what was sent again, is no answer to the request.
        if waiting is not None and not waiting.done() and option(data, 53) in kinds:
            waiting.set_result(data)

    async def ask(self, packet: bytes, seen: Seen, *kinds: bytes) -> bytes:
        """The reply of one of these kinds; RuntimeError when there is none however often it is sent."""
        xid = int.from_bytes(packet[4:8])
        for wait in PATIENCE[:TRIES]:
            answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            self._waiting[xid] = (kinds, answer)
            self._transport.sendto(packet, self._server)
            try:
                return await asyncio.wait_for(answer, wait)
            except TimeoutError:
                seen.resent += 1
            finally:
                del self._waiting[xid]
        raise RuntimeError("no answer")


class Read(asyncio.DatagramProtocol):
    """One file by TFTP, block by block, as firmware that knows no windows loads it."""

    def __init__(self) -> None:
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.size = 0
        self._next = 1

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        code, number = struct.unpack_from("!HH", data)
        if code == 5:
            self.done.set_exception(RuntimeError(data[4:].decode("latin-1")))
        elif code == 6:
            self._transport.sendto(struct.pack("!HH", 4, 0), addr)
        elif code == 3 and number == self._next & 0xFFFF and not self.done.done():
            self._next += 1
            self.size += len(data) - 4
            self._transport.sendto(struct.pack("!HH", 4, number), addr)
            if len(data) - 4 < _BLOCK:
                self.done.set_result(self.size)


def packet(number: int, xid: int, kind: int, ipxe: bool, relay: bytes, answer: bytes = b"") -> bytes:
    """A DISCOVER (1), or a REQUEST (3) for what `answer` offers."""
    mac = b"\x02\x88" + number.to_bytes(4)
    empty = bytes(4)
    head = _HEADER.pack(
        1, 1, 6, 1, xid, 0, 0, empty, empty, empty, relay, mac, b"", b"", b"\x63\x82\x53\x63"
    )  # fmt: skip
    options = [(53, bytes([kind])), (55, _LISTED), (57, b"\x05\xc0"), (93, b"\0\7"), (60, _PXE)]
    options.append((97, b"\0" + UUID(int=number + (1 << 100)).bytes))
    if ipxe:
        options += [(77, b"iPXE"), (175, b"\x13\x01\x01")]
    if answer:
        options += [(54, option(answer, 54)), (50, answer[16:20])]
    return head + b"".join(bytes((code, len(value))) + value for code, value in options) + b"\xff"


def option(data: bytes, wanted: int) -> bytes:
    """The value of an option, empty without it."""
    at = 240
    while at + 1 < len(data) and data[at] != 255:
        if data[at] == wanted:
            return data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1] if data[at] else 1
    return b""


class Hall:
    """All machines and what they saw."""

    def __init__(self, server: str, relay: Relay, file: str) -> None:
        self._server = server
        self._relay = relay
        self._file = file
        self.seen = Seen()

    async def machine(self, number: int) -> None:
        """One of them, from power-on to its registration, unless that takes too long."""
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await self._boot(number)
        except TimeoutError:
            self.seen.failed[f"not done in {LIMIT_SECONDS} s"] += 1

    async def _boot(self, number: int) -> None:
        step = "dhcp"
        try:
            name = await self._timed("dhcp", self._dora(number, ipxe=False))
            step = "tftp"
            await self._timed("tftp", self._tftp(name))
            step = "dhcp"
            script = await self._timed("dhcp", self._dora(number, ipxe=True))
            step = "script"
            path = script.partition(":8091")[2] or f"/boot/{script}"
            text = (await self._timed("script", self._http("GET", path))).decode()
            step = "download"
            await self._timed("download", self._http("GET", self._file))
            step = "register"
            await self._timed("register", self._register(number, text))
        except (OSError, RuntimeError, ValueError) as error:
            self.seen.failed[f"{step}: {type(error).__name__} {error}"[:120]] += 1

    async def _timed(self, name: str, step: Any) -> Any:
        began = time.perf_counter()
        result = await step
        self.seen.seconds[name].append(time.perf_counter() - began)
        return result

    async def _dora(self, number: int, *, ipxe: bool) -> str:
        xid = number * 2 + ipxe + 1
        local = self._relay.local
        offer = await self._relay.ask(packet(number, xid, 1, ipxe, local), self.seen, b"\2")
        ack = await self._relay.ask(packet(number, xid, 3, ipxe, local, offer), self.seen, b"\5", b"\6")
        if option(ack, 53) != b"\5" or ack[16:20] != offer[16:20]:
            raise RuntimeError("no ACK of what was offered")
        return (option(ack, 67) or ack[108:236]).split(b"\0")[0].decode()

    async def _tftp(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        transport, read = await loop.create_datagram_endpoint(Read, local_addr=("0.0.0.0", 0))
        request = b"\0\1" + name.encode() + b"\0octet\0blksize\0" + str(_BLOCK).encode() + b"\0"
        try:
            for wait in PATIENCE:
                transport.sendto(request, (self._server, 69))
                done, _ = await asyncio.wait([read.done], timeout=wait)
                while not done and read.size:
                    size = read.size
                    done, _ = await asyncio.wait([read.done], timeout=10)
                    if read.size == size:
                        break
                if done:
                    read.done.result()
                    return
            raise RuntimeError("no answer")
        finally:
            transport.close()

    async def _http(self, method: str, path: str, body: bytes = b"") -> bytes:
        reader, writer = await asyncio.open_connection(self._server, 8091, limit=1 << 20)
        try:
            head = f"{method} {path} HTTP/1.1\r\nHost: {self._server}\r\nConnection: close\r\n"
            if body:
                head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            writer.write(head.encode() + b"\r\n" + body)
            status = await reader.readline()
            length = -1
            while line := (await reader.readline()).strip().lower():
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            begin, size = b"", 0
            while piece := await reader.read(1 << 20):
                # Of a large file only the length counts.
                begin, size = begin or piece, size + len(piece)
            if status.split()[1][:1] != b"2":
                raise RuntimeError(f"{status.decode().strip()} {path} {begin[:80]!r}")
            if length not in (-1, size):
                raise RuntimeError(f"{size} of {length} bytes")
            self.seen.bytes += size
            return begin
        finally:
            writer.close()

    async def _register(self, number: int, script: str) -> None:
        ticket = re.search(r"ticket=(\S+)", script)
        bootenv = re.search(r"bootenv=(\S+)", script)
        if ticket is None or bootenv is None:
            raise ValueError("no ticket in the script")
        mac = (b"\x02\x88" + number.to_bytes(4)).hex(":")
        card = {
            "ticket": ticket[1], "macs": [mac], "arch": "amd64", "firmware": "uefi", "bootenv": bootenv[1],
            "hostname": f"hall-{number}", "address": "",
            "identity": {"serial": f"HALL{number:06}", "dmi_uuid": str(UUID(int=number + (1 << 100)))},
        }  # fmt: skip
        await self._http("POST", "/api/v1/register", json.dumps(card).encode())


async def main(server: str, local: str, count: int, file: str) -> dict[str, Any]:
    """All machines at once; what they saw."""
    loop = asyncio.get_running_loop()
    _, relay = await loop.create_datagram_endpoint(lambda: Relay(local, server), local_addr=(local, 67))
    hall = Hall(server, relay, file)
    began = time.perf_counter()
    await asyncio.gather(*(hall.machine(number) for number in range(count)))
    seen = hall.seen
    return {
        "seconds": time.perf_counter() - began,
        "steps": seen.seconds,
        "resent": seen.resent,
        "failed": seen.failed,
        "bytes": seen.bytes,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))))
