"""Requests that outlive their answer: long actions, and replies kept for those who ask again."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from msgspec import Struct, field


class OperationState(StrEnum):
    """Where a long action stands; the last two are final."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class ItemResult(Struct, frozen=True, forbid_unknown_fields=True):
    """What came of an action for one machine; `status` and `code` are those of a request for it alone."""

    machine: str
    name: str
    status: int
    code: str = "ok"
    detail: str = ""


class Operation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A long action that goes on after its request was answered, on `total` machines. `error` is why it failed."""

    kind: ClassVar[str] = "operations"
    id: str
    action: str
    machines: tuple[str, ...]
    state: OperationState = OperationState.RUNNING
    total: int = 0
    results: tuple[ItemResult, ...] = ()
    error: str = ""
    started_by: str = ""
    started_at: datetime
    ended_at: datetime | None = None

    @property
    def final(self) -> bool:
        """Whether it can never change again."""
        return self.state is not OperationState.RUNNING


class Reply(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was answered to a request that carried an Idempotency-Key; `status` 0 while it is being carried out.

    `key` is a digest of caller and key, `fingerprint` one of the request; `body` is sealed.
    """

    kind: ClassVar[str] = "replies"
    key: str
    fingerprint: str
    begun_at: datetime
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
