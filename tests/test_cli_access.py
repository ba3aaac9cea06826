"""`provisioner login` and `logout`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.api import PASSWORD, TOKEN, FakeApi
from tests.fakes.terminal import CommandLine, Keyboard


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def cli(api: FakeApi, tmp_path: Path) -> AsyncIterator[CommandLine]:
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


@pytest.fixture
def stranger(cli: CommandLine) -> CommandLine:
    cli.token = ""
    return cli


def kept(cli: CommandLine) -> str:
    return (cli.home / ".config/provisioner/token").read_text()


async def test_a_login_is_kept_for_its_server(stranger: CommandLine) -> None:
    stranger.environment["PROVISIONER_PASSWORD"] = PASSWORD
    result = await stranger("login")
    assert result.code == 0
    assert result.out.startswith(f"logged in to {stranger.server} as admin; the login is kept in ")
    assert kept(stranger) == f"{stranger.server.rstrip('/')} {TOKEN}\n"
    assert (await stranger("machines", "list")).code == 0


async def test_the_password_is_asked_for_on_a_terminal(api: FakeApi, stranger: CommandLine) -> None:
    stranger.secret = PASSWORD
    assert (await stranger("login", "--username", "ada", stdin=Keyboard(person=True))).code == 0
    assert api.requests == [("POST /api/v1/login", {"username": "ada", "password": PASSWORD})]


async def test_the_password_may_come_from_a_file(stranger: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    assert (await stranger("login", "--password-file", str(tmp_path / "password"))).code == 0


async def test_the_password_may_come_from_standard_input(stranger: CommandLine) -> None:
    assert (await stranger("login", "--password-file", "-", stdin=Keyboard(f"{PASSWORD}\n"))).code == 0


async def test_without_a_terminal_the_other_ways_are_named(stranger: CommandLine) -> None:
    result = await stranger("login")
    assert result.code == 2
    assert "--password-file FILE (- is standard input) or PROVISIONER_PASSWORD" in result.err


async def test_a_password_file_that_is_missing_is_named(stranger: CommandLine) -> None:
    result = await stranger("login", "--password-file", "/nowhere")
    assert (result.code, result.err) == (1, "provisioner: cannot read /nowhere: No such file or directory\n")


async def test_a_wrong_password_is_not_kept(stranger: CommandLine) -> None:
    stranger.environment["PROVISIONER_PASSWORD"] = "wrong"
    result = await stranger("login")
    assert result.code == 4
    assert "the user name or the password is wrong" in result.err
    assert not (stranger.home / ".config").exists()


async def test_neither_password_nor_token_is_printed(stranger: CommandLine) -> None:
    stranger.environment["PROVISIONER_PASSWORD"] = PASSWORD
    for words in (["login"], ["login", "--json"]):
        result = await stranger(*words)
        assert not {PASSWORD, TOKEN} & set((result.out + result.err).split())


async def test_a_token_is_not_sent_to_another_server(api: FakeApi, stranger: CommandLine) -> None:
    stranger.environment["PROVISIONER_PASSWORD"] = PASSWORD
    await stranger("login")
    result = await stranger("machines", "list", "--server", stranger.server.replace("127.0.0.1", "localhost"))
    assert result.code == 4


async def test_logging_out_ends_the_token_on_both_sides(api: FakeApi, stranger: CommandLine) -> None:
    stranger.environment["PROVISIONER_PASSWORD"] = PASSWORD
    await stranger("login")
    assert (await stranger("logout")).out == f"logged out of {stranger.server}\n"
    assert api.requests[-1][0] == "POST /api/v1/logout"
    assert kept(stranger) == ""


async def test_logging_out_without_a_login_asks_nobody(api: FakeApi, stranger: CommandLine) -> None:
    assert (await stranger("logout")).out == f"was not logged in to {stranger.server}\n"
    assert api.requests == []
