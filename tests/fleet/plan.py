"""What tasks do when a machine runs them: how long, what they print and with which code they exit. Plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LINE = b"a line of a log as tasks write them, 64 bytes with its newline\r\n"


@dataclass(frozen=True)
class Act:
    """One run of one script."""

    code: int = 0
    seconds: float = 0.0
    log: bytes = b""
    params: Mapping[str, Any] | None = None


# Given the machine's number, the task, the script and which run of the task this is on this machine (from 1 on).
Plan = Callable[[int, str, str, int], Act]


def log_of(size: int, start: str = "") -> bytes:
    """So many bytes of log, told apart by their first words."""
    head = start.encode()
    return (head + LINE * (size // len(LINE) + 1))[:size]


def same(act: Act) -> Plan:
    """Every script does this."""
    return lambda machine, task, script, run: act
