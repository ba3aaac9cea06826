"""Whose turn it is to download: the queue of `downloads`, on this server's clock and with its machines' names."""

from __future__ import annotations

from collections.abc import Callable, Collection
from time import monotonic

from provisioner.conductor.ledger import Ledger
from provisioner.conductor.neighbours import holder
from provisioner.downloads import Downloads
from provisioner.frozen import Frozen
from provisioner.model.machines import Machine

# Whoever asks for a file like this takes its turn as a machine that boots does. Kernels and packages are smaller.
HEAVY_BYTES = 16 << 20


class RunningDownload(Frozen, frozen=True, kw_only=True):
    """A machine that downloads, or is about to (`path` empty then)."""

    machine: str
    name: str
    mac: str
    address: str
    path: str
    size: int
    sent: int
    bytes_per_second: float
    seconds: float


class WaitingDownload(Frozen, frozen=True, kw_only=True):
    """A machine that waits for its turn, and its place in the queue."""

    machine: str
    name: str
    mac: str
    address: str
    place: int
    seconds: float


class DownloadsNow(Frozen, frozen=True, kw_only=True):
    """All downloads as they are; `limit` 0 is no limit, `taken` how many of it are taken."""

    limit: int
    taken: int
    running: tuple[RunningDownload, ...]
    waiting: tuple[WaitingDownload, ...]


class Turn(Frozen, frozen=True):
    """`place` 0 is now; `is_new` when it was not in the queue before."""

    place: int
    is_new: bool


class Turns:
    """Gives turns to boot scripts and to files; nothing of this outlives the server, machines ask again."""

    def __init__(
        self,
        ledger: Ledger,
        limit: int,
        neighbour: Callable[[str], str] = lambda address: "",
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._ledger = ledger
        self._neighbour = neighbour
        self._seconds = seconds
        self._downloads = Downloads(limit)

    def follow(self) -> None:
        """From now on let those go whose systems came up."""
        self._ledger.observe(Machine, self._machine_changed)

    def _machine_changed(self, old: Machine | None, new: Machine | None) -> None:
        if new is None or (old is not None and _said_hello(old) == _said_hello(new)):
            return
        for mac in new.macs:
            self._downloads.free(mac)

    def ask(self, mac: str, client: str, paths: Collection[str]) -> Turn:
        """Whether the machine that boots from this MAC, now at address `client`, may download these paths."""
        was_waiting = self._downloads.is_waiting(mac)
        place = self._downloads.ask(mac, paths, self._seconds(), client, doubted=not self._is_at(mac, client))
        return Turn(place, not was_waiting and self._downloads.is_waiting(mac))

    def _is_at(self, mac: str, client: str) -> bool:
        """Whether the machine with this MAC is known to have this address: anybody can ask for anybody's script."""
        if not client or not self.limit:
            return True
        seen = self._mac_at(client)
        if seen == mac:
            return True
        machine = self._ledger.machine_by_mac(mac)
        return machine is not None and seen in machine.macs

    @property
    def limit(self) -> int:
        """How many may download at once, 0 for all."""
        return self._downloads.limit

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._downloads.waiting_count

    def pause_seconds(self, place: int) -> int:
        """After how long one with this place is to ask again."""
        return self._downloads.pause_seconds(place)

    # --- files ------------------------------------------------------------------------------------------------

    def is_followed(self, client: str, path: str, size: int) -> bool:
        """Whether the transfer of a file is of interest: it is large, or its client has a turn for several files."""
        return size >= HEAVY_BYTES or self._downloads.knows(self._who(client, path))

    def begin(self, client: str, path: str, size: int, start: int) -> int:
        """A transfer begins; returns its number."""
        return self._downloads.begin(self._who(client, path), path, size, self._seconds(), start)

    def may_go_on(self, number: int, size: int) -> bool:
        """Whether a transfer may have all it can get; asked again and again while it may not."""
        return size < HEAVY_BYTES or self._downloads.may_go_on(number, self._seconds())

    def progress(self, number: int, sent: int) -> None:
        """So many bytes are sent by now."""
        self._downloads.progress(number, sent, self._seconds())

    def end(self, number: int, *, whole: bool) -> None:
        """A transfer has ended; `whole` when it reached the end of its file."""
        self._downloads.end(number, self._seconds(), whole=whole)

    def _who(self, client: str, path: str) -> str:
        found = self._downloads.who_is_at(client, path)
        if found:
            return found
        return self._mac_at(client) or client

    def _mac_at(self, address: str) -> str:
        return holder(self._ledger, address, self._neighbour)

    # --- showing ----------------------------------------------------------------------------------------------

    def now(self) -> DownloadsNow:
        """All downloads as they are."""
        now = self._seconds()
        self._downloads.expire(now)
        running = tuple(
            RunningDownload(
                **self._named(each.who),
                path=each.path,
                size=each.size,
                sent=each.sent,
                bytes_per_second=round(each.rate, 1),
                seconds=round(each.seconds, 1),
            )
            for each in self._downloads.running(now)
        )
        waiting = tuple(
            WaitingDownload(**self._named(each.who), place=each.place, seconds=round(each.seconds, 1))
            for each in self._downloads.waiting(now)
        )
        taken = self._downloads.running_count
        return DownloadsNow(limit=self.limit, taken=taken, running=running, waiting=waiting)

    def _named(self, who: str) -> dict[str, str]:
        machine = self._ledger.machine_by_mac(who)
        leases = self._ledger.leases_by_mac(who)
        is_mac = machine is not None or bool(leases) or len(who.split(":")) == 6
        return {
            "machine": machine.id if machine is not None else "",
            "name": machine.name if machine is not None else "",
            "mac": who if is_mac else "",
            "address": "" if is_mac and not leases else leases[0].address if leases else who,
        }


def _said_hello(machine: Machine) -> tuple[object, object]:
    """When its system came up last."""
    return machine.registered_at, machine.agent.hello_at if machine.agent is not None else None
