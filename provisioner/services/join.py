"""Hosts that run already: join tokens for them, and the script that makes such a host a machine of ours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import urlsplit

from aiohttp import web
from msgspec import Meta, Struct

from agent.render import Renderer
from provisioner.conductor.catalog import Catalog
from provisioner.conductor.tokens import Tokens
from provisioner.model.access import Token
from provisioner.services.callers import require
from provisioner.services.http import body, json, principal
from provisioner.services.operations import Operation, Raw

TEMPLATE = "agent/join"
_TOKENS = "/api/v1/join-tokens"


class JoinBody(Struct, frozen=True, forbid_unknown_fields=True):
    """How long a join token is good and for how many hosts; `description` is for people."""

    hours: Annotated[float, Meta(gt=0, le=24 * 365)] = 24.0
    uses: Annotated[int, Meta(ge=1, le=100_000)] = 1
    description: Annotated[str, Meta(max_length=200)] = ""


class JoinToken(Struct, frozen=True):
    """A join token without its secret; `uses` is for how many more hosts it is good."""

    name: str
    uses: int
    description: str
    created_at: datetime
    expires_at: datetime | None


class NewJoinToken(Struct, frozen=True):
    """A join token with its secret, shown only once, and the command that uses it."""

    name: str
    token: str
    command: str
    uses: int
    expires_at: datetime | None


class JoinRoutes:
    """The routes. `address` tells host and port of the listener that machines face."""

    def __init__(
        self, tokens: Tokens, catalog: Catalog, renderer: Renderer, agent: bytes, address: Callable[[], tuple[str, int]]
    ) -> None:
        self._tokens = tokens
        self._catalog = catalog
        self._renderer = renderer
        self._agent_sha256 = sha256(agent).hexdigest()
        self._address = address

    def operations(self) -> list[Operation]:
        """What operators do about join tokens."""
        listed = {200: dict[str, list[JoinToken]]}
        return [
            Operation("GET", _TOKENS, self.list_tokens, "access", listed),
            Operation("POST", _TOKENS, self.make_token, "access", {201: NewJoinToken}, body=JoinBody),
            Operation("DELETE", _TOKENS + "/{name}", self.end_token, "access", {204: None}),
        ]

    def script_operations(self) -> list[Operation]:
        """Where hosts get the script: the listener that faces machines."""
        answers: dict[int, Any] = {200: Raw("text/x-shellscript")}
        return [Operation("GET", "/join.sh", self.script, "access", answers, public=True)]

    async def list_tokens(self, request: web.Request) -> web.Response:
        """Join tokens that are still good, without their secrets."""
        require(request, "list join tokens")
        return json({"items": [_shown(token) for token in self._tokens.joins()]})

    async def make_token(self, request: web.Request) -> web.Response:
        """Give out a join token; the command makes a host that runs already a machine."""
        require(request, "give out join tokens")
        asked = await body(request, JoinBody)
        token, secret = await self._tokens.issue_join(asked.hours, asked.uses, asked.description, principal(request))
        server = server_url(*self._address(), asked_host=request.host)
        command = f"curl -fsS {server}/join.sh | sh -s -- {secret}"
        answer = NewJoinToken(token.subject, secret, command, token.uses, token.expires_at)
        return json(answer, 201, {"Cache-Control": "no-store"})

    async def end_token(self, request: web.Request) -> web.Response:
        """Take a join token back; hosts that have joined stay."""
        require(request, "take back join tokens")
        await self._tokens.end_join(request.match_info["name"], principal(request))
        return web.Response(status=204)

    async def script(self, request: web.Request) -> web.Response:
        """The script that makes the host which runs it a machine; it names the address by which it was asked for."""
        templates = {name: template.contents for name, template in self._catalog.view["templates"].items()}
        context = {"server": {"url": f"{request.scheme}://{request.host}", "agent_sha256": self._agent_sha256}}
        text = self._renderer.render(TEMPLATE, templates, context)
        return web.Response(text=text, content_type="text/x-shellscript")


def _shown(token: Token) -> JoinToken:
    return JoinToken(token.subject, token.uses, token.description, token.created_at, token.expires_at)


def server_url(bound: str, port: int, asked_host: str) -> str:
    """Where hosts find us: the address that we listen on, else the one by which the operator came.

    An operator on our own host came by an address that is of no use elsewhere; then `SERVER` stands for it.
    """
    host = bound if not _is_any(bound) else urlsplit(f"//{asked_host}").hostname or ""
    if _is_any(host) or (_is_loopback(host) and not _is_loopback(bound)):
        host = "SERVER"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_any(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return not host


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
