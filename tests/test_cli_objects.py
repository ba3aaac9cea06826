"""Content objects on the command line."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from provisioner.model import CONTENT_KINDS
from tests.fakes.api import FakeApi
from tests.fakes.terminal import CommandLine


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
async def cli(api: FakeApi, tmp_path: Path) -> AsyncIterator[CommandLine]:
    async with api.served() as url:
        yield CommandLine(tmp_path, url)


GREET = {"name": "greet", "description": "say hello", "pack": "base", "bootenv": "discovery", "tasks": ["hello", "bye"]}
SCRIPT = {"name": "tasks/hello", "pack": "", "contents": "echo hello\necho world\n", "meta": {}}


@pytest.mark.parametrize("kind", CONTENT_KINDS)
async def test_every_kind_of_content_can_be_listed_and_shown(api: FakeApi, cli: CommandLine, kind: str) -> None:
    api.objects[kind] = {"some/name": {"name": "some/name", "pack": "base"}}
    assert "some/name" in (await cli(kind, "list")).out
    assert (await cli(kind, "show", "some/name")).out == "name: some/name\npack: base\n"


async def test_a_list_shows_what_matters_of_its_kind(api: FakeApi, cli: CommandLine) -> None:
    api.objects["stages"] = {"greet": GREET}
    assert [line.split() for line in (await cli("stages", "list")).out.splitlines()] == [
        ["NAME", "BOOTENV", "TASKS", "PACK", "DESCRIPTION"],
        ["greet", "discovery", "hello,", "bye", "base", "say", "hello"],
    ]


async def test_an_object_made_through_the_api_is_marked(api: FakeApi, cli: CommandLine) -> None:
    api.objects["templates"] = {"tasks/hello": SCRIPT}
    assert "(edited)" in (await cli("templates", "list")).out


async def test_text_is_shown_as_it_was_written(api: FakeApi, cli: CommandLine) -> None:
    api.objects["templates"] = {"tasks/hello": SCRIPT}
    assert "contents: |\n  echo hello\n  echo world\n" in (await cli("templates", "show", "tasks/hello")).out


async def test_with_json_an_object_is_as_the_api_has_it(api: FakeApi, cli: CommandLine) -> None:
    api.objects["stages"] = {"greet": GREET}
    assert json.loads((await cli("stages", "show", "greet", "--json")).out) == GREET
    assert json.loads((await cli("stages", "list", "--json")).out) == [GREET]


async def test_an_unknown_object_is_3(cli: CommandLine) -> None:
    result = await cli("workflows", "show", "nonsense")
    assert (result.code, result.err) == (3, "provisioner: there is no workflow 'nonsense'\n")


async def test_an_empty_list_says_so(cli: CommandLine) -> None:
    result = await cli("workflows", "list")
    assert (result.code, result.out, result.err) == (0, "", "no workflows\n")
