"""What there is to fetch by TFTP, and who writes down what was fetched, for tests."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import BinaryIO

from provisioner.errors import NotFound


class MemoryTree:
    """Files by name: bytes, paths of files to open, or errors to raise."""

    def __init__(self, files: dict[str, bytes | Path | Exception]) -> None:
        self.files = files
        self.asked: list[tuple[str, str, str]] = []

    async def open(self, path: str, client_address: str, local_address: str) -> bytes | BinaryIO:
        self.asked.append((path, client_address, local_address))
        content = self.files.get(path)
        if content is None:
            raise NotFound(f"there is no file {path!r}")
        if isinstance(content, Exception):
            raise content
        return content.open("rb") if isinstance(content, Path) else content


class Notebook:
    """Writes down every transfer that ended."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, int, str]] = []
        self.details: list[dict[str, object]] = []
        self.failure: Exception | None = None
        self._written = asyncio.Event()

    def served(
        self, protocol: str, path: str, client: str, size: int, seconds: float, error: str = "", **details: object
    ) -> None:
        self.lines.append((protocol, path, client, size, error))
        self.details.append(details)
        self._written.set()
        if self.failure is not None:
            raise self.failure

    async def wait(self, number: int = 1) -> list[tuple[str, str, str, int, str]]:
        """All lines once there are that many."""
        while len(self.lines) < number:
            self._written.clear()
            await self._written.wait()
        return self.lines
