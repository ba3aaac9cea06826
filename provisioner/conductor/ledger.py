"""The ledger: all durable state in memory, twice.

`current` is what has been decided, `durable` is what is on disk. Rules read `current` and decide one after the other
without waiting for the disk; readers (API, UI) see only `durable`, so nothing becomes visible that a power cut could
take back. When the disk fails, `current` goes back to `durable` and all decisions in flight fail together. What nobody
decided but only has to be seen in another way (`amend`: the clock was set) counts in both at once.

A transaction is begun, filled and committed without an `await` in between: that is what makes it serial.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
import structlog
from msgspec.structs import replace

from provisioner.bus import Bus
from provisioner.errors import StoreError
from provisioner.events import KINDS, Event
from provisioner.model.access import Token, User
from provisioner.model.addresses import Lease, Reservation, Subnet
from provisioner.model.content import CONTENT_KINDS
from provisioner.model.machines import LIVE_STATES, Clash, Job, Machine, RenderedFile
from provisioner.model.operations import Operation, Reply
from provisioner.store.batches import Batch, Write
from provisioner.store.database import Database

log = structlog.get_logger(__name__)

T = TypeVar("T")
Key = Callable[[Any], Iterable[Hashable]]
Observer = Callable[[Any, Any], None]
Changes = dict[tuple[type, str], Any]

_PRIMARY: Final[dict[type, Callable[[Any], str]]] = {
    Machine: lambda machine: machine.id,
    Job: lambda job: job.id,
    Subnet: lambda subnet: subnet.name,
    Reservation: lambda reservation: reservation.address,
    Lease: lambda lease: lease.address,
    User: lambda user: user.name,
    Token: lambda token: token.digest,
    Clash: lambda clash: clash.mac,
    Operation: lambda operation: operation.id,
    Reply: lambda reply: reply.key,
    **{cls: (lambda content: content.name) for cls in CONTENT_KINDS.values()},
}


_REPEATED: Final = ("id", "machine", "task", "stage", "workflow", "bootenv", "previous", "boot_id", "instance")


class Index:
    """Finds objects of one class by something other than their key; kept in step with `current`."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._keys: dict[Hashable, dict[str, None]] = {}

    def move(self, primary: str, old: Any, new: Any) -> None:
        """Account for `old` having become `new` (either may be None)."""
        before = tuple(self._key(old)) if old is not None else ()
        after = tuple(self._key(new)) if new is not None else ()
        if before == after:
            return
        for value in before:
            keys = self._keys[value]
            del keys[primary]
            if not keys:
                del self._keys[value]
        for value in after:
            self._keys.setdefault(value, {})[primary] = None

    def keys(self, value: Hashable) -> tuple[str, ...]:
        """Keys of the objects that have this value, in the order they came."""
        found = self._keys.get(value)
        return tuple(found) if found else ()

    def all_keys(self) -> tuple[str, ...]:
        """Keys of all objects that have any value."""
        return tuple(key for keys in self._keys.values() for key in keys)


def _slim(jobs: Iterable[Job]) -> Iterator[Job]:
    """The same jobs, with equal texts kept once: jobs are by far the most objects, and half of each is such texts."""
    seen: dict[str, str] = {}
    for job in jobs:
        texts = {name: getattr(job, name) for name in _REPEATED}
        yield replace(job, **{name: seen.setdefault(text, text) for name, text in texts.items()})


