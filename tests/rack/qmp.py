"""The few words of QEMU's monitor protocol (QMP) that a chassis needs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any


class Monitor:
    """A connection to one QEMU process. Commands are sent without waiting: their effect comes back as an event."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, path: Path) -> Monitor:
        """Connect and leave negotiation mode. OSError when QEMU does not listen (yet)."""
        reader, writer = await asyncio.open_unix_connection(path)
        monitor = cls(reader, writer)
        await reader.readline()
        monitor.send("qmp_capabilities")
        return monitor

    def send(self, command: str) -> None:
        """Ask QEMU for `command`, for example "quit" or "system_powerdown"."""
        self._writer.write(json.dumps({"execute": command}).encode() + b"\n")

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Every event until the connection ends."""
        while line := await self._read_line():
            message = json.loads(line)
            if "event" in message:
                yield message

    def close(self) -> None:
        """End the connection; QEMU goes on."""
        self._writer.close()

    async def _read_line(self) -> bytes:
        try:
            return await self._reader.readline()
        except ConnectionError:
            return b""
