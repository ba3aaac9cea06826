"""Logging in and out, users and tokens. Passwords are never taken on the provisioning network."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct, field

from provisioner.access import Principal
from provisioner.conductor.ledger import Ledger
from provisioner.conductor.tokens import Tokens
from provisioner.conductor.users import Users, token_id
from provisioner.errors import FieldError, Invalid
from provisioner.model.access import Token, TokenPurpose, User
from provisioner.services.callers import require
from provisioner.services.http import body, json, principal
from provisioner.services.operations import Operation
from provisioner.services.resources import Resource, Routes

_LONGEST_DAYS = 3650
_DEFAULT_DAYS = 90.0


class LoginBody(Struct, frozen=True):
    """A user's name and password."""

    username: Annotated[str, Meta(max_length=128)]
    password: Annotated[str, Meta(max_length=1024)]


class LoginAnswer(Struct, frozen=True):
    """A token that acts as the user."""

    token: str


class NewUser(Struct, frozen=True, forbid_unknown_fields=True):
    """A user to be."""

    name: str
    password: Annotated[str, Meta(min_length=8, max_length=1024)]
    role: str = "admin"


class UserView(Struct, frozen=True):
    """A user as others see them."""

    name: str
    role: str
    created_at: datetime


class PasswordBody(Struct, frozen=True, forbid_unknown_fields=True):
    """A new password; whoever changes their own says the current one too."""

    password: Annotated[str, Meta(min_length=8, max_length=1024)]
    current: Annotated[str, Meta(max_length=1024)] = ""


class NewToken(Struct, frozen=True, forbid_unknown_fields=True):
    """A token for a program; `days` 0 is for ever. It acts as `user`, the caller unless told."""

    description: Annotated[str, Meta(max_length=200)] = ""
    days: float = _DEFAULT_DAYS
    user: str = ""


class TokenView(Struct, frozen=True):
    """A token without its secret. `subject` is a user's name or a machine's id."""

    id: str
    purpose: TokenPurpose
    subject: str
    created_at: datetime
    expires_at: datetime | None = None
    description: str = ""


class NewTokenAnswer(TokenView, frozen=True, kw_only=True):
    """A new token with its secret, which is told only this once."""

    token: str = field(default="")


class Access:
    """The routes that take and give secrets."""

    def __init__(self, ledger: Ledger, tokens: Tokens) -> None:
        self._ledger = ledger
        self._tokens = tokens
        self._users = Users(ledger, tokens)

    def operations(self) -> list[Operation]:
        """What can be done about access."""
        tag: str = "access"
        login = {"username": "admin", "password": "correct horse battery"}
        user = {"name": "ada", "password": "correct horse battery"}
        return [
            Operation(
                "POST", "/api/v1/login", self.log_in, tag, {200: LoginAnswer}, (), LoginBody, login, (401,), public=True
            ),
            Operation("POST", "/api/v1/logout", self.log_out, tag, {204: None}, public=True),
            *Routes(self._user_resource()).operations(),
            Operation("POST", "/api/v1/users", self.create_user, tag, {201: UserView}, (), NewUser, user),
            Operation("PUT", "/api/v1/users/{name}/password", self.set_password, tag, {204: None}, (), PasswordBody),
            *Routes(self._token_resource()).operations(),
            Operation(
                "POST",
                "/api/v1/tokens",
                self.create_token,
                tag,
                {201: NewTokenAnswer},
                (),
                NewToken,
                {"description": "nightly inventory", "days": 30},
            ),
        ]

    def _user_resource(self) -> Resource:
        def view(user: User | None) -> UserView | None:
            return None if user is None else UserView(user.name, user.role, user.created_at)

        async def delete(name: str, by: Principal) -> UserView | None:
            return view(await self._users.delete(name, by))

        return Resource(
            cls=UserView,
            plural="users",
            key="name",
            tag="access",
            all=lambda: map(view, self._ledger.read_all(User)),
            read=lambda name: view(self._ledger.read(User, name)),
            get=lambda name: view(self._ledger.get(User, name)),
            delete=delete,
        )

    def _token_resource(self) -> Resource:
        def find(name: str) -> TokenView | None:
            return _shown(self._users.token(name))

        async def delete(name: str, by: Principal) -> TokenView:
            return _shown(await self._users.revoke(name, by))

        return Resource(
            cls=TokenView,
            plural="tokens",
            key="id",
            tag="access",
            order="created_at",
            all=lambda: map(_shown, self._users.tokens()),
            read=find,
            get=find,
            delete=delete,
        )

    async def log_in(self, request: web.Request) -> web.Response:
        """Log in: a token for a user name and password."""
        said = await body(request, LoginBody)
        secret = await self._tokens.log_in(said.username, said.password, TokenPurpose.API, request.remote or "")
        return json(LoginAnswer(secret), headers={"Cache-Control": "no-store"})

    async def log_out(self, request: web.Request) -> web.Response:
        """End the token that is sent."""
        _, _, secret = request.headers.get("Authorization", "").partition(" ")
        await self._tokens.log_out(secret)
        return web.Response(status=204)

    async def create_user(self, request: web.Request) -> web.Response:
        """Make a user; the name must be new."""
        require(request, "change users")
        asked = await body(request, NewUser)
        made = await self._users.create(asked.name, asked.password, asked.role, principal(request))
        shown = UserView(made.name, made.role, made.created_at)
        return json(shown, 201, {"Location": f"/api/v1/users/{made.name}"})

    async def set_password(self, request: web.Request) -> web.Response:
        """Change a user's password, which ends all that is logged in with the old one."""
        require(request, "change users")
        asked = await body(request, PasswordBody)
        await self._users.set_password(request.match_info["name"], asked.password, asked.current, principal(request))
        return web.Response(status=204)

    async def create_token(self, request: web.Request) -> web.Response:
        """Make an API token; its secret is told only this once."""
        require(request, "change tokens")
        asked = await body(request, NewToken)
        if not 0 <= asked.days <= _LONGEST_DAYS:
            message = f"{asked.days} is not from 0 to {_LONGEST_DAYS}"
            raise Invalid(f"days: {message}", fields=(FieldError("days", message),))
        expires = self._ledger.clock() + timedelta(days=asked.days) if asked.days else None
        caller = principal(request)
        token, secret = await self._users.create_token(asked.user or caller.name, asked.description, expires, caller)
        shown = _shown(token)
        answer = {name: getattr(shown, name) for name in shown.__struct_fields__} | {"token": secret}
        return json(answer, 201, {"Location": f"/api/v1/tokens/{shown.id}", "Cache-Control": "no-store"})


def _shown(token: Token) -> TokenView:
    return TokenView(
        token_id(token), token.purpose, token.subject, token.created_at, token.expires_at, token.description
    )
