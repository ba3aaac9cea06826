"""The commands and shell functions that scripts find."""

import subprocess
from pathlib import Path

import pytest

from agent import provisioner_task
from agent.exits import CODES
from agent.helpers import COMMANDS, FUNCTIONS, install


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    install(str(tmp_path / "bin"), "/usr/bin/python3")
    for name in COMMANDS:
        (tmp_path / "bin" / name).write_text('#!/bin/sh\nprintf "%s|" "${0##*/}" "$@"\n')
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
        ("get_param a/b", "provisioner-param|get|--|a/b|"),
        ("set_param a/b 'x y'", "provisioner-param|set|--|a/b|x y|"),
        ("set_param a 1 b '' c '[2, 3]'", "provisioner-param|set|--|a|1|b||c|[2, 3]|"),
        ("unset_param a/b c", "provisioner-param|unset|--|a/b|c|"),
        ("attach 'a file'", "provisioner-asset|--|a file|"),
        ("attach /var/log/x 'a name'", "provisioner-asset|--name=a name|--|/var/log/x|"),
    ],
)
def test_words_call_the_agent_once(folder: Path, source: str, words: str) -> None:
    assert sh(folder, source).stdout == words


def test_fail_tells_people_and_the_agent_why(folder: Path) -> None:
    done = sh(folder, "fail 'no disk'; echo not reached")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "no disk\n")
    assert (folder / ".failure").read_text() == "no disk\n"


def test_the_python_module_is_written_as_it_stands_here(tmp_path: Path) -> None:
    install(str(tmp_path))
    assert (tmp_path / "python/provisioner_task.py").read_text() == Path(provisioner_task.__file__).read_text()


def test_progress_is_written_where_the_agent_looks(folder: Path) -> None:
    sh(folder, "progress 40")
    assert (folder / ".progress").read_text() == "40\n"


def test_the_command_runs_the_agent_isolated(tmp_path: Path) -> None:
    install(str(tmp_path), "/opt/my python/bin/python3")
    command = tmp_path / "provisioner-param"
    assert command.read_text() == '#!/bin/sh\nexec \'/opt/my python/bin/python3\' -I "$PROVISIONER_AGENT" param "$@"\n'
    assert command.stat().st_mode & 0o777 == 0o755
