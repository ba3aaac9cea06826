"""Who may download much now, and who waits for a turn: a boot storm is let through in order instead of all at once.

Pure: `now` is an argument, in seconds of a clock that never goes back. Whoever downloads much has a slot. Slots are
given in the order of arrival; whoever waits asks again and again, and loses its place when it does not. A slot ends
when all that its holder wanted was sent, when its machine has come up (`free`), or when nothing happens with it.

Machines are known here by a name, their MAC where one is known, else the address that they come from. Whoever asks in
a name that is not known to be its own is doubted: it may still be right, as behind an address that is translated, but
it comes after all others, and few of them may come from one address.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection

from provisioner.frozen import Frozen

# Between a script and the first file, between two files, and before a transfer that was cut off goes on. iPXE tries
# again after 5 seconds; a machine that was switched off must not block the others for long.
IDLE_SECONDS = 60.0
# Scripts ask again after at most LONGEST_PAUSE_SECONDS, and a machine may take its time to do so.
FORGOTTEN_SECONDS = 45.0
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 3, 10
_EXPIRE_SECONDS = 1.0
# Of those doubted at one address as many have a slot or a place as are this part of the slots, at least one: a host
# that makes up names takes no more from the others.
DOUBTED_PART = 4
# More doubted ones than this have no place at all; they are told to ask again.
MOST_DOUBTED = 10_000
# Without a limit anybody may download at once, in whatever name, and more names than these are not remembered.
MOST_REMEMBERED = 10_000
# A rate is told over the last so many seconds.
_RATE_SECONDS = 5.0


class Transfer:
    """A file on its way: how much of its `size` was sent, from which byte on."""

    def __init__(self, who: str, path: str, size: int, start: int, began_at: float) -> None:
        self.who = who
        self.path = path
        self.size = size
        self.start = start
        self.began_at = began_at
        self.sent = 0
        self.rate_from = began_at
        self.rate_sent = 0
        self.rate = 0.0


class _Slot:
    def __init__(self, now: float, transfers: int) -> None:
        self.since = self.heard_at = now
        self.wanted: set[str] = set()
        self.transfers = transfers
        self.address = ""
        self.doubted_at = ""


class _Place:
    def __init__(self, order: tuple[bool, int], now: float) -> None:
        self.order = order
        self.doubted_at = ""
        self.since = self.heard_at = now


class Running(Frozen, frozen=True):
    """One who downloads, or is about to (`path` empty then); times are seconds, `rate` bytes a second."""

    who: str
    path: str
    size: int
    sent: int
    rate: float
    seconds: float


class Waiting(Frozen, frozen=True):
    """One who waits: its place in the queue from 1 on, and for how long already."""

    who: str
    place: int
    seconds: float


class Downloads:
    """The slots and the queue; `limit` 0 is no limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._slots: dict[str, _Slot] = {}
        self._queue: dict[str, _Place] = {}
        # The places of those in the queue, ascending: thousands ask for theirs again and again.
        self._order: list[tuple[bool, int]] = []
        # Slots and places of those doubted, by the address that they ask from.
        self._doubted: dict[str, int] = {}
        self._transfers: dict[int, Transfer] = {}
        # Who fetches from an address: several behind one that is translated.
        self._at: dict[str, dict[str, None]] = {}
        self._next = 1
        self._expired_at = 0.0

    # --- asking -----------------------------------------------------------------------------------------------

    def ask(self, who: str, wanted: Collection[str], now: float, address: str = "", *, doubted: bool = False) -> int:
        """0 when it may download these paths now, else its place in the queue; it is to ask again soon.

        What is fetched from `address` is fetched by it then. One that is `doubted` comes after those who are not, and
        changes nothing for whoever asked in this name without being doubted.
        """
        self._expire_sometimes(now)
        doubted_at = address if doubted else ""
        slot = self._slots.get(who)
        if slot is None:
            place = self._turn(who, now, doubted_at)
            if place:
                return place
            if not self.limit and len(self._slots) >= MOST_REMEMBERED:
                self._forget_one()
            slot = self._slots[who] = _Slot(now, self._transfers_of(who))
            self._doubt(slot, doubted_at)
            self._leave_queue(who)
        elif slot.doubted_at and not doubted_at:
            self._doubt(slot, "")
        elif slot.doubted_at != doubted_at:
            return 0
        slot.heard_at = now
        slot.wanted.update(wanted)
        self._move(who, slot, address)
        return 0

    def _forget_one(self) -> None:
        """Take the slot that was given first of those that nothing is sent by: it shows what is going on, no more."""
        idle = next((who for who, slot in self._slots.items() if not slot.transfers), None)
        if idle is not None:
            self.free(idle)

    def _doubt(self, held: _Slot | _Place, address: str) -> None:
        """Count a slot or place for the address at which its holder is doubted, '' for none."""
        if held.doubted_at:
            self._doubted[held.doubted_at] -= 1
            if not self._doubted[held.doubted_at]:
                del self._doubted[held.doubted_at]
        held.doubted_at = address
        if address:
            self._doubted[address] = self._doubted.get(address, 0) + 1

    def _move(self, who: str, slot: _Slot, address: str) -> None:
        if not address or address in (who, slot.address):
            return
        self._leave(who, slot)
        slot.address = address
        self._at.setdefault(address, {})[who] = None

    def _leave(self, who: str, slot: _Slot) -> None:
        there = self._at.get(slot.address)
        if there is not None:
            there.pop(who, None)
            if not there:
                del self._at[slot.address]

    def _turn(self, who: str, now: float, doubted_at: str) -> int:
        """0 when it has its turn, else its place: the one after the last when it can have none."""
        if not self.limit:
            return 0
        place = self._queue.get(who)
        if place is None:
            if doubted_at and not self._has_room(doubted_at):
                return len(self._queue) + 1
            number, self._next = self._next, self._next + 1
            place = self._queue[who] = _Place((bool(doubted_at), number), now)
            self._doubt(place, doubted_at)
            insort(self._order, place.order)
        elif place.doubted_at and not doubted_at:
            del self._order[bisect_left(self._order, place.order)]
            place.order = (False, place.order[1])
            self._doubt(place, "")
            insort(self._order, place.order)
        elif place.doubted_at != doubted_at:
            return self._place(who)
        place.heard_at = now
        at = self._place(who)
        return 0 if at <= self.limit - len(self._slots) else at

    def _has_room(self, address: str) -> bool:
        """Whether one more who is doubted may come from this address."""
        most = max(1, self.limit // DOUBTED_PART)
        return self._doubted.get(address, 0) < most and len(self._queue) < MOST_DOUBTED

    def _place(self, who: str) -> int:
        return bisect_left(self._order, self._queue[who].order) + 1

    def _leave_queue(self, who: str) -> None:
        place = self._queue.pop(who, None)
        if place is not None:
            self._doubt(place, "")
            del self._order[bisect_left(self._order, place.order)]

    def who_is_at(self, address: str, path: str = "") -> str:
        """Who has a slot and asked from this address, of several the first that still wants this path; else ''."""
        there = self._at.get(address, {})
        if len(there) < 2:
            return next(iter(there), "")
        busy = {each.who for each in self._transfers.values() if each.path == path}
        wanting = (who for who in there if path in self._slots[who].wanted and who not in busy)
        return next(wanting, next(iter(there)))

    def is_waiting(self, who: str) -> bool:
        """Whether it has a place in the queue."""
        return who in self._queue

    def knows(self, who: str) -> bool:
        """Whether it has a slot, so that its transfers are of interest."""
        return who in self._slots

    def pause_seconds(self, place: int) -> int:
        """After how long whoever has this place should ask again: soon when its turn is near."""
        return SHORTEST_PAUSE_SECONDS if place <= max(self.limit, 1) else LONGEST_PAUSE_SECONDS

    @property
    def waiting_count(self) -> int:
        """How many wait."""
        return len(self._queue)

    @property
    def running_count(self) -> int:
        """How many have a slot."""
        return len(self._slots)

    # --- transfers --------------------------------------------------------------------------------------------

    def begin(self, who: str, path: str, size: int, now: float, start: int = 0) -> int:
        """A transfer begins; returns its number. Whether it may is asked apart from this."""
        number, self._next = self._next, self._next + 1
        self._transfers[number] = Transfer(who, path, size, start, now)
        if who in self._slots:
            self._slots[who].transfers += 1
        return number

    def may_go_on(self, number: int, now: float) -> bool:
        """Whether a transfer has its turn; it takes one when there is one, and waits for it else."""
        transfer = self._transfers[number]
        held = self._slots.get(transfer.who) or self._queue.get(transfer.who)
        # To fetch a file proves nothing: else whoever makes up names had all slots, by one transfer in each name.
        doubted_at = held.doubted_at if held is not None else ""
        return not self.ask(transfer.who, (transfer.path,), now, doubted_at, doubted=bool(doubted_at))

    def progress(self, number: int, sent: int, now: float) -> None:
        """So many bytes of a transfer were sent by now."""
        transfer = self._transfers[number]
        transfer.sent = sent
        if now - transfer.rate_from >= _RATE_SECONDS:
            transfer.rate = (sent - transfer.rate_sent) / (now - transfer.rate_from)
            transfer.rate_from, transfer.rate_sent = now, sent

    def end(self, number: int, now: float, *, whole: bool) -> None:
        """A transfer has ended, `whole` when it reached the end of its file; the slot goes with the last file."""
        transfer = self._transfers.pop(number)
        slot = self._slots.get(transfer.who)
        if slot is None:
            return
        slot.heard_at = now
        slot.transfers = self._transfers_of(transfer.who)
        if whole:
            slot.wanted.discard(transfer.path)
        if not slot.wanted and not slot.transfers:
            self.free(transfer.who)

    def _transfers_of(self, who: str) -> int:
        return sum(each.who == who for each in self._transfers.values())

    def free(self, who: str) -> None:
        """It needs its slot no more, nor a place: its system came up, or it gave up."""
        slot = self._slots.pop(who, None)
        self._leave_queue(who)
        if slot is not None:
            self._doubt(slot, "")
            self._leave(who, slot)

    def _expire_sometimes(self, now: float) -> None:
        """A storm asks ten thousand times a second, and looking at all of them takes a while."""
        if now - self._expired_at >= _EXPIRE_SECONDS:
            self._expired_at = now
            self.expire(now)

    def expire(self, now: float) -> None:
        """Take slots with which nothing happens, and places that nobody asks for any more."""
        for who, slot in list(self._slots.items()):
            if not slot.transfers and now - slot.heard_at > IDLE_SECONDS:
                self.free(who)
        for who, place in list(self._queue.items()):
            if now - place.heard_at > FORGOTTEN_SECONDS:
                self.free(who)

    # --- showing ----------------------------------------------------------------------------------------------

    def running(self, now: float) -> list[Running]:
        """Transfers under way by who began first, then those who have a slot and have not begun."""
        shown = [
            Running(each.who, each.path, each.size, each.start + each.sent, _rate(each, now), now - each.began_at)
            for each in self._transfers.values()
        ]
        busy = {each.who for each in shown}
        shown += [Running(who, "", 0, 0, 0.0, now - slot.since) for who, slot in self._slots.items() if who not in busy]
        return shown

    def waiting(self, now: float) -> list[Waiting]:
        """The queue in order."""
        queue = sorted(self._queue.items(), key=lambda item: item[1].order)
        return [Waiting(who, number, now - place.since) for number, (who, place) in enumerate(queue, 1)]


def _rate(transfer: Transfer, now: float) -> float:
    if transfer.rate:
        return transfer.rate
    seconds = now - transfer.began_at
    return transfer.sent / seconds if seconds > 0 else 0.0
