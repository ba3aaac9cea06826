"""What commands that change something share."""

import io
from argparse import Namespace
from pathlib import Path

import pytest

from provisioner.cli.changing import confirmed, pair, read_file, value_of
from provisioner.cli.command import Session, Terminal
from provisioner.cli.exits import Exit, Failure
from tests.fakes.terminal import Keyboard


def session(keyboard: Keyboard, yes: bool = False) -> Session:
    terminal = Terminal({}, keyboard, io.StringIO(), io.StringIO())
    return Session(Namespace(json=False, yes=yes), terminal)


@pytest.mark.parametrize(
    ("text", "value"), [("7", 7), ("true", True), ('["a"]', ["a"]), ("web server", "web server"), ("", "")]
)
def test_a_value_is_json_or_else_text(text: str, value: object) -> None:
    assert value_of(text) == value


def test_a_pair_is_split_at_the_first_equals_sign() -> None:
    assert pair("a=b=c", "x=y") == ("a", "b=c")


@pytest.mark.parametrize("text", ["", "a", "=b"])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(Failure) as refused:
        pair(text, "x=y")
    assert (refused.value.exit, refused.value.advice) == (Exit.USAGE, "write it as x=y")


@pytest.mark.parametrize(("typed", "answer"), [("y\n", True), ("YES\n", True), ("n\n", False), ("", False)])
def test_a_person_is_asked(typed: str, answer: bool) -> None:
    assert confirmed(session(Keyboard(typed, person=True)), "really?") is answer


def test_nobody_is_asked_in_a_script_or_with_yes() -> None:
    assert confirmed(session(Keyboard("n\n")), "really?")
    assert confirmed(session(Keyboard("n\n", person=True), yes=True), "really?")


def test_a_file_is_read_or_named(tmp_path: Path) -> None:
    (tmp_path / "value").write_text("secret\n")
    assert read_file(session(Keyboard("typed")), str(tmp_path / "value")) == "secret\n"
    assert read_file(session(Keyboard("typed")), "-") == "typed"
    with pytest.raises(Failure, match="cannot read .*absent: No such file"):
        read_file(session(Keyboard()), str(tmp_path / "absent"))
