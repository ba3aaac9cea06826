"""Starts and ends the child processes of a supervisor."""

import asyncio
from asyncio.subprocess import DEVNULL, Process
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO


async def spawn(argv: list[str], output: Path) -> Process:
    """Start a process whose output is appended to a file."""
    with _appending(output) as file:
        return await asyncio.create_subprocess_exec(*argv, stdin=DEVNULL, stdout=file, stderr=file)


async def end(process: Process, seconds: float) -> None:
    """Wait for a process that was asked to end; kill it after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _appending(path: Path) -> BinaryIO:
    return open(path, "ab")
