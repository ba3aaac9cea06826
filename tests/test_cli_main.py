"""One command line from its beginning to its exit code."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.cli.command import Terminal
from provisioner.cli.main import run
from tests.fakes.terminal import CommandLine

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_a_failure_is_one_line_with_our_name_and_advice(cli: CommandLine) -> None:
    result = cli.run("machines", "list")
    assert result.code == 5
    assert result.out == ""
    assert result.err == (
        "provisioner: cannot reach the server at http://127.0.0.1:9: connection refused; is it running (`provisioner "
        "serve`)? Another one is named with --server or PROVISIONER_SERVER\n"
    )


def test_with_json_a_failure_is_json_too(cli: CommandLine) -> None:
    result = cli.run("--json", "machines", "list")
    error = json.loads(result.err)["error"]
    assert (result.code, error["code"], error["object"]) == (5, "unreachable", "http://127.0.0.1:9")


def test_a_wrong_command_line_is_2(cli: CommandLine, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run("nonsense").code == 2
    assert "invalid choice: 'nonsense'" in capsys.readouterr().err


def test_help_is_0(cli: CommandLine, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run("--help").code == 0


def test_an_error_of_our_own_rules_is_told_like_one_of_the_server(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("name: [")
    result = cli.run("content", "bundle", str(tmp_path / "broken.yaml"))
    assert result.code == 1
    assert "broken.yaml" in result.err


def provisioner(*words: str, **how: object) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROVISIONER_")}
    command = [sys.executable, "-m", "provisioner", *words]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, **how)  # type: ignore[call-overload,no-any-return]


def test_a_reader_that_has_read_enough_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = provisioner("version", stdout=writing)
    os.close(writing)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


def test_the_program_ends_with_the_exit_code() -> None:
    process = provisioner("--server", "http://127.0.0.1:9", "leases", "list", stdout=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, b"")
    assert err.startswith(b"provisioner: cannot reach the server at http://127.0.0.1:9")


class Interrupted(io.StringIO):
    """Where Ctrl-C comes while something is written."""

    def write(self, text: str) -> int:
        raise KeyboardInterrupt


def test_ctrl_c_ends_quietly_with_130() -> None:
    err = io.StringIO()
    assert run(["version"], Terminal({}, stdout=Interrupted(), stderr=err)) == 130
    assert err.getvalue() == ""


def test_the_terminal_of_a_run_is_all_it_touches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"], Terminal({})) == 0
    assert capsys.readouterr().out.startswith("provisioner ")
