"""The few places of an upstream, shared by address: however much one host asks for, there is something for the next.

Of what is left nobody is given more than it leaves: one host has half of all places at most, the next half of the
rest. So one alone waits little, and it takes several together to have all.
"""

from __future__ import annotations

import asyncio


class Shares:
    """So many of something, counted by who has it."""

    def __init__(self, count: int) -> None:
        self.free = count
        self._held: dict[str, int] = {}

    def held(self, client: str) -> int:
        """How many a client has."""
        return self._held.get(client, 0)

    def take(self, client: str) -> bool:
        """One more for a client; False when it may have none now."""
        held = self.held(client)
        if held >= self.free:
            return False
        self.free -= 1
        self._held[client] = held + 1
        return True

    def give_back(self, client: str) -> None:
        """One less."""
        self.free += 1
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]


class Places:
    """So many may go on at once, and the others wait: those go first who have fewest places."""

    def __init__(self, count: int) -> None:
        self._shares = Shares(count)
        # Those who wait by client, in each the one first who came first.
        self._waiting: dict[str, dict[Turn, None]] = {}

    def turn(self, client: str) -> Turn:
        """A place for a client, which has yet to be waited for."""
        return Turn(self, client)

    def wait(self, turn: Turn) -> None:
        """Put it among those who wait, for each of its clients; it is told when it has a place."""
        for client in turn.clients:
            self._waiting.setdefault(client, {})[turn] = None
        self._hand_out()

    def leave(self, turn: Turn) -> None:
        """It waits no more."""
        for client in turn.clients:
            there = self._waiting.get(client, {})
            there.pop(turn, None)
            if not there:
                self._waiting.pop(client, None)

    def give_back(self, client: str) -> None:
        """A place is free again that this client had."""
        self._shares.give_back(client)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._shares.free and self._waiting:
            client = min(self._waiting, key=self._shares.held)
            if not self._shares.take(client):
                return
            turn = next(iter(self._waiting[client]))
            self.leave(turn)
            if client in self._waiting:
                self._waiting[client] = self._waiting.pop(client)
            turn.begin(client)


class Turn:
    """One place, held from `async with` on, or from `wait` to `end`. Several clients may want the same."""

    def __init__(self, places: Places, client: str) -> None:
        self._places = places
        self.clients = {client: None}
        self._holder: str | None = None
        self._begun: asyncio.Future[None] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether it has a place now."""
        return self._holder is not None

    def join(self, client: str) -> None:
        """Another client wants it: it has a place as soon as one of them can have one."""
        is_new = client not in self.clients
        self.clients[client] = None
        if is_new and self._begun is not None and not self._begun.done():
            self._places.wait(self)

    async def wait(self) -> None:
        """Wait for the place."""
        self._begun = asyncio.get_running_loop().create_future()
        self._places.wait(self)
        try:
            await self._begun
        except BaseException:
            self.end()
            raise

    def begin(self, client: str) -> None:
        """It has a place, which counts for this client."""
        self._holder = client
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(None)

    def end(self) -> None:
        """The place is for others, or it is not waited for any more; nothing happens when this is said again."""
        holder, self._holder = self._holder, None
        if holder is None:
            self._places.leave(self)
        else:
            self._places.give_back(holder)

    async def __aenter__(self) -> None:
        await self.wait()

    async def __aexit__(self, *error: object) -> None:
        self.end()
