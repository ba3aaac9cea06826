"""The real zipapp as a process, with nothing but the standard library around it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.build import build
from tests.fakes.agent_server import MACHINE, TICKET, TOKEN, FakeServer

LIMIT_SECONDS = 60


@pytest.fixture(scope="module")
def zipapp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("zipapp") / "agent.pyz"
    build(path)
    return path


class Started:
    """A zipapp that runs; its standard error is its console."""

    def __init__(self, zipapp: Path, folder: Path, *words: str, **options: Any) -> None:
        places = ["--work-dir", str(folder), "--results-dir", str(folder)]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(zipapp), words[0], "--keep-power", *places, *words[1:]],
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"]} | options.pop("env", {}),
            **options,
        )

    def end(self) -> str:
        """Its console, once it ended by itself."""
        console = self.process.communicate(timeout=LIMIT_SECONDS)[1]
        assert self.process.returncode == 0, console
        return console


def run(zipapp: Path, folder: Path, server: FakeServer, *more: str, **options: Any) -> Started:
    """An agent of an installed system."""
    settings = {"url": server.url, "machine": MACHINE, "token": TOKEN, "bootenv": "local"}
    (folder / "agent.json").write_text(json.dumps(settings))
    return Started(zipapp, folder, "run", "--config", str(folder / "agent.json"), *more, **options)


def start(zipapp: Path, folder: Path, server: FakeServer, *more: str, ticket: str = TICKET) -> Started:
    """An agent of a netbooted machine."""
    cmdline = folder / "cmdline"
    cmdline.write_text(
        f"quiet provisioner.url={server.url} provisioner.bootenv=discovery provisioner.ticket={ticket} "
        "BOOTIF=01-52-54-00-aa-bb-cc\n"
    )
    state = str(folder / "state.json")
    return Started(zipapp, folder, "start", "--cmdline", str(cmdline), "--state", state, *more)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    left = sorted(path.name for path in tmp_path.iterdir() if path.name not in ("cmdline", "state.json", "agent.json"))
    assert not left, f"the agent left behind {left}"
