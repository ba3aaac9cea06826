"""TFTP on the wire: takes requests on one UDP socket and gives each transfer a socket of its own (RFC 1350).

Read-only. No packet, however odd, ends a transfer that is not its own, or the service.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio import TaskGroup
from collections import Counter
from struct import Struct as Layout
from typing import BinaryIO, Protocol

import structlog

from provisioner.errors import Denied, NotFound, ProvisionerError, StoreError
from provisioner.services.tftp_transfer import BytesSource, FileSource, Source, Transfer
from provisioner.wire.error import WireError
from provisioner.wire.tftp import (
    ACCESS_VIOLATION,
    FILE_NOT_FOUND,
    ILLEGAL_OPERATION,
    NETASCII,
    NOT_DEFINED,
    RRQ,
    WRQ,
    Error,
    Limits,
    Request,
    agree,
    decode,
    encode,
    to_netascii,
)
from provisioner.wire.tftp_sender import Sender

log = structlog.get_logger(__name__)

DRAIN_LIMIT = 64
# One descriptor each; more wait for their turn by asking again, as every TFTP client does.
MOST_TRANSFERS = 1000
RECEIVE_BUFFER_BYTES = 1 << 20
# A window of 64 blocks of an Ethernet frame; the kernel counts its own overhead as well.
SEND_BUFFER_BYTES = 512 * 1024
# Text has to be converted in memory.
LARGEST_NETASCII = 4 << 20

# Not in Python's socket module before 3.14; number of <linux/in.h>, and struct in_pktinfo.
IP_PKTINFO = 8
_PKTINFO = Layout("@I4s4s")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_PKTINFO.size)
_LARGEST_REQUEST = 2048

Address = tuple[str, int]


class FileTree(Protocol):
    """What there is to fetch."""

    async def open(self, path: str, client_address: str, local_address: str) -> bytes | BinaryIO:
        """The content of a file, or the open file; `path` has neither a leading `/` nor `..`.

        Raises NotFound or Denied, or another ProvisionerError whose message the client shall see.
        """


class Recorder(Protocol):
    """Who tells the timeline."""

    async def served(self, protocol: str, path: str, client: str, size: int, seconds: float, error: str = "") -> None:
        """A transfer has ended: how many bytes arrived in what time, or why it failed."""


def open_socket(address: str = "", port: int = 69) -> socket.socket:
    """A socket bound for TFTP; OSError when the port is taken or we may not have it."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


