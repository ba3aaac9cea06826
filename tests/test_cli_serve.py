"""`provisioner serve`: settings in, a server out, and every wrong setting named."""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import pytest

from provisioner.cli.parser import group_parser
from provisioner.cli.serve import collect_seldom, take_short_turns
from provisioner.config import NOT_ON_THE_COMMAND_LINE, SETTINGS
from tests.fakes.terminal import CommandLine

ROOT = Path(__file__).resolve().parents[1]
QUIET = ("--listen-dhcp", "off", "--listen-tftp", "off", "--listen-http", "127.0.0.1:0", "--listen-ui", "127.0.0.1:0")


@contextmanager
def serving(folder: Path, *words: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`provisioner serve` as a process of its own; killed at the end if it still runs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROVISIONER_")}
    command = [sys.executable, "-m", "provisioner", "serve", "--data-dir", str(folder / "data"), *QUIET, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, env=environment | variables, **pipes)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def logged(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """The first log line that tells of this event."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("{") and json.loads(line)["event"] == event:
            return dict(json.loads(line))
    raise AssertionError(f"no {event} in: {''.join(seen)}")


def announced_password(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().split()[-1]


def refusal(folder: Path, *words: str, **variables: str) -> str:
    with serving(folder, *words, **variables) as process:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (1, "")
        return str(err)


def test_every_setting_that_is_no_secret_is_a_flag() -> None:
    text = group_parser("serve").format_help()
    for setting in SETTINGS:
        assert (f"{setting.flag} VALUE" in text) is (setting.name not in NOT_ON_THE_COMMAND_LINE), setting.name


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_in_the_log_shows_no_local_variables(style: str) -> None:
    program = f"""
import sys, structlog
from provisioner.cli.serve import set_up_logging
set_up_logging("info", {style!r}, sys.stdout)
def work(password): raise ValueError("broken")
try:
    work("hid" + "den")
except ValueError:
    structlog.get_logger().exception("x")
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "broken" in said and "work" in said and "hidden" not in said


def test_a_server_may_open_as_many_files_as_the_system_allows() -> None:
    code = """
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from provisioner.cli.serve import allow_open_files
hard = getrlimit(RLIMIT_NOFILE)[1]
setrlimit(RLIMIT_NOFILE, (min(256, hard), hard))
allow_open_files()
print(getrlimit(RLIMIT_NOFILE) == (hard, hard))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"


def test_garbage_is_looked_for_seldom() -> None:
    usual = gc.get_threshold()
    try:
        collect_seldom()
        young, middle, _ = gc.get_threshold()
        assert prod(gc.get_threshold()) > 100 * prod((700, 10, 10))
        assert young * middle < 50_000
    finally:
        gc.set_threshold(*usual)


def test_threads_that_wait_have_their_turn_soon() -> None:
    usual = sys.getswitchinterval()
    try:
        take_short_turns()
        assert sys.getswitchinterval() < usual
    finally:
        sys.setswitchinterval(usual)


def test_a_server_starts_lets_its_administrator_in_and_ends_at_sigterm(tmp_path: Path) -> None:
    with serving(tmp_path) as process:
        cli = CommandLine(tmp_path, token="", environment={"PROVISIONER_PASSWORD": announced_password(process)})
        cli.server = f"http://{logged(process, 'server.ready')['ui']}"
        assert cli.run("login").code == 0
        assert json.loads(cli.run("workflows", "list", "--json").out)
        assert cli.run("machines", "list").code == 0
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_a_second_start_prints_no_password(tmp_path: Path) -> None:
    for password in (True, False):
        with serving(tmp_path) as process:
            logged(process, "server.ready")
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=30)
            assert ("log in as admin" in out) is password


def test_the_password_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct-horse\n")
    with serving(tmp_path, "--admin-password-file", str(tmp_path / "password")) as process:
        server = f"http://{logged(process, 'server.ready')['ui']}"
        cli = CommandLine(tmp_path, server, token="", environment={"PROVISIONER_PASSWORD": "correct-horse"})
        assert cli.run("login").code == 0


def test_a_flag_comes_before_a_variable_and_a_variable_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("log: {level: nonsense, format: nonsense}\n")
    words = ["--config", str(tmp_path / "config.yaml"), "--log-level", "info"]
    with serving(tmp_path, *words, PROVISIONER_LOG_FORMAT="json", PROVISIONER_LOG_LEVEL="nonsense") as process:
        assert logged(process, "server.ready")


@pytest.mark.parametrize(
    ("words", "variables", "told"),
    [
        (["--log-level", "loud"], {}, ["log.level", "--log-level", "'loud'", "debug, info, warning, error"]),
        ([], {"PROVISIONER_LOG_LEVEL": "loud"}, ["log.level", "PROVISIONER_LOG_LEVEL", "'loud'"]),
        (["--listen-ui", "8092"], {}, ["listen.ui", "'8092'", "ADDRESS:PORT"]),
        (["--content", "/nowhere"], {}, ["content", "/nowhere does not exist"]),
        (["--machines-default-workflow", "nonsense"], {}, ["machines.default_workflow", "nonsense", "discover"]),
        ([], {"PROVISIONER_LISTEN_WWW": "x"}, ["PROVISIONER_LISTEN_WWW", "PROVISIONER_LISTEN_HTTP"]),
        (["--config", "/nowhere.yaml"], {}, ["/nowhere.yaml", "No such file"]),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(
    tmp_path: Path, words: list[str], variables: dict[str, str], told: list[str]
) -> None:
    error = refusal(tmp_path, *words, **variables)
    assert error.startswith("provisioner: ")
    assert "Traceback" not in error
    assert all(part in error for part in told), error


def test_a_port_in_use_names_the_port_and_whom_to_ask(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = refusal(tmp_path, "--listen-http", f"127.0.0.1:{port}")
    assert f"cannot listen for http on 127.0.0.1:{port}: tcp port {port} is in use; `ss -ltnp" in error


def test_a_broken_pack_stops_the_start_with_file_and_line(tmp_path: Path) -> None:
    pack = tmp_path / "site"
    (pack / "stages").mkdir(parents=True)
    (pack / "pack.yaml").write_text("name: site\nversion: 1.0.0\n")
    (pack / "stages/greet.yaml").write_text("tasks:\n  - no-such-task\n")
    assert f"{pack}/stages/greet.yaml:2" in refusal(tmp_path, "--content", str(pack))


@pytest.mark.parametrize("name", ["PROVISIONER_SERVER", "PROVISIONER_TOKEN", "PROVISIONER_PASSWORD"])
def test_the_clients_own_variables_do_not_stop_a_server(tmp_path: Path, name: str) -> None:
    with serving(tmp_path, **{name: "something"}) as process:
        assert logged(process, "server.ready")
