"""Turns that are given and taken by the test."""

from __future__ import annotations


class FakeTurns:
    """Follows files from `heavy` bytes on; `held` is how often a transfer is told to wait."""

    def __init__(self, heavy: int = 1 << 40, held: int = 0) -> None:
        self.heavy = heavy
        self.held = held
        self.told: list[object] = []

    def is_followed(self, client: str, path: str, size: int) -> bool:
        """Whether the file is large."""
        return size >= self.heavy

    def begin(self, client: str, path: str, size: int, start: int) -> int:
        """The only transfer there is."""
        self.told.append(("begin", client, path, size, start))
        return 1

    def may_go_on(self, number: int, size: int) -> bool:
        """After it was asked so often."""
        self.held -= 1
        return self.held < 0

    def progress(self, number: int, sent: int) -> None:
        """Remember it."""
        self.told.append(sent)

    def end(self, number: int, *, whole: bool) -> None:
        """Remember it."""
        self.told.append("whole" if whole else "part")
