"""How the transfers of files are followed: in the timeline of who fetched, and in the turns of those who download."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

from provisioner.conductor.turns import Turns


class Recorder(Protocol):
    """Who tells the timeline."""

    def served(self, protocol: str, path: str, client: str, size: int, seconds: float, error: str = "") -> None:
        """A transfer has ended: how many bytes were sent in what time, or why it failed."""


class Transfers:
    """Makes a follower for each transfer."""

    def __init__(self, recorder: Recorder, turns: Turns, seconds: Callable[[], float] = monotonic) -> None:
        self.recorder = recorder
        self.turns = turns
        self.seconds = seconds

    def of(self, path: str, client: str) -> Followed:
        """The follower of a file that goes to a client."""
        return Followed(self, path, client)

    def given(self, path: str, client: str, size: int) -> None:
        """A small file went to a client in one piece."""
        if self.turns.is_followed(client, path, size):
            number = self.turns.begin(client, path, size, 0)
            self.turns.progress(number, size)
            self.turns.end(number, whole=True)
        self.recorder.served("http", path, client, size, 0.0)


class Followed:
    """One transfer."""

    def __init__(self, transfers: Transfers, path: str, client: str) -> None:
        self._transfers = transfers
        self._path = path
        self._client = client
        self._size = 0
        self._number = 0

    def begin(self, size: int, start: int) -> None:
        """It begins at byte `start` of a file of so many bytes."""
        self._begun = self._transfers.seconds()
        self._size = size
        turns = self._transfers.turns
        if turns.is_followed(self._client, self._path, size):
            self._number = turns.begin(self._client, self._path, size, start)

    def may_go_on(self) -> bool:
        """Whether it may go on as fast as it can."""
        return not self._number or self._transfers.turns.may_go_on(self._number, self._size)

    def progress(self, sent: int) -> None:
        """So many bytes are on their way."""
        if self._number:
            self._transfers.turns.progress(self._number, sent)

    def ended(self, sent: int, error: str, *, whole: bool) -> None:
        """It has ended."""
        if self._number:
            self._transfers.turns.end(self._number, whole=whole)
        seconds = self._transfers.seconds() - self._begun
        # What is told of a failure is that nothing usable arrived.
        self._transfers.recorder.served("http", self._path, self._client, 0 if error else sent, seconds, error)
