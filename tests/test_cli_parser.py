"""The command line as a table."""

import pytest

from provisioner.cli.command import Command
from provisioner.cli.parser import GROUPS, group_parser, parse, top_parser

OFFLINE = {"version", "content", "secrets"}


def commands(group: str) -> list[Command]:
    loaded = GROUPS[group].load()
    return [loaded] if isinstance(loaded, Command) else list(loaded)


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_of_the_table_has_commands_with_help(group: str) -> None:
    assert all(command.name and command.help for command in commands(group))


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_can_show_its_help(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        group_parser(group).parse_args(["--help"])
    assert end.value.code == 0
    assert f"usage: provisioner {group}" in capsys.readouterr().out


def test_the_help_names_every_group_and_exit_code() -> None:
    text = top_parser().format_help()
    assert all(f"\n  {name}" in text for name in GROUPS)
    assert "5  the server does not answer" in text


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "--server", "http://a", "machines", "list"],
        ["machines", "--json", "--server", "http://a", "list"],
        ["machines", "list", "--json", "--server", "http://a"],
        ["--json", "machines", "--server", "http://a", "list"],
    ],
)
def test_common_flags_count_wherever_they_stand(words: list[str]) -> None:
    asked = parse(words)
    assert (asked.json, asked.server, asked.command.name) == (True, "http://a", "list")


def test_of_two_servers_the_later_one_counts() -> None:
    assert parse(["--server", "http://a", "machines", "list", "--server", "http://b"]).server == "http://b"


def test_without_common_flags_they_have_their_defaults() -> None:
    asked = parse(["machines", "list"])
    assert (asked.json, asked.server) == (False, None)


def test_flags_of_a_group_without_verbs_are_its_own() -> None:
    assert parse(["events", "-f", "--limit", "5"]).limit == 5


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["machines"],
        ["machines", "levitate"],
        ["machines", "show"],
        ["power", "next-boot", "floppy", "web-1"],
        ["machines", "list", "--unknown"],
        ["jobs", "list", "--state", "levitating"],
    ],
)
def test_a_wrong_command_line_ends_with_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(words)
    assert end.value.code == 2


def test_without_a_command_only_that_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([])
    assert capsys.readouterr().err.endswith("the following arguments are required: COMMAND\n")
