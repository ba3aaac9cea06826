"""`provisioner content`, which needs no server."""

import json
from pathlib import Path

import pytest

from tests.fakes.terminal import CommandLine

GOOD = {"pack.yaml": "name: site\nversion: 1.0.0\n", "params/rack.yaml": "schema: {type: integer}\n"}


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def pack(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = folder / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(folder / "site")


def test_a_good_pack_is_0(cli: CommandLine, tmp_path: Path) -> None:
    result = cli.run("content", "check", pack(tmp_path, GOOD))
    assert (result.code, result.out, result.err) == (0, "", "no problem\n")


def test_what_ships_is_checked_without_any_path(cli: CommandLine) -> None:
    assert cli.run("content", "check").code == 0


def test_a_broken_pack_names_file_and_line(cli: CommandLine, tmp_path: Path) -> None:
    folder = pack(tmp_path, {**GOOD, "stages/greet.yaml": "tasks:\n  - no-such-task\n"})
    result = cli.run("content", "check", folder)
    assert result.code == 1
    assert f"{folder}/stages/greet.yaml:2: stages/greet: tasks[0]: " in result.out
    assert result.err == "1 problem: none of this would be loaded\n"


def test_with_json_problems_are_a_list(cli: CommandLine, tmp_path: Path) -> None:
    folder = pack(tmp_path, {**GOOD, "workflows/w.yaml": "stages: [no-such-stage]\n"})
    result = cli.run("content", "check", folder, "--json")
    (problem,) = json.loads(result.out)
    assert (problem["object"], problem["field"], problem["line"], problem["warning"]) == (
        "workflows/w",
        "stages[0]",
        1,
        False,
    )
    assert (result.code, result.err) == (1, "")


def test_a_missing_path_is_3(cli: CommandLine) -> None:
    result = cli.run("content", "check", "/nowhere/pack")
    assert result.code == 3
    assert result.err == "provisioner: there is no /nowhere/pack; a pack is a folder or a bundle file\n"


def test_a_pack_can_be_bundled_and_taken_apart_again(cli: CommandLine, tmp_path: Path) -> None:
    folder, bundle, again = pack(tmp_path, GOOD), tmp_path / "site.yaml", tmp_path / "again"
    assert cli.run("content", "bundle", folder, str(bundle)).out == f"wrote {bundle}\n"
    assert cli.run("content", "check", str(bundle)).code == 0
    assert cli.run("content", "unbundle", str(bundle), str(again)).out == f"wrote 2 files below {again}\n"
    assert (again / "params/rack.yaml").exists()


def test_a_bundle_goes_to_standard_output_by_default(cli: CommandLine, tmp_path: Path) -> None:
    assert cli.run("content", "bundle", pack(tmp_path, GOOD)).out.startswith("name: site\n")


def test_a_bundle_that_cannot_be_written_is_named(cli: CommandLine, tmp_path: Path) -> None:
    result = cli.run("content", "bundle", pack(tmp_path, GOOD), str(tmp_path))
    assert (result.code, result.err) == (1, f"provisioner: cannot write {tmp_path}: Is a directory\n")


def test_a_folder_with_something_in_it_is_not_overwritten(cli: CommandLine, tmp_path: Path) -> None:
    folder, bundle = pack(tmp_path, GOOD), tmp_path / "site.yaml"
    cli.run("content", "bundle", folder, str(bundle))
    result = cli.run("content", "unbundle", str(bundle), folder)
    assert result.code == 1
    assert "is not empty" in result.err
