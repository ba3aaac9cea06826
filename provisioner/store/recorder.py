"""The flight recorder: the last datagrams of every client as they were, on disk, for the day somebody asks.

Nothing is looked up while packets come: they are appended to one file, in the page cache, and found by reading through
it. When that file has grown, a thread merges it into another that keeps the newest of every client within a total. A
crash loses at most what the kernel had not written, and a torn record at the end is cut off at the next start.

Two kinds of records, little-endian, each begun by a byte that says which:

    P  size u32, route u16, time f64, MAC as text in 20 bytes; then `size` bytes of datagram
    R  size u32, route u16; then JSON: protocol, outgoing, interface, source and destination. The packets that follow
       mean this route by its number, until the number is given anew
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct as Layout

import msgspec
import structlog

from provisioner.recording import Endpoint, Packet, Route
from provisioner.store.folders import failed, make_folder

log = structlog.get_logger(__name__)

# Eight exchanges: the firmware's, iPXE's and the system's with some repetitions.
PACKETS_PER_CLIENT = 32
# The file of new packets is merged when it has this size and the last merge is this long ago, so that a power-on storm
# is not disturbed; it may grow beyond.
MERGE_BYTES = 32 << 20
MERGE_SECONDS = 60.0
_MOST_ROUTES = 4096
_DATAGRAM_LIMIT = 65_535

_PACKET = Layout("<cIHd20s")
_ROUTE = Layout("<cIH")


_Key = tuple[str, bool, str, str, int, str, int]


class FlightRecorder:
    """Keeps datagrams below `folder`, in about `total_bytes`. All but `merge` and `packets` run on one thread."""

    def __init__(
        self,
        folder: Path,
        total_bytes: int,
        *,
        per_client: int = PACKETS_PER_CLIENT,
        merge_bytes: int = MERGE_BYTES,
        merge_seconds: float = MERGE_SECONDS,
    ) -> None:
        self._folder = folder
        self._total = total_bytes
        self._per_client = per_client
        self._merge_bytes = merge_bytes
        self._merge_seconds = merge_seconds
        self._noted: list[bytes] = []
        self._routes: dict[_Key, int] = {}
        self._last_merge = 0.0
        self._newest = 0.0
        self._merging: threading.Thread | None = None
        # Held while files change their names, so that nobody reads a packet twice or not at all.
        self._names = threading.Lock()
        self._broken = False
        make_folder(folder)
        self._file = self._opened()

    @property
    def _recent(self) -> Path:
        return self._folder / "recent"

    @property
    def _rotated(self) -> Path:
        return self._folder / "rotated"

    @property
    def _kept(self) -> Path:
        return self._folder / "kept"

    def _opened(self) -> int:
        """The file of new packets, without what a crash tore off at its end."""
        try:
            descriptor = os.open(self._recent, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            content = self._recent.read_bytes()
            whole = _whole_length(content)
            if whole < len(content):
                os.ftruncate(descriptor, whole)
        except OSError as error:
            raise failed(f"open the flight recorder {self._recent}", error) from error
        self._size = whole
        self._routes.clear()
        return descriptor

    # --- noting -----------------------------------------------------------------------------------------------

    def keep(
        self,
        protocol: str,
        now: float,
        mac: str,
        outgoing: bool,
        data: bytes,
        source: Endpoint,
        destination: Endpoint,
        interface: str,
    ) -> None:
        """Take note of a datagram."""
        key = (protocol, outgoing, interface, source[0], source[1], destination[0], destination[1])
        route = self._routes.get(key)
        if route is None:
            route = self._new_route(key)
        self._noted.append(_PACKET.pack(b"P", len(data), route, now, mac.encode("ascii", "replace")))
        self._noted.append(data)
        self._newest = now

    def _new_route(self, key: _Key) -> int:
        if len(self._routes) >= _MOST_ROUTES:
            self._routes.clear()
        number = self._routes[key] = len(self._routes)
        protocol, outgoing, interface, source, source_port, destination, destination_port = key
        route = Route(protocol, outgoing, interface, (source, source_port), (destination, destination_port))
        encoded = msgspec.json.encode(route)
        self._noted.append(_ROUTE.pack(b"R", len(encoded), number) + encoded)
        return number

    def flush(self) -> None:
        """Append what was noted. A disk that refuses costs the record, never the service."""
        if not self._noted:
            return
        content = b"".join(self._noted)
        self._noted.clear()
        try:
            written = os.write(self._file, content)
        except OSError as error:
            self._fail(str(error.strerror))
            return
        if written < len(content):
            self._fail("the disk took only a part")
            return
        self._broken = False
        self._size += written
        # A last merge later than now was before the clock was set back.
        if self._size >= self._merge_bytes and not 0 <= self._newest - self._last_merge < self._merge_seconds:
            self._begin_merge()

    def _fail(self, why: str) -> None:
        """Go back to the last whole record, and tell once."""
        with suppress(OSError):
            os.ftruncate(self._file, self._size)
        # The routes that were in there are lost with it.
        self._routes.clear()
        if not self._broken:
            log.error("recorder.not_written", folder=str(self._folder), error=why)
        self._broken = True

    def close(self) -> None:
        """Write down what is left and wait for a merge under way."""
        self.flush()
        if self._merging is not None:
            self._merging.join()
        os.close(self._file)

    # --- keeping the newest -----------------------------------------------------------------------------------

    def _begin_merge(self) -> None:
        if self._merging is not None and self._merging.is_alive():
            return
        self._last_merge = self._newest
        try:
            with self._names:
                if not self._rotated.exists():
                    os.rename(self._recent, self._rotated)
                    os.close(self._file)
                    self._file = self._opened()
        except OSError as error:
            log.error("recorder.not_merged", folder=str(self._folder), error=error.strerror)
            return
        self._merging = threading.Thread(target=self.merge, name="recorder", daemon=True)
        self._merging.start()

    def merge(self) -> None:
        """Merge the rotated packets into the kept ones, of each client only the newest, within the total."""
        try:
            packets = [*_read(self._kept), *_read(self._rotated)]
            kept = _newest_of_each(packets, self._per_client, self._total)
            new = self._folder / "kept.new"
            new.write_bytes(_encoded(kept))
            with self._names:
                os.replace(new, self._kept)
                self._rotated.unlink(missing_ok=True)
        except OSError as error:
            log.error("recorder.not_merged", folder=str(self._folder), error=error.strerror)

    # --- reading ----------------------------------------------------------------------------------------------

    def packets(self, mac: str = "", since: float = 0.0) -> list[Packet]:
        """What is kept of a client (empty: of all), oldest first, not before `since`. Blocks; StoreError."""
        with self._names:
            try:
                contents = [path.read_bytes() for path in (self._kept, self._rotated, self._recent) if path.exists()]
            except OSError as error:
                raise failed(f"read the flight recorder {self._folder}", error) from error
        found = [packet for content in contents for packet in _packets(content, mac) if packet.time >= since]
        by_client: dict[str, deque[Packet]] = {}
        for packet in found:
            by_client.setdefault(packet.mac, deque(maxlen=self._per_client)).append(packet)
        return sorted((packet for each in by_client.values() for packet in each), key=lambda packet: packet.time)


def _whole_length(content: bytes) -> int:
    """How much of the content are whole records."""
    at = 0
    while True:
        end = _end_of_record(content, at)
        if end is None:
            return at
        at = end


def _end_of_record(content: bytes, at: int) -> int | None:
    layout = {b"P": _PACKET, b"R": _ROUTE}.get(content[at : at + 1])
    if layout is None or at + layout.size > len(content):
        return None
    size = int.from_bytes(content[at + 1 : at + 5], "little")
    end = at + layout.size + size
    return end if size <= _DATAGRAM_LIMIT and end <= len(content) else None


def _packets(content: bytes, mac: str) -> Iterator[Packet]:
    """The whole packets in there, of one client or of all."""
    routes: dict[int, Route] = {}
    wanted = mac.encode().ljust(20, b"\0") if mac else b""
    at = 0
    while (end := _end_of_record(content, at)) is not None:
        if content[at] == ord("R"):
            _, _, number = _ROUTE.unpack_from(content, at)
            try:
                routes[number] = msgspec.json.decode(content[at + _ROUTE.size : end], type=Route)
            except (msgspec.DecodeError, UnicodeDecodeError):
                # The disk has spoilt it: it costs the packets that came this way, and not all others.
                routes.pop(number, None)
        else:
            _, _, number, time, whose = _PACKET.unpack_from(content, at)
            route = routes.get(number)
            if route is not None and (not wanted or whose == wanted):
                data = content[at + _PACKET.size : end]
                yield _packet(time, whose.rstrip(b"\0").decode("ascii", "replace"), route, data)
        at = end


def _packet(time: float, mac: str, route: Route, data: bytes) -> Packet:
    return Packet(
        time=time,
        protocol=route.protocol,
        mac=mac,
        outgoing=route.outgoing,
        interface=route.interface,
        source=route.source[0],
        source_port=route.source[1],
        destination=route.destination[0],
        destination_port=route.destination[1],
        data=data,
    )


def _read(path: Path) -> Iterator[Packet]:
    return _packets(path.read_bytes(), "") if path.exists() else iter(())


def _newest_of_each(packets: list[Packet], per_client: int, total: int) -> list[Packet]:
    """The newest packets of each client; when these are too many, of the clients heard last."""
    by_client: dict[str, deque[Packet]] = {}
    for packet in packets:
        # Put last who was heard last.
        queue = by_client.pop(packet.mac, None)
        if queue is None:
            queue = deque(maxlen=per_client)
        queue.append(packet)
        by_client[packet.mac] = queue
    kept: list[Packet] = []
    for queue in reversed(by_client.values()):
        total -= sum(len(packet.data) + _PACKET.size for packet in queue)
        if total < 0:
            break
        kept += queue
    return sorted(kept, key=lambda packet: packet.time)


def _encoded(packets: list[Packet]) -> bytes:
    parts: list[bytes] = []
    routes: dict[Route, int] = {}
    for packet in packets:
        route = Route(
            packet.protocol,
            packet.outgoing,
            packet.interface,
            (packet.source, packet.source_port),
            (packet.destination, packet.destination_port),
        )
        number = routes.get(route)
        if number is None:
            if len(routes) >= _MOST_ROUTES:
                routes.clear()
            number = routes[route] = len(routes)
            encoded = msgspec.json.encode(route)
            parts.append(_ROUTE.pack(b"R", len(encoded), number) + encoded)
        parts.append(_PACKET.pack(b"P", len(packet.data), number, packet.time, packet.mac.encode()) + packet.data)
    return b"".join(parts)
