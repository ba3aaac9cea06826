"""The module for task scripts in Python, by itself as scripts have it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.exits import CODES
from agent.helpers import install
from tests.fakes.agent_server import MACHINE, TOKEN, FakeServer, script


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer([script("t", "")]) as server:
        yield server


def run(folder: Path, server: FakeServer, source: str) -> subprocess.CompletedProcess[str]:
    install(str(folder / "bin"))
    env = {
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}/bin/python",
        "PROVISIONER_URL": server.url,
        "PROVISIONER_TOKEN": TOKEN,
        "PROVISIONER_MACHINE": MACHINE,
        "PROVISIONER_JOB": "job-1",
        "PROVISIONER_TASK_DIR": str(folder),
        "http_proxy": "http://127.0.0.1:9",
    }
    program = f"from provisioner_task import *\n{source}"
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_params_are_read_and_set(tmp_path: Path, server: FakeServer) -> None:
    server.params |= {"colour": "red", "sizes": [1, 2]}
    source = "set_param('a/b', {'x': get_param('sizes')}); unset_param('colour'); print(get_param('none', 7))"
    done = run(tmp_path, server, source)
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
    assert server.params == {"a/b": {"x": [1, 2]}, "sizes": [1, 2]}


def test_several_params_are_set_by_one_request(tmp_path: Path, server: FakeServer) -> None:
    server.params["old"] = 1
    done = run(tmp_path, server, "set_params({'a': 1, 'b/c': 'two', 'old': None})")
    assert done.returncode == 0, done.stderr
    assert server.params == {"a": 1, "b/c": "two"}
    assert server.requests == [f"PATCH /api/v1/machines/{MACHINE}/params"]


def test_a_server_without_that_request_gets_one_after_the_other(tmp_path: Path, server: FakeServer) -> None:
    server.fault("PATCH", "405")
    assert run(tmp_path, server, "set_params({'a': 1, 'b': 2})").returncode == 0
    assert server.params == {"a": 1, "b": 2}


def test_a_param_without_a_value_is_a_key_error(tmp_path: Path, server: FakeServer) -> None:
    assert "KeyError: 'param colour has no value" in run(tmp_path, server, "get_param('colour')").stderr


def test_a_server_that_is_away_is_waited_for(tmp_path: Path, server: FakeServer) -> None:
    server.fault("PUT", "drop")
    server.fault("PUT", "503")
    done = run(tmp_path, server, "import provisioner_task as p; p.FIRST_PAUSE_SECONDS = 0; p.set_param('a', 1)")
    assert (done.returncode, server.params) == (0, {"a": 1})
    assert done.stderr.count("trying again") == 2


def test_what_the_server_refuses_is_an_error_with_its_reason(tmp_path: Path, server: FakeServer) -> None:
    server.fault("PUT", "422")
    assert "provisioner_task.TaskError: a fault was ordered" in run(tmp_path, server, "set_param('a', 1)").stderr


def test_a_file_is_attached_through_the_command(tmp_path: Path, server: FakeServer) -> None:
    install(str(tmp_path / "bin"))
    source = """
import os
path = os.environ['PATH'].split(':')[0] + '/provisioner-asset'
open(path, 'w').write('#!/bin/sh\\nprintf "%s|" "$@"; [ "$2" != bad ] || { echo no such file >&2; exit 1; }\\n')
attach('a file', 'a name')
attach('bad')
"""
    done = run(tmp_path, server, source)
    assert done.stdout == "--name=a name|--|a file|--|bad|"
    assert "TaskError: no such file" in done.stderr


@pytest.mark.parametrize(("percent", "said"), [("40", "40"), ("33.9", "33"), ("250", "100"), ("-1", "0")])
def test_progress_is_written_where_the_agent_looks(tmp_path: Path, server: FakeServer, percent: str, said: str) -> None:
    run(tmp_path, server, f"progress({percent})")
    assert (tmp_path / ".progress").read_text() == f"{said}\n"


WORDS = {
    "stop": 16,
    "shutdown": 32,
    "reboot": 64,
    "incomplete": 128,
    "incomplete_stop": 144,
    "incomplete_shutdown": 160,
    "incomplete_reboot": 192,
}


def test_every_exit_word_is_its_code(tmp_path: Path, server: FakeServer) -> None:
    assert sorted(WORDS.values()) == sorted(code for code in CODES if code)
    source = f"""
for word, code in {json.dumps(WORDS)}.items():
    try:
        globals()['exit_' + word]()
    except SystemExit as end:
        assert end.code == code, word
"""
    assert run(tmp_path, server, source).returncode == 0


def test_fail_tells_people_and_the_agent_why(tmp_path: Path, server: FakeServer) -> None:
    done = run(tmp_path, server, "fail('no disk')")
    assert (done.returncode, done.stderr) == (1, "no disk\n")
    assert (tmp_path / ".failure").read_text() == "no disk\n"