class Ledger:
    """Everything the server knows; made by `Ledger(...)`, filled by `load()`."""

    def __init__(self, database: Database, bus: Bus, clock: Callable[[], datetime]) -> None:
        self.database = database
        self.bus = bus
        self.clock = clock
        self._current: dict[type, dict[str, Any]] = {cls: {} for cls in _PRIMARY}
        self._durable: dict[type, dict[str, Any]] = {cls: {} for cls in _PRIMARY}
        # What each commit changes that is under way, oldest first; they reach the disk in this order.
        self._in_flight: deque[Changes] = deque()
        self._indexes: dict[type, list[Index]] = {cls: [] for cls in _PRIMARY}
        self._observers: dict[type, list[Observer]] = {cls: [] for cls in _PRIMARY}
        # One more whenever `current` has gone back to `durable`.
        self.generation = 0
        # Those who wait for the newest commit that is under way; None when there is none.
        self._followers: list[asyncio.Future[None]] | None = None
        self._next_event = 1
        self._durable_event = 0
        self._machine_names = self._index(Machine, lambda machine: (machine.name,))
        self._machine_macs = self._index(Machine, lambda machine: machine.macs)
        self._machine_addresses = self._index(Machine, lambda machine: (machine.address,) if machine.address else ())
        self._machine_jobs = self._index(Job, lambda job: (job.machine,))
        self._reservation_macs = self._index(Reservation, lambda reservation: (reservation.mac,))
        self._lease_macs = self._index(Lease, lambda lease: (lease.mac,))
        self._live_jobs = self._index(Job, lambda job: (job.machine,) if job.state in LIVE_STATES else ())
        self._watchers: dict[tuple[type, str], list[asyncio.Future[None]]] = {}
        self._clash_macs = self._index(Clash, lambda clash: clash.macs)
        self._token_subjects = self._index(Token, lambda token: (token.subject,))

    def _index(self, cls: type, key: Key) -> Index:
        index = Index(key)
        self._indexes[cls].append(index)
        return index

    def load(self) -> None:
        """Read everything from the opened database; jobs come in the order they were created.

        Raises StoreError naming what cannot be read.
        """
        for cls, primary in _PRIMARY.items():
            objects = list(self._saved(cls))
            if cls is Job:
                objects = list(_slim(objects))
            for value in objects:
                self._apply(cls, primary(value), value)
            self._durable[cls] = dict(self._current[cls])
        self._durable_event = self.database.last_event_id()
        self._next_event = self._durable_event + 1

    def _saved(self, cls: type) -> Iterator[Any]:
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(cls)
        kind: str = cls.kind  # type: ignore[attr-defined]
        for key, doc in self.database.load(kind):
            try:
                yield decoder.decode(doc)
            except msgspec.DecodeError as error:
                message = f"the database {self.database.path} holds something in {kind} that cannot be read, {key!r}"
                raise StoreError(f"{message}: {error}; was it written by a newer provisioner?", object=key) from error

    # --- reading ----------------------------------------------------------------------------------------------

    def get(self, cls: type[T], key: str) -> T | None:
        """The newest decided value: for rules."""
        return self._current[cls].get(key)

    def all(self, cls: type[T]) -> Iterable[T]:
        """All newest decided values: for rules."""
        return self._current[cls].values()

    def read(self, cls: type[T], key: str) -> T | None:
        """The value on disk: for readers."""
        return self._durable[cls].get(key)

    def read_all(self, cls: type[T]) -> Iterable[T]:
        """All values on disk: for readers."""
        return self._durable[cls].values()

    def last_saved(self) -> int:
        """The number of the newest event on disk; it grows with nearly all that is saved."""
        return self._durable_event

    def machine_by_name(self, name: str) -> Machine | None:
        """The machine with this name."""
        return self._first(Machine, self._machine_names.keys(name))

    def machine_by_mac(self, mac: str) -> Machine | None:
        """The machine that has this MAC."""
        return self._first(Machine, self._machine_macs.keys(mac))

    def machines_by_address(self, address: str) -> list[Machine]:
        """Machines that claim this address."""
        return self._found(Machine, self._machine_addresses.keys(address))

    def jobs_of(self, machine: str) -> list[Job]:
        """The machine's jobs, oldest first."""
        return self._found(Job, self._machine_jobs.keys(machine))

    def live_jobs(self) -> list[Job]:
        """All jobs that are created or running."""
        return self._found(Job, self._live_jobs.all_keys())

    def reservations_by_mac(self, mac: str) -> list[Reservation]:
        """Addresses reserved for this MAC."""
        return self._found(Reservation, self._reservation_macs.keys(mac))

    def leases_by_mac(self, mac: str) -> list[Lease]:
        """Leases of this MAC, in any state."""
        return self._found(Lease, self._lease_macs.keys(mac))

    def tokens_of(self, subject: str) -> list[Token]:
        """Tokens given to this user, machine or MAC."""
        return self._found(Token, self._token_subjects.keys(subject))

    def clash_by_mac(self, mac: str) -> Clash | None:
        """The newcomer with this MAC that is held."""
        return self._first(Clash, self._clash_macs.keys(mac))

    def _first(self, cls: type[T], keys: tuple[str, ...]) -> T | None:
        return self._current[cls][keys[0]] if keys else None

    def _found(self, cls: type[T], keys: tuple[str, ...]) -> list[T]:
        if not keys:
            return []
        table = self._current[cls]
        return [table[key] for key in keys]

    async def changed(self, cls: type, key: str, seconds: float) -> None:
        """Wait until the durable value changes or is deleted, at most this long."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        watchers = self._watchers.setdefault((cls, key), [])
        watchers.append(future)
        try:
            await asyncio.wait_for(future, seconds)
        except TimeoutError:
            pass
        finally:
            watchers.remove(future)
            if not watchers:
                self._watchers.pop((cls, key), None)

    def wake(self, cls: type, key: str) -> None:
        """Let everyone go on who waits for this object to change."""
        for future in self._watchers.get((cls, key), ()):
            if not future.done():
                future.set_result(None)

    def observe(self, cls: type, observer: Observer) -> None:
        """Call `observer(old, new)` for every change of `current`, now for all that is there already."""
        self._observers[cls].append(observer)
        for value in self._current[cls].values():
            observer(None, value)

    # --- writing ----------------------------------------------------------------------------------------------

    def amend(self, cls: type[T], right: Callable[[T], T]) -> list[str]:
        """Put right what all objects say, those decided, under way and saved alike; returns the keys of what changed.

        `right` returns the same object when there is nothing to change. No failure takes it back; on disk it is once
        the caller has saved these objects.
        """
        changed: dict[str, None] = {}
        # By identity: `current` and `durable` go on to share what is the same. With the old ones, so that no id is
        # used again meanwhile.
        made: dict[int, tuple[T, T]] = {}

        def amended(key: str, old: T) -> T:
            _, new = made.get(id(old)) or made.setdefault(id(old), (old, right(old)))
            if new is not old:
                changed[key] = None
            return new

        for changes in self._in_flight:
            for (of, key), value in changes.items():
                if of is cls and value is not None:
                    changes[of, key] = amended(key, value)
        durable = self._durable[cls]
        for key, value in durable.items():
            durable[key] = amended(key, value)
        for key, value in list(self._current[cls].items()):
            new = amended(key, value)
            if new is not value:
                self._apply(cls, key, new)
        return list(changed)

    def transaction(self, by: str = "", now: datetime | None = None) -> Transaction:
        """Begin to collect changes; `by` says who causes them, `now` when if the clock was read already."""
        return Transaction(self, by, now or self.clock())

    def commit(
        self,
        changes: Changes,
        actions: dict[str, tuple[RenderedFile, ...]],
        events: Callable[[int], list[Event]],
        *,
        lazy: bool = False,
    ) -> asyncio.Future[None]:
        """Apply changes to `current` now; the future ends when they are on disk and published, or StoreError.

        `events` makes the events, given the number of the first. For a `lazy` one nobody waits in earnest.
        """
        for (cls, key), value in changes.items():
            self._apply(cls, key, value)
        self._in_flight.append(changes)
        numbered = events(self._next_event)
        self._next_event += len(numbered)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        followers: list[asyncio.Future[None]] = []
        self._followers = followers
        generation = self.generation

        def settled(error: StoreError | None) -> None:
            try:
                if error is None:
                    self._settle(changes, numbered)
                else:
                    self._roll_back(generation)
            finally:
                # Whatever becomes of those who watch: it is on disk, or it is not.
                if self._followers is followers:
                    self._followers = None
                for each in (future, *followers):
                    if each.done():
                        continue
                    if error is None:
                        each.set_result(None)
                    else:
                        each.set_exception(error)

        writes = [Write(cls.kind, key, value) for (cls, key), value in changes.items()]  # type: ignore[attr-defined]
        writes += [Write("job_actions", job, files) for job, files in actions.items()]
        self.database.submit(Batch(generation, writes, numbered, settled), lazy=lazy)
        return future

    def settled(self) -> asyncio.Future[None]:
        """A future that ends when all that has been decided so far is on disk, or with StoreError when that failed.

        Whoever answers from `current` without changing anything waits for it: it may be news that a crash takes back.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._followers is None:
            future.set_result(None)
        else:
            self._followers.append(future)
            self.database.hurry()
        return future

    def _apply(self, cls: type, key: str, value: Any) -> None:
        table = self._current[cls]
        old = table.get(key)
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value
        for index in self._indexes[cls]:
            index.move(key, old, value)
        for observer in self._observers[cls]:
            observer(old, value)

    def _settle(self, changes: Changes, events: list[Event]) -> None:
        self._in_flight.popleft()
        for (cls, key), value in changes.items():
            if value is None:
                self._durable[cls].pop(key, None)
            else:
                self._durable[cls][key] = value
            if self._watchers:
                self.wake(cls, key)
        if events:
            self._durable_event = events[-1].id
            self.bus.publish_all(events)

    def _roll_back(self, generation: int) -> None:
        if generation != self.generation:
            return
        self.generation += 1
        # Nobody has seen the numbers after this one, and readers count on there being no gap.
        self._next_event = self._durable_event + 1
        undone = dict.fromkeys(changed for changes in self._in_flight for changed in changes)
        self._in_flight.clear()
        for cls, key in undone:
            try:
                self._apply(cls, key, self._durable[cls].get(key))
            except Exception:
                # One who watches has a fault; what else was decided must be taken back nevertheless.
                log.exception("ledger.not_undone", table=cls.__name__, key=key)


