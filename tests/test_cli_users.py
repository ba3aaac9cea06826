"""Users and tokens on the command line."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.fakes.api import FakeApi
from tests.fakes.terminal import CommandLine, Keyboard


class Accounts(FakeApi):
    """The API with users and tokens."""

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard()])
        base = "/api/v1"
        app.router.add_routes(
            [
                web.get(f"{base}/users", self._list),
                web.post(f"{base}/users", self._made),
                web.put(base + "/users/{name}/password", self._nothing),
                web.delete(base + "/users/{name}", self._made),
                web.get(f"{base}/tokens", self._list),
                web.post(f"{base}/tokens", self._made),
                web.delete(base + "/tokens/{id}", self._made),
            ]
        )
        return app

    async def _list(self, request: web.Request) -> web.Response:
        user = {"name": "ada", "role": "admin", "created_at": "2030-05-01T12:00:00Z"}
        token = {"id": "abcd", "purpose": "api", "subject": "ada", "expires_at": None, "description": "nightly"}
        items = [user if "users" in request.path else token]
        return web.json_response({"items": items, "total": 1, "next": None})

    async def _made(self, request: web.Request) -> web.Response:
        return web.json_response({"name": "ada", "id": "abcd", "token": "secret"})


@pytest.fixture
def api() -> Accounts:
    return Accounts()


@pytest.fixture
async def cli(api: Accounts, tmp_path: Path) -> AsyncIterator[CommandLine]:
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


async def test_users_and_tokens_are_listed(cli: CommandLine) -> None:
    assert (await cli("users", "list")).out.splitlines()[1].split()[:2] == ["ada", "admin"]
    assert (await cli("tokens", "list")).out.splitlines()[1].split() == ["abcd", "api", "ada", "for", "ever", "nightly"]


async def test_a_new_users_password_is_asked_for(api: Accounts, cli: CommandLine) -> None:
    cli.secret = "correct horse"
    assert (await cli("users", "create", "ada", stdin=Keyboard(person=True))).out == "ada may log in\n"
    assert api.asked("POST")[0][1] == {"name": "ada", "password": "correct horse"}


async def test_the_password_of_this_login_is_not_taken_for_a_new_one(api: Accounts, cli: CommandLine) -> None:
    cli.environment["PROVISIONER_PASSWORD"] = "the administrator's"
    result = await cli("users", "create", "ada")
    assert (result.code, api.requests) == (2, [])
    assert "use --password-file FILE" in result.err


async def test_a_password_is_changed_from_files(api: Accounts, cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new password\n")
    (tmp_path / "old").write_text("old password\n")
    words = ("--password-file", str(tmp_path / "new"), "--current-file", str(tmp_path / "old"))
    assert (await cli("users", "set-password", "ada", *words)).code == 0
    assert api.asked("PUT") == [("/api/v1/users/ada/password", {"password": "new password", "current": "old password"})]


async def test_a_user_is_deleted_after_a_question(api: Accounts, cli: CommandLine) -> None:
    assert (await cli("users", "delete", "ada", stdin=Keyboard("n\n", person=True))).code == 1
    assert (await cli("users", "delete", "ada", "--yes")).out == "ada may not log in any more\n"
    assert len(api.asked("DELETE")) == 1


async def test_a_tokens_secret_is_printed_alone(api: Accounts, cli: CommandLine) -> None:
    assert (await cli("tokens", "create", "--description", "nightly", "--days", "30")).out == "secret\n"
    assert api.asked("POST")[0][1] == {"description": "nightly", "days": 30.0}
    assert (await cli("tokens", "revoke", "abcd")).out == "token abcd is good for nothing any more\n"
