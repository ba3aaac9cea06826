"""The flight recorder: the last datagrams of every client as they were, on disk, for the day somebody asks.

Nothing is looked up while packets come: they are appended to one file, in the page cache, and found by reading through
it. When that file has grown, a thread merges it into another that keeps the newest of every client within a total. A
crash loses at most what the kernel had not written, and a torn record at the end is cut off at the next start.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import structlog

from provisioner.recording import Endpoint, Packet, Route
from provisioner.store.folders import failed, make_folder
from provisioner.store.packet_records import (
    MOST_ROUTES,
    PACKET,
    encoded,
    newest_of_each,
    newest_since,
    read,
    route_record,
    whole_length,
)

log = structlog.get_logger(__name__)

# Eight exchanges: the firmware's, iPXE's and the system's with some repetitions.
PACKETS_PER_CLIENT = 32
# The file of new packets is merged when it has this size and the last merge is this long ago, so that a power-on storm
# is not disturbed; it may grow beyond.
MERGE_BYTES = 32 << 20
MERGE_SECONDS = 60.0

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
            whole = whole_length(content)
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
        self._noted.append(PACKET.pack(b"P", len(data), route, now, mac.encode("ascii", "replace")))
        self._noted.append(data)
        self._newest = now

    def _new_route(self, key: _Key) -> int:
        if len(self._routes) >= MOST_ROUTES:
            self._routes.clear()
        number = self._routes[key] = len(self._routes)
        protocol, outgoing, interface, source, source_port, destination, destination_port = key
        route = Route(protocol, outgoing, interface, (source, source_port), (destination, destination_port))
        self._noted.append(route_record(route, number))
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
            packets = [*read(self._kept), *read(self._rotated)]
            kept = newest_of_each(packets, self._per_client, self._total)
            new = self._folder / "kept.new"
            new.write_bytes(encoded(kept))
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
        return newest_since(contents, mac, since, self._per_client)