class Transaction:
    """Changes and events that become true together. Fill it and commit it without an `await` in between."""

    def __init__(self, ledger: Ledger, by: str, now: datetime) -> None:
        self._ledger = ledger
        self._changes: Changes = {}
        self._actions: dict[str, tuple[RenderedFile, ...]] = {}
        # Kind, machine, MAC, key and data: an event is made when it gets its number.
        self._told: list[tuple[str, str, str, str, dict[str, Any]]] = []
        self.by = by
        self.now = now

    def get(self, cls: type[T], key: str) -> T | None:
        """The value as this transaction leaves it."""
        if (cls, key) in self._changes:
            value: T | None = self._changes[cls, key]
            return value
        return self._ledger.get(cls, key)

    def put(self, value: Any) -> Any:
        """Save an object; a machine gets its next revision. Returns what will be saved."""
        cls, key = type(value), _PRIMARY[type(value)](value)
        if cls is Machine:
            value = replace(value, revision=self._next_revision(key), updated_at=self.now)
        self._changes[cls, key] = value
        return value

    def _next_revision(self, key: str) -> int:
        old = self._ledger.get(Machine, key)
        return old.revision + 1 if old else 1

    def put_actions(self, job: str, files: tuple[RenderedFile, ...]) -> None:
        """Save what a job rendered."""
        self._actions[job] = files

    def delete(self, cls: type, key: str) -> None:
        """Remove an object."""
        self._changes[cls, key] = None

    def event(self, kind: str, *, machine: str = "", mac: str = "", key: str = "", **data: Any) -> None:
        """Tell what happened; `kind` is one of events.KINDS."""
        self.tell(kind, machine, mac, key, data)

    def tell(self, kind: str, machine: str, mac: str, key: str, data: dict[str, Any]) -> None:
        """The same, for those who have the data in a dictionary of their own."""
        if kind not in KINDS:
            raise ValueError(kind)
        self._told.append((kind, machine, mac, key, data))

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events(1))

    def _events(self, first: int) -> list[Event]:
        now, by = self.now, self.by
        return [
            Event(id=number, time=now, kind=kind, machine=machine, mac=mac, key=key, by=by, data=data)
            for number, (kind, machine, mac, key, data) in enumerate(self._told, first)
        ]

    def commit(self, *, lazy: bool = False) -> asyncio.Future[None]:
        """Make it so. What is decided next builds on it at once; await the future before telling anybody.

        `lazy`: nobody waits for it, so it may take a moment and share the next commit.
        """
        if not (self._changes or self._actions or self._told):
            return self._ledger.settled()
        return self._ledger.commit(self._changes, self._actions, self._events, lazy=lazy)
