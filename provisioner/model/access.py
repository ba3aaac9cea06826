"""Who may come in, and by which secret."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from msgspec import Struct


class User(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may log in. The role `admin` may do everything; others come with the access issue."""

    kind: ClassVar[str] = "users"
    name: str
    password_hash: str
    role: str = "admin"
    created_at: datetime


class TokenPurpose(StrEnum):
    """What a token is good for: a browser session, the API, one machine, one registration (`ticket`), or some (`join`).

    A ticket comes with the boot from the network; a join token is given out by an operator, for hosts that run already.
    """

    SESSION = "session"
    API = "api"
    MACHINE = "machine"
    TICKET = "ticket"
    JOIN = "join"


class Token(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A secret we gave out, kept only as SHA-256 `digest`. `subject` is a user's name, a machine's id or a MAC.

    A join token's `subject` is its own name; it is good for so many more `uses`, and `last_user` is the MAC that it was
    used by last.
    """

    kind: ClassVar[str] = "tokens"
    digest: str
    purpose: TokenPurpose
    subject: str
    created_at: datetime
    expires_at: datetime | None = None
    description: str = ""
    uses: int = 0
    last_user: str = ""
