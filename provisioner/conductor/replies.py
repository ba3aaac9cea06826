"""Answers kept for requests that carry an Idempotency-Key, so that sending one again does nothing twice.

Before the request is carried out a mark is on disk that it was begun. A mark without an answer, left by a process
that is gone, means that nobody knows whether it was carried out.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from provisioner.conductor.ledger import Ledger
from provisioner.errors import Conflict, Invalid
from provisioner.model.operations import Reply
from provisioner.vault import Vault, VaultError

KEPT = timedelta(hours=24)


class Replies:
    """Keeps answers for a day; their bodies are sealed, since some tell a secret that is kept nowhere else."""

    def __init__(self, ledger: Ledger, vault: Vault) -> None:
        self._ledger = ledger
        self._vault = vault
        self._under_way: set[str] = set()

    async def begin(self, key: str, fingerprint: str) -> Reply | None:
        """The answer that was given already, or None: carry the request out, then `finish` or `forget` it.

        Raises Invalid when the key was used for another request, Conflict when that request is under way or was cut
        off.
        """
        known = self._ledger.get(Reply, key)
        tx = self._ledger.transaction()
        if known is not None and known.begun_at + KEPT > tx.now:
            return self._again(known, fingerprint)
        self._under_way.add(key)
        try:
            for old in self._ended(tx.now - KEPT):
                tx.delete(Reply, old)
            tx.put(Reply(key=key, fingerprint=fingerprint, begun_at=tx.now))
            await tx.commit()
        except BaseException:
            self._under_way.discard(key)
            raise
        return None

    def _again(self, known: Reply, fingerprint: str) -> Reply:
        if known.fingerprint != fingerprint:
            raise Invalid(
                "this Idempotency-Key was used for another request; use a new one for each", code="idempotency-mismatch"
            )
        if known.key in self._under_way:
            raise Conflict("the request with this Idempotency-Key is still under way", code="idempotency-busy")
        if not known.status:
            raise Conflict(
                "the server was stopped while it carried out the request with this Idempotency-Key;"
                " look whether it was done, then use a new key",
                code="idempotency-unknown",
            )
        return replace(known, body=self._opened(known.body))

    def _sealed(self, body: bytes) -> bytes:
        return msgspec.json.encode(self._vault.seal(b64encode(body).decode()))

    def _opened(self, body: bytes) -> bytes:
        try:
            return b64decode(self._vault.open(msgspec.json.decode(body)))
        except VaultError as error:
            raise Conflict(
                "the request with this Idempotency-Key was carried out, but its answer was sealed with a key that the"
                " key file has no more; look what came of it, then use a new key",
                code="idempotency-unknown",
            ) from error

    def _ended(self, before: datetime) -> list[str]:
        """Keys of answers older than this; they come in the order they were begun."""
        found = []
        for reply in self._ledger.all(Reply):
            if reply.begun_at > before:
                break
            found.append(reply.key)
        return found

    async def finish(self, key: str, status: int, headers: dict[str, str], body: bytes) -> None:
        """Keep what was answered."""
        try:
            begun = self._ledger.get(Reply, key)
            if begun is None:
                return
            tx = self._ledger.transaction()
            tx.put(replace(begun, status=status, headers=headers, body=self._sealed(body)))
            await tx.commit()
        finally:
            self._under_way.discard(key)

    async def forget(self, key: str) -> None:
        """Nothing was done: the request may be sent again under the same key."""
        try:
            tx = self._ledger.transaction()
            tx.delete(Reply, key)
            await tx.commit()
        finally:
            self._under_way.discard(key)