class TftpService:
    """Serves files on a bound socket, which it closes in the end."""

    def __init__(
        self,
        sock: socket.socket,
        files: FileTree,
        recorder: Recorder,
        *,
        limits: Limits = Limits(),
        most_transfers: int = MOST_TRANSFERS,
    ) -> None:
        self._sock = sock
        self._files = files
        self._recorder = recorder
        self._limits = limits
        self._most = most_transfers
        self._active: dict[Address, _Session] = {}
        self.dropped: Counter[str] = Counter()

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        try:
            async with TaskGroup() as group:
                loop.add_reader(self._sock, self._readable, group)
                await asyncio.Event().wait()
        finally:
            loop.remove_reader(self._sock)
            self._sock.close()

    def _readable(self, group: TaskGroup) -> None:
        for _ in range(DRAIN_LIMIT):
            try:
                data, ancillary, _, client = self._sock.recvmsg(_LARGEST_REQUEST, _ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._drop(f"receive: {error.strerror}")
                continue
            local, broadcast = _local_address(ancillary)
            if broadcast:
                # RFC 1123 section 4.2.3.5
                self._drop("broadcast request", client=client[0])
            else:
                self._received(data, client, local, group)

    def _received(self, data: bytes, client: Address, local: str, group: TaskGroup) -> None:
        try:
            packet = decode(data)
        except WireError as error:
            self._drop(error.reason, client=client[0], error=error.message)
            if data[:2] in (bytes((0, RRQ)), bytes((0, WRQ))):
                self._refuse(client, local, Error(ILLEGAL_OPERATION, error.message))
            return
        if not isinstance(packet, Request):
            self._drop("not a request", client=client[0])
            return
        if self._is_copy(data, client):
            return
        if len(self._active) >= self._most:
            self._drop("too many transfers", client=client[0])
            self._refuse(client, local, Error(NOT_DEFINED, f"busy with {self._most} transfers, ask again"))
            return
        session = self._active[client] = _Session(data, packet, client, local)
        group.create_task(self._serve(session))

    def _is_copy(self, data: bytes, client: Address) -> bool:
        """Whether this is the request under way once more. Another one from the same port ends the former."""
        old = self._active.get(client)
        if old is None:
            return False
        if old.request_bytes == data and (old.transfer is None or not old.transfer.begun):
            return True
        if old.transfer is not None:
            old.transfer.fail("the client began anew", tell=None)
        return False

    def _refuse(self, client: Address, local: str, error: Error) -> None:
        """Answer from the service's own port: a refusal needs no transfer."""
        information = _PKTINFO.pack(0, socket.inet_aton(local), b"\0\0\0\0")
        try:
            self._sock.sendmsg([encode(error)], [(socket.IPPROTO_IP, IP_PKTINFO, information)], 0, client)
        except OSError as problem:
            self._drop(f"send: {problem.strerror}", client=client[0])

    async def _serve(self, session: _Session) -> None:
        """One request from beginning to end; never raises, for it shares its group with all others."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            size, error = await self._transfer(session)
        except Exception:
            log.exception("tftp.failed", client=session.client[0], path=session.path)
            size, error = 0, "our own fault"
        finally:
            if self._active.get(session.client) is session:
                del self._active[session.client]
        try:
            await self._recorder.served("tftp", session.path, session.client[0], size, loop.time() - began, error)
        except StoreError as problem:
            log.error("tftp.not-recorded", client=session.client[0], path=session.path, error=problem.message)

    async def _transfer(self, session: _Session) -> tuple[int, str]:
        """How many bytes arrived, and what went wrong if anything."""
        request = session.request
        try:
            source = await self._open(session)
        except (ProvisionerError, OSError) as problem:
            error = _refusal(problem)
            self._refuse(session.client, session.local, error)
            return 0, error.message
        try:
            with _connected(session.client, session.local) as sock:
                sender = Sender(agree(request, source.size, self._limits), source.size)
                session.transfer = transfer = Transfer(sock, sender, source)
                await transfer.run()
        except OSError as problem:
            return 0, f"cannot open a socket: {problem.strerror}"
        finally:
            source.close()
        return transfer.sent_bytes, transfer.error

    async def _open(self, session: _Session) -> Source:
        if session.request.write:
            raise Denied("this server is read-only")
        session.path = clean_path(session.request.filename)
        content = await self._files.open(session.path, session.client[0], session.local)
        source: Source = BytesSource(content) if isinstance(content, bytes) else FileSource(content)
        return await _as_text(source) if session.request.mode == NETASCII else source

    def _drop(self, reason: str, **context: object) -> None:
        """Count it, and say it aloud the first time only."""
        self.dropped[reason] += 1
        level = log.warning if self.dropped[reason] == 1 else log.debug
        level("tftp.dropped", reason=reason, **context)


class _Session:
    """A request under way."""

    def __init__(self, request_bytes: bytes, request: Request, client: Address, local: str) -> None:
        self.request_bytes = request_bytes
        self.request = request
        self.client = client
        self.local = local
        self.path = request.filename
        self.transfer: Transfer | None = None


def clean_path(filename: str) -> str:
    """The name as the file tree knows it; raises Denied for one that leaves the tree, NotFound for an empty one.

    Leading slashes and backslashes are how firmware writes the same name.
    """
    parts = [part for part in filename.replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Denied(f"{filename!r} is outside of what is served")
    if not parts:
        raise NotFound("no file is named")
    return "/".join(parts)


def _refusal(problem: ProvisionerError | OSError) -> Error:
    if isinstance(problem, NotFound):
        return Error(FILE_NOT_FOUND, problem.message)
    if isinstance(problem, Denied):
        return Error(ACCESS_VIOLATION, f"access violation: {problem.message}")
    if isinstance(problem, ProvisionerError):
        return Error(NOT_DEFINED, problem.message)
    if isinstance(problem, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return Error(FILE_NOT_FOUND, "file not found")
    if isinstance(problem, PermissionError):
        return Error(ACCESS_VIOLATION, "access violation")
    return Error(NOT_DEFINED, f"cannot read the file: {problem.strerror}")


async def _as_text(source: Source) -> Source:
    try:
        if source.size > LARGEST_NETASCII:
            raise Denied(f"netascii is for text; this file has {source.size} bytes, ask for octet")
        content = source.read(0, source.size)
        if content is None:
            await asyncio.to_thread(source.load, 0, source.size)
            content = source.read(0, source.size)
    finally:
        source.close()
    return BytesSource(to_netascii(content or b""))


def _connected(client: Address, local: str) -> socket.socket:
    """A socket that hears this client only, bound to the address at which it reached us."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        sock.bind((local, 0))
        sock.connect(client)
    except OSError:
        sock.close()
        raise
    return sock


def _local_address(ancillary: list[tuple[int, int, bytes]]) -> tuple[str, bool]:
    """Our address that the datagram reached, and whether it was sent to everybody."""
    for level, kind, value in ancillary:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            _, local, header = _PKTINFO.unpack(value[: _PKTINFO.size])
            return socket.inet_ntoa(local), local != header
    return "0.0.0.0", False
