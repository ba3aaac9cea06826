"""The commands and shell functions that scripts find."""

import subprocess
from pathlib import Path

import pytest

from agent.exits import CODES
from agent.helpers import FUNCTIONS, install


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    install(str(tmp_path / "bin"), "/usr/bin/python3")
    param = tmp_path / "bin/provisioner-param"
    param.write_text('#!/bin/sh\necho "$@"\n')
    return tmp_path


def sh(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": f"{folder}/bin:/usr/bin:/bin", "PROVISIONER_TASK_DIR": str(folder)}
    return subprocess.run(["/bin/sh", "-euc", f". provisioner.sh; {source}"], env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("exit_stop", 16),
        ("exit_shutdown", 32),
        ("exit_reboot", 64),
        ("exit_incomplete", 128),
        ("exit_incomplete_stop", 144),
        ("exit_incomplete_shutdown", 160),
        ("exit_incomplete_reboot", 192),
    ],
)
def test_an_exit_word_is_its_code(folder: Path, word: str, code: int) -> None:
    assert sh(folder, f"{word}; echo not reached").returncode == code


def test_every_code_with_a_meaning_has_a_word() -> None:
    assert all(f"exit {code};" in FUNCTIONS.replace(" }", ";") for code in CODES if code)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("get_param a/b", "get a/b"),
        ("set_param a/b 'x y'", "set a/b x y"),
        ("unset_param a/b", "unset a/b"),
    ],
)
def test_params_go_through_the_command(folder: Path, source: str, words: str) -> None:
    assert sh(folder, source).stdout == f"{words}\n"


def test_progress_is_written_where_the_agent_looks(folder: Path) -> None:
    sh(folder, "progress 40")
    assert (folder / ".progress").read_text() == "40\n"


def test_the_command_runs_the_agent_isolated(tmp_path: Path) -> None:
    install(str(tmp_path), "/opt/my python/bin/python3")
    command = tmp_path / "provisioner-param"
    assert command.read_text() == '#!/bin/sh\nexec \'/opt/my python/bin/python3\' -I "$PROVISIONER_AGENT" param "$@"\n'
    assert command.stat().st_mode & 0o777 == 0o755
