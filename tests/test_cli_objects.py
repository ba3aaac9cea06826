"""Content objects on the command line."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from provisioner.model.content import CONTENT_KINDS
from tests.fakes.api import FakeApi
from tests.fakes.terminal import CommandLine, Keyboard


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


async def test_objects_are_saved_from_files(api: FakeApi, cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("name: greet\ntasks: [hello]\n")
    (tmp_path / "two.yaml").write_text("- name: a/b\n- {name: c, description: last}\n")
    result = await cli("stages", "save", str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml"))
    assert result.out == "stage greet is saved\nstage a/b is saved\nstage c is saved\n"
    assert list(api.objects["stages"]) == ["greet", "a/b", "c"]


async def test_an_object_that_cannot_be_used_yet_is_saved_and_says_so(cli: CommandLine) -> None:
    typed = Keyboard("{name: greet, errors: [\"unknown task 'bye'\"]}")
    assert (await cli("stages", "save", "-", stdin=typed)).out == (
        "stage greet is saved, but cannot be used yet: unknown task 'bye'\n"
    )


@pytest.mark.parametrize(
    ("text", "said"), [("name: [", "is not YAML"), ("7", "a map with a `name`"), ("tasks: []", "a map with a `name`")]
)
async def test_a_file_that_holds_no_object_is_refused_before_anything_is_saved(
    api: FakeApi, cli: CommandLine, text: str, said: str
) -> None:
    result = await cli("stages", "save", "-", stdin=Keyboard(text))
    assert result.code == 2
    assert said in result.err
    assert api.requests == []


async def test_an_object_is_changed_in_the_persons_editor(api: FakeApi, cli: CommandLine) -> None:
    api.objects["stages"] = {"mine": {"name": "mine", "pack": "", "tasks": ["hello"], "available": True}}
    cli.environment["EDITOR"] = "sed -i s/hello/bye/"
    assert (await cli("stages", "edit", "mine")).out == "stage mine is saved\n"
    assert api.objects["stages"]["mine"] == {"name": "mine", "tasks": ["bye"]}


async def test_an_editor_that_changes_nothing_saves_nothing(api: FakeApi, cli: CommandLine) -> None:
    api.objects["stages"] = {"mine": {"name": "mine", "pack": ""}}
    cli.environment["EDITOR"] = "true"
    assert (await cli("stages", "edit", "mine")).err == "nothing was changed\n"
    assert api.asked("PUT") == []


async def test_what_was_written_is_not_lost_when_it_is_refused(api: FakeApi, cli: CommandLine) -> None:
    api.objects["stages"] = {"mine": {"name": "mine", "pack": "", "tasks": ["hello"]}}
    cli.environment["EDITOR"] = "sed -i s/hello/unknown/"
    result = await cli("stages", "edit", "mine")
    assert result.code == 1
    assert "unknown task 'unknown'; there is: hello" in result.err
    assert result.out == "name: mine\ntasks:\n- unknown\n"


async def test_an_editor_that_is_missing_is_named(api: FakeApi, cli: CommandLine) -> None:
    api.objects["stages"] = {"mine": {"name": "mine", "pack": ""}}
    cli.environment["EDITOR"] = "no-such-editor"
    result = await cli("stages", "edit", "mine")
    assert (result.code, "no-such-editor" in result.err) == (1, True)


async def test_an_object_of_a_pack_is_not_edited(api: FakeApi, cli: CommandLine) -> None:
    api.objects["stages"] = {"greet": GREET}
    result = await cli("stages", "edit", "greet")
    assert result.code == 1
    assert "comes from pack 'base' and is read-only; save a copy under another name" in result.err


async def test_an_object_is_deleted_after_a_question(api: FakeApi, cli: CommandLine) -> None:
    api.objects["stages"] = {"mine": {"name": "mine"}}
    assert (await cli("stages", "delete", "mine", stdin=Keyboard("n\n", person=True))).code == 1
    assert api.asked("DELETE") == []
    assert (await cli("stages", "delete", "mine", "--yes")).out == "stage mine is deleted\n"
