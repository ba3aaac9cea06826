"""A server that is killed and started again on the same data and the same listening sockets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tests.journey import PASSWORD_VARIABLE, REPOSITORY

_START_SECONDS = 60.0
_POLL_SECONDS = 0.01


class MortalServer:
    """Use it as a context; then `start`, `kill` and so on. Output of all its lives goes to `log`."""

    def __init__(self, folder: Path, password: str, arguments: list[str]) -> None:
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.starts = 0
        self._arguments = ["serve", "--data-dir", str(self.data), "--log-format", "json", *arguments]
        # Simulated machines download nothing: with a queue they would wait for those before them to be forgotten.
        self._arguments += ["--listen-dhcp", "off", "--listen-tftp", "off", "--boot-heavy-downloads", "0"]
        self._password = password
        self._listeners = {name: socket.create_server(("127.0.0.1", 0), backlog=1024) for name in ("http", "ui")}
        self._starter: subprocess.Popen[str] | None = None
        self._pid = 0
        self._read_from = 0

    def url(self, name: str) -> str:
        """Where `http` or `ui` is; the same in all lives."""
        return f"http://127.0.0.1:{self._listeners[name].getsockname()[1]}"

    async def __aenter__(self) -> MortalServer:
        self._starter = self._spawn()
        assert self._starter.stdout is not None
        assert await asyncio.to_thread(self._starter.stdout.readline) == "ready\n"
        return self

    def _spawn(self) -> subprocess.Popen[str]:
        numbers = [listener.fileno() for listener in self._listeners.values()]
        environment = {"PATH": os.environ.get("PATH", os.defpath), PASSWORD_VARIABLE: self._password}
        return subprocess.Popen(
            [sys.executable, "-m", "tests.fleet.starter", ":".join(self._listeners), *map(str, numbers)],
            cwd=REPOSITORY,
            env=environment,
            pass_fds=numbers,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pid:
            await self.kill()
        assert self._starter is not None and self._starter.stdin and self._starter.stdout
        self._starter.stdin.close()
        await asyncio.to_thread(self._starter.wait)
        self._starter.stdout.close()
        for listener in self._listeners.values():
            listener.close()

    async def start(self) -> None:
        """A new life; returns at once. The first should come to be ready: it makes the administrator."""
        assert self._starter is not None and self._starter.stdin and self._starter.stdout
        self._read_from = self.log.stat().st_size if self.log.exists() else 0
        self._starter.stdin.write(json.dumps([str(self.log), *self._arguments]) + "\n")
        self._starter.stdin.flush()
        self._pid = int(await asyncio.to_thread(self._starter.stdout.readline))
        self.starts += 1

    async def ready(self) -> None:
        """Wait until it serves; raises RuntimeError with what it said when it ends before."""
        deadline = time.monotonic() + _START_SECONDS
        while '"server.ready"' not in self._said():
            if not self._is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not come up again:\n{self._said()[-3000:]}")
            await asyncio.sleep(_POLL_SECONDS)

    async def kill(self) -> None:
        """SIGKILL; returns when the process is gone."""
        with suppress(ProcessLookupError):  # it may have ended by itself; `complaints` has why
            os.kill(self._pid, signal.SIGKILL)
        await asyncio.to_thread(self._wait_until_gone)
        self._pid = 0

    def _wait_until_gone(self) -> None:
        while self._is_alive():
            time.sleep(_POLL_SECONDS / 10)

    def _is_alive(self) -> bool:
        return os.path.exists(f"/proc/{self._pid}")

    def _said(self) -> str:
        if not self.log.exists():
            return ""
        with self.log.open() as log:
            log.seek(self._read_from)
            return log.read()

    def complaints(self) -> list[str]:
        """What it logged as an error, or said without logging, in all its lives."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if '"level": "error"' in line or not line.startswith("{")]
