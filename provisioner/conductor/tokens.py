"""Users, passwords and tokens: who a caller is. Secrets are given out once and kept only as digests."""

from __future__ import annotations

import asyncio
import secrets
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION
from msgspec.structs import replace

from provisioner.access import NOBODY, Principal, Who, alive, digest
from provisioner.conductor.ledger import Ledger, Transaction
from provisioner.errors import Denied, NotFound
from provisioner.model.access import Token, TokenPurpose, User
from provisioner.model.machines import Machine
from provisioner.tickets import LIFETIME, NONCE_BYTES, Ticket, Tickets

ADMIN = "admin"
_SECRET_BYTES = 32
# Fetched at once.
_NONCES = 128
_LIFETIME = {
    TokenPurpose.SESSION: timedelta(hours=12),
    TokenPurpose.API: timedelta(days=90),
    TokenPurpose.TICKET: LIFETIME,
}
# A registration whose answer was lost is sent again with the same ticket; longer it is not good for anything.
_USED_TICKET_LIFETIME = timedelta(minutes=2)


def unmatched(hasher: PasswordHasher) -> str:
    """A hash of no password: to try one against it takes as long as against any other.

    Random bytes in the form that a real hash has (the PHC string format), since to work one out takes as long as to
    try a password.
    """
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    salt, hashed = (
        b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (hasher.salt_len, hasher.hash_len)
    )
    return f"$argon2{hasher.type.name.lower()}$v={ARGON2_VERSION}${costs}${salt}${hashed}"


