"""Join tokens on the command line."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.fakes.api import FakeApi
from tests.fakes.terminal import CommandLine


class Joining(FakeApi):
    """The API with join tokens."""

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard()])
        path = "/api/v1/join-tokens"
        app.router.add_routes(
            [web.get(path, self._tokens), web.post(path, self._make), web.delete(path + "/{name}", self._nothing)]
        )
        return app

    async def _tokens(self, request: web.Request) -> web.Response:
        token = {"name": "j1", "uses": 3, "expires_at": "2030-05-02T12:00:00Z", "description": "rack 7"}
        return web.json_response({"items": [token]})

    async def _make(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"name": "j2", "command": "curl -fsS http://SERVER:8091/join.sh | sh -s -- secret"}, status=201
        )


@pytest.fixture
def api() -> Joining:
    return Joining()


@pytest.fixture
async def cli(api: Joining, tmp_path: Path) -> AsyncIterator[CommandLine]:
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


async def test_the_line_to_run_is_printed_alone(api: Joining, cli: CommandLine) -> None:
    result = await cli("join-tokens", "create", "--uses", "3", "--hours", "2", "--description", "rack 7")
    assert result.out == "curl -fsS http://SERVER:8091/join.sh | sh -s -- secret\n"
    assert api.asked("POST")[0][1] == {"hours": 2.0, "uses": 3, "description": "rack 7"}


async def test_tokens_are_listed_without_secrets_and_ended(api: Joining, cli: CommandLine) -> None:
    assert (await cli("join-tokens", "list")).out.splitlines()[1].split()[:2] == ["j1", "3"]
    assert (await cli("join-tokens", "end", "j1")).out == "join token j1 is good for nothing any more\n"
    assert api.asked("DELETE")[0][0] == "/api/v1/join-tokens/j1"
