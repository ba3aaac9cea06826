"""One script from start to exit: a process group of its own, its output passed on, its end never missed.

We wait for the process, not for the end of its output: a daemon that the script leaves behind may hold the pipe open.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Thread
from typing import Callable, Optional

from .clock import Clock
from .interrupt import STOPPED, Interrupt, readable

GRACE_SECONDS = 10.0  # between TERM and KILL
DRAIN_SECONDS = 1.0  # a daemon that goes on writing is listened to no longer than this after the script's end
STOP_RACE_SECONDS = 1.0  # a shutdown may TERM the script a moment before it TERMs us
PIECE_BYTES = 64 * 1024
TIMED_OUT = "timed out"
_DEFAULT_INTERPRETER = "/bin/sh"


@dataclass(frozen=True)
class ScriptExit:
    """How a script ended: `code` as `subprocess` gives it, and why we ended it ("" when it ended by itself)."""

    code: int
    ended_for: str = ""


def command_line(source: str, interpreter: str, path: str) -> list[str]:
    """The words that run a script file: by its interpreter, else its shebang line, else the shell.

    The shebang is obeyed here and not by the kernel, which refuses where the file lies on a noexec mount.
    """
    if interpreter:
        return [*shlex.split(interpreter), path]
    first_line = source.split("\n", 1)[0].strip()
    if not first_line.startswith("#!"):
        return [_DEFAULT_INTERPRETER, path]
    words = first_line[2:].strip().split(None, 1)  # as the kernel: one argument at most
    return [*(word.strip() for word in words), path] if words else [_DEFAULT_INTERPRETER, path]


class Script:
    """Runs one command; `output` takes what it writes. `deadline` is a moment of `clock`, None is no limit."""

    def __init__(
        self,
        output: Callable[[bytes], None],
        interrupt: Interrupt,
        clock: Clock,
        deadline: Optional[float] = None,
        grace_seconds: float = GRACE_SECONDS,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        self._output = output
        self._interrupt = interrupt
        self._clock = clock
        self._deadline = deadline
        self._grace_seconds = grace_seconds
        self._drain_seconds = drain_seconds

    def run(self, words: Sequence[str], folder: str, env: Mapping[str, str]) -> ScriptExit:
        """Start it and stay until it ended. Raises OSError when it cannot be started."""
        pipe, ended, process = _start(words, folder, env)
        try:
            reason = self._watch(process, pipe, ended)
            self._drain(pipe)
            return ScriptExit(process.wait(), reason or self._late_reason(process))
        except BaseException:
            # Nobody watches it any more, so it must not go on.
            _signal_group(process, signal.SIGKILL)
            readable([ended], None)
            process.wait()
            raise
        finally:
            os.close(pipe)
            os.close(ended)

    def _watch(self, process: subprocess.Popen[bytes], pipe: int, ended: int) -> str:
        """Pass output on until the process ended; end it on interrupt or deadline. Why it was ended, or ""."""
        reason = ""
        kill_at: Optional[float] = None
        watched = [pipe, ended, self._interrupt.fileno()]
        while True:
            ready = readable(watched, self._seconds_until(kill_at if reason else self._deadline))
            if pipe in ready and not self._pass_on(pipe):
                watched.remove(pipe)
            if ended in ready:
                break
            if not reason:
                reason = self._reason_to_end()
                if reason:
                    kill_at = self._clock.now() + self._grace_seconds
                    watched.remove(self._interrupt.fileno())
                    _signal_group(process, signal.SIGTERM)
            elif kill_at is not None and self._clock.now() >= kill_at:
                kill_at = None
                _signal_group(process, signal.SIGKILL)
        if reason:
            # Not reaped yet, so the group's number still belongs to it; whoever ignored TERM goes now.
            _signal_group(process, signal.SIGKILL)
        return reason

    def _seconds_until(self, moment: Optional[float]) -> Optional[float]:
        return None if moment is None else max(0.0, moment - self._clock.now())

    def _reason_to_end(self) -> str:
        if self._interrupt.reason:
            return self._interrupt.reason
        return TIMED_OUT if self._deadline is not None and self._clock.now() >= self._deadline else ""

    def _late_reason(self, process: subprocess.Popen[bytes]) -> str:
        """Tell a script that the system's shutdown ended from one that failed by itself."""
        if process.returncode not in (-signal.SIGTERM, 128 + signal.SIGTERM):
            return ""
        readable([self._interrupt.fileno()], STOP_RACE_SECONDS)
        return STOPPED if self._interrupt.reason == STOPPED else ""

    def _pass_on(self, pipe: int) -> bool:
        """Read what there is; False at the end of the output."""
        try:
            data = os.read(pipe, PIECE_BYTES)
        except BlockingIOError:
            return True
        if data:
            self._output(data)
        return bool(data)

    def _drain(self, pipe: int) -> None:
        """Pass on what was written before the end."""
        deadline = self._clock.now() + self._drain_seconds
        while readable([pipe], 0) and self._pass_on(pipe):
            if self._clock.now() >= deadline:
                return


def _start(words: Sequence[str], folder: str, env: Mapping[str, str]) -> tuple[int, int, subprocess.Popen[bytes]]:
    """Start a process; the descriptors of its output and of one that becomes readable when it ended."""
    pipe, output = os.pipe()
    try:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    except BaseException:
        os.close(pipe)
        raise
    finally:
        os.close(output)
    _offer_to_oom_killer(process.pid)
    os.set_blocking(pipe, False)
    ended, ending = os.pipe()
    Thread(target=_tell_end, args=(process.pid, ending), name="script", daemon=True).start()
    return pipe, ended, process


def _offer_to_oom_killer(pid: int) -> None:
    """Undo the protection that the agent may have: of the two, the script has to go when memory runs out."""
    with suppress(OSError), open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
        file.write("0")


def _tell_end(pid: int, descriptor: int) -> None:
    """Close the descriptor when the process has ended, without reaping it."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    finally:
        os.close(descriptor)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
