"""The server's agent in the place of ours: fetched, checked and tried before it takes the file's name at once."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from typing import Callable, Optional

from .client import Client
from .errors import FileTrouble, Refused
from .files import sha256_of
from .protocol import AgentFile, fetch_agent
from .version import VERSION

# What an agent has to be able to before it is trusted with the machine: to tell its version, and to come up so far that
# it reads its options.
VERSION_WORDS = ("version",)
START_WORDS = ("run", "--help")

Run = Callable[[Sequence[str]], Optional[str]]


def current_agent(path: str) -> Optional[AgentFile]:
    """The zipapp that we run from; None when it is none (a source tree), which is not ours to replace."""
    if not os.path.isfile(path) or path.endswith(".py"):
        return None
    with suppress(FileTrouble):
        return AgentFile(VERSION, sha256_of(path)[1])
    return None


class Updater:
    """Replaces the agent at `path`. `run` gives a program's output, None when it fails; `python` runs agents."""

    def __init__(self, client: Client, path: str, current: AgentFile, python: str, run: Run) -> None:
        self._client = client
        self._path = path
        self._current = current
        self._python = python
        self._run = run

    @property
    def current(self) -> AgentFile:
        """What we run from."""
        return self._current

    def replace(self, agent: AgentFile) -> str:
        """Fetch it, try it, put it in our place; why that could not be done, or "". Raises `Stopped`."""
        part = f"{self._path}.new"
        try:
            self._fetch(agent, part)
            os.replace(part, self._path)
            _sync_folder(os.path.dirname(self._path))
        except (OSError, FileTrouble, Refused, _Unfit) as error:
            return str(error)
        finally:
            with suppress(OSError):
                os.unlink(part)
        return ""

    def _fetch(self, agent: AgentFile, part: str) -> None:
        mode = stat.S_IMODE(os.stat(self._path).st_mode)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            digest = self._client.save(fetch_agent(), file)
            if digest != agent.sha256:
                raise _Unfit(f"the server sent another agent than it told of (SHA-256 {digest})")
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        said = self._run([self._python, "-I", part, *VERSION_WORDS])
        if said is None or said.strip() != agent.version:
            raise _Unfit(f"the server's agent does not run here: instead of {agent.version} it says {said!r}")
        if self._run([self._python, "-I", part, *START_WORDS]) is None:
            raise _Unfit("the server's agent does not start here")


class _Unfit(Exception):
    """The server's agent cannot take our place."""


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
