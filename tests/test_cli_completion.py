"""Completion: what a shell is offered, asked as a shell asks."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.api import TOKEN, FakeApi, job, machine
from tests.fakes.terminal import CommandLine

WEB = "aaaa1111-0000-4000-8000-000000000001"
JOB = "cccc3333-0000-4000-8000-000000000003"


@pytest.fixture
async def server() -> AsyncIterator[str]:
    api = FakeApi()
    api.add(machine("web-1", WEB), machine("db-1", "bbbb2222-0000-4000-8000-000000000002"))
    api.add_jobs(job(JOB, WEB))
    api.objects["workflows"] = {"deploy": {"name": "deploy", "description": "Write a disk image"}}
    async with api.served() as url:
        yield url


async def offered(line: str, folder: Path, server: str = "http://127.0.0.1:9", token: str = TOKEN) -> list[str]:
    """What is offered at the end of a line, as the shell functions ask for it."""
    answer = folder / "answer"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
        "PROVISIONER_SERVER": server,
        "PROVISIONER_TOKEN": token,
    }
    command = [sys.executable, "-m", "provisioner"]
    done = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return sorted(word.strip() for word in answer.read_text().split("\n") if word)


async def test_commands_are_offered_without_a_server(tmp_path: Path) -> None:
    assert await offered("provisioner ma", tmp_path) == ["machines"]


async def test_verbs_flags_and_choices_are_offered(tmp_path: Path) -> None:
    assert "set-workflow" in await offered("provisioner machines set-", tmp_path)
    assert await offered("provisioner machines list --fil", tmp_path) == ["--filter"]
    assert await offered("provisioner completion z", tmp_path) == ["zsh"]


async def test_names_of_machines_are_asked_of_the_server(tmp_path: Path, server: str) -> None:
    assert await offered("provisioner machines show w", tmp_path, server) == ["web-1"]
    assert {"db-1", "web-1"} <= set(await offered("provisioner machines show ", tmp_path, server))


async def test_names_of_objects_and_jobs_are_asked_of_the_server(tmp_path: Path, server: str) -> None:
    assert await offered("provisioner machines set-workflow web-1 de", tmp_path, server) == ["deploy"]
    assert await offered("provisioner jobs show ccc", tmp_path, server) == ["cccc3333"]


async def test_a_server_that_is_away_or_refuses_offers_nothing(tmp_path: Path, server: str) -> None:
    assert await offered("provisioner machines show w", tmp_path) == []
    assert await offered("provisioner machines show w", tmp_path, server, token="wrong") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_function(tmp_path: Path, shell: str) -> None:
    result = CommandLine(tmp_path).run("completion", shell)
    assert result.code == 0
    assert "provisioner" in result.out


def test_bash_takes_what_is_printed(tmp_path: Path) -> None:
    code = CommandLine(tmp_path).run("completion", "bash").out
    script = code + "\ncomplete -p provisioner"
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True)
    assert "provisioner" in done.stdout


def test_an_unknown_shell_is_refused(tmp_path: Path) -> None:
    result = CommandLine(tmp_path).run("completion", "tcsh")
    assert result.code == 2
