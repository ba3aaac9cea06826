"""TFTP on the wire: takes requests on one UDP socket and gives each transfer a port of its own (RFC 1350).

In single-port mode all transfers go on from the port for requests and are told apart by the client's address; that
gets through firewalls and address translation that know nothing of TFTP.

Read-only. No packet, however odd, ends a transfer that is not its own, or the service.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio import TaskGroup
from collections import Counter
from typing import BinaryIO, Protocol

import structlog

from provisioner.errors import Denied, NotFound, ProvisionerError, StoreError
from provisioner.services.tftp_content import BytesSource, ChunkCache, FileSource, Source
from provisioner.services.tftp_ports import (
    ANCILLARY_BYTES,
    ANY_PORT,
    Address,
    PortRange,
    Ports,
    Readers,
    SharedPort,
    destination,
    make_room,
    open_socket,
    plain,
    reply,
    tell_destinations,
)
from provisioner.services.tftp_transfer import Transfer
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

__all__ = ["FileTree", "Recorder", "TftpService", "clean_path", "open_socket"]

log = structlog.get_logger(__name__)

DRAIN_LIMIT = 64
# A transfer begins with half a millisecond of work, and DHCP waits for the turn to end. Much fewer, and clients that
# come all at once would ask again before their turn.
REQUESTS_AT_ONCE = 24
# Two descriptors each. What is more is not answered: every client asks again, and an error would end its boot.
MOST_TRANSFERS = 2000
# When there are as many: those that nobody has acknowledged for so long give way. Real clients answer within a second.
PATIENCE_SECONDS = 5.0
# How often these are looked for.
_LOOK_SECONDS = 1.0
_GAVE_WAY = "gave way to other transfers: the client has acknowledged nothing"
# Text has to be converted in memory, for each transfer anew.
LARGEST_NETASCII = 256 << 10
_LARGEST_REQUEST = 2048
_BEGAN_ANEW = "the client began anew"
_REQUESTS = (bytes((0, RRQ)), bytes((0, WRQ)))


class FileTree(Protocol):
    """What there is to fetch."""

    async def open(self, path: str, client_address: str, local_address: str) -> bytes | BinaryIO:
        """The content of a file, or the open file; `path` has neither a leading `/` nor `..`.

        Raises NotFound or Denied, or another ProvisionerError whose message the client shall see.
        """


class Recorder(Protocol):
    """Who tells the timeline."""

    def served(
        self, protocol: str, path: str, client: str, size: int, seconds: float, error: str = "", **details: object
    ) -> None:
        """A transfer has ended: how many bytes arrived in what time, or why it failed; and what else is known."""


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
        patience_seconds: float = PATIENCE_SECONDS,
        single_port: bool = False,
        ports: Ports = ANY_PORT,
    ) -> None:
        self._sock = sock
        self._files = files
        self._recorder = recorder
        self._limits = limits
        self._most = most_transfers
        self._patience = patience_seconds
        self._looked = -_LOOK_SECONDS
        self._single_port = single_port
        self._ports = PortRange(ports)
        self._readers = Readers()
        self._cache = ChunkCache()
        self._active: dict[Address, _Session] = {}
        self.dropped: Counter[str] = Counter()

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        self._sock.setblocking(False)
        tell_destinations(self._sock)
        make_room(self._sock)
        self._readers.start()
        try:
            async with TaskGroup() as group:
                loop.add_reader(self._sock, self._readable, group)
                await asyncio.Event().wait()
        finally:
            loop.remove_reader(self._sock)
            self._readers.stop()
            self._sock.close()

    def _readable(self, group: TaskGroup) -> None:
        now, requests = asyncio.get_running_loop().time(), 0
        for _ in range(DRAIN_LIMIT):
            try:
                data, ancillary, _, client = self._sock.recvmsg(_LARGEST_REQUEST, ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._drop(f"receive: {error.strerror}")
                continue
            local, broadcast = destination(ancillary)
            if broadcast:
                # RFC 1123 section 4.2.3.5
                self._drop("broadcast request", client=client[0])
            elif data[:2] in _REQUESTS:
                self._requested(data, client, local, group)
                requests += 1
                if requests == REQUESTS_AT_ONCE:
                    return
            else:
                self._received(data, client, now)

    def _received(self, data: bytes, client: Address, now: float) -> None:
        """What is no request is part of a transfer on this port, or astray."""
        session = self._active.get(client)
        if self._single_port and session is not None and session.transfer is not None:
            session.transfer.received(data, now)
            return
        try:
            decode(data)
        except WireError as error:
            self._drop(error.reason, client=client[0], error=error.message)
        else:
            self._drop("not a request", client=client[0])

    def _requested(self, data: bytes, client: Address, local: str, group: TaskGroup) -> None:
        try:
            request = decode(data)
        except WireError as error:
            self._drop(error.reason, client=client[0], error=error.message)
            self._refuse(client, local, Error(ILLEGAL_OPERATION, error.message))
            return
        assert isinstance(request, Request)
        if self._is_copy(data, client):
            return
        now = asyncio.get_running_loop().time()
        if len(self._active) >= self._most and not self._made_room(now):
            self._drop("too many transfers", client=client[0])
            return
        session = self._active[client] = _Session(data, request, client, local, now)
        group.create_task(self._serve(session))

    def _made_room(self, now: float) -> bool:
        """End transfers that were asked for and then never acknowledged; a host that only asks fills all places."""
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            for session in list(self._active.values()):
                transfer = session.transfer
                if transfer is not None and not transfer.begun and now - session.since >= self._patience:
                    transfer.fail(_GAVE_WAY, tell=None)
                    del self._active[session.client]
        return len(self._active) < self._most

    def _is_copy(self, data: bytes, client: Address) -> bool:
        """Whether this is the request under way once more. Another one from the same port ends the former."""
        old = self._active.get(client)
        if old is None:
            return False
        if old.request_bytes == data and (old.transfer is None or not old.transfer.begun):
            return True
        old.superseded = True
        if old.transfer is not None:
            old.transfer.fail(_BEGAN_ANEW, tell=None)
        return False

    def _refuse(self, client: Address, local: str, error: Error) -> None:
        """Answer from the service's own port: a refusal needs no transfer."""
        try:
            reply(self._sock, encode(error), client, local)
        except OSError as problem:
            self._drop(f"send: {problem.strerror}", client=client[0])

    async def _serve(self, session: _Session) -> None:
        """One request from beginning to end; never raises, for it shares its group with all others."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            error = await self._transfer(session)
        except Exception:
            log.exception("tftp.failed", client=session.client[0], path=session.path)
            error = "our own fault"
        finally:
            if self._active.get(session.client) is session:
                del self._active[session.client]
        size, details = session.outcome()
        client = plain(session.client[0])
        try:
            self._recorder.served("tftp", session.path, client, size, loop.time() - began, error, **details)
        except StoreError as problem:
            log.error("tftp.not-recorded", client=client, path=session.path, error=problem.message)

    async def _transfer(self, session: _Session) -> str:
        """What went wrong, '' if nothing did."""
        try:
            source = await self._open(session)
        except (ProvisionerError, OSError) as problem:
            error = _refusal(problem)
            self._refuse(session.client, session.local, error)
            return error.message
        try:
            return _BEGAN_ANEW if session.superseded else await self._send(session, source)
        except OSError as problem:
            message = f"cannot open a port: {problem.strerror}"
            self._refuse(session.client, session.local, Error(NOT_DEFINED, message))
            return message
        finally:
            source.close()

    async def _send(self, session: _Session, source: Source) -> str:
        terms = agree(session.request, source.size, self._limits)
        sender = Sender(terms, source.size)
        content = source.content(terms.block_size)
        if self._single_port:
            port = SharedPort(self._sock, session.client, session.local)
            session.transfer = Transfer(port, sender, content, source.size)
            await session.transfer.run()
            return session.transfer.error
        own = self._ports.open(session.client, session.local)
        try:
            session.transfer = Transfer(own, sender, content, source.size)
            self._readers.add(own.sock, session.transfer.readable)
            await session.transfer.run()
        finally:
            self._readers.remove(own.sock)
            own.close()
        return session.transfer.error

    async def _open(self, session: _Session) -> Source:
        if session.request.write:
            raise Denied("this server is read-only")
        session.path = clean_path(session.request.filename)
        content = await self._files.open(session.path, plain(session.client[0]), session.local)
        if session.request.mode == NETASCII:
            return BytesSource(await self._as_text(content))
        return BytesSource(content) if isinstance(content, bytes) else FileSource(content, self._cache)

    async def _as_text(self, content: bytes | BinaryIO) -> bytes:
        if not isinstance(content, bytes):
            content = await asyncio.to_thread(_read_text, content)
        if len(content) > LARGEST_NETASCII:
            raise Denied(f"netascii is for text of up to {LARGEST_NETASCII} bytes; ask for octet")
        return to_netascii(content)

    def _drop(self, reason: str, **context: object) -> None:
        """Count it, and say it aloud the first time only."""
        self.dropped[reason] += 1
        level = log.warning if self.dropped[reason] == 1 else log.debug
        level("tftp.dropped", reason=reason, **context)


class _Session:
    """A request under way."""

    def __init__(self, request_bytes: bytes, request: Request, client: Address, local: str, since: float) -> None:
        self.since = since
        self.request_bytes = request_bytes
        self.request = request
        self.client = client
        self.local = local
        self.path = request.filename
        self.superseded = False
        self.transfer: Transfer | None = None

    def outcome(self) -> tuple[int, dict[str, object]]:
        """How many bytes arrived, and what the timeline tells beside."""
        transfer = self.transfer
        if transfer is None:
            return 0, {}
        details: dict[str, object] = {
            "options": transfer.options,
            "blksize": transfer.block_size,
            "resent": transfer.resent,
        }
        if transfer.size_only:
            details["size_only"] = True
        return transfer.sent_bytes, details


def _read_text(file: BinaryIO) -> bytes:
    with file:
        return file.read(LARGEST_NETASCII + 1)


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
