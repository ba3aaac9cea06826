"""Users and the tokens that they make for programs."""

from __future__ import annotations

import re
import secrets
from datetime import datetime

from msgspec.structs import replace

from provisioner.access import Principal, digest
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.conductor.tokens import Tokens
from provisioner.errors import Conflict, Denied, FieldError, Invalid, NotFound, unknown
from provisioner.model.access import Token, TokenPurpose, User

ROLES = ("admin",)
# What a token is called without telling its digest: enough of that to tell tokens apart.
ID_LENGTH = 16
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SECRET_BYTES = 32
_SHOWN = frozenset({TokenPurpose.API, TokenPurpose.SESSION, TokenPurpose.MACHINE, TokenPurpose.JOIN})


def token_id(token: Token) -> str:
    """What a token is called."""
    return token.digest[:ID_LENGTH]


class Users:
    """Makes and removes users and API tokens."""

    def __init__(self, ledger: Ledger, tokens: Tokens) -> None:
        self._ledger = ledger
        self._tokens = tokens

    async def create(self, name: str, password: str, role: str, by: Principal) -> User:
        """Make a user; raises Invalid, or Conflict when there is one of that name."""
        faults = []
        if _NAME.fullmatch(name) is None:
            message = f"{name[:80]!r} is not a user name: lower-case letters, digits and . _ - (at most 63)"
            faults.append(FieldError("name", message))
        if role not in ROLES:
            faults.append(FieldError("role", unknown("role", role[:80], ROLES)))
        if faults:
            raise Invalid("; ".join(fault.message for fault in faults), fields=tuple(faults))
        self._refuse_taken(name)
        hashed = await self._tokens.hashed(password)
        # Another request may have been faster while this one hashed.
        self._refuse_taken(name)
        tx = self._ledger.transaction(by=str(by))
        user: User = tx.put(User(name=name, password_hash=hashed, role=role, created_at=tx.now))
        tx.event("object.put", key=f"users/{name}")
        await tx.commit()
        return user

    def _refuse_taken(self, name: str) -> None:
        if self._ledger.get(User, name) is not None:
            raise Conflict(f"there is a user {name!r} already", object=f"users/{name}", code="name-taken")

    async def set_password(self, name: str, password: str, current: str, by: Principal) -> User:
        """Give a user another password, which ends all that was logged in with the old one.

        Whoever changes their own must know the current one: a session left open is no reason to lose an account.
        """
        user = self._found(name)
        if by.name == name and not await self._tokens.verified(user, current):
            raise Denied("the current password is wrong", code="password-refused")
        hashed = await self._tokens.hashed(password)
        tx = self._ledger.transaction(by=str(by))
        changed: User = tx.put(replace(self._found(name), password_hash=hashed))
        self._end_tokens(tx, name)
        tx.event("object.put", key=f"users/{name}", fields=["password"])
        await tx.commit()
        return changed

    async def delete(self, name: str, by: Principal) -> User:
        """Remove a user and all their tokens; the last administrator stays."""
        user = self._found(name)
        if user.role == "admin" and all(each.name == name or each.role != "admin" for each in self._ledger.all(User)):
            raise Conflict(f"{name!r} is the last administrator", object=f"users/{name}", code="last-admin")
        tx = self._ledger.transaction(by=str(by))
        tx.delete(User, name)
        self._end_tokens(tx, name)
        tx.event("object.delete", key=f"users/{name}")
        await tx.commit()
        return user

    def _found(self, name: str) -> User:
        user = self._ledger.get(User, name)
        if user is None:
            known = [each.name for each in self._ledger.all(User)]
            raise NotFound(unknown("user", name[:80], known), object=f"users/{name[:80]}")
        return user

    def _end_tokens(self, tx: Transaction, name: str) -> None:
        for token in self._ledger.tokens_of(name):
            if token.purpose in (TokenPurpose.API, TokenPurpose.SESSION):
                tx.delete(Token, token.digest)

    # --- tokens -----------------------------------------------------------------------------------------------

    def tokens(self) -> list[Token]:
        """All tokens on disk but the tickets of machines that boot."""
        return [token for token in self._ledger.read_all(Token) if token.purpose in _SHOWN]

    def token(self, name: str) -> Token:
        """The token with this id; raises NotFound."""
        found = [token for token in self._ledger.all(Token) if token_id(token) == name and token.purpose in _SHOWN]
        if not found:
            raise NotFound(f"there is no token {name[:80]!r}", object=f"tokens/{name[:80]}")
        return found[0]

    async def create_token(
        self, user: str, description: str, expires_at: datetime | None, by: Principal
    ) -> tuple[Token, str]:
        """An API token that acts as this user, and its secret, which is told only this once."""
        self._found(user)
        tx = self._ledger.transaction(by=str(by))
        if expires_at is not None and expires_at <= tx.now:
            message = f"{expires_at.isoformat()} is past"
            raise Invalid(f"expires_at: {message}", fields=(FieldError("expires_at", message),))
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        token = Token(
            digest=digest(secret),
            purpose=TokenPurpose.API,
            subject=user,
            created_at=tx.now,
            expires_at=expires_at,
            description=description,
        )
        tx.put(token)
        tx.event("object.put", key=f"tokens/{token_id(token)}")
        await tx.commit()
        return token, secret

    async def revoke(self, name: str, by: Principal) -> Token:
        """End a token."""
        token = self.token(name)
        tx = self._ledger.transaction(by=str(by))
        tx.delete(Token, token.digest)
        tx.event("object.delete", key=f"tokens/{name}")
        await tx.commit()
        return token
