"""How a command can end, and the one error that says so."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Exit(IntEnum):
    """Exit codes; scripts may rely on them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    UNREACHABLE = 5
    TIMED_OUT = 6
    # As shells report a program that Ctrl-C ended: 128 + SIGINT.
    INTERRUPTED = 130


MEANINGS = {
    Exit.OK: "done",
    Exit.FAILED: "it failed, or the server refused it",
    Exit.USAGE: "the command line is wrong",
    Exit.NOT_FOUND: "there is no such machine, job or object",
    Exit.DENIED: "not logged in, or not allowed",
    Exit.UNREACHABLE: "the server does not answer",
    Exit.TIMED_OUT: "the time given to wait was up",
    Exit.INTERRUPTED: "stopped by Ctrl-C",
}


class Failure(Exception):
    """Ends the command: `message` says what is wrong, `advice` what to do; `details` are lines of `FIELD: message`."""

    def __init__(
        self,
        message: str,
        advice: str = "",
        exit: Exit = Exit.FAILED,
        *,
        code: str = "failed",
        object: str = "",
        details: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.exit = exit
        self.code = code
        self.object = object
        self.details = details

    def lines(self) -> list[str]:
        """For people: one line, and one for each detail that the message does not say already."""
        first = f"{self.message}; {self.advice}" if self.advice else self.message
        return [first, *(f"  {detail}" for detail in self.details if detail.partition(": ")[2] not in first)]

    def fields(self) -> dict[str, Any]:
        """For programs."""
        return {
            "code": self.code,
            "message": self.message,
            "advice": self.advice,
            "object": self.object,
            "details": list(self.details),
        }
