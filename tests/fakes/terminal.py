"""A terminal for the command line under test: what it reads, what it wrote, and time that passes at once."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from provisioner.cli.command import Terminal
from provisioner.cli.main import run

NOW = datetime(2030, 5, 1, 12, 1, tzinfo=UTC)


class Keyboard(io.StringIO):
    """Standard input, from a person or from a pipe."""

    def __init__(self, text: str = "", person: bool = False) -> None:
        super().__init__(text)
        self._person = person

    def isatty(self) -> bool:
        return self._person


class Screen(io.TextIOWrapper):
    """Standard output; `watch` sees every piece of text as it is written."""

    def __init__(self, watch: Callable[[str], None]) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, "utf-8")
        self._watch = watch

    def write(self, text: str) -> int:
        written = super().write(text)
        self._watch(text)
        return written


@dataclass(frozen=True)
class Result:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


@dataclass
class CommandLine:
    """Runs command lines against one server, as one user with a home directory."""

    home: Path
    server: str = "http://127.0.0.1:9"
    token: str = "good-token"
    environment: dict[str, str] = field(default_factory=dict)
    secret: str = ""
    sleeps: list[float] = field(default_factory=list)
    on_sleep: Callable[[], None] = lambda: None
    on_output: Callable[[str], None] = lambda text: None

    async def __call__(self, *words: str, stdin: Keyboard | None = None) -> Result:
        """Run one command line on a thread, since it blocks."""
        return await asyncio.to_thread(self.run, *words, stdin=stdin)

    def run(self, *words: str, stdin: Keyboard | None = None) -> Result:
        """Run one command line."""
        out, err = Screen(self.on_output), io.StringIO()
        environment = {"HOME": str(self.home), "PROVISIONER_SERVER": self.server, "PROVISIONER_TOKEN": self.token}
        terminal = Terminal(
            {name: value for name, value in (environment | self.environment).items() if value},
            stdin or Keyboard(),
            out,
            err,
            ask_secret=lambda prompt: self.secret,
            sleep=self._sleep,
            now=lambda: NOW + timedelta(seconds=sum(self.sleeps)),
        )
        code = run(words, terminal)
        out.flush()
        return Result(int(code), out.bytes.getvalue().decode(), err.getvalue())

    def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.on_sleep()
