"""Who may do what: principals, and the rules that requests are checked against.

Everything is refused that no rule allows. Finer roles than `admin` find their place in `_ROLES`.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from provisioner.errors import Denied
from provisioner.model.access import Token


class Who(StrEnum):
    """What kind of caller it is."""

    NOBODY = "nobody"
    USER = "user"
    MACHINE = "machine"
    SERVER = "server"


class Principal(Struct, frozen=True):
    """A caller: a user by name with a role, a machine by id, or nobody."""

    who: Who = Who.NOBODY
    name: str = ""
    role: str = ""

    def __str__(self) -> str:
        return f"{self.who.value}:{self.name}" if self.name else self.who.value


NOBODY = Principal()
SERVER = Principal(Who.SERVER)
# What a role may do; `*` is everything.
_ROLES: dict[str, frozenset[str]] = {"admin": frozenset({"*"})}


def digest(secret: str) -> str:
    """What is kept of a secret; secrets are 256 random bits, so a plain SHA-256 cannot be reversed by guessing."""
    return hashlib.sha256(secret.encode()).hexdigest()


def alive(token: Token, now: datetime) -> bool:
    """Whether the token has not expired."""
    return token.expires_at is None or token.expires_at > now


def require_user(principal: Principal, verb: str) -> None:
    """Only users whose role may do `verb`."""
    if principal.who is Who.NOBODY:
        raise Denied("log in first: no valid token was sent", status=401, code="login-required")
    rights = _ROLES.get(principal.role, frozenset())
    if principal.who is not Who.USER or not rights & {"*", verb}:
        raise Denied(f"{principal} may not {verb}")


def require_machine(principal: Principal, machine: str, verb: str) -> None:
    """Users whose role may do `verb`, or the machine itself."""
    if principal.who is Who.MACHINE and principal.name == machine:
        return
    if principal.who is Who.MACHINE:
        raise Denied(f"this token is bound to another machine and may not {verb} for machine {machine}")
    require_user(principal, verb)


def require_param(principal: Principal, name: str, has_value: bool) -> None:
    """A machine may set its own params, but not where and how its power is switched once that is known.

    Whoever holds its token could otherwise have us send the BMC's password to an address of theirs.
    """
    if principal.who is Who.MACHINE and name.startswith("power/") and (has_value or name != "power/address"):
        raise Denied(f"a machine may not change param {name!r}; an operator may", code="param-refused")