class Tokens:
    """Gives out secrets and recognises them."""

    def __init__(self, ledger: Ledger, tickets: Tickets) -> None:
        self._ledger = ledger
        self._tickets = tickets
        self._random: list[bytes] = []
        self._hasher = PasswordHasher()
        # Verifying a password takes 30 ms of a core on purpose: never on the event loop, never many at once.
        self._hashing = ThreadPoolExecutor(1, thread_name_prefix="passwords")
        self._no_such_user = unmatched(self._hasher)

    def close(self) -> None:
        """End the hashing thread."""
        self._hashing.shutdown()

    async def ensure_admin(self, password: str = "") -> str:
        """Make the first administrator when there is none. Returns a new random password, or '' when not needed.

        A given password is also set on an administrator that exists, which ends what was logged in with the old one.
        """
        user = self._ledger.get(User, ADMIN)
        if user is not None and not password:
            return ""
        chosen = password or secrets.token_urlsafe(12)
        if user is not None and await self._verify(user.password_hash, chosen):
            return ""
        hashed = await self.hashed(chosen)
        tx = self._ledger.transaction(by="server")
        created = user.created_at if user else tx.now
        tx.put(User(name=ADMIN, password_hash=hashed, created_at=created))
        for token in self._ledger.tokens_of(ADMIN):
            tx.delete(Token, token.digest)
        tx.event("object.put", key=f"users/{ADMIN}")
        await tx.commit()
        return "" if password else chosen

    async def log_in(self, name: str, password: str, purpose: TokenPurpose, address: str) -> str:
        """A token for a user who knows the password; raises Denied without telling which of the two was wrong."""
        user = self._ledger.get(User, name)
        hashed = user.password_hash if user else self._no_such_user
        verified = await self._verify(hashed, password)
        tx = self._ledger.transaction(by=f"user:{name}")
        if user is None or not verified:
            tx.event("access.refused", key=name, address=address)
            await tx.commit()
            raise Denied("wrong user name or password", status=401, code="login-refused")
        secret = self.issue(tx, purpose, name)
        tx.event("access.login", key=name, address=address)
        await tx.commit()
        return secret

    async def hashed(self, password: str) -> str:
        """What is kept of a password."""
        return await asyncio.get_running_loop().run_in_executor(self._hashing, self._hasher.hash, password)

    async def verified(self, user: User, password: str) -> bool:
        """Whether this is the user's password."""
        return await self._verify(user.password_hash, password)

    async def _verify(self, hashed: str, password: str) -> bool:
        def check() -> bool:
            try:
                return self._hasher.verify(hashed, password)
            except (VerificationError, InvalidHashError):
                return False

        return await asyncio.get_running_loop().run_in_executor(self._hashing, check)

    def issue(self, tx: Transaction, purpose: TokenPurpose, subject: str) -> str:
        """Add a new token to the transaction and return its secret."""
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        lifetime = _LIFETIME.get(purpose)
        tx.put(
            Token(
                digest=digest(secret),
                purpose=purpose,
                subject=subject,
                created_at=tx.now,
                expires_at=tx.now + lifetime if lifetime else None,
            )
        )
        return secret

    def issue_ticket(self, mac: str) -> str:
        """A ticket for one registration by the machine that boots from this MAC.

        Nothing is written: a boot storm asks for thousands. Using one ends those of the MAC that were issued before.
        """
        if not self._random:
            # Asking the kernel takes longer than all the rest of a ticket.
            block = secrets.token_bytes(NONCE_BYTES * _NONCES)
            self._random = [block[place : place + NONCE_BYTES] for place in range(0, len(block), NONCE_BYTES)]
        return self._tickets.make(mac, self._ledger.clock(), self._random.pop())

    def redeem_ticket(self, tx: Transaction, secret: str, mac: str = "") -> Token:
        """The ticket or join token of this secret, used by the machine of this MAC: for the last time, it ends soon.

        Raises Denied when it is wrong, used or too old.
        """
        ticket = self._tickets.read(secret)
        if ticket is not None:
            return self._redeem_signed(tx, ticket, digest(secret))
        token = tx.get(Token, digest(secret))
        if token is not None and token.purpose is TokenPurpose.JOIN and alive(token, tx.now):
            return self._redeem_join(tx, token, mac)
        # Tickets were kept as rows before they were signed; who booted then may register after an upgrade.
        if token is None or token.purpose is not TokenPurpose.TICKET or not alive(token, tx.now):
            raise _refused()
        return self._end_soon(tx, token)

    def _redeem_signed(self, tx: Transaction, ticket: Ticket, key: str) -> Token:
        """Its use is recorded for as long as it could be used again, also after the clock was set back."""
        spent = tx.get(Token, key)
        if not ticket.alive(tx.now) or (spent is None and self._newer_one_used(ticket, tx.now)):
            raise _refused()
        if spent is not None:
            if tx.now >= spent.created_at + _USED_TICKET_LIFETIME:
                raise _refused()
            return spent
        used: Token = tx.put(
            Token(
                digest=key,
                purpose=TokenPurpose.TICKET,
                subject=ticket.mac,
                created_at=tx.now,
                expires_at=_forgotten_at(ticket),
            )
        )
        return used

    def _newer_one_used(self, ticket: Ticket, now: datetime) -> bool:
        # One that was used in the future was used before the clock was set back: what is newer then cannot be told.
        used = (
            token
            for token in self._ledger.tokens_of(ticket.mac)
            if token.purpose is TokenPurpose.TICKET and token.created_at <= now
        )
        return any(token.expires_at is not None and token.expires_at > _forgotten_at(ticket) for token in used)

    def _redeem_join(self, tx: Transaction, token: Token, mac: str) -> Token:
        if mac == token.last_user:
            return token
        if token.uses < 1:
            raise Denied(
                "the join token was used as often as it may be; ask an operator for another", code="ticket-refused"
            )
        used: Token = tx.put(replace(token, uses=token.uses - 1, last_user=mac))
        return used if used.uses else self._end_soon(tx, used)

    def _end_soon(self, tx: Transaction, token: Token) -> Token:
        soon = tx.now + _USED_TICKET_LIFETIME
        ending: Token = tx.put(replace(token, expires_at=min(token.expires_at or soon, soon)))
        return ending

    async def issue_join(self, hours: float, uses: int, description: str, by: Principal) -> tuple[Token, str]:
        """A join token for so many hosts, and its secret."""
        tx = self._ledger.transaction(by=str(by))
        # In hexadecimal: people put it into a command line, where a word with a dash in front is an option.
        secret = secrets.token_hex(_SECRET_BYTES)
        token: Token = tx.put(
            Token(
                digest=digest(secret),
                purpose=TokenPurpose.JOIN,
                subject=f"join-{secrets.token_hex(4)}",
                created_at=tx.now,
                expires_at=tx.now + timedelta(hours=hours),
                description=description,
                uses=uses,
            )
        )
        tx.event("access.join", key=token.subject, hours=hours, uses=uses, description=description)
        await tx.commit()
        return token, secret

    def joins(self) -> list[Token]:
        """Join tokens on disk that hosts may still use, the oldest first."""
        now = self._ledger.clock()
        found = (token for token in self._ledger.read_all(Token) if token.purpose is TokenPurpose.JOIN)
        return sorted(
            (token for token in found if token.uses and alive(token, now)), key=lambda token: token.created_at
        )

    async def end_join(self, name: str, by: Principal) -> None:
        """Take a join token back; raises NotFound."""
        tx = self._ledger.transaction(by=str(by))
        found = [token for token in self._ledger.tokens_of(name) if token.purpose is TokenPurpose.JOIN]
        if not found:
            raise NotFound(f"there is no join token {name!r}", object=name)
        for token in found:
            tx.delete(Token, token.digest)
        tx.event("access.unjoin", key=name)
        await tx.commit()

    def recognise(self, secret: str) -> Principal:
        """Who sends this token; NOBODY when it is unknown or has ended."""
        token = self._ledger.read(Token, digest(secret))
        if token is None or not alive(token, self._ledger.clock()):
            return NOBODY
        if token.purpose is TokenPurpose.MACHINE:
            known = self._ledger.read(Machine, token.subject) is not None
            return Principal(Who.MACHINE, token.subject) if known else NOBODY
        if token.purpose in (TokenPurpose.API, TokenPurpose.SESSION):
            user = self._ledger.read(User, token.subject)
            return Principal(Who.USER, user.name, user.role) if user else NOBODY
        return NOBODY

    async def log_out(self, secret: str) -> None:
        """End this token."""
        tx = self._ledger.transaction()
        tx.delete(Token, digest(secret))
        await tx.commit()

    def drop_ended(self, tx: Transaction) -> None:
        """Forget tokens that have ended."""
        for token in list(self._ledger.all(Token)):
            if not alive(token, tx.now):
                tx.delete(Token, token.digest)


def _forgotten_at(ticket: Ticket) -> datetime:
    """When the record of a ticket's use goes: it is good for nothing then, whatever the clock is set to."""
    return ticket.ends_at + LIFETIME


def _refused() -> Denied:
    return Denied(
        "the registration ticket is wrong, used or too old; boot from the network again to get a new one,"
        " or ask an operator for another join token",
        code="ticket-refused",
    )
