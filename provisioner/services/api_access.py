"""Logging in and out. Passwords are never taken on the provisioning network."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from msgspec import Meta, Struct

from provisioner.conductor.tokens import Tokens
from provisioner.model import TokenPurpose
from provisioner.services.http import body, json
from provisioner.services.operations import Operation


class LoginBody(Struct, frozen=True):
    """A user's name and password."""

    username: Annotated[str, Meta(max_length=128)]
    password: Annotated[str, Meta(max_length=1024)]


class Access:
    """The routes that take passwords."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def operations(self) -> list[Operation]:
        """Where passwords are taken."""
        return [
            Operation("POST", "/api/v1/login", self.log_in, "access", body=LoginBody, public=True),
            Operation("POST", "/api/v1/logout", self.log_out, "access", {204: None}, public=True),
        ]

    async def log_in(self, request: web.Request) -> web.Response:
        """A token for a user name and password."""
        said = await body(request, LoginBody)
        secret = await self._tokens.log_in(said.username, said.password, TokenPurpose.API, request.remote or "")
        return json({"token": secret})

    async def log_out(self, request: web.Request) -> web.Response:
        """End the token that is sent."""
        _, _, secret = request.headers.get("Authorization", "").partition(" ")
        await self._tokens.log_out(secret)
        return web.Response(status=204)
