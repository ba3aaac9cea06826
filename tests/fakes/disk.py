"""A database that writes when it is told to: what a ledger hands over, and in what hurry."""

from __future__ import annotations

from provisioner.errors import StoreError
from provisioner.events import Event
from provisioner.store.batches import Batch


class SlowDisk:
    """Stands where a ledger has its database; `lazy` tells of each batch whether somebody waited for it."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.lazy: list[bool] = []
        self.hurried = 0
        self._settled = 0

    @property
    def events(self) -> list[Event]:
        """All that was told so far."""
        return [event for batch in self.batches for event in batch.events]

    def submit(self, batch: Batch, *, lazy: bool) -> None:
        """Take a batch, and leave it."""
        self.batches.append(batch)
        self.lazy.append(lazy)

    def hurry(self) -> None:
        """Somebody waits."""
        self.hurried += 1

    def settle(self, error: StoreError | None = None) -> None:
        """The oldest batch that is not yet written is, or has failed."""
        batch = self.batches[self._settled]
        self._settled += 1
        batch.settled(error)
